"""What coding agents send, as recorded from Claude Code 2.1 and Codex 0.169 (`agents/*.json`, long texts cut), with
`auto` in front of models that speak their dialect and of models that do not."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, ToolCall
from tests.fakes.server import FakeServer
from tests.serving import Running, StartProxy, models
from tests.snippets import ROOT, blocks

RECORDED = {path.stem: json.loads(path.read_bytes()) for path in (Path(__file__).parent / "agents").glob("*.json")}
CLAUDES = ("OPUS", "SONNET", "HAIKU")
REQUESTS = [(agent, what) for agent, recorded in RECORDED.items() for what in recorded["requests"]]


async def send(proxy: Running, agent: str, what: str) -> httpx.Response:
    recorded = RECORDED[agent]
    body = {**recorded["requests"][what], "model": "auto/cheapest"}
    return await proxy.http.post(recorded["path"], json=body, headers=recorded["headers"])


def events_of(reply: httpx.Response) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    return [json.loads(line.removeprefix("data: ")) for line in reply.text.splitlines() if line.startswith("data: ")]


@dataclass(frozen=True)
class Side:
    """A provider, and the entry of its only model."""

    speaks: str
    fake: FakeServer
    entry: dict[str, Any]


@pytest.fixture(params=["chat", "responses", "messages"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    with FakeAnthropic() if request.param == "messages" else FakeOpenAI() as fake:
        (entry,) = models(fake.url, "far")
        if request.param == "messages":
            entry["litellm_params"]["model"] = "anthropic/claude-x"
        elif request.param == "responses":
            entry["model_info"] = {"supported_endpoints": ["/v1/chat/completions", "/v1/responses"]}
        yield Side(request.param, fake, entry)


@pytest.mark.parametrize(("agent", "what"), REQUESTS)
async def test_every_request_is_answered(start_proxy: StartProxy, side: Side, agent: str, what: str) -> None:
    side.fake.default = Answer("Done")
    proxy = await start_proxy({"model_list": [side.entry]})
    reply = await send(proxy, agent, what)
    if what == "a search of the provider's" and side.speaks != "messages":
        # Only the provider can run it, and no model here is Anthropic's: said by name, and the agent goes on.
        assert reply.status_code == 400
        assert "tools[0]" in reply.json()["error"]["message"]
        return
    last = events_of(reply)[-1]
    assert last["type"] in ("message_stop", "response.completed")
    assert "Done" in reply.text
    assert len(side.fake.chats) == 1
    assert (await proxy.call()).call.outcome == "ok"


async def test_what_the_docs_have_agents_set_reaches_models(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    page, address = ROOT / "docs" / "sdks.md", "http://127.0.0.1:8080"
    claude = next(json.loads(block.text)["env"] for block in blocks(page, "json"))
    codex = next(tomllib.loads(block.text) for block in blocks(page, "toml"))
    provider = codex["model_providers"][codex["model_provider"]]
    key = claude["ANTHROPIC_AUTH_TOKEN"]
    assert provider["env_key"] == "HULLSPEED_API_KEY"
    proxy = await start_proxy({"model_list": models(openai_server.url, "far")}, api_key=key)
    proxy.http.headers["authorization"] = f"Bearer {key}"
    # All that Claude Code goes by: its own names of models would be unknown here.
    names = [claude[f"ANTHROPIC_{name}"] for name in ("MODEL", *(f"DEFAULT_{n}_MODEL" for n in CLAUDES))]
    asked = [(claude["ANTHROPIC_BASE_URL"] + "/v1/messages", "claude_code", name) for name in names]
    asked.append((f"{provider['base_url']}/{provider['wire_api']}", "codex", codex["model"]))
    for url, agent, name in asked:
        body = {**RECORDED[agent]["requests"]["first turn"], "model": name}
        reply = await proxy.http.post(url.removeprefix(address), json=body)
        assert events_of(reply)[-1]["type"] in ("message_stop", "response.completed")


async def test_it_is_asked_whether_we_are_there(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    """Claude Code begins with `HEAD /`."""
    proxy = await start_proxy({"model_list": models(openai_server.url, "far")})
    assert (await proxy.http.head("/")).status_code == 200


@pytest.mark.parametrize(
    ("what", "asked", "told"),
    [
        (
            "first turn",
            ToolCall("multi_agent_v1__spawn_agent", {"message": "look"}, "c1"),
            {"type": "function_call", "name": "spawn_agent", "namespace": "multi_agent_v1"}
            | {"arguments": '{"message": "look"}'},
        ),
        (
            "tools in the input",
            ToolCall("functions__exec", {"input": "text(1)"}, "c1"),
            {"type": "custom_tool_call", "name": "exec", "namespace": "functions", "input": "text(1)"},
        ),
        (
            "a patch",
            ToolCall("apply_patch", {"input": "*** Begin Patch"}, "c1"),
            {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch"},
        ),
        (
            "tools that were searched for",
            ToolCall("tool_search", {"query": "agents", "limit": 2}, "c1"),
            {"type": "tool_search_call", "execution": "client", "arguments": {"query": "agents", "limit": 2}},
        ),
    ],
)
async def test_a_tool_of_codex_is_called_as_it_was_offered(
    start_proxy: StartProxy, openai_server: FakeOpenAI, what: str, asked: ToolCall, told: dict[str, Any]
) -> None:
    openai_server.default = Answer(tool_calls=(asked,))
    proxy = await start_proxy({"model_list": models(openai_server.url, "far")})
    events = events_of(await send(proxy, "codex", what))
    offered = [tool["function"]["name"] for tool in openai_server.chats[0].body["tools"]]
    assert asked.name in offered
    assert len(set(offered)) == len(offered)
    assert all(tool["type"] == "function" for tool in openai_server.chats[0].body["tools"])
    done = next(event["item"] for event in events if event["type"] == "response.output_item.done")
    made = {name: value for name, value in done.items() if name != "id"}
    assert made == {**told, "call_id": "c1", "status": "completed"}
    assert events[-1]["response"]["output"] == [done]


async def test_a_conversation_with_tools_found_on_the_way(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "far")})
    events_of(await send(proxy, "codex", "tools that were searched for"))
    body = openai_server.chats[0].body
    said = [message for message in body["messages"] if message["role"] in ("assistant", "tool")]
    called = [call["function"]["name"] for message in said for call in message.get("tool_calls", ())]
    assert called == ["tool_search", "multi_agent_v1__spawn_agent"]
    assert next(message["content"] for message in said if message["role"] == "tool") == "Tools found: multi_agent_v1"
    assert "multi_agent_v1__spawn_agent" in [tool["function"]["name"] for tool in body["tools"]]


async def test_a_picture_that_claude_code_read(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "far")})
    events_of(await send(proxy, "claude_code", "a picture that a tool read"))
    *_, tool, user = openai_server.chats[0].body["messages"]
    assert (tool["role"], user["role"]) == ("tool", "user")
    assert [part["type"] for part in user["content"]] == ["image_url"]
