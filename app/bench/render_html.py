"""The report as one HTML file that needs no network: everything it shows and runs stands in it.

The page forbids itself any request, and any script but the ones that it was made with: its content security policy
names the digest of each. So it can be mailed, archived, opened from a folder or served beside other pages. All text
goes through escaping: names of models, suites and routers are whatever somebody wrote into a file.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from app.bench import wording
from app.bench.figures import (
    Baselines,
    Estimate,
    Interval,
    Mark,
    PairedTest,
    Percentiles,
    PointReport,
    Report,
    RouterReport,
)
from app.bench.render_categories import calibrations, categories
from app.bench.render_shares import model_colours, percent, shares

UNKNOWN = "–"
SCRIPTS = "scripts-of-this-page"
"""Stands in the policy until the scripts are known."""
SERIES = ("#4269d0", "#ff725c", "#3ca951", "#a463f2", "#e0a100", "#2aa5a0", "#e8579a", "#9c6b4e", "#5c9ded", "#8a8f2a")
"""Colours of the routers: told apart on white and on black, in this order."""
PLAIN = "var(--muted)"
"""Of what has no colour of its own: the fitted baselines."""
LEAST_REACH = 0.005
"""Least half width of the axis of differences: where all are nothing, it must not magnify nothing."""
TONES = {wording.BETTER: "better", wording.WORSE: "worse", wording.UNDECIDED: "undecided"}


def render_html(report: Report) -> str:
    """The whole page; more than a megabyte, because plotly.js is in it."""
    lines = list(_lines(report))
    coloured = _coloured(report)
    named = [(_label(report, router), router) for router in _asked(report)]
    colours = {router.router: colour for router, colour in coloured}
    page = (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            facts=wording.facts(report),
            undecided=[line.name for line in lines if line.verdict == wording.UNDECIDED],
            lines=lines,
            called=any(point.latency or point.overhead for router in report.routers for point in router.points),
            scale=_Scale.of(report),
            settings=[(router, list(_settings(router))) for router in _asked(report)],
            shares=shares(report, named),
            marks=list(_marks(report)),
            categories=categories(report, coloured, model_colours(report)),
            calibrations=calibrations([(name, colours.get(name, PLAIN), router) for name, router in named]),
            timed=list(_timed(report)),
            losing=[router for router, _ in coloured if router.losses is not None and router.losses.items],
            prices={price.model: price for price in report.prices},
            pooled={single.model for single in report.pool},
            tests=list(_tests(report)),
            pairs=[(_label(report, router), router.pair) for router in _asked(report) if router.pair is not None],
            over_seeds=[
                (_label(report, router), router.seeds) for router in _asked(report) if router.seeds is not None
            ],
            figure=_script_json(_figure(report)),
            plotly=Markup(_script()),  # noqa: S704 (the library itself)
            fitted=wording.FITTED,
            unknown=UNKNOWN,
            scripts=SCRIPTS,
        )
    )
    # A figure is data and runs nothing; the others have no attribute.
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    return page.replace(SCRIPTS, " ".join(f"'sha256-{_digest(script)}'" for script in scripts), 1)


def policy_of(page: str) -> str:
    """The content security policy that a page of `render_html` states; it stands at its beginning. Raises
    `ValueError` where the text is none."""
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    if found is None:
        raise ValueError("not a report's page")
    return found[1]


def _digest(script: str) -> str:
    """As browsers take it of the element's text (w3.org/TR/CSP3, 6.7.3.3), in which each line ends with LF."""
    text = script.replace("\r\n", "\n").replace("\r", "\n")
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _script() -> str:
    return (files("app.pages") / "static" / "plotly-basic.min.js").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("app.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["signed_percent"] = lambda part: UNKNOWN if part is None else f"{part:+.1%}".replace("-", "−")
    environment.filters["signed"] = wording.signed
    environment.filters["money"] = wording.money
    environment.filters["rate"] = lambda usd: f"{usd:,.4g}"
    environment.filters["grade"] = lambda quality: f"{quality:.3g}"
    environment.filters["usd"] = wording.usd
    environment.filters["json"] = lambda value: msgspec.json.encode(value).decode()
    return environment


def _asked(report: Report) -> list[RouterReport]:
    """The routers best first, then the fitted baselines."""
    around = report.baselines
    fitted = [around.know_dataset, around.length] if around is not None else []
    return [*wording.by_aiq(report.routers), *(router for router in fitted if router is not None)]


def _coloured(report: Report) -> list[tuple[RouterReport, str]]:
    """The routers best first, each with its colour."""
    return [(router, SERIES[place % len(SERIES)]) for place, router in enumerate(wording.by_aiq(report.routers))]


def _label(report: Report, router: RouterReport) -> str:
    is_baseline = not any(router is other for other in report.routers)
    return wording.FITTED[router.router] if is_baseline else router.router


# ---------------------------------------------------------------------------------------------- leaderboard


class _Line(NamedTuple):
    """One row of the leaderboard."""

    name: str
    baseline: bool
    colour: str | None
    aiq: str
    delta: Estimate | None
    figure: str
    """The difference with its interval, written out."""
    verdict: str | None
    tone: str
    setting: str
    quality: str
    cost: str
    saved: str
    latency: str
    overhead: str
    remark: str
    """Which models a baseline stands for; empty for a router, whose models have a section of their own."""


def _lines(report: Report) -> Iterator[_Line]:
    for router, colour in _coloured(report):
        yield _router_line(router, router.router, colour=colour)
    around = report.baselines
    if around is None:
        return
    oracle = around.oracle
    yield _plain_line("oracle", oracle.aiq, oracle, "best model of each prompt")
    for name, fitted in (("know_dataset", around.know_dataset), ("length", around.length)):
        if fitted is not None:
            yield _router_line(fitted, wording.FITTED[name], colour=None)
    yield _plain_line("zero router", around.zero.aiq, None, " → ".join(single.model for single in around.zero.hull))
    yield _plain_line("best single", None, around.best_single, around.best_single.model)
    yield _plain_line("random", None, around.random, "every model alike")
    yield _plain_line("cheapest", None, around.cheapest, around.cheapest.model)


def _router_line(router: RouterReport, name: str, *, colour: str | None) -> _Line:
    point = router.points[router.best_point]
    return _Line(
        name=name,
        baseline=colour is None,
        colour=colour,
        aiq=UNKNOWN if router.aiq is None else f"{router.aiq:.4f}",
        delta=router.delta_aiq,
        figure=_difference(router.delta_aiq),
        verdict=router.verdict,
        tone=TONES.get(router.verdict or "", ""),
        setting=f"{point.tradeoff:g}",
        quality=f"{point.quality:.3f}",
        cost=wording.money(point.cost_per_1k),
        saved=UNKNOWN if router.aiq is None else _saved(router.cost_save),
        latency=_p50(point.latency),
        overhead=_p50(point.overhead),
        remark="",
    )


def _plain_line(name: str, aiq: float | None, at: Any, remark: str) -> _Line:
    """A baseline that is no router: `at` has a quality and a cost, or is None."""
    return _Line(
        name=name,
        baseline=True,
        colour=None,
        aiq=UNKNOWN if aiq is None else f"{aiq:.4f}",
        delta=None,
        figure=UNKNOWN,
        verdict=None,
        tone="",
        setting=UNKNOWN,
        quality=UNKNOWN if at is None else f"{at.quality:.3f}",
        cost=UNKNOWN if at is None else wording.money(at.cost_per_1k),
        saved=UNKNOWN,
        latency=UNKNOWN,
        overhead=UNKNOWN,
        remark=remark,
    )


def _difference(delta: Estimate | None) -> str:
    if delta is None:
        return UNKNOWN
    return f"{wording.signed(delta.value)} [{wording.signed(delta.low)}, {wording.signed(delta.high)}]"


def _saved(part: float | None) -> str:
    if part is None:
        return "not reached"
    return "0%" if abs(part) < 0.005 else f"{part:.0%}".replace("-", "−")


def _p50(times: Percentiles | None) -> str:
    return UNKNOWN if times is None else wording.seconds(times.p50)


class _Scale(NamedTuple):
    """The axis that the intervals of all rows share, in differences of AIQ."""

    low: float
    high: float

    @classmethod
    def of(cls, report: Report) -> _Scale:
        """Wide enough for all routers, the oracle of the bench apart: it would press all others into one place."""
        deltas = [router.delta_aiq for router in _asked(report) if router.delta_aiq is not None]
        near = sorted(deltas, key=lambda delta: abs(delta.value))
        median = abs(near[len(near) // 2].value) if near else 0.0
        kept = [delta for delta in near if abs(delta.value) <= max(4 * median, 0.02)]
        reach = max((abs(edge) for delta in kept for edge in (delta.low, delta.high)), default=0.0)
        reach = 1.08 * max(reach, LEAST_REACH)
        return cls(-reach, reach)

    def at(self, value: float) -> float:
        """Place of a difference along the axis, in percent; what lies outside stands at the edge."""
        return round(100 * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0), 2)

    def beyond(self, value: float) -> str:
        """`left` or `right` where a difference lies outside the axis, else empty."""
        return "left" if value < self.low else "right" if value > self.high else ""


# ------------------------------------------------------------------------------------------------------ tests


class _Test(NamedTuple):
    """One paired comparison of a router's best point."""

    router: str
    setting: str
    against: str
    figure: str
    test: str
    p: str
    p_holm: str
    said: str


def _tests(report: Report) -> Iterator[_Test]:
    for router in wording.by_aiq(report.routers):
        for test in (router.against_best_single, router.against_zero):
            if test is not None:
                yield _test(router, test)


def _test(router: RouterReport, test: PairedTest) -> _Test:
    counts = "permutation" if test.only_router is None else f"McNemar {test.only_router:,} : {test.only_other:,}"
    return _Test(
        router=router.router,
        setting=f"{router.points[router.best_point].tradeoff:g}",
        against="zero router at equal cost" if test is router.against_zero else test.against,
        figure=_difference(test.difference),
        test=counts,
        p=wording.p_value(test.p)[2:],
        p_holm=UNKNOWN if test.p_holm is None else wording.p_value(test.p_holm)[2:],
        said=wording.finding(test),
    )


# ----------------------------------------------------------------------------------------------- all settings


def _settings(router: RouterReport) -> Iterator[dict[str, str]]:
    foretold = any(point.calibration is not None for point in router.points)
    for point in router.points:
        yield {
            "t": f"{point.tradeoff:g}",
            "quality": _spread(point.quality, point.quality_interval, "{:.3f}".format),
            "$ per 1k": _spread(point.cost_per_1k, point.cost_interval, wording.money),
            "coverage": f"{point.coverage:.1%}",
            "latency p50 / p95 / p99": _percentiles(point.latency),
            "overhead p50 / p95 / p99": _percentiles(point.overhead),
            "oracle's pick": UNKNOWN if point.opt_sel is None else f"{point.opt_sel:.1%}",
            "regret": UNKNOWN if point.regret is None else f"{point.regret:.4f}",
            "Pareto": "yes" if point.pareto else "no",
            "arena": UNKNOWN if point.arena is None else f"{100 * point.arena:.1f}",
            **(_calibration(point) if foretold else {}),
        }


def _calibration(point: PointReport) -> dict[str, str]:
    """How well the router foretold its picks; a column only where it foretold anything."""
    found = point.calibration
    return {
        "Brier": UNKNOWN if found is None or found.brier is None else f"{found.brier:.3f}",
        "ECE": UNKNOWN if found is None or found.ece is None else f"{found.ece:.3f}",
        "cost error": UNKNOWN if found is None or found.cost_mape is None else f"{found.cost_mape:.0%}",
    }


def _spread(value: float, interval: Interval | None, write: Any) -> str:
    if interval is None:
        return str(write(value))
    return f"{write(value)} [{write(interval.low)}, {write(interval.high)}]"


def _percentiles(times: Percentiles | None) -> str:
    return UNKNOWN if times is None else " / ".join(_three(times))


# ------------------------------------------------------------------------------------------------ all figures


class _Mark(NamedTuple):
    """A mark of the plane, written out."""

    name: str
    kind: str
    t: str
    quality: str
    cost: str


def _marks(report: Report) -> Iterator[_Mark]:
    """All that the plane shows, for those who do not see it."""
    for router in _asked(report):
        for point in router.points:
            yield _Mark(
                _label(report, router),
                "router" if any(router is one for one in report.routers) else "baseline",
                f"{point.tradeoff:g}",
                _spread(point.quality, point.quality_interval, "{:.3f}".format),
                _spread(point.cost_per_1k, point.cost_interval, wording.money),
            )
    for single in report.pool:
        quality = _spread(single.quality, single.quality_interval, "{:.3f}".format)
        cost = _spread(single.cost_per_1k, single.cost_interval, wording.money)
        yield _Mark(single.model, "single model", UNKNOWN, quality, cost)
    around = report.baselines
    for name, at in (("oracle", around.oracle), ("random", around.random)) if around is not None else ():
        yield _Mark(name, "baseline", UNKNOWN, f"{at.quality:.3f}", wording.money(at.cost_per_1k))


class _Timed(NamedTuple):
    """The times of one router at the leaderboard's setting."""

    name: str
    t: str
    latency: list[str]
    overhead: list[str]


def _timed(report: Report) -> Iterator[_Timed]:
    for router in wording.by_aiq(report.routers):
        point = router.points[router.best_point]
        if point.latency is not None or point.overhead is not None:
            yield _Timed(router.router, f"{point.tradeoff:g}", _three(point.latency), _three(point.overhead))


def _three(times: Percentiles | None) -> list[str]:
    if times is None:
        return [UNKNOWN] * 3
    return [wording.seconds(value) for value in (times.p50, times.p95, times.p99)]


# ----------------------------------------------------------------------------------------------------- figure


def _figure(report: Report) -> dict[str, Any]:
    """What the page's script draws: series of points and lines, with plotly's own markup escaped in every name."""
    around = report.baselines
    series = list(_reference(report, around)) if around is not None else []
    # The best is drawn last, so that it stands on top.
    best_last = reversed(_coloured(report))
    series += [_router_series(router, _plotly(router.router), colour) for router, colour in best_last]
    return {"series": series, "free": any(min(one["x"]) <= 0 for one in series)}


def _reference(report: Report, around: Baselines) -> Iterator[dict[str, Any]]:
    """The zero router's hull, the oracle, the fitted baselines, random choice and every single model."""
    dearest = max(single.cost_per_1k for single in report.pool)
    hull = [Mark(quality=single.quality, cost_per_1k=single.cost_per_1k) for single in around.zero.hull]
    yield _line("zero router", [*hull, Mark(quality=hull[-1].quality, cost_per_1k=dearest)], "zero")
    yield _line("oracle curve", list(around.oracle.curve), "oracle")
    for name, router in (("know_dataset", around.know_dataset), ("length", around.length)):
        if router is not None:
            yield _router_series(router, wording.FITTED[name], None) | {"role": name}
    yield _dots("random", [("random", around.random.cost_per_1k, around.random.quality)], "random")
    yield _dots("single models", [(s.model, s.cost_per_1k, s.quality) for s in report.pool], "models")


def _plotly(name: str) -> str:
    """`name` as plotly's labels show it literally; quotes are left alone, because plotly would print their escapes."""
    return html.escape(name, quote=False)


def _line(name: str, marks: Sequence[Mark], role: str) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "x": [mark.cost_per_1k for mark in marks],
        "y": [mark.quality for mark in marks],
    }


def _dots(name: str, dots: Sequence[tuple[str, float, float]], role: str) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "x": [cost for _, cost, _ in dots],
        "y": [quality for _, _, quality in dots],
        "labels": [_plotly(label) for label, _, _ in dots],
        "text": [f"<b>{_plotly(label)}</b><br>quality {q:.3f}<br>${wording.money(c)} per 1k" for label, c, q in dots],
    }


