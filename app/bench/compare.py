"""Two finished runs side by side: what changed, item by item, and what of it is more than chance.

For a change of a router, of a price list, of the proxy's own code: the same items asked twice. Only what was asked of
the same items, and judged the same way, can be paired; anything else is refused rather than compared loosely, because
the spread between two samples of items is far larger than most differences between routers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from app.bench import curves, wording
from app.bench.curves import Floats, Frame
from app.bench.figures import Estimate, PairedTest, Report
from app.bench.significance import paired_test
from app.bench.statistics import bootstrap_means, bootstrap_p, holm, interval
from app.core.errors import ConfigError
from app.store.runs import ResultRow, RunRow

Setting = tuple[str, float]
"""A router at a tradeoff."""
SHOWN = 3
"""Items an error names before it only counts."""
SAME_LIMIT = 1e-9
"""Relative difference up to which the limits of two pools are the same."""


@dataclass(frozen=True)
class Finished:
    """A run as the store has it."""

    run: RunRow
    rows: Sequence[ResultRow]
    """One per (router, tradeoff, item), in any order."""
    report: Report | None = None
    """Its pool gives the limits of AIQ; without one there is none."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two runs."""

    run: str
    spec: dict[str, Any]


class Stand(msgspec.Struct, frozen=True, kw_only=True):
    """A router at one tradeoff in one run."""

    quality: float
    cost_per_1k: float
    coverage: float


class SettingChange(msgspec.Struct, frozen=True, kw_only=True):
    """A router at one tradeoff in both runs; differences are the second minus the first."""

    router: str
    tradeoff: float
    first: Stand
    second: Stand
    quality: PairedTest
    """The second run (`only_router`) against the first (`only_other`); Holm over all settings in both runs."""
    cost_per_1k: Estimate
    said: str
    """What the interval of quality allows to say: `better`, `worse`, `no difference shown`, or what Holm leaves."""
    said_of_cost: str
    """`cheaper`, `dearer` or `no difference shown`."""


class AiqChange(msgspec.Struct, frozen=True, kw_only=True):
    """A router over all tradeoffs that both runs have."""

    router: str
    tradeoffs: tuple[float, ...]
    first: float
    second: float
    difference: Estimate
    p: float
    """Two-sided, of the bootstrap."""
    p_holm: float
    """After Holm's correction over the routers."""
    said: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The second run against the first, on the same items."""

    suite: str
    suite_digest: str
    quality_source: str
    n: int
    """Items, the same in both runs and in every setting."""
    draws: int
    seed: int
    first: Side
    second: Side
    headline: str
    settings: tuple[SettingChange, ...]
    aiq: tuple[AiqChange, ...]
    """Empty where neither run has a pool to take the limits from; a note says so."""
    notes: tuple[str, ...]

    def to_json(self) -> bytes:
        """The comparison as JSON, indented."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)


def compare(first: Finished, second: Finished, *, draws: int = 2000, seed: int = 0) -> Comparison:
    """Paired differences, `second` − `first`, of every router and tradeoff that both runs have.

    Intervals are 95 % ones of a paired bootstrap over items; AIQ stands between the limits of the recorded pool, which
    are held fixed over the draws. A failed or missing call counts as quality 0. Raises `ConfigError` that says what
    differs where the runs are not finished, not of the same items or not judged the same way, and where no router was
    asked at the same tradeoff in both.
    """
    _check(first.run, second.run)
    plane = _Plane.of(first, second, draws, seed)
    notes: list[str] = []
    frame = _frame(first, second, notes)
    settings = _settings_with_holm(plane)
    changes = _aiqs(plane, frame) if frame is not None else ()
    notes += _notes(first, second)
    return Comparison(
        suite=first.run.suite,
        suite_digest=first.run.suite_digest,
        quality_source=str(first.run.spec.get("quality")),
        n=len(plane.items),
        draws=draws,
        seed=seed,
        first=Side(run=first.run.id, spec=first.run.spec),
        second=Side(run=second.run.id, spec=second.run.spec),
        headline=_headline(settings, changes, len(plane.items)),
        settings=settings,
        aiq=changes,
        notes=tuple(notes),
    )


