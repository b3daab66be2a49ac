"""A report in words: verdicts, the headline, the notes a reader needs, and how a figure is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.bench.baselines import ScoredPool
from app.bench.figures import Baselines, Estimate, PairedTest, Report, RouterReport, Seeds
from app.bench.suite import Suite

BETTER, WORSE, UNDECIDED = "better than the zero router", "worse than the zero router", "no difference shown"

LEVEL = 0.05
"""Of the tests, as the intervals are 95 % ones."""
NOISE = 1e-9
"""An interval this close to 0 holds 0: sums in another order differ by less."""


def verdict(delta: Estimate) -> str:
    """What the interval of a delta_aiq allows to say."""
    if delta.low > NOISE:
        return BETTER
    return WORSE if delta.high < -NOISE else UNDECIDED


def undecided(change: Estimate) -> bool:
    """The rule of all comparisons: where the interval of a difference holds 0, no difference is shown."""
    return change.low <= NOISE and change.high >= -NOISE


def taken_back(change: Estimate, p_holm: float | None) -> bool:
    """True where the interval shows a difference that Holm's correction for many routers does not let stand."""
    return p_holm is not None and p_holm >= LEVEL and not undecided(change)


def p_value(p: float) -> str:
    """A p value to two significant digits."""
    return "p < 0.001" if p < 0.001 else f"p {p:#.2g}"


def _corrected(p: float | None, p_holm: float | None, count: int) -> str:
    return f"Holm's correction for {count} routers ({p_value(p or 0)}, corrected {(p_value(p_holm or 0))[2:]})"


def conclusion(router: RouterReport, count: int) -> str | None:
    """The verdict on one of `count` routers in a sentence; None where there is no zero router to compare with."""
    delta = router.delta_aiq
    if delta is None:
        return None
    figure = f"ΔAIQ {signed(delta.value)}, 95 % interval {signed(delta.low)} to {signed(delta.high)}"
    said = verdict(delta)
    if taken_back(delta, router.delta_p_holm):
        how = _corrected(router.delta_p, router.delta_p_holm, count)
        return f"{router.router}: {said} by itself ({figure}), but {UNDECIDED} after {how}."
    return f"{router.router}: {said} ({figure})."


def finding(test: PairedTest) -> str:
    """What one paired test allows to say, in a few words."""
    return difference(test.difference, test.p_holm)


def difference(change: Estimate, p_holm: float | None) -> str:
    """What the interval of a difference in quality or AIQ allows to say, and what Holm's correction leaves of it."""
    if undecided(change):
        return UNDECIDED
    said = "better" if change.value > 0 else "worse"
    return f"{said}, but not after Holm" if taken_back(change, p_holm) else said


def over_seeds(seeds: Seeds) -> str:
    """ΔAIQ over seeds in a few words."""
    delta = seeds.delta_aiq
    spread = "" if delta.sd is None else f" ± {delta.sd:.4f}"
    return f"{signed(delta.mean)}{spread}, above 0 in {delta.above} of {seeds.n}"


def by_aiq(routers: Sequence[RouterReport]) -> list[RouterReport]:
    """Best first; without AIQ by the quality of the setting that is shown."""
    return sorted(
        routers,
        key=lambda router: router.points[router.best_point].quality if router.aiq is None else router.aiq,
        reverse=True,
    )


def signed(value: float) -> str:
    """A difference of qualities with its sign, to four decimals."""
    text = f"{value:+.4f}"
    return "0.0000" if text in {"+0.0000", "-0.0000"} else text.replace("-", "−")


def money(cost_per_1k: float) -> str:
    """USD per 1,000 requests to three significant digits, from a dollar on to the cent; without the sign."""
    if cost_per_1k == 0:
        return "0"
    if cost_per_1k < 0.001:
        return "<0.001"
    return f"{cost_per_1k:,.2f}" if cost_per_1k >= 1 else f"{cost_per_1k:#.3g}"


def usd(cost: float) -> str:
    """USD of one call to three significant digits, with the sign."""
    return "$0" if cost == 0 else f"${cost:,.2f}" if cost >= 1 else f"${float(f'{cost:.3g}'):.10f}".rstrip("0")


def seconds(value: float) -> str:
    """A time to two or three significant digits in the unit that fits."""
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1e3:.3g} ms" if value < 0.9995 else f"{value:,.2f} s"


def facts(report: Report) -> list[str]:
    """How the figures came to be, in a few words each."""
    part = "items" if report.split == "all" else f"{report.split} items"
    how = "replayed through the proxy" if report.kind == "replay" else "scored from recorded outcomes"
    upstream = [f"upstream {report.upstream}"] if report.upstream else []
    run = [f"run {report.run}"] if report.run else []
    return [
        f"{report.n:,} {part}",
        f"seed {report.seed}",
        f"quality {report.quality_source}",
        how,
        *upstream,
        *run,
        f"{report.draws:,} bootstrap draws",
    ]


