"""Anthropic's whole replies go round `acompletion`; what goes out and what comes back is what it would have made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.gateway.litellm_translation import Translation
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.replies import Answer, Fault, HttpError, Reply, ToolCall
from tests.serving import Running, StartProxy

pytestmark = [
    pytest.mark.xdist_group("litellm"),
    pytest.mark.filterwarnings("ignore:.*is using the `ReadOnly` qualifier:UserWarning"),
]

KEY = "sk-ant-api03-of-a-test"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look.up",  # Anthropic allows no dot in it.
        "description": "Looks a key up.",
        "parameters": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
    },
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
CALLED = [
    {"role": "user", "content": "Look it up."},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "look.up", "arguments": '{"key":"ä"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "toolu_1", "content": "found"},
]
JSON = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}

REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "settings": {"temperature": 0.3, "top_p": 0.9, "max_tokens": 77, "stop": ["a", "b"], "user": "u-1"},
    "newer name of the limit": {"max_completion_tokens": 55},
    "one stop": {"stop": "end"},
    "system": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "And kind."},
            {"role": "user", "content": "hello"},
        ]
    },
    "parts of text": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]
    },
    "two users in a row": {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
    "begins with the assistant": {
        "messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b", "name": "eve"}]
    },
    "an empty word": {"messages": [{"role": "user", "content": ""}]},
    "system later": {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "system", "content": "Now in French."},
            {"role": "user", "content": "b"},
        ]
    },
    "tools": {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
    "one tool": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look.up"}}},
    "no tool": {"tools": [TOOL], "tool_choice": "none"},
    "a tool's answer": {"messages": CALLED, "tools": [TOOL]},
    "a tool's answer without tools": {"messages": CALLED},
    "schema": {"response_format": JSON},
    "any JSON": {"response_format": {"type": "json_object"}},
    "effort": {"reasoning_effort": "low", "max_tokens": 4000},
    "refused parameter": {"presence_penalty": 0.4},
    "refused parameters": {"logit_bias": {"1": 2}, "seed": 4},
    "several choices": {"n": 2},
    "wrong role of a tool": {"messages": [{"role": "tool", "content": "x"}]},
}
REPLIES: dict[str, Reply] = {
    "plain": Answer("one two", prompt_tokens=200, completion_tokens=7, cached_tokens=64, cache_write_tokens=32),
    "tools": Answer("now", tool_calls=(ToolCall("look_up", {"key": "ä"}), ToolCall("look_up", {"key": "b"}))),
    "thought": Answer("said", reasoning="first a thought"),
    "cut off by the limit": Answer("x", finish_reason="max_tokens"),
    "refusal": Answer(refusal="I would rather not."),
    "nothing": Answer(""),
    "a separator": Answer("a\u2028b\u0085c"),
    "bad request": HttpError(400, "messages: at least one message is required"),
    "too long": HttpError(400, "prompt is too long: 210000 tokens > 200000 maximum"),
    "too long with the reply": HttpError(400, "input length and `max_tokens` exceed context limit: 1 + 2 > 2"),
    "wrong key": HttpError(401, "invalid x-api-key"),
    "forbidden": HttpError(403, "no"),
    "unknown model": HttpError(404, "model: claude-x"),
    "rate limit": HttpError(
        429, "slow down", headers={"retry-after": "40", "anthropic-ratelimit-requests-remaining": "0"}
    ),
    "fault": HttpError(500, "no"),
    "overloaded": HttpError(529),
    "a page": HttpError(200, body=b"<html>", content_type="text/html"),
    "an error with status 200": Fault("error_event", error=HttpError(529)),
    "no words": HttpError(200, body=b"{}"),
    "empty": Fault("empty_body"),
}


@pytest.fixture
def anthropic_server() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as fake:
        yield fake


def told(reply: httpx.Response) -> tuple[int, dict[str, str], Any]:
    """What a client gets, without what differs from call to call."""
    names = ("x-ratelimit-", "anthropic-ratelimit-", "retry-after", "x-hullspeed-cost", "x-hullspeed-attempts")
    headers = {name: value for name, value in reply.headers.items() if name.startswith(names)}
    body = reply.json()
    return reply.status_code, headers, {name: value for name, value in body.items() if name not in ("id", "created")}


def seen(server: FakeAnthropic) -> list[tuple[str, Any, set[str], str | None]]:
    """What the provider got, and forget it."""
    found = [
        (
            one.path,
            one.body,
            set(filter(None, one.headers.get("anthropic-beta", "").split(","))),
            one.headers.get("x-api-key"),
        )
        for one in server.chats
    ]
    server.forget_requests()
    return found


async def both_ways(
    proxy: Running, server: FakeAnthropic, monkeypatch: pytest.MonkeyPatch, **fields: Any
) -> tuple[Any, Any]:
    """What client and provider get without `acompletion` and with it."""
    ways = []
    for around in (True, False):
        with monkeypatch.context() as patch:
            if not around:
                patch.setattr(Translation, "takes", lambda *_: False)
            reply = await proxy.chat("far", **fields)
            agents = {one.headers.get("user-agent") == "hullspeed" for one in server.chats}
            assert agents <= {around}, "it went the other way"
            ways.append((told(reply), seen(server)))
    return ways[0], ways[1]


@pytest.fixture
async def proxy(start_proxy: StartProxy, anthropic_server: FakeAnthropic) -> Running:
    return await start_proxy(config(anthropic_server))


def config(server: FakeAnthropic, model: str = "claude-x", **more: Any) -> dict[str, Any]:
    params = {"model": f"anthropic/{model}", "api_base": server.url, "api_key": KEY, **more}
    prices = {"input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6}
    return {"model_list": [{"model_name": "far", "litellm_params": params | prices}], "routing": {"retries": 0}}


@pytest.mark.parametrize("model", ["claude-3-5-haiku-20241022", "claude-sonnet-4-5", "claude-opus-4-6", "claude-x"])
async def test_requests(
    start_proxy: StartProxy, anthropic_server: FakeAnthropic, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    for drop in (False, True):
        proxy = await start_proxy(config(anthropic_server, model, drop_params=drop))
        for name, fields in REQUESTS.items():
            ours, litellms = await both_ways(proxy, anthropic_server, monkeypatch, **fields)
            assert ours == litellms, (name, drop)


@pytest.mark.parametrize("name", REPLIES)
async def test_replies(
    proxy: Running, anthropic_server: FakeAnthropic, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    anthropic_server.default = REPLIES[name]
    ours, litellms = await both_ways(proxy, anthropic_server, monkeypatch, tools=[TOOL])
    assert ours == litellms


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True},
        {"top_k": 4},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4000},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}
            ]
        },
        {"messages": [{"role": "user", "content": "Paris is"}, {"role": "assistant", "content": "in", "prefix": True}]},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"tools": [TOOL], "tool_choice": {"type": "auto"}},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_what_acompletion_is_left_to_do(
    start_proxy: StartProxy, anthropic_server: FakeAnthropic, fields: dict[str, Any]
) -> None:
    proxy = await start_proxy(config(anthropic_server, "claude-sonnet-4-5"))
    reply = await proxy.chat("far", **fields)
    assert reply.status_code == 200, reply.text
    assert anthropic_server.last.headers["user-agent"] != "hullspeed"


async def test_a_reply_that_is_cut(proxy: Running, anthropic_server: FakeAnthropic) -> None:
    anthropic_server.default = Fault("cut_between_events")
    reply = await proxy.chat("far")
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_broken_reply")
    assert "broke off" in reply.json()["error"]["message"]