# --------------------------------------------------------------------------------------------- what is refused


def refused(first: RunRow, second: RunRow) -> str | None:
    """Why the runs cannot be paired, as far as can be told without their results; None where they can."""
    try:
        _check(first, second)
    except ConfigError as error:
        return error.message
    return None


def _check(one: RunRow, other: RunRow) -> None:
    """Raise `ConfigError` where the runs cannot be paired."""
    for run in (one, other):
        if run.status != "done":
            raise ConfigError(f"run {run.id} is not finished ({run.status}); the same command resumes it")
    if one.suite_digest != other.suite_digest:
        raise ConfigError(
            f"the runs cannot be compared: run {one.id} is of suite `{one.suite}` (digest {one.suite_digest[:12]}), "
            f"run {other.id} of suite `{other.suite}` (digest {other.suite_digest[:12]})"
        )
    judged = one.spec.get("quality"), other.spec.get("quality")
    if judged[0] != judged[1]:
        raise ConfigError(
            f"the runs cannot be compared: quality is {judged[0]} in run {one.id} and {judged[1]} in run {other.id}; "
            "run one of them again with the other's --grader"
        )


def _common(first: Finished, second: Finished) -> list[Setting]:
    """Settings of both runs, in the order of the first; raises `ConfigError` where there is none."""
    have = [dict.fromkeys((row.router, row.tradeoff) for row in side.rows) for side in (first, second)]
    common = [setting for setting in have[0] if setting in have[1]]
    if not common:
        named = [", ".join(f"{router} at {tradeoff:g}" for router, tradeoff in settings) for settings in have]
        raise ConfigError(
            f"the runs cannot be compared: no router was asked at the same tradeoff in both; run {first.run.id} has "
            f"{named[0] or 'nothing'}, run {second.run.id} has {named[1] or 'nothing'}"
        )
    return common


def _same_items(first: Finished, second: Finished, cells: Sequence[dict[Setting, dict[str, ResultRow]]]) -> list[str]:
    """The items of every setting in both runs, without those whose replies were not all graded; raises `ConfigError`
    that names those which are not in both."""
    asked = [frozenset().union(*cells_of_run.values()) for cells_of_run in cells]
    if asked[0] != asked[1]:
        only = [_named(asked[0] - asked[1]), _named(asked[1] - asked[0])]
        raise ConfigError(
            f"the runs cannot be compared: they asked other items; only in run {first.run.id}: {only[0]}; only in run "
            f"{second.run.id}: {only[1]}; split, seed and limit were {_sample(first.run)} and {_sample(second.run)}"
        )
    for side, cells_of_run in zip((first, second), cells, strict=True):
        for (router, tradeoff), rows in cells_of_run.items():
            if len(rows) < len(asked[0]):
                raise ConfigError(
                    f"the runs cannot be compared: {router} at tradeoff {tradeoff:g} of run {side.run.id} has "
                    f"{len(rows):,} of {len(asked[0]):,} items"
                )
    ungraded = {row.item for run in cells for rows in run.values() for row in rows.values() if row.ungraded}
    if asked[0] <= ungraded:
        raise ConfigError("the runs cannot be compared: no item was graded in both")
    return sorted(asked[0] - ungraded)


def _named(items: frozenset[str]) -> str:
    listed = ", ".join(sorted(items)[:SHOWN])
    return f"{len(items):,} ({listed}{', …' if len(items) > SHOWN else ''})" if items else "none"


def _sample(run: RunRow) -> str:
    return " / ".join(str(run.spec.get(name)) for name in ("split", "seed", "limit"))


# ------------------------------------------------------------------------------------------------- differences


