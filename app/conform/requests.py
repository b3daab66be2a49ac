"""Points 1 and 4: what goes up and what comes down untouched, and what is refused."""

from __future__ import annotations

import json
from typing import Any

from app.conform.check import OPENAI, Broken, NotApplicable, check, expect
from app.conform.gateways import BACKUP
from app.conform.stand import Case
from app.mock.openai import OpenAI
from app.mock.replies import Answer, Fault, ToolCall

STEERING = ("api_base", "base_url", "api_key", "headers", "extra_headers", "proxy")
"""Names that would set where a call goes or with which key (CVE-2024-6587)."""
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "api_base and proxy are words like any other here",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "api_base": {"type": "string"}, "proxy": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
CALLS = (ToolCall("weather", {"city": "Zürich", "days": 3}, "call_a"), ToolCall("weather", {"city": "東京"}, "call_b"))
PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
ODD_NUMBERS = b"[1.0, 1e2, 12345678901234567890123, 0.1000, -0.0, 1.10]"


@check(1, dialects=OPENAI)
async def unknown_parameter_passes(case: Case) -> str:
    """An unknown request parameter reaches the upstream untouched."""
    sent = {"deep": [1, {"flag": None}], "word": "naïve 東京"}
    reply = await case.ask(zz_unknown=sent, seed=7)
    expect(reply.status == 200, f"status {reply.status}: {reply.body[:120]!r}")
    body = case.seen[-1].body
    expect(body.get("zz_unknown") == sent, f"the upstream got zz_unknown = {body.get('zz_unknown')!r}")
    expect(body.get("seed") == 7, f"the upstream got seed = {body.get('seed')!r}")
    return "zz_unknown and seed reached the upstream as sent"


@check(1, dialects=OPENAI)
async def odd_numbers_keep_their_form(case: Case) -> str:
    """Numbers of a passed-on parameter keep their digits: no float turns into another."""
    _, body = case.body()
    raw = body[:-1] + b', "zz_numbers": ' + ODD_NUMBERS + b"}"
    reply = await case.post(raw)
    expect(reply.status == 200, f"status {reply.status}: {reply.body[:120]!r}")
    got = case.seen[-1].raw
    shown = got[got.find(b'"zz_numbers"') :][:90]
    expect(ODD_NUMBERS.replace(b" ", b"") in got.replace(b" ", b""), f"the upstream got {shown!r}")
    return "1.0, 1e2, a 23-digit integer, 0.1000 and -0.0 arrived digit by digit"


@check(1, dialects=OPENAI)
async def unknown_reply_fields_pass(case: Case) -> str:
    """Unknown fields of a whole reply and of its message reach the client."""
    extra: dict[str, Any] = {"service_tier": "flex", "zz_big": 12345678901234567890123, "zz_null": None}
    case.says(Answer("hello", extra=extra, message_extra={"zz_note": ["x"]}, reasoning="because"))
    reply = await case.ask()
    expect(reply.status == 200, f"status {reply.status}")
    missing = [name for name, value in extra.items() if name not in reply.json or reply.json[name] != value]
    expect(not missing, f"changed or gone: {', '.join(missing)}")
    message = reply.json["choices"][0]["message"]
    expect(message.get("zz_note") == ["x"], f"the message's own field became {message.get('zz_note')!r}")
    expect(message.get("reasoning_content") == "because", "reasoning_content is gone")
    return "service_tier, a 23-digit integer, a null, reasoning_content and a field of the message arrived"


@check(1, dialects=OPENAI)
async def unknown_chunk_fields_pass(case: Case) -> str:
    """Unknown fields of every chunk and delta reach the client."""
    case.says(Answer("a b", extra={"zz_extra": {"k": 1}}, message_extra={"zz_note": True}, reasoning="so it is"))
    reply = await case.stream()
    with_choices = [chunk for chunk in reply.chunks if chunk.get("choices")]
    expect(with_choices, f"no chunks: status {reply.status}")
    bare = [chunk for chunk in with_choices if chunk.get("zz_extra") != {"k": 1}]
    expect(not bare, f"{len(bare)} of {len(with_choices)} chunks lost zz_extra")
    deltas = [chunk["choices"][0].get("delta") or {} for chunk in with_choices]
    expect(any(delta.get("zz_note") is True for delta in deltas), "the delta's own field is gone")
    thought = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    expect(thought == "so it is", f"reasoning_content arrived as {thought!r}")
    return f"zz_extra in all {len(with_choices)} chunks, the delta's own field, reasoning_content"


