"""The figures at the top of the overview, each with what one has to know to read it right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from app.api.pages.overview_view import Found, Seen
from app.core.formats import count, seconds, share, short_count, usd
from app.core.types import Price
from app.store.queries.overview import Baseline, Compared, Overview, Quantiles, baselines

UNKNOWN = "–"
ALARMING = 0.05
"""Failed share of the calls from which on the figure is red."""


@dataclass(frozen=True)
class Tile:
    """One figure, or two of a kind."""

    name: str
    figures: Sequence[tuple[str, str]]
    """Each with a word on which one it is, empty where there is one only."""
    asides: Sequence[str]
    tone: str = ""
    """`good` or `bad`."""
    link: str = ""
    """Outcome that the figure leads to the calls of."""
    model: str = ""
    """The model that the name ends in."""


def tiles(seen: Seen) -> list[Tile]:
    """From left to right."""
    calls, failed, spend, *others = _of_ledger(seen)
    return [calls, failed, spend, _inflight(seen), *others]


def chosen_baseline(seen: Seen) -> str | None:
    """The model to compare with: the one asked for, otherwise the dearest; None where no price is known."""
    if seen.asked.against:
        return seen.asked.against
    compared = None if seen.found is None else seen.found.sums.compared
    if compared is not None and compared.calls:
        return next((one.model for one in baselines(compared, seen.prices)), None)
    return max(seen.prices, key=lambda name: seen.prices[name].output, default=None)


def _of_ledger(seen: Seen) -> Iterator[Tile]:
    found = seen.found
    against = chosen_baseline(seen)
    names = ["Calls", "Failed", "Spend", "Saved against best single", "Saved against", "Latency", "Router overhead"]
    if found is None:
        yield from (Tile(name, [(UNKNOWN, "")], ["the ledger does not answer"]) for name in names)
        return
    sums, total = found.sums, found.sums.total
    yield Tile(names[0], [(count(total.calls), "")], _traffic(sums, seen.now))
    yield _failed(names[1], sums)
    yield _spend(names[2], sums)
    yield _saved_against_best(names[3], seen, found)
    yield _saved(names[4], sums.compared, total.calls, against, seen.prices)
    yield _times(names[5], total.latency, ["from the request to the end of the reply, failed calls too"])
    of = "what Hullspeed itself adds: deciding, checking, trying again"
    yield _times(names[6], total.overhead, [of])


def _traffic(sums: Overview, now: datetime) -> list[str]:
    total = sums.total
    if not total.calls:
        return ["none in this time"]
    passed = max((min(sums.until, now) - sums.since).total_seconds(), 1.0)
    rate = total.calls / passed
    for size, unit in ((1, "a second"), (60, "a minute"), (3600, "an hour")):
        if rate * size >= 1 or size == 3600:
            said = f"{rate * size:,.1f} {unit} on average"
            break
    return [said, f"{short_count(total.prompt_tokens)} tokens in, {short_count(total.completion_tokens)} out"]


def _failed(name: str, sums: Overview) -> Tile:
    total, outcomes = sums.total, sums.outcomes
    asides = [f"{count(total.failed)} of {count(total.calls)} calls"] if total.calls else ["no calls, no failures"]
    others = {"rejected": "refused", "client_cancelled": "given up by the client"}
    if beside := [f"{count(outcomes[name])} {word}" for name, word in others.items() if outcomes.get(name)]:
        asides.append(f"beside them {', '.join(beside)}")
    tone = "bad" if total.calls and total.failed / total.calls >= ALARMING else ""
    return Tile(name, [(share(total.failed, total.calls), "")], asides, tone, "error" if total.failed else "")


def _spend(name: str, sums: Overview) -> Tile:
    total = sums.total
    if not total.calls:
        return Tile(name, [(usd(total.cost_usd), "")], ["no calls, no spend"])
    asides = [f"{usd(total.cost_usd / total.calls * 1000)} per 1,000 calls"]
    if total.unpriced:
        asides.append(f"left out: {count(total.unpriced)} at an unknown price")
    else:
        asides.append("failed attempts that were billed are in it")
    return Tile(name, [(usd(total.cost_usd), "")], asides)


def _saved_against_best(name: str, seen: Seen, found: Found) -> Tile:
    best = seen.best
    if best is None:
        why = "not known which is best: no router predicts quality, and too few calls are scored"
        return Tile(name, [(UNKNOWN, "")], [why])
    of = ("score" if best.basis == "scores" else "prediction") + ("" if best.count == 1 else "s")
    chosen = f"best by quality: {best.quality:.2f}, the mean of {count(best.count)} {of}"
    tile = _saved(name, found.sums.compared, found.sums.total.calls, best.model, seen.prices)
    return replace(tile, asides=[chosen, *tile.asides])


def _saved(name: str, compared: Compared, calls: int, model: str | None, prices: dict[str, Price]) -> Tile:
    if model is None:
        return Tile(name, [(UNKNOWN, "")], ["no model's price is known"])
    if model not in prices:
        return Tile(name, [(UNKNOWN, "")], ["its price is not known here"], model=model)
    if not compared.calls:
        return Tile(name, [(UNKNOWN, "")], ["no calls at a known cost"], model=model)
    (baseline,) = baselines(compared, {model: prices[model]})
    asides = [f"estimate: {usd(baseline.cost_usd)} for as many tokens at its price today"]
    if missing := calls - compared.calls:
        asides.append(f"left out: {count(missing)} without an answer or a known cost")
    return Tile(name, _signed(baseline), asides, "good" if baseline.saved_usd > 0 else "bad", model=model)


def _signed(baseline: Baseline) -> list[tuple[str, str]]:
    saved, cost = baseline.saved_usd, baseline.cost_usd
    sign = "−" if saved < 0 else ""
    part = f"{sign}{share(abs(float(saved)), float(cost))}" if cost > Decimal(0) else ""
    if cost > Decimal(0) and -saved > cost:
        # Percentages beyond a hundred are hard to read.
        part = f"{(cost - saved) / cost:,.0f} times its cost"
    amount = usd(abs(saved)) if abs(saved) < 10_000 else f"${abs(saved):,.0f}"
    return [(f"{sign}{amount}", part)]


def _times(name: str, times: Quantiles | None, asides: Sequence[str]) -> Tile:
    if times is None:
        return Tile(name, [(UNKNOWN, "")], ["no calls that know theirs"])
    return Tile(name, [(seconds(times.p50), "p50"), (seconds(times.p99), "p99")], asides)


def _inflight(seen: Seen) -> Tile:
    waiting = f"of {count(seen.most_inflight)} at once, on this host"
    return Tile("In flight", [(count(seen.inflight), "")], [waiting])
