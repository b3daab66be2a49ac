"""A changed config is validated whole and swapped at once; a bad one keeps the old; what stays keeps its state."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.settings import Settings
from app.core.watch import stamp
from app.main import Proxy
from routers.cheapest import CheapestRouter
from routers.knn import KnnRouter
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Gate, HttpError
from tests.routers.toy import outcomes
from tests.serving import Running, StartProxy, models, read_config


def change(proxy: Running, config: dict[str, Any]) -> None:
    """Write another config to the file that the proxy was started with."""
    assert proxy.proxy.config.source is not None
    proxy.proxy.config.source.write_text(yaml.safe_dump(config))


async def reloads(proxy: Running) -> dict[str, float]:
    lines = (await proxy.http.get("/metrics")).text.splitlines()
    found = [line for line in lines if line.startswith("hullspeed_config_reloads_total")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in found}


async def test_a_changed_config_serves_from_the_next_request_on(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b")})
    assert (await proxy.chat("b")).status_code == 200
    change(proxy, {"model_list": models(openai_server.url, "a", "c"), "routing": {"default": "cheapest"}})
    assert await proxy.proxy.reload()
    assert (await proxy.chat("b")).status_code == 404
    assert (await proxy.chat("c")).status_code == 200
    assert (await proxy.chat("auto")).headers["x-hullspeed-router"] == "cheapest"
    listed = {entry["id"] for entry in (await proxy.http.get("/v1/models")).json()["data"]}
    assert {"a", "c"} <= listed
    assert "b" not in listed
    assert await reloads(proxy) == {"ok": 1.0, "failed": 0.0}
    metrics = (await proxy.http.get("/metrics")).text
    assert 'hullspeed_model_available{model="c"} 1.0' in metrics
    assert 'hullspeed_model_available{model="b"}' not in metrics


@pytest.mark.parametrize(
    "bad",
    [
        {"model_list": []},
        {"model_list": [{"model_name": "a", "litellm_params": {"model": "hosted_vllm/x"}}]},
        {"routing": {"default": "nope"}},
        {"routing": {"tradeoff": 7}},
        {"routing": {"routers": {"r": {"artifact": "./nowhere"}}}},
        {"rooting": {}},
    ],
    ids=["empty", "unreachable", "unknown router", "out of range", "no artifact", "unknown key"],
)
async def test_a_bad_config_keeps_the_old(
    start_proxy: StartProxy,
    openai_server: FakeOpenAI,
    bad: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in list(os.environ):
        if name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    proxy = await start_proxy({"model_list": models(openai_server.url, "a")})
    change(proxy, {"model_list": models(openai_server.url, "a", "b"), **bad})
    with caplog.at_level(logging.ERROR, "hullspeed"):
        assert not await proxy.proxy.reload()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("The config is not used, the one before goes on serving: ")
    assert (await proxy.chat("a")).status_code == 200
    assert (await proxy.chat("b")).status_code == 404
    assert await reloads(proxy) == {"ok": 0.0, "failed": 1.0}
    change(proxy, {"model_list": models(openai_server.url, "a", "b")})
    assert await proxy.proxy.reload()
    assert (await proxy.chat("b")).status_code == 200


async def test_requests_in_flight_finish_on_the_old(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    gate = Gate()
    openai_server.on("gone-target", HttpError(500))
    openai_server.on("last-target", Answer("one two three", gate=gate, gate_after=1))
    config = {
        "model_list": models(openai_server.url, "gone", "last"),
        "router_settings": {"default_fallbacks": ["last"]},
    }
    proxy = await start_proxy(config)
    asked = asyncio.ensure_future(proxy.chat("gone", stream=True))
    await openai_server.arrived(2)
    change(proxy, {"model_list": models(openai_server.url, "new"), "general_settings": {"master_key": "sk-new"}})
    assert await proxy.proxy.reload()
    gate.open()
    reply = await asked
    assert reply.headers["x-hullspeed-model"] == "last"
    assert reply.text.endswith("data: [DONE]\n\n")
    assert (await proxy.chat("new")).status_code == 401, "the key changes with the rest"
    assert (await proxy.chat("new", headers={"authorization": "Bearer sk-new"})).status_code == 200


async def test_health_of_what_stays_survives(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", HttpError(500))
    openai_server.on("b-target", HttpError(500))
    routing = {"allowed_fails": 0, "cooldown": 60}
    entries = models(openai_server.url, "a", "b", "c")
    proxy = await start_proxy({"model_list": entries, "routing": routing})
    await proxy.chat("auto/cheapest")
    assert (await proxy.http.get("/readyz")).json()["down"] == ["a", "b"]
    latency = proxy.proxy.fleet.candidates["c"].latency
    assert latency is not None
    entries[0]["litellm_params"] |= {"input_cost_per_token": 1e-9, "output_cost_per_token": 1e-9}
    entries[1]["litellm_params"]["model"] = "openai/another-target"
    change(proxy, {"model_list": entries, "routing": routing})
    assert await proxy.proxy.reload()
    assert (await proxy.http.get("/readyz")).json()["down"] == ["a"], "another price is the same deployment"
    assert proxy.proxy.fleet.candidates["c"].latency == latency
    assert float(proxy.proxy.catalog["a"].as_candidate().input_price or 0) == 1e-9
    await proxy.chat("c")
    assert proxy.proxy.fleet.candidates["c"].latency is not None


async def test_calls_in_flight_count_on(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    gate = Gate()
    openai_server.on("a-target", Answer("x", gate=gate))
    config = {
        "model_list": models(openai_server.url, "a", max_parallel_requests=1),
        "routing": {"max_inflight": 2, "queue_seconds": 0.05},
    }
    proxy = await start_proxy(config)
    first = asyncio.ensure_future(proxy.chat("a"))
    await openai_server.arrived(1)
    assert await proxy.proxy.reload()
    full = await proxy.chat("a")
    assert (full.status_code, full.json()["error"]["code"]) == (503, "model_saturated")
    change(proxy, {**config, "routing": {"max_inflight": 1, "queue_seconds": 0.05}})
    assert await proxy.proxy.reload()
    full = await proxy.chat("a")
    assert (full.status_code, full.json()["error"]["code"]) == (503, "overloaded")
    gate.open()
    assert (await first).status_code == 200
    assert (await proxy.chat("a")).status_code == 200


async def test_routers_are_made_again_where_their_artifact_changed(
    start_proxy: StartProxy, openai_server: FakeOpenAI, tmp_path: Path
) -> None:
    def train(k: int) -> None:
        shutil.rmtree(tmp_path / "knn", ignore_errors=True)
        KnnRouter.fit(outcomes(60), k=k).save(tmp_path / "knn")

    train(3)
    routers: dict[str, dict[str, Any]] = {
        "near": {"artifact": "knn"},
        "even": {"router": "uniform", "params": {"weights": {"a": 1}}},
    }
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b"), "routing": {"routers": routers}})

    def serving() -> dict[str, Any]:
        return {name: entry.router() for name, entry in proxy.proxy.decider.entries.items()}

    before = serving()
    routers["even"]["tradeoff"] = 0.9
    change(proxy, {"model_list": models(openai_server.url, "a", "b"), "routing": {"routers": routers}})
    assert await proxy.proxy.reload()
    kept = serving()
    assert (kept["near"] is before["near"], kept["even"] is before["even"]) == (True, True)
    assert proxy.proxy.decider.entries["even"].tradeoff == 0.9
    train(5)
    assert await proxy.proxy.reload()
    now = serving()
    assert (now["near"] is before["near"], now["even"] is before["even"]) == (False, True)


async def test_what_takes_a_restart_is_said(
    start_proxy: StartProxy, openai_server: FakeOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    entries = models(openai_server.url, "a")
    proxy = await start_proxy({"model_list": entries})
    change(proxy, {"model_list": entries, "ledger": {"fsync": "always", "store_text": True}})
    with caplog.at_level(logging.WARNING, "hullspeed"):
        assert await proxy.proxy.reload()
    assert [record.getMessage() for record in caplog.records] == ["ledger.fsync has changed; that takes a restart"]
    await proxy.chat("a", text="kept now")
    assert "kept now" in ((await proxy.call()).call.request_text or "")


async def test_given_routers_stay(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    config = {"model_list": models(openai_server.url, "a")}
    proxy = await start_proxy(config, routers={"mine": CheapestRouter()})
    assert await proxy.proxy.reload()
    assert (await proxy.chat("auto/mine")).status_code == 200


async def test_without_a_file_there_is_nothing_to_read(tmp_path: Path, openai_server: FakeOpenAI) -> None:
    config = read_config(tmp_path, {"model_list": models(openai_server.url, "a")})
    proxy = Proxy(Settings(data_dir=tmp_path), config.model_copy(update={"source": None}))
    assert not await proxy.reload()
    proxy.decider.close()


def test_a_stamp_tells_a_change(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    missing = stamp([path])
    path.write_text("one")
    first = stamp([path])
    assert missing != first == stamp([path])
    # As orchestrators swap mounted files: the link is pointed elsewhere.
    (tmp_path / "b").write_text("two")
    link.symlink_to(path)
    before = stamp([link])
    link.unlink()
    link.symlink_to(tmp_path / "b")
    assert stamp([link]) != before
