"""litellm's fallbacks, wildcards, aliases and dropped parameters, seen from outside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Gate, HttpError, rate_limited
from tests.serving import StartProxy, models

TOO_LONG = HttpError(400, "too long", code="context_length_exceeded")


def asked(server: FakeOpenAI) -> list[str]:
    """The models that were asked, in order."""
    return [seen.body["model"].removesuffix("-target") for seen in server.chats]


async def test_a_named_model_falls_back_as_configured(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", HttpError(500))
    openai_server.on("c-target", HttpError(503))
    chains = {"fallbacks": [{"a": ["c"]}, {"c": ["b"]}]}
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b", "c", "d"), "router_settings": chains})
    reply = await proxy.chat("a")
    assert (reply.status_code, reply.headers["x-hullspeed-model"]) == (200, "b")
    assert reply.headers["x-hullspeed-reason"] == "explicit"
    assert asked(openai_server) == ["a", "c", "b"]
    call = (await proxy.call()).call
    assert call.decision is not None
    assert [ranked.model for ranked in call.decision.ranking] == ["a", "c", "b"]
    assert (await proxy.chat("b", stream=True)).headers["x-hullspeed-model"] == "b"
    openai_server.on("b-target", HttpError(500))
    assert (await proxy.chat("b")).status_code == 502, "nothing comes after it"


async def test_a_request_at_fault_does_not_fall_back(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", HttpError(400, "no"))
    settings = {"default_fallbacks": ["b"]}
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b"), "litellm_settings": settings})
    assert (await proxy.chat("a")).status_code == 400
    assert asked(openai_server) == ["a"]


async def test_a_model_that_is_set_aside_leaves_the_first_place(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    openai_server.on("a-target", rate_limited(retry_after="30"))
    settings = {"default_fallbacks": ["b"]}
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b"), "router_settings": settings})
    for _ in range(2):
        assert (await proxy.chat("a")).headers["x-hullspeed-model"] == "b"
    assert asked(openai_server) == ["a", "b", "b"]


async def test_routed_calls_keep_their_ranking(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", TOO_LONG)
    chains = {"fallbacks": [{"a": ["c"]}], "context_window_fallbacks": [{"a": ["c"]}]}
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b", "c"), "router_settings": chains})
    assert (await proxy.chat("auto/cheapest")).headers["x-hullspeed-model"] == "b"


@pytest.mark.parametrize("error", [TOO_LONG, HttpError(500)], ids=["too long", "another error"])
async def test_context_window_fallbacks(start_proxy: StartProxy, openai_server: FakeOpenAI, error: HttpError) -> None:
    openai_server.on("a-target", error)
    chains = {"fallbacks": [{"a": ["b"]}], "context_window_fallbacks": [{"a": ["c"]}]}
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b", "c"), "router_settings": chains})
    assert (await proxy.chat("a")).headers["x-hullspeed-model"] == ("c" if error is TOO_LONG else "b")


async def test_no_fallback_has_a_smaller_window(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", TOO_LONG)
    entries = models(openai_server.url, "a", "b", "c")
    for entry, window in zip(entries, (1000, 500, 2000), strict=True):
        entry["model_info"] = {"max_input_tokens": window}
    chains = {"context_window_fallbacks": [{"a": ["b", "c"]}]}
    proxy = await start_proxy({"model_list": entries, "router_settings": chains})
    assert (await proxy.chat("a")).headers["x-hullspeed-model"] == "c"
    assert asked(openai_server) == ["a", "c"]


async def test_drop_params_asks_again_without_and_remembers(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", Answer("x", rejects=("temperature", "logprobs")))
    entries = models(openai_server.url, "a")
    proxy = await start_proxy({"model_list": entries, "litellm_settings": {"drop_params": True}})
    for _ in range(2):
        reply = await proxy.chat("a", temperature=0.5, logprobs=True, top_p=0.5)
        assert reply.status_code == 200
    sent = [seen.body.keys() & {"temperature", "logprobs", "top_p"} for seen in openai_server.chats]
    assert sent[0] == {"temperature", "logprobs", "top_p"}
    assert sent[2:] == [{"top_p"}, {"top_p"}], "two attempts to learn it, then none"


async def test_a_value_that_is_not_supported_is_not_remembered(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    refusal = HttpError(400, "Unsupported value", code="unsupported_value", param="reasoning_effort")
    openai_server.next(refusal)
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", drop_params=True)})
    for effort in ("minimal", "high"):
        assert (await proxy.chat("a", reasoning_effort=effort)).status_code == 200
    assert [seen.body.get("reasoning_effort") for seen in openai_server.chats] == ["minimal", None, "high"]


async def test_without_drop_params_nothing_is_dropped(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", Answer("x", rejects=("temperature",)))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a")})
    assert (await proxy.chat("a", temperature=0.5)).status_code == 400
    assert len(openai_server.chats) == 1


async def test_dropping_ends(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    extras: dict[str, Any] = {f"x{number}": 1 for number in range(20)}
    openai_server.on("a-target", Answer("x", rejects=tuple(extras)))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", drop_params=True)})
    assert (await proxy.chat("a", **extras)).status_code == 400
    assert len(openai_server.chats) == 6


async def test_configured_headers_and_dropped_parameters(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    params: dict[str, Any] = {"extra_headers": {"X-Team": "blue"}, "additional_drop_params": ["user"], "weight": 3}
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", organization="org", **params)})
    await proxy.chat("a", user="someone")
    (seen,) = openai_server.chats
    assert (seen.headers["x-team"], seen.headers["openai-organization"]) == ("blue", "org")
    assert seen.headers["authorization"].startswith("Bearer sk-planted")
    assert not seen.body.keys() & {"user", "weight", "extra_headers", "organization", "additional_drop_params"}


def wildcard(server: FakeOpenAI) -> list[dict[str, Any]]:
    (entry,) = models(server.url, "any/*")
    entry["litellm_params"]["model"] = "openai/*"
    return [entry]


async def test_a_wildcard_serves_any_name(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": wildcard(openai_server)})
    for name in ("any/one", "any/two"):
        reply = await proxy.chat(name)
        assert reply.headers["x-hullspeed-model"] == reply.json()["model"] == name
        assert reply.json()["usage"]["cost"] > 0
    assert asked(openai_server) == ["one", "two"]
    metrics = (await proxy.http.get("/metrics")).text
    assert 'model="any/*"' in metrics
    assert "any/one" not in metrics, "a client's words are no label"
    assert (await proxy.http.get("/v1/models/any/three")).json()["id"] == "any/three"
    listed = (await proxy.http.get("/v1/models")).json()["data"]
    assert "any/*" in [entry["id"] for entry in listed]
    assert (await proxy.http.get("/readyz")).status_code == 200
    routed = await proxy.chat("auto")
    assert (routed.status_code, routed.json()["error"]["code"]) == (400, "no_usable_model")
    assert "wildcards are called by name" in routed.json()["error"]["message"]
    assert (await proxy.chat("other/one")).status_code == 404


async def test_a_model_found_by_a_wildcard_has_health_of_its_own(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    openai_server.on("one", HttpError(500))
    config = {
        "model_list": [*wildcard(openai_server), *models(openai_server.url, "b")],
        "routing": {"allowed_fails": 0, "cooldown": 60},
        "router_settings": {"fallbacks": [{"any/one": ["any/two"]}]},
    }
    proxy = await start_proxy(config)
    for _ in range(2):
        assert (await proxy.chat("any/one")).headers["x-hullspeed-model"] == "any/two"
    assert asked(openai_server) == ["one", "two", "two"]


async def test_an_alias_is_another_name(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    aliases = {"gpt-4": "b", "old": {"model": "a", "hidden": True}}
    proxy = await start_proxy(
        {"model_list": models(openai_server.url, "a", "b"), "router_settings": {"model_group_alias": aliases}}
    )
    assert (await proxy.chat("gpt-4")).headers["x-hullspeed-model"] == "b"
    assert (await proxy.chat("old")).headers["x-hullspeed-model"] == "a"
    assert (await proxy.chat("auto", routing={"models": ["gpt-4"]})).headers["x-hullspeed-model"] == "b"
    listed = [entry["id"] for entry in (await proxy.http.get("/v1/models")).json()["data"]]
    assert "gpt-4" in listed
    assert "old" not in listed


async def test_a_default_cap_of_deployments(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    gate = Gate()
    openai_server.on("a-target", Answer("x", gate=gate))
    settings = {"default_max_parallel_requests": 1, "default_fallbacks": ["b"]}
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b"), "router_settings": settings})
    first = asyncio.ensure_future(proxy.chat("a"))
    await openai_server.arrived(1)
    assert (await proxy.chat("a")).headers["x-hullspeed-model"] == "b"
    gate.open()
    assert (await first).headers["x-hullspeed-model"] == "a"
