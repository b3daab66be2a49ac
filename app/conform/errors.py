"""Point 3: errors are OpenAI's envelope, with the right status, code and headers."""

from __future__ import annotations

import asyncio
import json

from app.conform.check import NotApplicable, check, expect
from app.conform.client import Reply
from app.conform.stand import Case
from app.mock.replies import Fault, HttpError, context_length_exceeded, rate_limited
from app.mock.replies import Reply as Said

FIELDS = ("message", "type", "param", "code")


def envelope(
    reply: Reply, status: int | tuple[int, ...], *, code: str | None = None, kind: str | None = None
) -> dict[str, object]:
    """The error, if the reply is one by the letter. Raises `Broken`."""
    statuses = (status,) if isinstance(status, int) else status
    expect(reply.status in statuses, f"status {reply.status}, not {' or '.join(map(str, statuses))}")
    content = reply.headers.get("content-type", "none")
    expect(content.startswith("application/json"), f"content type {content} with status {reply.status}")
    error = reply.json.get("error") if isinstance(reply.json, dict) else None
    expect(isinstance(error, dict), f"no error object: {reply.body[:100]!r}")
    assert isinstance(error, dict)
    missing = [name for name in FIELDS if name not in error]
    expect(not missing, f"the error has no {', '.join(missing)}: {reply.body[:140]!r}")
    expect(isinstance(error["message"], str) and error["message"], "the error has no message")
    expect(code is None or error["code"] == code, f"code {error['code']!r}, not {code!r}")
    expect(kind is None or error["type"] == kind, f"type {error['type']!r}, not {kind!r}")
    return error


def _shown(reply: Reply, error: dict[str, object]) -> str:
    return f"{reply.status} {error['type']} / {error['code']}"


# ---------------------------------------------------------------------- the client's own faults


@check(3)
async def invalid_json(case: Case) -> str:
    """A body that is no JSON is a 400 `invalid_request_error`."""
    reply = await case.post(b'{"model": "x", "messages": [')
    return _shown(reply, envelope(reply, 400, kind="invalid_request_error"))


@check(3)
async def body_is_no_object(case: Case) -> str:
    """A body that is JSON but no object is a 400."""
    reply = await case.post(b'["not", "an", "object"]')
    return _shown(reply, envelope(reply, 400, kind="invalid_request_error"))


@check(3)
async def invalid_utf8_body(case: Case) -> str:
    """A body that is not UTF-8 is a 400."""
    _, body = case.body()
    reply = await case.post(body.replace(b"Say", b"\xff\xfe"))
    return _shown(reply, envelope(reply, 400))


@check(3)
async def messages_missing(case: Case) -> str:
    """A request without messages is a 400 that names them."""
    reply = await case.post(json.dumps({"model": case.model}).encode())
    error = envelope(reply, (400, 422), kind="invalid_request_error")
    expect("messages" in (str(error["param"]), *str(error["message"]).replace("`", " ").replace("'", " ").split()),
           f"neither param nor message names `messages`: {error['message']!r}")  # fmt: skip
    return _shown(reply, error)


@check(3)
async def unknown_model(case: Case) -> str:
    """An unknown model is a 404 `model_not_found`."""
    reply = await case.ask(model="there-is-no-such-model")
    return _shown(reply, envelope(reply, 404, code="model_not_found"))


@check(3, needs="key")
async def wrong_key(case: Case) -> str:
    """A wrong key is a 401 `invalid_api_key`; so is none."""
    wrong = await case.ask(headers={"authorization": "Bearer sk-wrong"})
    error = envelope(wrong, 401, code="invalid_api_key")
    none = await case.call("POST", "/v1/chat/completions", case.body()[1], key=False)
    envelope(none, 401, code="invalid_api_key")
    expect(not case.seen, "the upstream was asked all the same")
    return _shown(wrong, error)


@check(3)
async def body_too_large(case: Case) -> str:
    """A body that says it is 2 GiB is refused with 413 before it is sent."""
    async with case.connect() as connection, case.patience(10):
        await connection.send("POST", "/v1/chat/completions", {**case.headers(), "content-length": str(2 << 30)})
        reply = await connection.read(await connection.head())
    case.keep(reply)
    return _shown(reply, envelope(reply, 413))


@check(3)
async def unknown_path(case: Case) -> str:
    """A path that is not there is a 404 in the envelope."""
    reply = await case.call("GET", "/v1/there-is-no-such-path")
    return _shown(reply, envelope(reply, 404))


@check(3)
async def wrong_method(case: Case) -> str:
    """GET where only POST is served is a 405 in the envelope."""
    reply = await case.call("GET", "/v1/chat/completions")
    error = envelope(reply, 405)
    expect("allow" in reply.headers, "405 without an Allow header (RFC 9110, 15.5.6)")
    return _shown(reply, error)


@check(3)
async def head_leaves_the_connection_usable(case: Case) -> str:
    """HEAD gets no body, and the connection serves the next request."""
    async with case.connect() as connection, case.patience(10):
        first = await connection.ask("HEAD", "/v1/models", case.headers())
        expect(first.status in (200, 405), f"HEAD /v1/models: {first.status}")
        second = await connection.ask("GET", "/v1/models", case.headers())
    expect(second.status == 200, f"the GET after it: {second.status}")
    expect(second.json.get("object") == "list", "the GET after it gave no list of models")
    return f"HEAD {first.status}, then GET 200 on the same connection"


