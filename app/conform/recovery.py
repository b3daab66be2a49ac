"""Points 6, 12 and 13: retries, fallbacks, and models set aside."""

from __future__ import annotations

import asyncio

from app.conform.check import OPENAI, NotApplicable, check, expect
from app.conform.stand import Case
from app.mock.replies import Answer, Fault, HttpError, context_length_exceeded, rate_limited
from app.mock.replies import Reply as Said

MOST_ATTEMPTS = 6
"""Of one call at one model; more is a storm."""
RECOVERED = Answer("recovered")
COMES_BACK = 45.0
"""Seconds in which a model that is well again must serve again."""

RETRIED: tuple[tuple[str, Said], ...] = (
    ("408", HttpError(408)),
    ("409", HttpError(409)),
    ("429", rate_limited(retry_after="1")),
    ("500", HttpError(500)),
    ("502", HttpError(502)),
    ("503", HttpError(503)),
    ("529", HttpError(529)),
    ("cut-before-headers", Fault("cut_before_headers")),
    ("cut-after-headers", Fault("cut_after_headers")),
)


def _retried(name: str, said: Said, streamed: bool) -> None:
    how = " for a stream" if streamed else ""

    @check(12, name=f"retries-{name}{'-streamed' if streamed else ''}", what=f"{name} is tried again{how}")
    async def retried(case: Case) -> str:
        case.says(said, RECOVERED)
        reply = await case.ask(stream=streamed)
        expect(reply.status == 200, f"status {reply.status} after {len(case.seen)} attempts")
        expect(reply.text == "recovered", f"text {reply.text!r}")
        expect(len(case.seen) == 2, f"{len(case.seen)} attempts")
        return "the second attempt answered"


for _name, _said in RETRIED:
    _retried(_name, _said, streamed=False)
_retried("500", HttpError(500), streamed=True)


@check(12)
async def waits_retry_after(case: Case) -> str:
    """A 429 is tried again only after its `retry-after`."""
    case.says(rate_limited(retry_after="2"), RECOVERED)
    reply = await case.ask()
    if reply.status == 429 and len(case.seen) == 1:
        raise NotApplicable("a 429 is not tried again (its own check says so)")
    expect(reply.status == 200, f"status {reply.status}")
    waited = case.seen[1].arrived - case.seen[0].arrived
    expect(waited >= 1.9, f"the second attempt came after {waited:.2f} s, not 2 s")
    return f"the second attempt came after {waited:.2f} s"


@check(12)
async def long_retry_after_is_not_waited_for(case: Case) -> str:
    """A `retry-after` beyond any reason goes to the client instead of being waited for, or not being kept to."""
    case.always(rate_limited(retry_after="3600"))
    reply = await case.ask()
    expect(reply.status == 429, f"status {reply.status}")
    expect(len(case.seen) == 1, f"the upstream, told to be left alone, was asked {len(case.seen)} times")
    return f"429 after {reply.seconds:.1f} s, one attempt"


def _not_retried(name: str, said: Said, dialects: tuple[str, ...] = ("openai", "anthropic", "gemini")) -> None:
    @check(12, name=f"does-not-retry-{name}", what=f"{name} is not tried again on the same model", dialects=dialects)
    async def asked_once(case: Case) -> str:
        case.always(said)
        reply = await case.ask()
        expect(reply.status >= 400, f"status {reply.status}")
        expect(len(case.seen) == 1, f"asked {len(case.seen)} times")
        return f"asked once, {reply.status}"


_not_retried("400", HttpError(400, "Bad request.", "invalid_request_error"))
_not_retried("context-length", context_length_exceeded())
_not_retried("quota", rate_limited(retry_after=None, quota=True), OPENAI)


@check(12)
async def retries_are_bounded(case: Case) -> str:
    """An upstream that always fails is asked a few times, by one layer, not for ever."""
    case.always(HttpError(500))
    reply = await case.ask()
    expect(reply.status >= 500, f"status {reply.status}")
    seen = case.seen
    expect(len(seen) <= MOST_ATTEMPTS, f"asked {len(seen)} times for one call")
    expect(len(seen) > 1, "asked once: nothing was retried")
    return f"asked {len(seen)} times in {seen[-1].arrived - seen[0].arrived:.1f} s"


@check(12)
async def clients_retries_count(case: Case) -> str:
    """`x-stainless-retry-count` of a client that retries itself lowers the number of attempts."""
    case.always(HttpError(503))
    await case.ask()
    alone = len(case.seen)
    if alone == 1:
        raise NotApplicable("nothing is retried (its own check says so)")
    await case.ask(headers={"x-stainless-retry-count": "2"})
    again = len(case.seen) - alone
    expect(again < alone, f"{alone} attempts for a fresh request, {again} for a client's second retry")
    return f"{alone} attempts for a fresh request, {again} for a client's second retry"


# ---------------------------------------------------------------------- point 6: fallbacks

FALLS_BACK: tuple[tuple[str, Said], ...] = (
    ("401", HttpError(401, "Incorrect API key provided.")),
    ("429", rate_limited(retry_after="120")),
    ("500", HttpError(500)),
    ("529", HttpError(529)),
    ("cut-before-headers", Fault("cut_before_headers")),
    ("cut-after-headers", Fault("cut_after_headers")),
    ("broken-body", Fault("broken_json")),
    ("web-page", Fault("wrong_content_type")),
    ("empty-body", Fault("empty_body")),
    ("error-with-200", Fault("error_event", after=0)),
    ("stall", Fault("stall")),
)