@dataclass(frozen=True)
class _Plane:
    """Quality and cost of every common setting in both runs, on the same items."""

    first: str
    items: list[str]
    settings: list[Setting]
    quality: Floats
    """Shape (2, settings, n)."""
    cost: Floats
    """Shape (2, settings, n), USD."""
    answered: Floats
    """Shape (2, settings, n), 0 or 1."""
    draws: int
    seed: int

    @classmethod
    def of(cls, first: Finished, second: Finished, draws: int, seed: int) -> _Plane:
        settings = _common(first, second)
        cells = [_cells(side, settings) for side in (first, second)]
        items = _same_items(first, second, cells)
        table = [[[run[setting][item] for item in items] for setting in settings] for run in cells]

        def column(value: Any) -> Floats:
            return np.array([[[float(value(row)) for row in rows] for rows in run] for run in table])

        return cls(
            first.run.id,
            items,
            settings,
            column(lambda row: row.quality or 0 if row.answered else 0),
            column(lambda row: row.cost_usd or 0),
            column(lambda row: row.answered),
            draws,
            seed,
        )

    @cached_property
    def samples(self) -> tuple[Floats, Floats]:
        """Mean cost and mean quality of every draw, both of shape (2, settings, draws)."""
        columns = np.concatenate([self.cost, self.quality]).reshape(-1, len(self.items)).T
        means = bootstrap_means(columns, draws=self.draws, seed=self.seed)
        cost, quality = means.T.reshape(2, 2, len(self.settings), self.draws)
        return cost, quality

    def stand(self, run: int, place: int) -> Stand:
        """Where the setting at `place` stands in one run."""
        return Stand(
            quality=float(self.quality[run, place].mean()),
            cost_per_1k=1000 * float(self.cost[run, place].mean()),
            coverage=float(self.answered[run, place].mean()),
        )


def _cells(side: Finished, settings: Sequence[Setting]) -> dict[Setting, dict[str, ResultRow]]:
    found: dict[Setting, dict[str, ResultRow]] = {setting: {} for setting in settings}
    for row in side.rows:
        if (row.router, row.tradeoff) in found:
            found[row.router, row.tradeoff][row.item] = row
    return found


def _settings_with_holm(plane: _Plane) -> tuple[SettingChange, ...]:
    tests = [
        paired_test(
            f"run {plane.first}",
            plane.quality[1, place],
            plane.quality[0, place],
            plane.samples[1][1, place] - plane.samples[1][0, place],
            seed=plane.seed,
        )
        for place in range(len(plane.settings))
    ]
    corrected = holm([test.p for test in tests])
    return tuple(
        _setting(plane, place, msgspec.structs.replace(test, p_holm=p))
        for place, (test, p) in enumerate(zip(tests, corrected, strict=True))
    )


def _setting(plane: _Plane, place: int, test: PairedTest) -> SettingChange:
    router, tradeoff = plane.settings[place]
    first, second = plane.stand(0, place), plane.stand(1, place)
    low, high = interval(1000 * (plane.samples[0][1, place] - plane.samples[0][0, place]))
    cost = Estimate(value=second.cost_per_1k - first.cost_per_1k, low=low, high=high)
    changed = "cheaper" if cost.value < 0 else "dearer"
    return SettingChange(
        router=router,
        tradeoff=tradeoff,
        first=first,
        second=second,
        quality=test,
        cost_per_1k=cost,
        said=wording.finding(test),
        said_of_cost=wording.UNDECIDED if wording.undecided(cost) else changed,
    )


def _frame(first: Finished, second: Finished, notes: list[str]) -> Frame | None:
    """The limits of AIQ, from the pool both runs stand beside; a note where there is none."""
    frames = [_frame_of(side.report) for side in (first, second) if side.report is not None and side.report.pool]
    if not frames:
        notes.append("Neither run has a recorded pool beside it, so there are no limits to measure AIQ between.")
        return None
    edges = np.array([(frame.low, frame.high, frame.floor) for frame in frames])
    if not np.allclose(edges[0], edges[-1], rtol=SAME_LIMIT, atol=0):
        notes.append("The recorded pools beside the two runs differ, so their AIQ cannot be compared.")
        return None
    return frames[0]


