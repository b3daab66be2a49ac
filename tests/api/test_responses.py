"""`/v1/responses` end to end: the real OpenAI SDK, the real proxy, and providers that speak its dialect or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from app.core.types import Usage
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Fault, FaultKind, Gate, HttpError, ToolCall, rate_limited
from tests.serving import StartProxy, models

SECRET = "sk-planted-secret-1234567890"
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "look_up",
    "description": "Looks a key up.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"key": {"type": "string"}},
        "required": ["key"],
        "additionalProperties": False,
    },
}
BOTH = ["/v1/chat/completions", "/v1/responses"]


@dataclass(frozen=True)
class Side:
    """A provider behind the proxy, called `far`, and whether it is asked in the client's dialect."""

    fake: FakeOpenAI
    native: bool

    def entries(self, *names: str) -> list[dict[str, Any]]:
        entries = models(self.fake.url, *(names or ("far",)))
        for entry in entries if self.native else ():
            entry["model_info"] = {"supported_endpoints": BOTH}
        return entries

    @property
    def path(self) -> str:
        return "/v1/responses" if self.native else "/v1/chat/completions"


@pytest.fixture(params=["native", "translated"])
def side(request: pytest.FixtureRequest, openai_server: FakeOpenAI) -> Side:
    return Side(openai_server, request.param == "native")


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "far", "input": "hello", **fields}


