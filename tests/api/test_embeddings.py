"""`/v1/embeddings` end to end: asked of a named model, passed through, and counted."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import openai
import pytest

from app.core.types import Usage
from app.mock.dialect import Dialect
from app.mock.embeddings import CohereEmbeddings, Embeddings, GeminiEmbeddings, vector_of
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Fault, Gate, HttpError
from tests.fakes.server import FakeServer
from tests.serving import StartProxy, models


def config(server: FakeOpenAI, **routing: Any) -> dict[str, Any]:
    """A chat model and two deployments of an embedding model."""
    chat, first, second = models(server.url, "chat", "vectors", "vectors")
    for entry in (first, second):
        entry["model_info"] = {"mode": "embedding"}
        entry["litellm_params"] |= {"input_cost_per_token": 1e-6, "output_cost_per_token": 0}
    return {"model_list": [first, chat, second], "routing": routing}


@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_a_call_from_request_to_ledger(
    start_proxy: StartProxy, openai_server: FakeOpenAI, encoding: str | None
) -> None:
    """Without an encoding the SDK asks for base64 and decodes it."""
    proxy = await start_proxy(config(openai_server))
    wanted: dict[str, Any] = {} if encoding is None else {"encoding_format": encoding}
    openai_server.default = Answer(prompt_tokens=25)
    raw = await proxy.sdk.embeddings.with_raw_response.create(
        model="vectors", input=["one", "two"], dimensions=4, **wanted
    )
    reply = raw.parse()
    assert reply.model == "vectors"
    if encoding != "base64":
        assert [item.embedding for item in reply.data] == [vector_of("one"), vector_of("two")]
    else:
        assert all(isinstance(item.embedding, str) for item in reply.data)
    assert reply.usage.prompt_tokens == reply.usage.total_tokens == 25
    assert reply.usage.cost == pytest.approx(25e-6)  # type: ignore[attr-defined]
    sent = openai_server.last
    assert sent.path == "/v1/embeddings"
    assert sent.body == {
        "model": "vectors-target",
        "input": ["one", "two"],
        "dimensions": 4,
        "encoding_format": encoding or "base64",
    }
    call = (await proxy.call()).call
    assert (call.endpoint, call.outcome, call.model) == ("/v1/embeddings", "ok", "vectors")
    assert (call.usage, call.cost_usd) == (Usage(prompt_tokens=25), Decimal("0.000025"))
    assert raw.headers["x-hullspeed-call-id"] == call.id
    assert Decimal(raw.headers["x-hullspeed-cost-usd"]) == call.cost_usd


async def test_only_embedding_models_by_name(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(config(openai_server, default="cheapest"))
    for model, words in (("auto", "cannot be compared"), ("chat", "`chat` does not serve /v1/embeddings")):
        with pytest.raises(openai.BadRequestError, match=words):
            await proxy.sdk.embeddings.create(model=model, input="x")
    with pytest.raises(openai.NotFoundError):
        await proxy.sdk.embeddings.create(model="nope", input="x")
    # And it is no candidate for a chat, though it would be the cheapest.
    assert (await proxy.chat("auto")).json()["model"] == "chat"
    with pytest.raises(openai.BadRequestError, match="does not serve /v1/chat/completions"):
        await proxy.sdk.chat.completions.create(model="vectors", messages=[{"role": "user", "content": "x"}])
    assert [logged.call.outcome for logged in await proxy.calls()] == ["rejected", "ok", *["rejected"] * 3]


async def test_tokens_as_input(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(config(openai_server))
    for tokens in ([1, 2, 3], [[1, 2], [3]]):
        reply = await proxy.http.post("/v1/embeddings", json={"model": "vectors", "input": tokens})
        assert reply.status_code == 200
        assert openai_server.last.body["input"] == tokens


async def test_failures(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    """The other deployment takes over; where both fail it is an error like any other."""
    proxy = await start_proxy(config(openai_server))
    openai_server.next(HttpError(500))
    assert (await proxy.sdk.embeddings.create(model="vectors", input="x")).model == "vectors"
    call = (await proxy.call()).call
    assert [attempt.outcome for attempt in call.attempts] == ["error", "ok"]
    faults = (HttpError(400, "bad"), HttpError(500), Fault("cut_mid_event"), Fault("broken_json"), Fault("error_event"))
    for fault in faults:
        openai_server.default = fault
        with pytest.raises(openai.APIStatusError):
            await proxy.sdk.embeddings.create(model="vectors", input="x")
    calls = await proxy.calls()
    assert [logged.call.outcome for logged in calls] == [*["error"] * len(faults), "ok"]
    assert all(logged.call.usage is None for logged in calls[:-1])


async def test_a_client_that_goes_away(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(config(openai_server))
    gate = Gate()
    openai_server.default = Answer(gate=gate)
    asked = asyncio.create_task(proxy.http.post("/v1/embeddings", json={"model": "vectors", "input": "x"}))
    assert await asyncio.to_thread(gate.wait_reached)
    asked.cancel()
    assert await openai_server.last.over()
    assert openai_server.last.disconnected
    assert (await proxy.call()).call.outcome == "client_cancelled"


async def test_refused_requests(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(config(openai_server))
    for change, param in (({"api_base": "http://evil"}, "api_base"), ({"model": None}, "model")):
        reply = await proxy.http.post("/v1/embeddings", json={"model": "vectors", "input": "x"} | change)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


@pytest.mark.xdist_group("litellm")
@pytest.mark.filterwarnings("ignore:.*is using the `ReadOnly` qualifier:UserWarning")
async def test_a_model_behind_litellm(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    """Asked for numbers, whatever the client wants them written as: not every provider writes base64."""
    params = {"model": "voyage/voyage-3", "api_base": openai_server.url, "api_key": "k"}
    proxy = await start_proxy({"model_list": [{"model_name": "vectors", "litellm_params": params}]})
    openai_server.default = Answer(prompt_tokens=25)
    for encoding in ("float", "base64", None):
        wanted: dict[str, Any] = {} if encoding is None else {"encoding_format": encoding}
        reply = await proxy.sdk.embeddings.create(model="vectors", input=["one"], **wanted)
        assert isinstance(reply.data[0].embedding, str if encoding == "base64" else list)
        if encoding != "base64":
            assert reply.data[0].embedding == vector_of("one")
        assert "encoding_format" not in openai_server.last.body
    openai_server.default = HttpError(401)
    with pytest.raises(openai.AuthenticationError):
        await proxy.sdk.embeddings.create(model="vectors", input="x")
    steered = await proxy.http.post("/v1/embeddings", json={"model": "vectors", "input": "x", "vertex_location": "x"})
    assert (steered.status_code, steered.json()["error"]["param"]) == (400, "vertex_location")
    calls = [logged.call for logged in await proxy.calls()]
    assert [call.outcome for call in calls] == ["error", "error", "ok", "ok", "ok"]
    assert all(call.usage == Usage(prompt_tokens=25) and call.cost_usd for call in calls[2:])


@pytest.mark.xdist_group("litellm")
@pytest.mark.filterwarnings("ignore:.*is using the `ReadOnly` qualifier:UserWarning")
@pytest.mark.parametrize(
    ("target", "dialect", "asked"),
    [
        ("cohere/embed-v4.0", CohereEmbeddings, {"path": "/v2/embed", "texts": ["one", "two"]}),
        (
            "gemini/gemini-embedding-001",
            GeminiEmbeddings,
            {"path": "/v1beta/models/gemini-embedding-001:batchEmbedContents"},
        ),
        ("mistral/mistral-embed", Embeddings, {"path": "/v1/embeddings", "input": ["one", "two"]}),
    ],
    ids=["cohere", "gemini", "mistral"],
)
async def test_other_providers_words(
    start_proxy: StartProxy, target: str, dialect: type[Dialect], asked: dict[str, Any]
) -> None:
    with FakeServer(dialect(), key="sk-planted-secret-1234567890") as fake:
        params = {"model": target, "api_base": fake.url, "api_key": "sk-planted-secret-1234567890"}
        params |= {"input_cost_per_token": 1e-6, "output_cost_per_token": 0}
        entry = {"model_name": "vectors", "litellm_params": params, "model_info": {"mode": "embedding"}}
        proxy = await start_proxy({"model_list": [entry]})
        reply = await proxy.sdk.embeddings.create(model="vectors", input=["one", "two"], encoding_format="float")
        assert reply.model == "vectors"
        assert [(item.index, item.embedding) for item in reply.data] == [(0, vector_of("one")), (1, vector_of("two"))]
        seen = fake.chats[0]
        assert {"path": seen.path, **seen.body}.items() >= asked.items()
        fake.default = HttpError(429, "slow down")
        with pytest.raises(openai.RateLimitError):
            await proxy.sdk.embeddings.create(model="vectors", input="x")
        failed, good = [logged.call for logged in await proxy.calls()]
        assert (good.outcome, failed.attempts[0].outcome) == ("ok", "rate_limited")
        # Two tokens: as Cohere and Mistral say, and as litellm counts where Gemini says nothing.
        assert (good.usage, good.cost_usd) == (Usage(prompt_tokens=2), Decimal("0.000002"))