def _frame_of(report: Report) -> Frame:
    return Frame.of([single.cost_per_1k / 1000 for single in report.pool], [single.quality for single in report.pool])


def _aiqs(plane: _Plane, frame: Frame) -> tuple[AiqChange, ...]:
    """AIQ of every router over the tradeoffs that both runs have."""
    routers = list(dict.fromkeys(router for router, _ in plane.settings))
    places = [[place for place, (router, _) in enumerate(plane.settings) if router == name] for name in routers]
    values = [[_aiq(plane, run, kept, frame) for kept in places] for run in (0, 1)]
    samples = [_aiq_samples(plane, 1, kept, frame) - _aiq_samples(plane, 0, kept, frame) for kept in places]
    p_values = [bootstrap_p(sample, wording.NOISE) for sample in samples]
    changes = []
    for index, corrected in enumerate(holm(p_values)):
        low, high = interval(samples[index])
        difference = Estimate(value=values[1][index] - values[0][index], low=low, high=high)
        changes.append(
            AiqChange(
                router=routers[index],
                tradeoffs=tuple(plane.settings[place][1] for place in places[index]),
                first=values[0][index],
                second=values[1][index],
                difference=difference,
                p=p_values[index],
                p_holm=corrected,
                said=wording.difference(difference, corrected),
            )
        )
    return tuple(changes)


def _aiq(plane: _Plane, run: int, places: Sequence[int], frame: Frame) -> float:
    return curves.aiq(plane.cost[run, places].mean(axis=1), plane.quality[run, places].mean(axis=1), frame)


def _aiq_samples(plane: _Plane, run: int, places: Sequence[int], frame: Frame) -> Floats:
    cost, quality = (samples[run, places].T for samples in plane.samples)
    return curves.aiq_many(
        cost, quality, *(np.full(plane.draws, edge) for edge in (frame.low, frame.high, frame.floor))
    )


# ------------------------------------------------------------------------------------------------------- words


def _headline(settings: Sequence[SettingChange], changes: Sequence[AiqChange], n: int) -> str:
    """What changed: by AIQ where there is one, and setting by setting."""
    by_setting = _changed("setting", [change.said for change in settings], "quality", n)
    if not changes:
        return by_setting
    return f"{_changed('router', [change.said for change in changes], 'AIQ', n)} {by_setting}"


def _changed(what: str, said: Sequence[str], figure: str, n: int) -> str:
    counted = f"{len(said)} {what}{'s' if len(said) > 1 else ''} on {n:,} items"
    shown = [word for word in ("better", "worse") if word in said]
    if not shown:
        return f"No difference shown in {figure}: {counted}."
    parts = ", ".join(f"{said.count(word)} {word}" for word in shown)
    rest = len(said) - sum(said.count(word) for word in shown)
    tail = f", {rest} without a difference shown" if rest else ""
    return f"In the second run, of {counted} by {figure}: {parts}{tail}."


def _notes(first: Finished, second: Finished) -> Iterator[str]:
    spec = first.run.spec, second.run.spec
    for name in sorted(spec[0].keys() | spec[1].keys()):
        values = [one.get(name) for one in spec]
        if values[0] != values[1] and name not in ("routers", "tradeoffs", "items"):
            yield f"The runs differ in {name}: {values[0]} and {values[1]}."
    ungraded = {row.item for side in (first, second) for row in side.rows if row.ungraded}
    if ungraded:
        yield f"{len(ungraded):,} items have replies that could not be graded, and are left out."
    settings = [{(row.router, row.tradeoff) for row in side.rows} for side in (first, second)]
    alone = sorted(settings[0] ^ settings[1])
    if alone:
        listed = ", ".join(f"{router} at {tradeoff:g}" for router, tradeoff in alone)
        yield f"Only in one of the runs, and left out: {listed}."
