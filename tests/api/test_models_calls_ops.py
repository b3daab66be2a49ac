"""The endpoints beside chat: models, calls and scores, health and metrics."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.openai_server import FakeOpenAI
from tests.serving import StartProxy, models

METRICS = {
    "hullspeed_calls",
    "hullspeed_call_duration_seconds",
    "hullspeed_time_to_first_token_seconds",
    "hullspeed_overhead_seconds",
    "hullspeed_router_duration_seconds",
    "hullspeed_decisions",
    "hullspeed_attempts",
    "hullspeed_fallbacks",
    "hullspeed_tokens",
    "hullspeed_cost_usd",
    "hullspeed_inflight_calls",
    "hullspeed_model_available",
    "hullspeed_journal_rows",
    "hullspeed_journal_bytes",
    "hullspeed_ledger_rows",
    "hullspeed_build_info",
}


async def test_models_in_openais_form(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    entries = models(openai_server.url, "small", "org/large")
    entries[0]["model_info"] = {"max_input_tokens": 1000}
    proxy = await start_proxy({"model_list": entries})
    listed = {model.id: model async for model in proxy.sdk.models.list()}
    assert {"auto", "auto/cheapest", "auto/uniform", "auto/length", "small", "org/large"} <= set(listed)
    assert listed["small"].owned_by == "openai"
    one: Any = await proxy.sdk.models.retrieve("small")
    assert one.pricing == {"prompt": "0.000001", "completion": "0.000002", "unit": "USD per token", "source": "config"}
    assert one.context_window == 1000
    slashed = await proxy.http.get("/v1/models/org/large")
    assert slashed.json()["id"] == "org/large"
    routed = await proxy.http.get("/v1/models/auto/cheapest")
    assert routed.json()["router"] == "cheapest"
    missing = await proxy.http.get("/v1/models/smal")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_calls_and_scores(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    ids = [(await proxy.chat(model)).headers["x-hullspeed-call-id"] for model in ("small", "large", "auto/cheapest")]
    listed = (await proxy.http.get("/v1/calls")).json()
    assert [row["id"] for row in listed["data"]] == ids[::-1]
    assert isinstance(listed["data"][0]["cost_usd"], float)
    first = (await proxy.http.get("/v1/calls", params={"limit": 2})).json()
    rest = (await proxy.http.get("/v1/calls", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [row["id"] for row in first["data"] + rest["data"]] == ids[::-1]
    only = (await proxy.http.get("/v1/calls", params={"model": "large"})).json()
    assert [row["id"] for row in only["data"]] == [ids[1]]

    judged = await proxy.http.post(f"/v1/calls/{ids[2]}/scores", json={"value": 0.75, "comment": "good"})
    assert judged.status_code == 201
    whole = (await proxy.http.get(f"/v1/calls/{ids[2]}")).json()
    assert [candidate["model"] for candidate in whole["decision"]["ranking"]] == ["small", "large"]
    assert whole["decision"]["ranking"][0]["cost"] is not None
    assert whole["decision"]["ranking"][0]["probability"] == 1.0
    assert whole["attempts"][0]["price"]["input"] == pytest.approx(1e-6)
    for _ in range(100):
        scores = (await proxy.http.get(f"/v1/calls/{ids[2]}")).json()["scores"]
        if scores:
            break
        await asyncio.sleep(0.05)
    assert [(score["value"], score["name"], score["comment"]) for score in scores] == [(0.75, "quality", "good")]


async def test_bad_questions_to_the_ledger(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    for path in (f"/v1/calls/{uuid.uuid4()}", "/v1/calls/nonsense"):
        reply = await proxy.http.get(path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
        scored = await proxy.http.post(f"{path}/scores", json={"value": 1})
        assert scored.status_code == 404
    call = (await proxy.chat("small")).headers["x-hullspeed-call-id"]
    for body, param in (({"value": 2}, "value"), ({}, "value"), ({"value": 1, "nam": "x"}, "nam")):
        reply = await proxy.http.post(f"/v1/calls/{call}/scores", json=body)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    for name in ("run", "model", "router", "session"):
        # Postgres takes no NUL, neither to store nor to compare.
        reply = await proxy.http.get("/v1/calls", params={name: "\x00"})
        assert (reply.status_code, reply.json()["data"]) == (200, [])
    for params, param in (({"limit": 0}, "limit"), ({"since": "x"}, "since"), ({"cursor": "x"}, "cursor")):
        reply = await proxy.http.get("/v1/calls", params=params)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


async def test_health_readiness_and_metrics(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    await proxy.chat("auto/cheapest")
    await proxy.chat("auto/cheapest", stream=True)
    assert (await proxy.http.get("/healthz")).json() == {"status": "ok"}
    ready = await proxy.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    reply = await proxy.http.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(reply.text)}
    assert set(families) >= METRICS
    calls = {
        tuple(sorted(s.labels.items())): s.value
        for s in families["hullspeed_calls"].samples
        if s.name.endswith("_total")
    }
    labels = (("model", "small"), ("outcome", "ok"), ("router", "cheapest"), ("source", "live"))
    assert calls[labels] == 2.0
    (cost,) = [s for s in families["hullspeed_cost_usd"].samples if s.name.endswith("_total")]
    assert cost.value > 0
    proxy.proxy.draining = True
    draining = await proxy.http.get("/readyz")
    assert (draining.status_code, draining.json()["draining"]) == (503, True)
    proxy.proxy.draining = False