@check(1, fallback=True)
async def reply_names_who_answered(case: Case) -> str:
    """`model` in the reply is the model that answered, not the one that was asked for."""
    case.always(Fault("cut_before_headers"))
    reply = await case.ask()
    expect(reply.status == 200, f"status {reply.status}: nothing fell back")
    named = str(reply.json.get("model"))
    expect(named.removeprefix("openai/") == BACKUP, f"`{BACKUP}` answered, the body says {named!r}")
    return f"`{BACKUP}` answered, and the body says so"


def _steering(name: str, where: str) -> None:
    @check(1, name=f"refuses-{name.replace('_', '-')}-{where}", what=f"`{name}` is refused as a parameter ({where})")
    async def refused(case: Case) -> str:
        trap = f"http://{case.stand.mock_address}/trap/v1"
        value: Any = {"x-trap": trap} if name.endswith("headers") else trap
        field = {name: value} if where == "top" else {where: {name: value}}
        nonce, body = case.body(**field)
        reply = await case.post(body)
        trapped = [seen for seen in case.mock.requests if seen.path.startswith("/trap") or "x-trap" in seen.headers]
        expect(not any(nonce.encode() in seen.raw for seen in trapped), "the call went where the client said")
        expect(reply.status == 400, f"status {reply.status}, and the upstream was asked {len(case.seen)} times")
        return "400, and the upstream was not asked"


for _name in STEERING:
    _steering(_name, "top")
for _where in ("extra_body", "metadata"):
    _steering("api_base", _where)


@check(1)
async def steering_words_are_data_in_content(case: Case) -> str:
    """The refused names stay untouched where they are data: in messages and tool schemas."""
    reply = await case.ask('{"api_base": "x", "api_key": "y", "proxy": "z"}', tools=TOOLS)
    expect(reply.status == 200, f"status {reply.status}: {reply.body[:120]!r}")
    raw = json.dumps(case.seen[-1].body, ensure_ascii=False)
    for word in ('\\"api_base\\": \\"x\\"', '"api_base"', '"proxy"'):
        expect(word in raw, f"{word} did not reach the upstream")
    return "message and tool schema reached the upstream with them"


