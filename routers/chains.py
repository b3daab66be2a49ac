"""Chains of models, from cheap to dear, tried out on training prompts: which of them are worth having."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routers.acceptance import Acceptance
from routers.arms import Votes
from routers.hull import hull
from routers.pool import Pool
from routers.quality import COST_ALPHA, lines
from routers.regression import Line, Ridge

Floats = NDArray[np.float64]
Chain = tuple[int, ...]
"""Positions of the models in the order they are called, ascending in mean cost."""

POOL = 8
"""Most models that chains are made of: those that lie least below the hull of mean cost and quality."""
LEVELS = {2: 16, 3: 9, 4: 5}
"""Length of a chain → acceptances tried at each of its steps but the last: quantiles of the best chance there. With
the same acceptance at all steps a cascade reached .016 over the zero router on four recorded suites, so .020."""


@dataclass(frozen=True)
class Arms:
    """Chains with the chances from which they accept, and lines that foretell how they do on a prompt."""

    chains: tuple[Chain, ...]
    accept: tuple[tuple[float, ...], ...]
    """For each chain the chance from which a reply is accepted at each step but the last."""
    quality: Line
    cost: Line


@dataclass(frozen=True)
class Trial:
    """All that is needed to try a chain on the n training prompts; arrays of shape (n, m)."""

    prior: Floats
    pool: Pool
    length: Floats
    votes: Votes
    quality: Floats
    cost: Floats
    acceptance: Acceptance

    def chances(self, chain: Chain) -> Floats:
        """How likely each reply of the chain is right once all of it were called, shape (n, k); −1 without text."""
        at = list(chain)
        n = len(self.prior)
        mean = np.broadcast_to(self.pool.quality[at], (n, len(at)))
        found = self.acceptance.chances(self.prior[:, at], mean, self.length[:, at], self.votes.answers[:, at])
        return np.where(self.votes.told[:, at], found, -1.0)

    def run(self, chain: Chain, steps: Sequence[Floats], accept: Sequence[float]) -> tuple[Floats, Floats]:
        """Quality and cost of a chain that accepts from these chances, shape (n,); NaN where an outcome is missing.

        `steps`: `chances` of the first model, of the first two, and so on; `accept`: for each step but the last.
        """
        rows, at = np.arange(len(self.prior)), list(chain)
        returned, calls = steps[-1].argmax(axis=1), np.full(len(rows), len(chain))
        for k in range(len(chain) - 1, 0, -1):
            stops = steps[k - 1].max(axis=1) >= accept[k - 1]
            returned, calls = np.where(stops, steps[k - 1].argmax(axis=1), returned), np.where(stops, k, calls)
        quality, billed = self.quality[:, at], np.cumsum(self.cost[:, at], axis=1)
        whole = ~(np.isnan(quality) | np.isnan(billed[:, -1:])).any(axis=1)
        return np.where(whole, quality[rows, returned], np.nan), np.where(whole, billed[rows, calls - 1], np.nan)


class _Tried(NamedTuple):
    chain: Chain
    accept: tuple[float, ...]
    cost: float
    """Mean USD."""
    quality: float


def best_arms(trial: Trial, rows: Floats, calls: int, alpha: float) -> Arms:
    """The singles, and the chains of up to `calls` models on the hull for each number of calls a query may allow.

    `rows`: inputs of the prompts, shape (n, p); `alpha`: penalty of the ridge that foretells an arm's quality.
    """
    pool = trial.pool
    tried = [_Tried((model,), (), pool.cost[model], pool.quality[model]) for model in range(len(pool.models))]
    chances = _chances(trial, calls) if trial.acceptance.lines else {}
    tried += _tried_chains(trial, chances)
    kept = set(range(len(pool.models)))
    for longest in range(2, calls + 1):
        offered = [place for place, arm in enumerate(tried) if len(arm.chain) <= longest]
        found = hull([tried[place].cost for place in offered], [tried[place].quality for place in offered])
        kept |= {offered[point] for point in found}
    arms = [tried[place] for place in sorted(kept)]
    quality, cost = np.empty((2, len(rows), len(arms)))
    for column, arm in enumerate(arms):
        if len(arm.chain) == 1:
            quality[:, column], cost[:, column] = trial.quality[:, arm.chain[0]], trial.cost[:, arm.chain[0]]
        else:
            quality[:, column], cost[:, column] = trial.run(arm.chain, _steps(arm.chain, chances), arm.accept)
    return Arms(
        tuple(arm.chain for arm in arms),
        tuple(arm.accept for arm in arms),
        lines(rows, quality, alpha),
        lines(rows, cost, COST_ALPHA),
    )


def _chances(trial: Trial, calls: int) -> dict[Chain, Floats]:
    """`Trial.chances` of every chain of up to `calls` models, ascending in mean cost."""
    pool = trial.pool
    models = sorted(_nearest_to_hull(pool, POOL), key=lambda model: (pool.cost[model], model))
    return {chain: trial.chances(chain) for k in range(1, calls + 1) for chain in combinations(models, k)}


def _steps(chain: Chain, chances: Mapping[Chain, Floats]) -> list[Floats]:
    return [chances[chain[: k + 1]] for k in range(len(chain))]


def _tried_chains(trial: Trial, chances: Mapping[Chain, Floats]) -> Iterator[_Tried]:
    """Every chain of several models with every acceptance, where some prompt has outcomes of all of them."""
    for chain in chances:
        if len(chain) == 1 or np.isnan(trial.quality[:, list(chain)]).any(axis=1).all():
            continue
        steps = _steps(chain, chances)
        marks = np.linspace(0.05, 0.98, LEVELS[len(chain)])
        levels = [np.unique(np.quantile(step.max(axis=1), marks)).tolist() for step in steps[:-1]]
        for accept in product(*levels):
            quality, cost = trial.run(chain, steps, accept)
            yield _Tried(chain, accept, float(np.nanmean(cost)), float(np.nanmean(quality)))


def _nearest_to_hull(pool: Pool, count: int) -> list[int]:
    """The models that lie least below the hull of mean cost and quality."""
    vertices = [pool.rows[model] for model in pool.hull(pool.models)]
    below = np.interp(pool.cost, pool.cost[vertices], pool.quality[vertices]) - pool.quality
    return [int(model) for model in np.argsort(below, kind="stable")[:count]]


def reply_lengths(replies: NDArray[np.object_]) -> tuple[Floats, Floats]:
    """Mean and deviation of each model's log reply length, shape (2, m), and how many deviations each reply is off it,
    shape (n, m)."""
    sizes = np.array([[np.nan if r is None else math.log1p(len(r)) for r in row] for row in replies.tolist()])
    known = ~np.isnan(sizes)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, sizes, 0).sum(axis=0) / count
    deviation = np.sqrt(np.where(known, (sizes - mean) ** 2, 0).sum(axis=0) / count)
    lengths = np.vstack([mean, np.where(deviation > 1e-9, deviation, 1.0)])
    return lengths, np.where(known, (sizes - lengths[0]) / lengths[1], 0.0)


def left_out_by(rows: Floats, quality: Floats, prior: Line, alpha: float) -> Floats:
    """What is foretold for each prompt by the ridges fitted to all others, shape (n, m)."""
    known = ~np.isnan(quality)
    foretold = prior.at_many(rows)
    ridges: dict[bytes, Ridge] = {}
    for column, mask in enumerate(known.T):
        ridge = ridges.setdefault(mask.tobytes(), Ridge(rows[mask]))
        foretold[mask, column] = ridge.left_out(quality[mask, column][:, None], alpha)[:, 0]
    return foretold
