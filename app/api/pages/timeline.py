"""A call's attempts on one time line, and how its cost comes about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from app.core.types import Attempt, Call

_TICKS = 4
MOST_BARS = 100


@dataclass(frozen=True)
class Bar:
    """A stretch of time; places in percent of the whole."""

    name: str
    kind: str
    """`router`, `wait`, or an attempt's outcome."""
    begin: float
    """Seconds from the start of the call."""
    seconds: float
    left: float
    width: float
    first: float | None = None
    """Place of the first token."""
    number: int | None = None
    """Of the attempt, from 1."""


@dataclass(frozen=True)
class Line:
    """The whole."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, float], ...]
    """Place in percent, seconds."""
    seconds: float
    left_out: int
    """Attempts beyond `MOST_BARS`."""


def time_line(call: Call) -> Line:
    """The router's time, each attempt, and where nothing ran for long enough to be seen."""
    ends = [attempt.offset + attempt.latency for attempt in call.attempts]
    whole = max([call.latency, *ends, 1e-9])

    def bar(name: str, kind: str, begin: float, seconds: float, attempt: Attempt | None = None, number: int = 0) -> Bar:
        token = None if attempt is None else attempt.time_to_first_token
        return Bar(
            name,
            kind,
            begin,
            seconds,
            _percent(begin, whole),
            _percent(seconds, whole),
            None if token is None else _percent(begin + token, whole),
            number or None,
        )

    bars: list[Bar] = []
    decided = 0.0 if call.decision is None else call.decision.duration
    if call.decision is not None and decided > 0:
        # When it began is not stored; nothing runs before it but reading the request.
        bars.append(bar(call.decision.router, "router", 0.0, decided))
    busy = 0.0
    for number, attempt in enumerate(call.attempts[:MOST_BARS], 1):
        # Attempts may run side by side: a wait is where none of those before is running.
        if number > 1 and attempt.offset - busy > 0.01 * whole:
            bars.append(bar("", "wait", busy, attempt.offset - busy))
        bars.append(bar(attempt.model, attempt.outcome, attempt.offset, attempt.latency, attempt, number))
        busy = max(busy, attempt.offset + attempt.latency)
    ticks = tuple((100 * place / _TICKS, whole * place / _TICKS) for place in range(_TICKS + 1))
    return Line(tuple(bars), ticks, whole, max(len(call.attempts) - MOST_BARS, 0))


def _percent(seconds: float, whole: float) -> float:
    return round(min(max(100 * seconds / whole, 0.0), 100.0), 3)


@dataclass(frozen=True)
class Item:
    """Tokens of one kind at one rate."""

    kind: str
    tokens: int
    rate: Decimal
    """USD per token."""
    cost: Decimal
    note: str = ""


@dataclass(frozen=True)
class Bill:
    """How the cost of one attempt comes about."""

    number: int
    attempt: Attempt
    items: tuple[Item, ...]
    difference: bool
    """The items do not add up to the stored cost, since the upstream stated that itself."""


def bills(attempts: Sequence[Attempt]) -> tuple[Bill, ...]:
    """One for each attempt that used tokens or cost something, as `app.gateway.pricing.cost_of` reckons it."""
    made = []
    for number, attempt in enumerate(attempts, 1):
        if attempt.usage is None and attempt.cost_usd is None:
            continue
        items = tuple(_items(attempt))
        total = sum((item.cost for item in items), Decimal(0))
        made.append(Bill(number, attempt, items, bool(items) and attempt.cost_usd not in (None, total)))
    return tuple(made)


def _items(attempt: Attempt) -> Iterator[Item]:
    usage, price = attempt.usage, attempt.price
    if usage is None or price is None:
        return
    cached, written, reasoning = usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens
    kinds = (
        ("prompt", max(usage.prompt_tokens - cached - written, 0), price.input, None),
        ("prompt, from the cache", cached, price.cached_input, price.input),
        ("prompt, written to the cache", written, price.cache_write, price.input),
        ("reply", max(usage.completion_tokens - reasoning, 0), price.output, None),
        ("reply, reasoning", reasoning, price.reasoning, price.output),
    )
    for kind, tokens, own, plain in kinds:
        if plain is not None and not tokens:
            continue
        rate = plain if own is None else own
        assert rate is not None
        yield Item(kind, tokens, rate, tokens * rate, "no rate of its own" if own is None else "")