@check(1)
async def large_body_passes(case: Case) -> str:
    """A request of 4 MiB reaches the upstream whole."""
    text = "word " * (4 * 1024 * 1024 // 5)
    reply = await case.ask(text)
    expect(reply.status == 200, f"status {reply.status}: {reply.body[:120]!r}")
    got = len(case.seen[-1].raw)
    expect(got >= len(text), f"the upstream got {got:,} of {len(text):,} bytes")
    return f"{got:,} bytes reached the upstream"


def _huge(streamed: bool) -> None:
    name = "huge-reply-streamed" if streamed else "huge-reply"
    how = "in 16 chunks" if streamed else "in one piece"

    @check(1, name=name, what=f"A reply of 8 MiB ({how}) arrives whole")
    async def huge(case: Case) -> str:
        text = "0123456789abcdef" * (8 * 1024 * 1024 // 16)
        case.always(Answer(text, chunks=16))
        reply = await case.ask(stream=streamed, within=60)
        expect(reply.status == 200, f"status {reply.status}")
        expect(reply.complete, f"the reply broke off after {len(reply.body):,} bytes")
        expect(reply.text == text, f"{len(reply.text):,} of {len(text):,} characters came")
        return f"{len(reply.body):,} bytes in {reply.seconds:.1f} s"


_huge(streamed=False)
_huge(streamed=True)


# ---------------------------------------------------------------------- point 4


@check(4)
async def tools_whole(case: Case) -> str:
    """Tool calls of a whole reply arrive with their names and arguments."""
    case.says(Answer(tool_calls=CALLS))
    reply = await case.ask(tools=TOOLS)
    expect(reply.status == 200, f"status {reply.status}: {reply.body[:120]!r}")
    calls = reply.json["choices"][0]["message"].get("tool_calls") or []
    _compare([(call["function"]["name"], call["function"]["arguments"]) for call in calls])
    expect(set(reply.finish_reasons.values()) == {"tool_calls"}, f"finish reasons {reply.finish_reasons}")
    return "both calls, finish_reason tool_calls"


@check(4)
async def tools_streamed(case: Case) -> str:
    """Tool-call deltas, keyed by `index`, add up to the calls."""
    case.says(Answer(tool_calls=CALLS))
    reply = await case.stream(tools=TOOLS)
    calls: dict[int, list[str]] = {}
    for delta in _tool_deltas(reply.chunks):
        expect("index" in delta, "a tool-call delta has no index")
        function = delta.get("function") or {}
        name, arguments = calls.setdefault(delta["index"], ["", ""])
        calls[delta["index"]] = [name + (function.get("name") or ""), arguments + (function.get("arguments") or "")]
    _compare([(name, arguments) for _, (name, arguments) in sorted(calls.items())])
    expect(reply.done, "no [DONE]")
    return "both calls by index, then [DONE]"


@check(4, dialects=OPENAI)
async def tool_deltas_untouched(case: Case) -> str:
    """Tool-call deltas arrive one by one as the upstream sent them."""
    answer = Answer(tool_calls=CALLS)
    case.says(answer)
    reply = await case.stream(tools=TOOLS)
    events = OpenAI().events({"messages": [{"role": "user", "content": "x"}]}, "m", answer)
    sent = list(_tool_deltas([event.data for event in events if isinstance(event.data, dict)]))
    got = list(_tool_deltas(reply.chunks))
    expect(got == sent, f"{len(sent)} deltas were sent, {len(got)} came or were changed: {got[:1]}")
    return f"{len(got)} deltas as sent"


def _tool_deltas(chunks: list[Any]) -> Any:
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            yield from (choice.get("delta") or {}).get("tool_calls") or ()


def _compare(calls: list[tuple[str, str]]) -> None:
    got = []
    for name, arguments in calls:
        try:
            got.append((name, json.loads(arguments)))
        except ValueError:
            raise Broken(f"the arguments of {name} are no JSON: {arguments[:80]!r}") from None
    expect(got == [(call.name, dict(call.arguments)) for call in CALLS], f"the calls arrived as {got}")


def _choices(streamed: bool) -> None:
    name = "several-choices-streamed" if streamed else "several-choices"

    @check(4, name=name, what=f"`n` = 2 gives both choices, each with its finish reason ({name})", dialects=OPENAI)
    async def choices(case: Case) -> str:
        case.says(Answer(texts=("a b c", "d e")))
        reply = await case.ask(stream=streamed, n=2)
        expect(reply.status == 200, f"status {reply.status}")
        said = {index: "".join(pieces) for index, pieces in reply.texts.items()}
        expect(said == {0: "a b c", 1: "d e"}, f"the choices arrived as {said}")
        expect(reply.finish_reasons == {0: "stop", 1: "stop"}, f"finish reasons {reply.finish_reasons}")
        return "both texts, both finish reasons"


_choices(streamed=False)
_choices(streamed=True)


@check(4, dialects=OPENAI)
async def logprobs_pass(case: Case) -> str:
    """`logprobs` arrive, streamed and not."""
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 2}
    case.always(Answer("a b"))
    whole = await case.ask(**asked)
    streamed = await case.stream(**asked)
    entries = whole.json["choices"][0].get("logprobs")
    expect(entries and len(entries["content"]) == 2, f"the whole reply has logprobs {entries!r}")
    expect(len(entries["content"][0]["top_logprobs"]) == 2, "top_logprobs are gone")
    tokens = [
        entry["token"]
        for chunk in streamed.chunks
        for choice in chunk.get("choices") or ()
        for entry in (choice.get("logprobs") or {}).get("content") or ()
    ]
    expect(tokens == ["a", " b"], f"the stream's logprobs name {tokens}")
    return "two tokens each, with their alternatives"


@check(4, dialects=OPENAI)
async def response_format_passes(case: Case) -> str:
    """A `response_format` with a JSON schema reaches the upstream as it is."""
    schema = {"type": "object", "properties": {"headers": {"type": "number"}}, "required": ["headers"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    case.says(Answer('{"headers": 1.0}'))
    reply = await case.ask(response_format=wanted)
    expect(reply.status == 200, f"status {reply.status}: {reply.body[:120]!r}")
    got = case.seen[-1].body.get("response_format")
    expect(got == wanted, f"the upstream got {json.dumps(got)[:120]}")
    expect(reply.text == '{"headers": 1.0}', f"the reply's text is {reply.text!r}")
    return "the schema reached the upstream"


@check(4, dialects=OPENAI)
async def refusal_passes(case: Case) -> str:
    """A refusal arrives as one, streamed and not."""
    case.always(Answer(refusal="I can't help with that."))
    whole = await case.ask()
    streamed = await case.stream()
    said = whole.json["choices"][0]["message"].get("refusal")
    expect(said == "I can't help with that.", f"the whole reply says {said!r}")
    deltas = [choice.get("delta") or {} for chunk in streamed.chunks for choice in chunk.get("choices") or ()]
    pieces = "".join(delta.get("refusal") or "" for delta in deltas)
    expect(pieces == "I can't help with that.", f"the stream says {pieces!r}")
    return "the same words, streamed and not"


@check(4, dialects=OPENAI)
async def pictures_and_sound_pass(case: Case) -> str:
    """A content array with a picture and sound reaches the upstream as it is."""
    parts = [
        {"type": "text", "text": "look and listen"},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]
    reply = await case.ask(messages=[{"role": "user", "content": parts}])
    expect(reply.status == 200, f"status {reply.status}: {reply.body[:120]!r}")
    got = case.seen[-1].body["messages"][0]["content"]
    expect(got == parts, f"the upstream got {json.dumps(got)[:120]}")
    return "all three parts reached the upstream"


@check(4)
async def usage_is_openais(case: Case) -> str:
    """Usage is in OpenAI's terms whatever the provider: cached tokens are inside the prompt's."""
    reasoning = 0 if case.dialect == "anthropic" else 5  # Anthropic does not count it apart.
    case.says(Answer("well", prompt_tokens=100, completion_tokens=20, cached_tokens=64, reasoning_tokens=reasoning))
    reply = await case.ask()
    usage = reply.json.get("usage")
    if not isinstance(usage, dict):
        raise Broken("the reply has no usage")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    got = (usage.get("prompt_tokens"), cached, usage.get("completion_tokens"))
    expect(got == (100, 64, 20), f"prompt, cached, completion are {got}, not (100, 64, 20)")
    expect(usage.get("total_tokens") == 120, f"total_tokens is {usage.get('total_tokens')}")
    if case.dialect == "openai":
        thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
        expect(thought == 5, f"reasoning_tokens is {thought}, not 5")
    return "100 prompt tokens, 64 of them cached, 20 of the reply"


@check(1)
async def clients_key_stays_here(case: Case) -> str:
    """The client's own key does not reach the upstream, nor do its cookies."""
    if case.stand.key is None:
        raise NotApplicable("no key is in use (--api-key)")
    reply = await case.ask(headers={"cookie": "session=abc"})
    expect(reply.status == 200, f"status {reply.status}")
    seen = case.seen[-1]
    told = [name for name, value in seen.headers.items() if case.stand.key in value or "session=abc" in value]
    expect(not told, f"the upstream got them in {', '.join(told)}")
    return "the upstream got its own key only"