def _falls_back(name: str, said: Said, streamed: bool) -> None:
    how = ", streamed" if streamed else ""

    @check(
        6,
        name=f"falls-back-on-{name}{'-streamed' if streamed else ''}",
        what=f"{name.replace('-', ' ')} before the first token: another model answers{how}",
        fallback=True,
        params={"timeout": 2.0},
    )
    async def falls_back(case: Case) -> str:
        case.always(said)
        reply = await case.ask(stream=streamed)
        expect(reply.status == 200, f"status {reply.status}: {reply.body[:100]!r}")
        expect(reply.text == f"Echo: Say it {reply.nonce}", f"the text is {reply.text[:60]!r}")
        asked = len(case.backup_seen(reply.nonce))
        expect(asked == 1, f"the backup was asked {asked} times")
        return f"the backup answered, after {len(case.seen)} attempts at the first"


for _name, _said in FALLS_BACK:
    _falls_back(_name, _said, streamed=False)
for _name, _said in FALLS_BACK:
    if _name not in ("broken-body", "401", "529"):
        _falls_back(_name, _said, streamed=True)


@check(6, fallback=True)
async def falls_back_after_role_only(case: Case) -> str:
    """A stream that breaks after a role-only chunk is taken over whole: the role was held back."""
    case.always(Fault("cut_between_events", after=0, answer=Answer("never said")))
    reply = await case.stream()
    expect(reply.status == 200, f"status {reply.status}")
    expect(reply.text == f"Echo: Say it {reply.nonce}", f"the text is {reply.text[:60]!r}")
    ids = {chunk.get("id") for chunk in reply.chunks}
    expect(len(ids) == 1, f"chunks of {len(ids)} replies")
    expect(reply.done, "no [DONE]")
    return "the backup's stream alone, then [DONE]"


@check(6, fallback=True, info={"max_input_tokens": 8192})
async def too_long_goes_to_a_larger_window(case: Case) -> str:
    """`context_length_exceeded` may go to a model with a larger window."""
    case.always(context_length_exceeded())
    reply = await case.ask()
    expect(reply.status == 200, f"status {reply.status}: {reply.body[:100]!r}")
    expect(len(case.seen) == 1, f"the model whose window is too small was asked {len(case.seen)} times")
    return "the backup, with its larger window, answered"


def _unreachable(place: str, words: str) -> None:
    @check(6, name=f"falls-back-from-{place}", what=f"A model {words}: another answers", fallback=True, place=place)
    async def unreachable(case: Case) -> str:
        reply = await case.ask()
        expect(reply.status == 200, f"status {reply.status}: {reply.body[:100]!r}")
        expect(len(case.backup_seen(reply.nonce)) == 1, "the backup was not asked once")
        return "the backup answered"


_unreachable("nowhere", "that cannot be reached")
_unreachable("expired", "behind an expired certificate")


# ---------------------------------------------------------------------- point 13: models set aside

FAILURES = 30


async def _fail_often(case: Case) -> int:
    """How often the failing model was asked for the last ten of many calls."""
    case.always(HttpError(500))
    for place in range(FAILURES):
        if place == FAILURES - 10:
            before = len(case.seen)
        reply = await case.ask()
        expect(reply.status == 200, f"call {place + 1}: status {reply.status} though the backup is well")
    return len(case.seen) - before


@check(13, fallback=True)
async def failing_model_is_set_aside(case: Case) -> str:
    """A model that keeps failing is set aside: calls go to another without asking it first."""
    late = await _fail_often(case)
    expect(late < 10, f"after 20 failed calls it was asked {late} times for 10 more")
    return f"after 20 failed calls it was asked {late} times for 10 more"


@check(13, fallback=True)
async def set_aside_model_comes_back(case: Case) -> str:
    """A model that was set aside and is well again serves again."""
    if await _fail_often(case) >= 10:
        raise NotApplicable("it was never set aside (its own check says so)")
    case.always(Answer("back again"))
    loop = asyncio.get_running_loop()
    started = loop.time()
    while loop.time() < started + COMES_BACK * case.stand.haste:
        reply = await case.ask()
        expect(reply.status == 200, f"status {reply.status}")
        if reply.text == "back again":
            return f"it answered again after {loop.time() - started:.1f} s"
        await asyncio.sleep(0.5)
    expect(False, f"well for {COMES_BACK:g} s, and still not asked")
    return ""


@check(13)
async def the_least_bad_is_tried(case: Case) -> str:
    """With every model out, one is tried rather than failing at once."""
    case.always(HttpError(500))
    for _ in range(12):
        await case.ask(headers={"x-stainless-retry-count": "9"})
    before = len(case.seen)
    case.always(Answer("after all"))
    reply = await case.ask()
    expect(len(case.seen) > before, f"status {reply.status} without asking the only model there is")
    expect(reply.status == 200, f"status {reply.status}")
    return "the only model, after 12 failed calls, was asked and answered"
