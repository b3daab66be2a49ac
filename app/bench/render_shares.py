"""Which model answered how much, as bars: of every router at each setting, and in each category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app.bench.figures import Report, RouterReport

SCALE = ((42, 157, 143), (138, 177, 125), (233, 196, 106), (244, 162, 97), (214, 93, 66))
"""Colours of the models from the cheapest to the dearest."""
LEAST_LABEL = 0.12
"""Least part of a bar that has room for its percentage."""


class Part(NamedTuple):
    """One model in a bar."""

    model: str
    width: float
    """Percent of the bar."""
    colour: str
    label: str


class Bar(NamedTuple):
    """What the models answered of one setting, or of one category."""

    label: str
    parts: list[Part]
    cells: list[str]
    """The same as a row of the table, one cell a model."""


def percent(part: float) -> str:
    """A share to the whole percent."""
    return "<1%" if 0 < part < 0.005 else f"{part:.0%}"


def model_colours(report: Report) -> dict[str, str]:
    """A colour for every model of the report, from the cheapest to the dearest."""
    order = [single.model for single in report.pool]
    around = report.baselines
    fitted = [around.length, around.know_dataset] if around is not None else []
    asked = [*report.routers, *(router for router in fitted if router is not None)]
    named = {model for router in asked for point in router.points for model in point.share}
    order += sorted(named - set(order))
    return {model: _shade(place, len(order)) for place, model in enumerate(order)}


def shares(report: Report, asked: Sequence[tuple[str, RouterReport]]) -> dict[str, Any]:
    """What the page shows of `asked`, routers with the names they go by."""
    colours = model_colours(report)
    named = {model for _, router in asked for point in router.points for model in point.share}
    order = [model for model in colours if model in named]
    return {
        "legend": [(model, colours[model]) for model in order],
        "by_cost": bool(report.pool),
        "routers": [
            (name, [_bar(f"t {point.tradeoff:g}", point.share, order, colours) for point in router.points])
            for name, router in asked
        ],
        "categories": _by_category(report, [router for _, router in asked], order, colours),
    }


def _by_category(
    report: Report, asked: Sequence[RouterReport], order: Sequence[str], colours: Mapping[str, str]
) -> list[tuple[str, list[Bar]]]:
    """A bar per category for each router of the report, at the setting of the leaderboard; none of one category."""
    if len(report.categories) < 2:
        return []
    place = {id(router): index for index, router in enumerate(report.routers)}
    found = []
    for router in asked:
        if id(router) not in place:
            continue  # a fitted baseline, of which no category is kept
        own = [(category, category.routers[place[id(router)]]) for category in report.categories]
        bars = [_bar(kind.category, one.points[router.best_point].share, order, colours) for kind, one in own]
        found.append((f"{router.router}, t {router.points[router.best_point].tradeoff:g}", bars))
    return found


def _bar(label: str, share: Mapping[str, float], order: Sequence[str], colours: Mapping[str, str]) -> Bar:
    parts = [
        Part(model, round(100 * share[model], 3), colours[model], percent(share[model]))
        for model in order
        if model in share
    ]
    shown = [part if part.width >= 100 * LEAST_LABEL else part._replace(label="") for part in parts]
    return Bar(label, shown, [percent(share.get(model, 0.0)) for model in order])


def _shade(place: int, count: int) -> str:
    """A colour of `SCALE`, evenly spread over `count` models."""
    along = place / max(count - 1, 1) * (len(SCALE) - 1)
    left = min(int(along), len(SCALE) - 2)
    mixed = (round(a + (b - a) * (along - left)) for a, b in zip(SCALE[left], SCALE[left + 1], strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
