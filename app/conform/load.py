"""Point 15: many calls at once; and connections, which are used again."""

from __future__ import annotations

import asyncio
import contextlib

from app.conform.check import Broken, check, expect
from app.conform.client import Reply
from app.conform.stand import Case
from app.mock.replies import Answer, Gate
from app.mock.seen import Seen

CAP = 4
"""`max_parallel_requests` of the model whose cap is tested."""
CROWD = 40


@check(15, params={"max_parallel_requests": CAP})
async def cap_per_model(case: Case) -> str:
    """Calls beyond a model's cap wait briefly, then get 503 with `retry-after`; the upstream never sees more."""
    gate = Gate()
    case.always(Answer("done", gate=gate))
    replies: list[Reply] = []

    async def one() -> None:
        replies.append(await case.ask(within=60))

    crowd = [asyncio.ensure_future(one()) for _ in range(CROWD)]
    try:
        with contextlib.suppress(Broken):
            await case.until(lambda: len(case.seen) + len(replies) >= CROWD, "all have come or gone", within=10)
        at_once, refused = len(case.seen), len(replies)
    finally:
        gate.open()
        done = await asyncio.gather(*crowd, return_exceptions=True)
    expect(
        at_once <= CAP, f"{at_once} of {CROWD} calls were at the upstream at once, with max_parallel_requests: {CAP}"
    )
    turned_away = [reply for reply in replies if reply.status != 200]
    statuses = sorted({reply.status for reply in turned_away})
    expect(refused, f"none of the {CROWD - at_once} calls beyond the cap was turned away within 10 s")
    expect(statuses == [503], f"calls beyond the cap got {statuses}")
    expect(all("retry-after" in reply.headers for reply in turned_away), "503 without retry-after")
    failed = [error for error in done if isinstance(error, BaseException)]
    expect(not failed, f"{len(failed)} calls got no reply: {failed[:1]}")
    return f"{at_once} at once, {len(turned_away)} got 503 with retry-after"


@check(15)
async def calls_do_not_mix(case: Case) -> str:
    """Many calls at once each get their own reply."""
    case.always(Answer(chunks=8, gap=0.01))

    async def one(place: int) -> str:
        reply = await case.ask(f"I am number {place}", stream=place % 2 == 0)
        expect(reply.status == 200, f"status {reply.status}: {reply.body[:100]!r}")
        wanted = f"Echo: I am number {place} {reply.nonce}"
        return "" if reply.text == wanted else f"{reply.told!r} instead of {wanted!r}"

    mixed = [wrong for wrong in await asyncio.gather(*map(one, range(CROWD))) if wrong]
    expect(not mixed, f"{len(mixed)} of {CROWD}: {mixed[:1]}")
    return f"{CROWD} calls at once, half of them streams, each got its own"


@check(15)
async def client_connections_are_kept(case: Case) -> str:
    """A client's connection serves one request after another, whole and streamed."""
    async with case.connect() as connection, case.patience(20):
        for place in range(6):
            try:
                reply = await case.ask_on(connection, stream=place % 2 == 1)
            except Broken as broken:
                raise Broken(f"request {place + 1} of a connection: {broken}") from None
            expect(reply.status == 200 and reply.complete, f"request {place + 1}: status {reply.status}")
    return "six requests on one connection"


@check(15)
async def upstream_connections_are_kept(case: Case) -> str:
    """Connections to the upstream are used again."""
    for place in range(12):
        await case.ask(stream=place % 2 == 1)
    # The pool is shared with the checks that run beside this one, so what counts is who opened a connection.
    opened_by: dict[int, Seen] = {}
    for seen in case.mock.requests:
        opened_by.setdefault(seen.connection, seen)
    fresh = sum(opened_by[seen.connection] is seen for seen in case.seen)
    expect(fresh <= 6, f"{fresh} new connections for 12 calls, one after another")
    return f"{fresh} new connections for 12 calls, one after another"
