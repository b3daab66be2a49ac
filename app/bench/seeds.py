"""The same plan with several seeds: how much one split and one fit can mislead.

A report's intervals are over items, for one split and one fitted router. Another split trains another router and tests
it on other items, and that noise of training is often larger than the difference between two routers; only doing it
again shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from app.bench import wording
from app.bench.figures import Baselines, DeltaSpread, Report, RouterReport, Seeds, Spread
from app.bench.plan import Plan, RouterSpec
from app.bench.run import score
from app.core.errors import ConfigError
from routers import registry


def score_seeds(plan: Plan, seeds: Sequence[int], *, on_done: Callable[[int], None] = lambda _seed: None) -> Report:
    """Score `plan` once per seed: split, sample, fits and bootstrap are seeded with it, in place of the plan's own.

    The report is that of the first seed; `seeds` of each router and fitted baseline holds mean and standard deviation
    of AIQ and ΔAIQ over all of them, and how many of the intervals lie above 0. A router with a `seed` of its own
    among its parameters keeps that one. `on_done` is told each seed when it is scored. Raises `ConfigError` for no
    seeds, for doubled ones, for a router read from an artifact (it was fitted once, perhaps to what another split
    tests on), for a trainable router that takes no `seed`, and where nothing is recorded.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError("seeds: name at least one, and none twice")
    fixed = [spec.text for spec in plan.routers if spec.artifact is not None]
    if fixed:
        raise ConfigError(
            f"router `{fixed[0]}` is an artifact, fitted once: it cannot be fitted anew for each seed, and what other "
            "seeds test on may be what it was trained on; name the router itself",
            param="router",
        )
    reports = []
    for seed in seeds:
        reports.append(score(_reseeded(plan, seed)))
        on_done(seed)
    return _gathered(reports, tuple(seeds))


def _reseeded(plan: Plan, seed: int) -> Plan:
    again = replace(plan, seed=seed, routers=tuple(_with_seed(spec, seed) for spec in plan.routers))
    # No matter of the seed, and with a grader the dearest part of a plan: computed once, kept where the plan keeps it.
    vars(again)["outcomes"] = plan.outcomes
    return again


def _with_seed(spec: RouterSpec, seed: int) -> RouterSpec:
    found = spec.find()
    if found is None or not registry.is_trainable(found):
        return spec
    return replace(spec, params={"seed": seed} | spec.params)


def _gathered(reports: Sequence[Report], seeds: tuple[int, ...]) -> Report:
    """The first report with what all of them say of each router."""
    first = reports[0]
    names = ", ".join(map(str, seeds))
    note = (
        f"Seeds {names}: mean and standard deviation are over them, all other figures are of seed {seeds[0]}. Splits "
        "share items, so that spread is no interval: it tells how much one split and one fit can mislead."
    )
    return msgspec.structs.replace(
        first,
        routers=tuple(
            _spread(router, [report.routers[place] for report in reports], seeds)
            for place, router in enumerate(first.routers)
        ),
        baselines=_baselines(reports, seeds),
        notes=(*first.notes, note),
    )


def _baselines(reports: Sequence[Report], seeds: tuple[int, ...]) -> Baselines | None:
    around = [report.baselines for report in reports if report.baselines is not None]
    if len(around) < len(reports):
        return reports[0].baselines
    length = [found.length for found in around if found.length is not None]
    known = [found.know_dataset for found in around if found.know_dataset is not None]
    return msgspec.structs.replace(
        around[0],
        length=_spread(length[0], length, seeds) if len(length) == len(seeds) else around[0].length,
        know_dataset=_spread(known[0], known, seeds) if len(known) == len(seeds) else around[0].know_dataset,
    )


def _spread(router: RouterReport, again: Sequence[RouterReport], seeds: tuple[int, ...]) -> RouterReport:
    """`router` with its figures over all seeds; as it is where one of them has no AIQ."""
    values = [one.aiq for one in again if one.aiq is not None]
    deltas = [one.delta_aiq for one in again if one.delta_aiq is not None]
    if len(values) < len(seeds) or len(deltas) < len(seeds):
        return router
    over_zero = [delta.value for delta in deltas]
    mean, sd = _mean_and_sd(over_zero)
    found = Seeds(
        n=len(seeds),
        seeds=seeds,
        aiq=Spread(mean=_mean_and_sd(values)[0], sd=_mean_and_sd(values)[1]),
        delta_aiq=DeltaSpread(
            mean=mean,
            sd=sd,
            values=tuple(over_zero),
            above=sum(wording.verdict(delta) == wording.BETTER for delta in deltas),
        ),
    )
    return msgspec.structs.replace(router, seeds=found)


def _mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