def _router_series(router: RouterReport, name: str, colour: str | None) -> dict[str, Any]:
    """`name` is escaped already."""
    return {
        "name": name,
        "role": "router",
        "colour": colour,
        "x": [point.cost_per_1k for point in router.points],
        "y": [point.quality for point in router.points],
        **(_errors(router) if colour is not None else {}),
        "hull_x": [mark.cost_per_1k for mark in router.hull],
        "hull_y": [mark.quality for mark in router.hull],
        "text": [
            f"<b>{name}</b>, t = {point.tradeoff:g}"
            f"<br>quality {_spread(point.quality, point.quality_interval, '{:.3f}'.format)}"
            f"<br>${_spread(point.cost_per_1k, point.cost_interval, wording.money)} per 1k"
            for point in router.points
        ],
    }


def _errors(router: RouterReport) -> dict[str, Any]:
    """The intervals of a router's points; of points that coincide the first one's alone, or they would add up."""
    places = [(point.cost_per_1k, point.quality) for point in router.points]
    first = [place not in places[:index] for index, place in enumerate(places)]
    costs = [(point.cost_per_1k, point.cost_interval) for point in router.points]
    qualities = [(point.quality, point.quality_interval) for point in router.points]
    return {"error_x": _reach(costs, first), "error_y": _reach(qualities, first)}


def _reach(points: Sequence[tuple[float, Interval]], shown: Sequence[bool]) -> dict[str, list[float]]:
    """How far each interval goes above and below its figure; not at all where it is not shown."""
    both = list(zip(points, shown, strict=True))
    return {
        "array": [max(interval.high - value, 0.0) * see for (value, interval), see in both],
        "arrayminus": [max(value - interval.low, 0.0) * see for (value, interval), see in both],
    }


def _script_json(value: object) -> Markup:
    """JSON that can stand in a script element: no character of it can end the element or open a comment."""
    text = msgspec.json.encode(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (every character that means something to HTML was replaced)
