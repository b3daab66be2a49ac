"""Points 2, 21, 24 and 25: ids, probes, secrets, doors."""

from __future__ import annotations

import re

from app.conform.check import NotApplicable, check, expect
from app.conform.stand import Case
from app.mock.replies import HttpError

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@check(2)
async def ids_on_every_reply(case: Case) -> str:
    """Every reply bears `x-request-id`: whole, streamed, refused, failed, not found."""
    case.says(*[HttpError(400, "no")])
    replies = {
        "failed": await case.ask(),
        "whole": await case.ask(),
        "streamed": await case.stream(),
        "refused": await case.post(b"{"),
        "unknown model": await case.ask(model="there-is-no-such-model"),
        "models": await case.call("GET", "/v1/models"),
        "not found": await case.call("GET", "/v1/there-is-no-such-path"),
        "without key": await case.call("POST", "/v1/chat/completions", b"{}", key=False),
    }
    without = [name for name, reply in replies.items() if not reply.headers.get("x-request-id")]
    expect(not without, f"not on: {', '.join(without)}")
    return f"on all {len(replies)} kinds of reply"


@check(2)
async def call_ids_are_made_here(case: Case) -> str:
    """Each call has an id of the gateway's making (UUIDv7), also where the client sends ids that collide."""
    name = case.gateway.call_id
    if name is None:
        raise NotApplicable("this gateway's name for it is not known")
    case.says(HttpError(400, "no"))
    ids = [
        reply.headers.get(name, "")
        for reply in [
            await case.ask(headers={"x-request-id": "same", name: "same"}, stream=bool(n % 2)) for n in range(4)
        ]
    ]
    expect(all(ids), f"{name} is not on every reply")
    expect(len(set(ids)) == 4, f"4 calls, {len(set(ids))} ids")
    wrong = [given for given in ids if not UUID7.fullmatch(given)]
    expect(not wrong, f"{wrong[:1]} is no UUIDv7")
    return f"four UUIDv7 in {name}"


def _probe(name: str, what: str) -> None:
    @check(21, name=name, what=what)
    async def probe(case: Case) -> str:
        path = case.gateway.live if name == "alive" else case.gateway.ready
        if path is None:
            raise NotApplicable("this gateway's path for it is not known")
        reply = await case.call("GET", path, key=False, within=5)
        expect(reply.status == 200, f"GET {path}: {reply.status}")
        expect(reply.json is not None, f"GET {path} says nothing")
        expect(not case.seen, "the upstream was asked")
        return f"GET {path}: {reply.body[:60].decode(errors='replace')}"


_probe("alive", "The probe of life answers without a key and touches nothing")
_probe("ready", "The probe of readiness answers and says what it found")


@check(25, needs="key")
async def doors_are_locked(case: Case) -> str:
    """No spelling of a path, and no header, gets past the key."""
    tricks = (
        "/v1/models", "//v1/models", "/v1//models", "/v1/models/", "/V1/models", "/healthz/../v1/models",
        "/healthz/%2e%2e/v1/models", "/v1/models?x=/healthz", "/v1/models;/healthz", "/v1%2Fmodels", "/v1/models%00",
        "/metrics/../v1/models", "/v1/calls", "/v1/calls/",
    )  # fmt: skip
    for path in tricks:
        reply = await case.call("GET", path, key=False)
        expect(not _opens(reply.status, reply.body), f"GET {path} without a key: {reply.status}")
    for name, value in (
        ("host", "127.0.0.1/healthz?"),
        ("x-forwarded-prefix", "/healthz"),
        ("x-original-url", "/healthz"),
        ("x-rewrite-url", "/healthz"),
        ("authorization", "Bearer"),
        ("authorization", "Basic Og=="),
    ):
        reply = await case.call("GET", "/v1/models", headers={name: value}, key=False)
        expect(not _opens(reply.status, reply.body), f"GET /v1/models with {name}: {value}: {reply.status}")
    body = case.body()[1]
    reply = await case.call("POST", "/v1/chat/completions?path=/healthz", body, key=False)
    expect(reply.status >= 400, f"a chat request without a key: {reply.status}")
    expect(not case.seen, "the upstream was asked")
    return f"{len(tricks)} paths and 6 headers, none opened"


def _opens(status: int, body: bytes) -> bool:
    """Whether what came back is more than a page that anyone may see."""
    return status < 300 and (b'"data"' in body or b'"object"' in body)


@check(24, last=True)
async def no_reply_holds_a_secret(case: Case) -> str:
    """No reply of this whole run, head or body, holds an upstream's key or host."""
    for shown in case.stand.transcript:
        for secret in case.planted:
            at = shown.find(secret.encode())
            expect(at < 0, f"{secret[:14]}… stands in …{shown[max(at - 60, 0) : at]!r}")
    return f"looked through {len(case.stand.transcript)} replies"