async def events_of(http: httpx.AsyncClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The data of every event of a stream, which bears its event's name."""
    reply = await http.post("/v1/responses", json={**body, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream"), reply.text
    found = []
    for block in reply.text.split("\n\n"):
        if block:
            name, data = block.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert found[-1]["type"] == name.removeprefix("event: ")
    return found


async def test_a_call_from_request_to_ledger(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy({"model_list": side.entries()})
    used = Usage(prompt_tokens=200, completion_tokens=7, cached_tokens=64, reasoning_tokens=2)
    side.fake.next(
        Answer("one two three", prompt_tokens=200, completion_tokens=7, cached_tokens=64, reasoning_tokens=2)
    )
    raw = await proxy.sdk.responses.with_raw_response.create(**ask(), extra_body={"routing": {"tradeoff": 0.2}})
    response = raw.parse()
    assert response.output_text == "one two three"
    assert (response.model, response.status, response.error) == ("far", "completed", None)
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.input_tokens_details.cached_tokens) == (200, 64)
    assert (response.usage.output_tokens, response.usage.output_tokens_details.reasoning_tokens) == (7, 2)
    assert side.fake.last.path == side.path
    assert "routing" not in side.fake.last.body
    call = (await proxy.call()).call
    assert call.endpoint == "/v1/responses"
    assert call.id == raw.headers["x-request-id"] == raw.headers["x-hullspeed-call-id"]
    assert (call.outcome, call.status, call.model, call.stream) == ("ok", 200, "far", False)
    assert call.usage == used
    assert call.cost_usd == Decimal("0.000214")
    assert response.usage.cost == pytest.approx(0.000214)
    (attempt,) = call.attempts
    assert (attempt.upstream, attempt.outcome, attempt.finish_reason) == ("direct", "ok", "stop")


async def test_the_stream_helper(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy({"model_list": side.entries()})
    side.fake.default = Answer("one two three", prompt_tokens=50, completion_tokens=7, reasoning="Hmm. So.")
    async with proxy.sdk.responses.stream(**ask()) as stream:
        texts = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert "".join(texts) == final.output_text == "one two three"
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.output[0].summary[0].text == "Hmm. So."  # type: ignore[union-attr]
    assert (final.model, final.status) == ("far", "completed")
    assert final.usage is not None
    assert final.usage.cost == pytest.approx(50 * 1e-6 + 7 * 2e-6)  # type: ignore[attr-defined]
    call = (await proxy.call()).call
    assert (call.outcome, call.stream, call.usage) == ("ok", True, Usage(50, 7))
    assert call.time_to_first_token is not None


async def test_the_order_of_events(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy({"model_list": side.entries()})
    side.fake.default = Answer("a b", tool_calls=(ToolCall("look_up", {"key": "k"}),))
    events = await events_of(proxy.http, ask(tools=[TOOL]))
    names = [event["type"].removeprefix("response.") for event in events]
    assert [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert events[-1]["response"]["output"] == done
    assert all(event["response"]["model"] == "far" for event in events if "response" in event)


async def test_functions_and_their_results(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy({"model_list": side.entries()})
    side.fake.default = Answer(tool_calls=(ToolCall("look_up", {"key": "a"}), ToolCall("look_up", {"key": "b"})))
    asked = ask(tools=[TOOL], tool_choice={"type": "function", "name": "look_up"}, parallel_tool_calls=True)
    whole = await proxy.sdk.responses.create(**asked)
    async with proxy.sdk.responses.stream(**asked) as stream:
        streamed = await stream.get_final_response()
    for response in (whole, streamed):
        items: Any = response.output
        calls = [item for item in items if item.type == "function_call"]
        assert [(item.name, json.loads(item.arguments)) for item in calls] == [
            ("look_up", {"key": "a"}),
            ("look_up", {"key": "b"}),
        ]
    side.fake.default = Answer("Done.")
    ids = [item.call_id for item in whole.output if item.type == "function_call"]
    results = [{"type": "function_call_output", "call_id": id_, "output": "42"} for id_ in ids]
    history = [{"role": "user", "content": "hello"}, *whole.output, *results]
    final = await proxy.sdk.responses.create(**asked | {"input": history})
    assert final.output_text == "Done."
    if not side.native:
        _, made, *told = side.fake.last.body["messages"]
        assert [call["id"] for call in made["tool_calls"]] == ids
        assert told == [{"role": "tool", "tool_call_id": id_, "content": "42"} for id_ in ids]


class Step(BaseModel):
    answer: int


async def test_a_schema_for_the_reply(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy({"model_list": side.entries()})
    side.fake.default = Answer('{"answer": 42}')
    whole = await proxy.sdk.responses.parse(**ask(), text_format=Step)
    assert whole.output_parsed == Step(answer=42)
    async with proxy.sdk.responses.stream(**ask(), text_format=Step) as stream:
        assert (await stream.get_final_response()).output_parsed == Step(answer=42)
    if not side.native:
        wanted = side.fake.last.body["response_format"]
        assert wanted["type"] == "json_schema"
        assert (wanted["json_schema"]["name"], wanted["json_schema"]["strict"]) == ("Step", True)
        assert wanted["json_schema"]["schema"]["properties"].keys() == {"answer"}


async def test_what_a_model_that_speaks_it_gets(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": Side(openai_server, native=True).entries()})
    body = ask(
        instructions="Be brief.",
        tools=[TOOL, {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}}],
        reasoning={"effort": "low"},
        include=["reasoning.encrypted_content"],
        store=False,
        previous_response_id="resp_1",
        metadata={"a": "b"},
        from_the_future=[1],
    )
    assert (await proxy.http.post("/v1/responses", json=body)).status_code == 200
    assert openai_server.last.body == {**body, "model": "far-target"}
    assert openai_server.last.headers["authorization"] == f"Bearer {SECRET}"


async def test_what_any_other_model_gets(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "far")})
    patch = {
        "type": "custom",
        "name": "patch",
        "description": "Patches.",
        "format": {"type": "grammar", "definition": "G"},
    }
    picture = {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "low"}
    body = ask(
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, picture]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "c1", "name": "look_up", "arguments": '{"key":"a"}'},
            {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "x"},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "42"}]},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"},
        ],
        tools=[TOOL, patch, {"type": "web_search"}],
        tool_choice="auto",
        max_output_tokens=50,
        temperature=0.5,
        reasoning={"effort": "low"},
        metadata={"a": "b"},
        text={"format": {"type": "json_object"}, "verbosity": "low"},
    )
    reply = (await proxy.http.post("/v1/responses", json=body)).json()
    sent = openai_server.last.body
    described = sent["tools"].pop()
    assert described["function"]["name"] == "patch"
    assert "G" in described["function"]["description"]
    assert described["function"]["parameters"]["required"] == ["input"]
    assert sent == {
        "model": "far-target",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "system", "content": "Be kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}},
                ],
            },
            {
                "role": "assistant",
                "content": "I look.",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"key":"a"}'}},
                    {
                        "id": "c2",
                        "type": "function",
                        "function": {"name": "patch", "arguments": '{"input":"x"}'},
                    },
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "tool", "tool_call_id": "c2", "content": "ok"},
        ],
        "max_completion_tokens": 50,
        "temperature": 0.5,
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {name: TOOL[name] for name in TOOL if name != "type"}}],
        "tool_choice": "auto",
    }
    assert (reply["instructions"], reply["metadata"], reply["tools"]) == ("Be brief.", {"a": "b"}, body["tools"])
    openai_server.default = Answer(tool_calls=(ToolCall("patch", {"input": "*** Begin Patch\n"}),))
    whole = await proxy.sdk.responses.create(**ask(tools=[patch]))
    async with proxy.sdk.responses.stream(**ask(tools=[patch])) as stream:
        names = [event.type async for event in stream]
        streamed = await stream.get_final_response()
    for response in (whole, streamed):
        (called,) = response.output
        assert (called.type, called.name, called.input) == ("custom_tool_call", "patch", "*** Begin Patch\n")  # type: ignore[union-attr]
    assert "response.custom_tool_call_input.done" in names


