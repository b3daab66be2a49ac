"""One key guards everything but health, readiness and metrics."""

from __future__ import annotations

import pytest

from app.core.errors import ConfigError
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import StartProxy, models

OPEN = ("/healthz", "/readyz", "/metrics")
GUARDED = ("/v1/models", "/v1/models/small", "/v1/calls", "/v1/calls/x", "/openapi.json")


@pytest.mark.parametrize("source", ["environment", "master_key"])
async def test_the_key(start_proxy: StartProxy, openai_server: FakeOpenAI, source: str) -> None:
    config = {"model_list": models(openai_server.url, "small")}
    if source == "master_key":
        proxy = await start_proxy({**config, "general_settings": {"master_key": "sk-hull"}})
    else:
        proxy = await start_proxy(config, api_key="sk-hull")
    for path in OPEN:
        assert (await proxy.http.get(path)).status_code == 200
    for path in GUARDED:
        assert (await proxy.http.get(path)).status_code == 401
    scored = await proxy.http.post("/v1/calls/x/scores", json={"value": 1})
    assert scored.status_code == 401
    missing = await proxy.chat("small")
    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "invalid_api_key")
    assert missing.headers["x-hullspeed-call-id"]
    for value in ("Bearer wrong", "Bearer", "sk-hul", "Bearer sk-hull2"):
        wrong = await proxy.chat("small", headers={"authorization": value})
        assert wrong.status_code == 401, value
        assert "sk-hull" not in wrong.text
    assert not openai_server.chats
    assert await proxy.calls() == []
    for headers in ({"authorization": "Bearer sk-hull"}, {"x-api-key": "sk-hull"}, {"api-key": "sk-hull"}):
        assert (await proxy.chat("small", headers=headers)).status_code == 200
        assert (await proxy.http.get("/v1/models", headers=headers)).status_code == 200


async def test_the_clients_key_does_not_reach_the_provider(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")}, api_key="sk-hull")
    await proxy.chat("small", headers={"authorization": "Bearer sk-hull", "x-custom": "private", "cookie": "a=b"})
    sent = openai_server.last.headers
    assert "sk-hull" not in str(sent)
    assert "x-custom" not in sent
    assert "cookie" not in sent


async def test_a_key_tags_a_run(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")}, api_key="sk-hull")
    tagged = {"authorization": "Bearer sk-hull+run=nightly 3"}
    assert (await proxy.chat("small", headers=tagged)).status_code == 200
    assert (await proxy.chat("small", headers={"api-key": "sk-hull+run=nightly 3"})).status_code == 200
    assert (await proxy.http.get("/v1/models", headers=tagged)).status_code == 200
    assert (await proxy.chat("small", headers={**tagged, "x-hullspeed-run": "header"})).status_code == 200
    assert (await proxy.chat("small", headers={"authorization": "Bearer sk-hull+run="})).status_code == 200
    assert (await proxy.chat("small", headers={"authorization": "Bearer sk-hull"})).status_code == 200
    calls = [logged.call for logged in await proxy.calls()]
    assert [call.run for call in calls[::-1]] == ["nightly 3", "nightly 3", "header", None, None]
    assert [call.source for call in calls[::-1]] == ["replay", "replay", "replay", "live", "live"]
    # Of an untagged chat not even a digest is kept.
    assert [call.prompt_hash is not None for call in calls[::-1]] == [True, True, True, False, False]
    assert "sk-hull" not in str(calls)


@pytest.mark.parametrize(
    "value",
    [
        "sk-hul+run=x",
        "sk-hull2+run=x",
        "+run=x",
        "sk-hull+run",
        "sk-hull +run=x",
        "sk-hull+RUN=x",
        "x+run=sk-hull",
        "x+run=sk-hull+run=y",
    ],
)
async def test_a_tag_opens_nothing(start_proxy: StartProxy, openai_server: FakeOpenAI, value: str) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")}, api_key="sk-hull")
    refused = await proxy.chat("small", headers={"authorization": f"Bearer {value}"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert (await proxy.http.get("/v1/models", headers={"authorization": f"Bearer {value}"})).status_code == 401
    assert not openai_server.chats
    assert await proxy.calls() == []


async def test_a_key_that_looks_tagged(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")}, api_key="sk+run=hull")
    for value, status in (("sk+run=hull", 200), ("sk+run=hull+run=x", 200), ("sk", 401), ("sk+run=x", 401)):
        reply = await proxy.chat("small", headers={"authorization": f"Bearer {value}"})
        assert reply.status_code == status, value
    assert [logged.call.run for logged in await proxy.calls()] == ["x", None]


async def test_without_a_key_any_key_may_be_tagged(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    for value in ("Bearer none+run=x", "Bearer none", "Bearer sk-private+run=y"):
        assert (await proxy.chat("small", headers={"authorization": value})).status_code == 200
    assert (await proxy.chat("small")).status_code == 200
    calls = [logged.call for logged in await proxy.calls()]
    assert [call.run for call in calls[::-1]] == ["x", None, "y", None]
    assert "sk-private" not in str(calls)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
async def test_others_may_not_reach_it_without_a_key(
    start_proxy: StartProxy, openai_server: FakeOpenAI, host: str
) -> None:
    with pytest.raises(ConfigError, match="set HULLSPEED_API_KEY first"):
        await start_proxy({"model_list": models(openai_server.url, "small")}, host=host)