# ---------------------------------------------------------------------- the upstream's faults

QUOTA = rate_limited(retry_after=None, quota=True)
ERRORS: tuple[tuple[str, Said, tuple[int, ...], str | None], ...] = (
    ("400", HttpError(400, "Temperature is too high.", "invalid_request_error", param="temperature"), (400,), None),
    ("context-length", context_length_exceeded(), (400,), "context_length_exceeded"),
    ("408", HttpError(408, "Request timeout."), (408, 504), None),
    ("429", rate_limited(retry_after="120"), (429,), "rate_limit_exceeded"),
    ("quota", QUOTA, (429,), "insufficient_quota"),
    ("500", HttpError(500), (502,), None),
    ("503", HttpError(503), (503,), None),
    ("529", HttpError(529), (503,), None),
    ("cut-before-headers", Fault("cut_before_headers"), (502,), None),
    ("cut-after-headers", Fault("cut_after_headers"), (502,), None),
    ("broken-body", Fault("broken_json"), (502,), None),
    ("web-page", Fault("wrong_content_type"), (502,), None),
    ("empty-body", Fault("empty_body"), (502,), None),
    ("error-with-200", Fault("error_event", after=0), (500, 502), None),
)
"""Name, what the upstream does, what the client is told: status and code. Codes that only OpenAI's wire can carry
are not asked of other dialects."""


def _upstream_error(name: str, said: Said, statuses: tuple[int, ...], code: str | None, streamed: bool) -> None:
    how = ", streamed" if streamed else ""

    @check(
        3,
        name=f"upstream-{name}{'-streamed' if streamed else ''}",
        what=f"The upstream's {name.replace('-', ' ')} becomes {statuses[0]} {code or ''}".strip() + how,
        dialects=("openai",) if name == "quota" else ("openai", "anthropic", "gemini"),
    )
    async def upstream(case: Case) -> str:
        case.always(said)
        reply = await case.ask(stream=streamed)
        expect(not reply.is_stream, f"status {reply.status} and an event stream in place of an error")
        return _shown(reply, envelope(reply, statuses, code=code))


for _name, _said, _statuses, _code in ERRORS:
    if _name not in ("broken-body",):
        _upstream_error(_name, _said, _statuses, _code, streamed=True)
    _upstream_error(_name, _said, _statuses, _code, streamed=False)


def _place(place: str, words: str) -> None:
    @check(3, name=f"upstream-{place}", what=f"An upstream {words} becomes 502 in the envelope", place=place)
    async def placed(case: Case) -> str:
        reply = await case.ask()
        expect(not case.seen, "the upstream got the request all the same")
        return _shown(reply, envelope(reply, (502, 503)))


_place("nowhere", "that cannot be reached")
_place("expired", "whose certificate has expired")


@check(3)
async def limits_are_forwarded(case: Case) -> str:
    """`retry-after`, `retry-after-ms` and `x-ratelimit-*` of a 429 arrive under their plain names."""
    case.always(rate_limited(retry_after="120", retry_after_ms="120000"))
    reply = await case.ask()
    expect(reply.status == 429, f"status {reply.status}")
    wanted = {"retry-after": "120", "retry-after-ms": "120000", "x-ratelimit-remaining-requests": "0"}
    wrong = [f"{name}: {reply.headers.get(name)}" for name, value in wanted.items() if reply.headers.get(name) != value]
    expect(not wrong, f"the client got {'; '.join(wrong)}")
    return "all three as the upstream sent them"


@check(3)
async def errors_hide_keys_and_hosts(case: Case) -> str:
    """An upstream's error text leaks neither its key nor its host, in a reply or in a stream."""
    words = f"Wrong key {case.planted[0]}; see http://{case.planted[1]}/account for your keys."
    shown = []
    for status in (400, 401, 429, 500):
        case.says(*[HttpError(status, words, headers={"retry-after": "120"})] * 3)
        shown.append(await case.ask())
        case.mock.forget_model(case.target)
    case.says(Fault("error_event", after=1, error=HttpError(500, words)))
    shown.append(await case.stream())
    for reply in shown:
        for secret in case.planted:
            expect(secret.encode() not in reply.body, f"status {reply.status} holds {secret[:14]}…")
    return "four errors and a stream told neither"


@check(3)
async def errors_keep_the_connection(case: Case) -> str:
    """After an error the connection serves the next request."""
    async with case.connect() as connection, case.patience(20):
        first = await connection.ask("POST", "/v1/chat/completions", case.headers(), b"{")
        expect(first.status == 400, f"status {first.status}")
        second = await case.ask_on(connection)
    expect(second.status == 200, f"the request after it: {second.status}")
    return "400, then 200 on the same connection"


@check(3)
async def half_a_body_is_no_request(case: Case) -> str:
    """A client that goes in the middle of its body leaves nothing behind at the upstream."""
    nonce, body = case.body()
    async with case.connect() as connection:
        headers = {**case.headers(), "content-length": str(len(body) + 10)}
        await connection.send("POST", "/v1/chat/completions", headers, body)
    await asyncio.sleep(0.3)
    # On a busy machine nobody may have had a turn meanwhile; what was sent before a whole request has come by now.
    again = await case.ask()
    expect(not any(nonce.encode() in seen.raw for seen in case.mock.chats), "the upstream was asked")
    if again.status != 200:
        raise NotApplicable(f"the gateway answers {again.status} to a good request")
    return "the upstream was not asked, and the next request is served"