FITTED = {"length": "prompt length", "know_dataset": "know the dataset"}
"""How the fitted baselines are called where people read them."""


def headline(
    routers: Sequence[RouterReport], baselines: Baselines | None, *, n: int, split: str, suite: Suite, shown: set[str]
) -> str:
    """The result in one or two sentences. `shown` names the routers that may be the headline: those that can serve."""
    where = f"on {n:,} {'' if split == 'all' else split + ' '}items of {suite.name}"
    text = _result([router for router in routers if router.router in shown], baselines, where)
    return f"Simulated models: {text}" if suite.simulated else text


def _result(routers: list[RouterReport], baselines: Baselines | None, where: str) -> str:
    if not routers:
        return f"No router was scored, only the baselines, {where}."
    if baselines is None:
        best = max(routers, key=lambda router: router.points[router.best_point].quality)
        point = best.points[best.best_point]
        return (
            f"{best.router} answered with quality {point.quality:.3f} at ${point.cost_per_1k:,.3f} per 1,000 requests "
            f"{where}; without recorded outcomes there is nothing to compare it with."
        )
    best = max(routers, key=lambda router: router.delta_aiq.value if router.delta_aiq else -1.0)
    assert best.delta_aiq is not None
    name = best.router if len(routers) == 1 else f"{best.router}, the best of {len(routers)} routers,"
    return f"{_against_zero(name, best, best.delta_aiq)} {where}. {_against_best(best, baselines)}"


def _against_zero(name: str, router: RouterReport, delta: Estimate) -> str:
    figure = f"ΔAIQ {signed(delta.value)}, 95 % interval {signed(delta.low)} to {signed(delta.high)}"
    if taken_back(delta, router.delta_p_holm):
        figure += f"; not shown after Holm's correction, p {router.delta_p_holm:.2g}"
    said = verdict(delta)
    if said == UNDECIDED:
        return f"No difference shown between {name} and the zero router ({figure})"
    return f"{name} {'beats' if said == BETTER else 'does worse than'} the zero router ({figure})"


def _against_best(router: RouterReport, baselines: Baselines) -> str:
    best = f"{baselines.best_single.model} (quality {baselines.best_single.quality:.3f})"
    if router.cost_save is None:
        return f"It does not reach the quality of the best single model, {best}."
    percent = round(100 * router.cost_save)
    if percent == 0:
        return f"It reaches the quality of the best single model, {best}, at the same cost."
    price = f"{abs(percent)} % {'less' if percent > 0 else 'more'}"
    return f"It reaches the quality of the best single model, {best}, for {price}."


def notes(
    *,
    suite: Suite,
    split: str,
    pool: ScoredPool | None,
    absent: Sequence[str],
    routers: Sequence[RouterReport],
    upstream: str | None,
) -> Iterable[str]:
    """What is left out or has to be read with care; `absent` names the models without any outcome here."""
    if suite.simulated:
        yield "The models are simulated: the figures say how the router behaves, nothing about real models."
    if pool is None:
        yield (
            "Nothing is recorded of what every model does on these items, so there are no baselines, no AIQ and no "
            "difference to the zero router."
        )
    else:
        yield from _pool_notes(pool, absent, split)
    yield from _latency_notes(routers, upstream)
    for router in routers:
        least = min((point.coverage for point in router.points), default=1.0)
        if least < 1:
            yield f"{router.router}: coverage down to {least:.1%}; calls that failed or are missing count as quality 0."
    if pool is not None and len(routers) > 1:
        yield from _many_notes(routers)


def _many_notes(routers: Sequence[RouterReport]) -> Iterable[str]:
    """What comparing several routers does to what is said of each."""
    lost = [router for router in routers if router.delta_aiq and taken_back(router.delta_aiq, router.delta_p_holm)]
    intro = f"Each interval stands for itself; {len(routers)} routers are compared"
    if not lost:
        yield f"{intro}, and Holm's correction for that changes no verdict."
        return
    named = ", ".join(f"{router.router} (p {router.delta_p:.2g} → {router.delta_p_holm:.2g})" for router in lost)
    yield f"{intro}, and after Holm's correction for that no difference to the zero router is shown for {named}."


def _pool_notes(pool: ScoredPool, absent: Sequence[str], split: str) -> Iterable[str]:
    if absent:
        yield f"Not in the pool, because nothing is recorded of them on these items: {', '.join(absent)}."
    if pool.coverage.min() < 1:
        yield (
            f"{1 - pool.coverage.mean():.1%} of the recorded outcomes are missing; they count as failed calls "
            "(quality 0, cost 0)."
        )
    if split != "test":
        yield "The length and know-the-dataset baselines are fitted to items that are also scored here."


def _latency_notes(routers: Sequence[RouterReport], upstream: str | None) -> Iterable[str]:
    if not any(point.latency for router in routers for point in router.points):
        yield "Nothing was called, and recorded outcomes carry no latency: there is none to report."
    elif upstream == "recorded":
        yield "The recorded upstream answers at once: latencies hold Hullspeed's own part alone, not a model's."
