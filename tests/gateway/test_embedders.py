"""Sentence embeddings: what they are, that each is computed once, and what is served where none comes in time."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.config import EmbeddingConfig, RoutingConfig
from app.core.errors import ConfigError, HullspeedError
from app.gateway.catalog import Catalog
from app.gateway.embedders import Cache, Embedded, EmbeddingFailed, OnnxEmbedder, shortened, unit
from app.gateway.entries import build_embedder
from app.gateway.health import Fleet, HealthRules
from app.mock.embeddings import vector_of
from routers import Router
from routers.knn import KnnRouter
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import HttpError
from tests.routers.toy import outcomes
from tests.serving import StartProxy, models
from tests.tiny_onnx import TABLE, WORDS, write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "tiny")


async def test_onnx_is_the_mean_of_its_tokens_at_length_one(folder: Path) -> None:
    embedder = OnnxEmbedder(folder, 256)
    found = (await embedder.embed("moon river unheard")).vector
    mean = TABLE[[1, 2, 0]].mean(axis=0)
    assert np.allclose(found, mean / np.linalg.norm(mean), atol=1e-6)
    assert found.dtype == np.float32
    embedder.close()


async def test_onnx_reads_no_more_than_its_budget(folder: Path) -> None:
    embedder = OnnxEmbedder(folder, 8)
    short, long = [(await embedder.embed(text)).vector for text in ("a b c d e f g h", "a b c d e f g h moon")]
    assert (short == long).all()
    assert embedder.name != OnnxEmbedder(folder, 9).name
    embedder.close()


async def test_a_text_without_a_token_and_half_a_sign(folder: Path) -> None:
    embedder = OnnxEmbedder(folder, 256)
    with pytest.raises(EmbeddingFailed, match="no token"):
        await embedder.embed("")
    assert (await embedder.embed("\ud800 moon")).vector.shape == (16,)
    embedder.close()


def test_the_name_is_of_the_content_not_of_the_place(folder: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "elsewhere")
    assert OnnxEmbedder(folder, 256).name == OnnxEmbedder(other, 256).name
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text() + "\n")
    assert OnnxEmbedder(folder, 256).name != OnnxEmbedder(other, 256).name


def test_a_folder_that_holds_no_model(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.onnx cannot be read: No such file"):
        OnnxEmbedder(tmp_path / "none", 256)
    with pytest.raises(ConfigError, match="it is no model of sentences"):
        OnnxEmbedder(write_model(tmp_path / "vision", takes=("pixels",)), 256)
    (folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="holds no model that can be run"):
        OnnxEmbedder(folder, 256)


def test_head_and_tail_are_read() -> None:
    assert shortened("x" * 40, 10) == "x" * 40
    cut = shortened("a" * 500 + "b" * 500, 10)
    assert len(cut) == 40
    assert cut.startswith("aaa")
    assert cut.endswith("bbb")


@pytest.mark.parametrize("numbers", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0], []])
def test_what_is_no_vector(numbers: list[float]) -> None:
    with pytest.raises(EmbeddingFailed):
        unit(np.array(numbers, np.float32))


class Gated:
    """An embedder that answers when it is let."""

    name = "gated"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.broken = False

    async def embed(self, text: str) -> Embedded:
        self.asked.append(text)
        await self.gate.wait()
        if self.broken:
            raise EmbeddingFailed("broken")
        return Embedded(np.array([1.0, 0.0], np.float32))

    def close(self) -> None: ...


async def test_requests_for_the_same_text_share_one_computation() -> None:
    embedder = Gated()
    cache = Cache(embedder, 2)
    asked = [asyncio.create_task(cache.embed("same")) for _ in range(10)]
    await asyncio.sleep(0)
    asked[0].cancel()  # Whoever began it goes; the others still get it.
    await asyncio.sleep(0)
    embedder.gate.set()
    assert [len((await task).vector) for task in asked[1:]] == [2] * 9
    assert embedder.asked == ["same"]
    for text in ("b", "same", "c", "same", "b"):
        await cache.embed(text)
    assert embedder.asked == ["same", "b", "c", "b"]  # the one unused for longest went


async def test_a_failure_is_not_kept_and_too_many_are_refused() -> None:
    embedder = Gated()
    embedder.broken = True
    cache = Cache(embedder, 10)
    tasks = [asyncio.create_task(cache.embed(f"{place}")) for place in range(65)]
    await asyncio.sleep(0)
    with pytest.raises(EmbeddingFailed, match="64 texts are being embedded already"):
        await tasks[64]
    embedder.gate.set()
    assert all(isinstance(found, EmbeddingFailed) for found in await asyncio.gather(*tasks, return_exceptions=True))
    embedder.broken = False
    assert (await cache.embed("0")).vector.shape == (2,)
    embedder.broken = True
    with pytest.raises(HullspeedError):
        await cache.embed_all(["x", "y"])
    embedder.broken = False
    assert (await cache.embed_all(["x", "y"])).shape == (2, 2)


# ------------------------------------------------------------------------------------------------- with a proxy


def trained(name: str, vectors: np.ndarray) -> Router:
    toy = outcomes(40)
    return KnnRouter.fit(replace(toy, embeddings=vectors.astype(np.float32), embedder=name))


def by_model(url: str, **routing: object) -> dict[str, Any]:
    listed = models(url, "small", "coder", "poet", "large", "embed")
    listed[-1]["model_info"] = {"mode": "embedding"}
    chat = ["small", "coder", "poet", "large"]
    return {"model_list": listed, "routing": {"embedding": {"model": "embed"}, "models": chat, **routing}}


def mock_vectors() -> np.ndarray:
    return np.array([vector_of(prompt) for prompt in outcomes(40).prompts])


def embeddings_asked(server: FakeOpenAI) -> int:
    return sum(request.path.endswith("/embeddings") for request in server.requests)


async def test_a_model_embeds_once_and_its_cost_counts(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    router = trained("model:embed@256", mock_vectors())
    proxy = await start_proxy(by_model(openai_server.url, deadline=10.0), routers={"knn": router})
    for _ in range(2):
        reply = await proxy.chat("auto/knn")
        assert reply.headers["x-hullspeed-reason"] == "predicted"
    assert embeddings_asked(openai_server) == 1
    first, second = sorted([found.call for found in await proxy.calls()], key=lambda call: call.started_at)
    assert len(first.attempts) == 2
    assert first.attempts[0].model == "embed"
    assert len(second.attempts) == 1
    paid = first.attempts[0].cost_usd
    assert paid is not None
    assert paid > 0
    assert first.cost_usd == sum((attempt.cost_usd or Decimal(0) for attempt in first.attempts), Decimal(0))
    assert first.decision is not None
    assert "embedding" not in first.decision.detail


async def test_a_late_embedder_leaves_the_means(start_proxy: StartProxy) -> None:
    embedder = Gated()
    router = trained("gated", np.eye(40, 2) + 0.5)
    cache = Cache(embedder, 10)
    proxy = await start_proxy(
        {**by_model("http://127.0.0.1:9/v1", deadline=0.05)}, routers={"knn": router}, embedder=cache
    )
    body = {"model": "auto/knn", "messages": [{"role": "user", "content": "moon"}]}
    late = (await proxy.http.post("/v1/decisions", json=body)).json()
    assert late["reason"] == "no embedding"
    assert late["detail"]["embedding"] == "no embedding within 0.05 s"
    assert late["problem"] is None
    embedder.gate.set()
    known = (await proxy.http.post("/v1/decisions", json=body)).json()
    assert known["reason"] == "predicted"
    assert embedder.asked == ["moon"]  # the late one was kept


async def test_an_embedder_that_fails_leaves_the_means(start_proxy: StartProxy) -> None:
    router = trained("model:embed@256", mock_vectors())
    proxy = await start_proxy(by_model("http://127.0.0.1:9/v1", deadline=10.0), routers={"knn": router})
    body = {"model": "auto/knn", "messages": [{"role": "user", "content": "moon"}]}
    found = (await proxy.http.post("/v1/decisions", json=body)).json()
    assert found["reason"] == "no embedding"
    assert "cannot be reached" in found["detail"]["embedding"]


async def test_an_embedder_is_called_like_any_model(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    """One deployment is nowhere, the other fails once: the second round has the vector, and all of it is on record."""
    router = trained("model:embed@256", mock_vectors())
    config = by_model(openai_server.url, deadline=10.0, retries=1, allowed_fails=1, cooldown=60.0)
    dead = deepcopy(config["model_list"][-1])
    dead["litellm_params"]["api_base"] = "http://127.0.0.1:9/v1"
    config["model_list"].insert(0, dead)
    openai_server.next(HttpError(500), model="embed-target")
    proxy = await start_proxy(config, routers={"knn": router})
    for text in ("moon", "river"):
        reply = await proxy.chat("auto/knn", text)
        assert reply.headers["x-hullspeed-reason"] == "predicted"
    second, first = [found.call.attempts for found in await proxy.calls()]
    assert [attempt.outcome for attempt in first] == ["error", "error", "error", "ok", "ok"]
    assert [attempt.model for attempt in first] == [*["embed"] * 4, first[-1].model]
    # The one that failed twice is set aside.
    assert [attempt.outcome for attempt in second] == ["ok", "ok"]
    assert embeddings_asked(openai_server) == 3


async def test_what_failed_is_on_record(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    router = trained("model:embed@256", mock_vectors())
    openai_server.on("embed-target", HttpError(500))
    proxy = await start_proxy(by_model(openai_server.url, deadline=10.0), routers={"knn": router})
    assert (await proxy.chat("auto/knn")).headers["x-hullspeed-reason"] == "no embedding"
    call = (await proxy.call()).call
    assert (call.attempts[0].model, call.attempts[0].outcome) == ("embed", "error")
    assert len(call.attempts) == 2


async def test_no_router_that_needs_none_has_one_computed(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(by_model(openai_server.url), routers={"knn": KnnRouter.fit(outcomes(40))})
    await proxy.chat("auto/knn")
    assert embeddings_asked(openai_server) == 0


async def test_onnx_behind_a_proxy(start_proxy: StartProxy, openai_server: FakeOpenAI, folder: Path) -> None:
    vectors = np.array([TABLE[1 + row % (len(WORDS) - 1)] for row in range(40)])
    router = trained(OnnxEmbedder(folder, 256).name, vectors)
    config = by_model(openai_server.url, embedding={"onnx": str(folder)}, deadline=10.0)
    proxy = await start_proxy(config, routers={"knn": router})
    reply = await proxy.chat("auto/knn")
    assert reply.headers["x-hullspeed-reason"] == "predicted"
    assert len((await proxy.call()).call.attempts) == 1


@pytest.mark.parametrize(
    ("routing", "message"),
    [
        ({"embedding": None}, "there is none: name the same embedder"),
        ({"embedding": {"model": "embed", "tokens": 64}}, "there is `model:embed@64`"),
        ({"embedding": {"model": "small"}}, "routing.embedding.model: `small` does not serve /v1/embeddings"),
        ({"embedding": {"model": "nope"}}, "routing.embedding.model: The model `nope` does not exist"),
        ({"embedding": {}}, "needs either `onnx` "),
    ],
)
async def test_what_cannot_be_embedded_is_said_at_the_start(
    start_proxy: StartProxy, routing: dict[str, object], message: str
) -> None:
    router = trained("model:embed@256", mock_vectors())
    with pytest.raises(ConfigError) as refused:
        await start_proxy(by_model("http://127.0.0.1:9/v1", **routing), routers={"knn": router})
    assert message in refused.value.message


def test_a_relative_folder_begins_at_the_config(folder: Path) -> None:
    routing, catalog = RoutingConfig(embedding=EmbeddingConfig(onnx=Path("tiny"))), Catalog([], "test")
    cache = build_embedder(routing, catalog, {}, Fleet(catalog, HealthRules()), folder.parent / "hullspeed.yaml")
    assert cache is not None
    assert cache.name.startswith("onnx:")
    cache.close()