async def test_a_model_that_reasons_is_told_how_much(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    (entry,) = models(openai_server.url, "far")
    entry["model_info"] = {"supports_reasoning": True}
    proxy = await start_proxy({"model_list": [entry]})
    await proxy.sdk.responses.create(**ask(reasoning={"effort": "low"}))
    assert openai_server.last.body["reasoning_effort"] == "low"


async def test_thoughts_put_together_here_go_to_no_provider(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    translated, native = Side(openai_server, native=False), Side(openai_server, native=True)
    proxy = await start_proxy({"model_list": [*translated.entries("near"), *native.entries("far")]})
    openai_server.default = Answer("Yes.", reasoning="Hmm.")
    first = await proxy.sdk.responses.create(**ask(model="near"))
    thought, said = first.output
    assert thought.type == "reasoning"
    kept = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"}
    history: Any = [{"role": "user", "content": "hello"}, kept, *first.output, {"role": "user", "content": "Sure?"}]
    await proxy.sdk.responses.create(model="far", input=history)
    sent = openai_server.last.body["input"]
    assert [item.get("id") for item in sent] == [None, "rs_1", said.id, None]


async def test_a_reply_that_was_cut_short(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy({"model_list": side.entries()})
    side.fake.default = Answer("one two", finish_reason="max_output_tokens" if side.native else "length")
    whole = await proxy.sdk.responses.create(**ask())
    assert (whole.status, whole.incomplete_details and whole.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )
    assert (await events_of(proxy.http, ask()))[-1]["type"] == "response.incomplete"
    calls = [logged.call for logged in await proxy.calls()]
    assert [(call.outcome, call.attempts[0].finish_reason) for call in calls] == [("ok", "length")] * 2


async def test_refusals(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy({"model_list": side.entries()})
    side.fake.default = Answer("", refusal="I can't.")
    whole = await proxy.sdk.responses.create(**ask())
    async with proxy.sdk.responses.stream(**ask()) as stream:
        streamed = await stream.get_final_response()
    replies: Any = (whole, streamed)
    for response in replies:
        assert response.output[0].content[0].refusal == "I can't."


async def test_nothing_is_kept(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    """What refers to an earlier response is refused, but of a named model whose provider keeps it."""
    translated, native = Side(openai_server, native=False), Side(openai_server, native=True)
    proxy = await start_proxy({"model_list": [*translated.entries("near"), *native.entries("far")]})
    for model, fields, param, words in (
        ("near", {"previous_response_id": "resp_1"}, "previous_response_id", "`near` cannot be asked with"),
        ("auto", {"previous_response_id": "resp_1"}, "model", "name a model"),
        ("auto", {"conversation": "conv_1"}, "model", "name a model"),
        ("far", {"background": True}, "background", "leave it out"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            await proxy.sdk.responses.create(**ask(model=model) | fields)
        assert caught.value.param == param
        assert words.lower() in caught.value.message.lower()
    assert openai_server.chats == []
    assert (await proxy.sdk.responses.create(**ask(previous_response_id="resp_1"))).output_text == "Echo: hello"
    assert [logged.call.outcome for logged in await proxy.calls()] == ["ok", *["rejected"] * 4]


async def test_tools_of_the_provider(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    near, far = models(openai_server.url, "near", "far")
    far["model_info"] = {"supported_endpoints": BOTH}
    proxy = await start_proxy({"model_list": [near, far], "routing": {"default": "cheapest"}})
    search = {"type": "web_search"}
    assert (await proxy.sdk.responses.create(**ask(model="auto", tools=[search]))).model == "far"
    assert (await proxy.sdk.responses.create(**ask(model="auto", tools=[TOOL, search]))).model == "near"
    with pytest.raises(openai.BadRequestError, match=r"cannot be asked with `tools\[0\]`"):
        await proxy.sdk.responses.create(**ask(model="near", tools=[search]))


ERRORS: list[tuple[Any, int, str | None, type[openai.APIStatusError]]] = [
    (HttpError(400, "bad"), 400, None, openai.BadRequestError),
    (HttpError(401), 401, "invalid_api_key", openai.AuthenticationError),
    (HttpError(404), 404, "model_not_found", openai.NotFoundError),
    (rate_limited(), 429, "rate_limit_exceeded", openai.RateLimitError),
    (HttpError(500), 502, "upstream_error", openai.InternalServerError),
    (HttpError(503), 503, None, openai.InternalServerError),
    (Fault("cut_after_headers"), 502, "upstream_broken_reply", openai.InternalServerError),
    (Fault("empty_body"), 502, "upstream_broken_reply", openai.InternalServerError),
    (Fault("broken_json", 0), 502, "upstream_broken_reply", openai.InternalServerError),
]


@pytest.mark.parametrize("stream", [False, True])
async def test_errors_before_the_first_content(start_proxy: StartProxy, side: Side, stream: bool) -> None:
    proxy = await start_proxy({"model_list": side.entries()})
    for number, (reply, status, code, error) in enumerate(ERRORS, 1):
        side.fake.default = reply
        with pytest.raises(error) as caught:
            await proxy.sdk.responses.create(**ask(), stream=stream)
        assert caught.value.status_code == status
        assert code is None or caught.value.code == code
        assert SECRET not in caught.value.response.text
        calls = await proxy.calls()
        assert len(calls) == number
        assert (calls[0].call.outcome, calls[0].call.status) == ("error", status)
        assert len(calls[0].call.attempts) == 1


async def test_faults_in_the_middle_of_a_stream(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy({"model_list": side.entries(), "routing": {"idle_timeout": 0.3}})
    kinds: tuple[FaultKind, ...] = (
        "cut_between_events", "cut_mid_event", "reset", "broken_json", "no_finish", "error_event", "stall_mid_stream",
    )  # fmt: skip
    for kind in kinds:
        side.fake.default = Fault(kind, 2, Answer("one two three four five six"))
        events = await events_of(proxy.http, ask())
        assert events[-1]["type"] == "error", kind
        assert events[-1]["message"] == events[-1]["error"]["message"]
        assert not any(event["type"] == "response.completed" for event in events)
        call = (await proxy.calls())[0].call
        assert (call.outcome, call.status) == ("truncated", 200)
        assert call.usage is not None
    async with proxy.sdk.responses.stream(**ask()) as stream:
        with pytest.raises(openai.APIError):
            await stream.get_final_response()
    assert len(await proxy.calls()) == len(kinds) + 1


async def test_a_failed_response_is_a_failure(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    """OpenAI says so with status 200; before the first content another model may take over."""
    native, other = Side(openai_server, native=True), Side(openai_server, native=False)
    proxy = await start_proxy(
        {"model_list": [*native.entries("a"), *other.entries("b")], "routing": {"fallback": ["a", "b"]}},
    )
    failed = {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "Slow down."}}
    openai_server.on("a-target", Answer(extra=failed, finish_reason="x"))
    for stream in (False, True):
        reply = await proxy.http.post("/v1/responses", json=ask(model="auto/cheapest", stream=stream))
        assert reply.status_code == 200, reply.text
        call = (await proxy.calls())[0].call
        assert [(attempt.model, attempt.outcome) for attempt in call.attempts] in (
            [("a", "rate_limited"), ("b", "ok")],
            [("b", "ok")],
        )


async def test_silence_is_kept_alive_by_comments(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy({"model_list": side.entries(), "routing": {"keep_alive": 0.02}})
    gate = Gate()
    side.fake.default = Answer("a b", gate=gate)
    async with proxy.http.stream("POST", "/v1/responses", json=ask(stream=True)) as reply:
        pieces = reply.aiter_text()
        assert await anext(pieces) == ": keep-alive\n\n"
        gate.open()
        assert "response.completed" in "".join([piece async for piece in pieces])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away(start_proxy: StartProxy, side: Side, stream: bool) -> None:
    proxy = await start_proxy({"model_list": side.entries()})
    gate = Gate()
    side.fake.default = Answer("one two three four", gate=gate, gate_after=1 if stream else None)
    asked = asyncio.create_task(proxy.http.post("/v1/responses", json=ask(stream=stream)))
    assert await asyncio.to_thread(gate.wait_reached)
    asked.cancel()
    assert await side.fake.last.over()
    assert side.fake.last.disconnected
    call = (await proxy.call()).call
    assert call.outcome == "client_cancelled"
    assert [attempt.outcome for attempt in call.attempts] == ["client_cancelled"]


async def test_refused_requests(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy({"model_list": side.entries()})
    refused: list[tuple[dict[str, Any], str]] = [
        ({"input": None}, "input"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"extra_headers": {}}, "extra_headers"),
        ({"metadata": {"base_url": "x"}}, "metadata.base_url"),
        ({"routing": {"tradeof": 1}}, "routing.tradeof"),
    ]
    for change, param in refused:
        reply = await proxy.http.post("/v1/responses", json=ask() | change)
        assert reply.status_code == 400
        assert reply.json()["error"]["param"] == param
    assert [logged.call.outcome for logged in await proxy.calls()] == ["rejected"] * len(refused)


@pytest.fixture
def anthropic_server() -> Iterator[FakeAnthropic]:
    with FakeAnthropic(key=SECRET) as fake:
        yield fake


@pytest.mark.xdist_group("litellm")
@pytest.mark.filterwarnings("ignore:.*is using the `ReadOnly` qualifier:UserWarning")
async def test_a_model_behind_litellm(start_proxy: StartProxy, anthropic_server: FakeAnthropic) -> None:
    params = {"model": "anthropic/claude-x", "api_base": anthropic_server.url, "api_key": SECRET}
    proxy = await start_proxy({"model_list": [{"model_name": "far", "litellm_params": params}]})
    anthropic_server.default = Answer(
        "one two", reasoning="Hmm.", prompt_tokens=20, completion_tokens=5, cached_tokens=8,
        tool_calls=(ToolCall("look_up", {"key": "a"}),),
    )  # fmt: skip
    whole = await proxy.sdk.responses.create(**ask(tools=[TOOL]))
    async with proxy.sdk.responses.stream(**ask(tools=[TOOL])) as stream:
        streamed = await stream.get_final_response()
    for response in (whole, streamed):
        assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
        assert response.output_text == "one two"
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.input_tokens_details.cached_tokens) == (20, 8)
    anthropic_server.default = Fault("cut_mid_event", 2, Answer("one two three four"))
    assert (await events_of(proxy.http, ask()))[-1]["type"] == "error"
    calls = [logged.call for logged in await proxy.calls()]
    assert [call.outcome for call in calls] == ["truncated", "ok", "ok"]
    for call in calls[1:]:
        assert call.usage is not None
        assert (call.usage.prompt_tokens, call.usage.completion_tokens, call.usage.cached_tokens) == (20, 5, 8)
