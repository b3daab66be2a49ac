"""Everything that is learned about the arms of a pool: which are worth having, what each is worth on a prompt, on which
prompts answers can be compared, and which prompts are so unlike all training prompts that nothing learned holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from routers import picker as picking
from routers.arms import (
    MANY,
    USED,
    Arm,
    Table,
    Votes,
    ladders_of_four,
    ladders_of_three,
    look_up,
    most_used,
    on_hull,
    singles,
)
from routers.artifacts import Artifact, ArtifactError
from routers.clusters import Clusters
from routers.experts import Experts, neighbours_of, out_of_fold
from routers.features import COUNTS, one_thread, stripped
from routers.neighbours import nearest_likeness
from routers.outcomes import Outcomes
from routers.picker import COST_FLOOR, Ground, Picker
from routers.pool import Pool, known_cells
from routers.quality import Inputs
from routers.regression import Line
from routers.spaces import Vector

Floats = NDArray[np.float64]

ROWS = 10_000
"""Most training prompts looked at, drawn at random: bounds memory, decision and artifact."""
LEAST = 30
"""Fewest training prompts that a picker is fitted to."""
KINDS = 6
"""Clusters whose indicators are features, and for which it is told whether answers can be compared."""
COMPARABLE = 0.5
"""Share of the replies of a kind that must have an answer. Where they have none, a ladder climbs every rung."""
FAR = 0.05
"""A prompt is novel where its nearest training prompt is less like it than all but this share of the training prompts
are like theirs, …"""
STRANGE = 0.02
"""… or where it has fewer known words than all but this share of the training prompts."""


class Foretold(NamedTuple):
    """What is foretold of the a arms on a prompt."""

    quality: Floats
    """Shape (a,), not cut to [0, 1]."""
    cost: Floats
    """Shape (a,), USD."""
    comparable: bool
    """Whether answers to such prompts can be compared; ladders are not to be used where not."""
    how: str
    """`learned`, `mix` (the means of the arms), `novel`, `no known word` or `no embedding` (the means, too)."""
    likeness: float | None
    """Cosine with the nearest training prompt; None where it was not looked for."""


@dataclass(frozen=True)
class Learned:
    """What foretells the arms from a prompt."""

    experts: Experts
    picker: Picker
    limits: Floats
    """Shape (2,): a prompt is novel where its likeness to the nearest, or its share of known words, lies below."""


@dataclass(frozen=True)
class Chooser:
    """The arms of a pool with what is known of them."""

    arms: tuple[Arm, ...]
    """All single models in the pool's order, then the ladders."""
    quality: Floats
    """Means, shape (2, a): over the prompts whose answers cannot be compared, and over those where they can."""
    cost: Floats
    """Means, shape (2, a), USD."""
    kinds: Clusters
    comparable: NDArray[np.int8]
    """Shape (k,), one for each kind: 1 or 0."""
    learned: Learned | None
    """None where nothing that was learned surely beats the means."""

    @classmethod
    def fit(cls, outcomes: Outcomes, pool: Pool, inputs: Inputs, *, calls: int, seed: int) -> Chooser:
        """Learn from outcomes. `calls`: most models of an arm; below 3 there are only singles."""
        if len(outcomes.items) > ROWS:
            drawn = np.random.default_rng(seed).choice(len(outcomes.items), ROWS, replace=False)
            outcomes = outcomes.take(np.sort(drawn))
        rows = inputs.of_many(outcomes)
        vectors = rows[:, : inputs.embedding.dimensions].astype(np.float32)
        kinds = Clusters.fit(vectors, KINDS, seed=seed)
        labels = kinds.labels(vectors)
        votes = Votes.of(outcomes)
        comparable = _comparable(votes, labels, len(kinds)) if calls > 2 else np.zeros(len(kinds), dtype=np.int8)
        there = comparable[labels] > 0
        table = _worth_having(outcomes, pool, votes, there, calls=calls, seed=seed)
        quality, cost = _means(table, there)
        learned = None
        if len(rows) >= LEAST:
            learned = _learn(outcomes, pool, inputs, rows, vectors, _indicators(labels, len(kinds)), table, there, seed)
        return cls(table.arms, quality, cost, kinds, comparable, learned)

    @classmethod
    def read(cls, artifact: Artifact, inputs: Inputs) -> Chooser:
        """The chooser that `arrays` was written from; raises `ArtifactError`."""
        m = len(artifact.trained_on.models)
        arms = _arms_in(artifact, m)
        kinds = Clusters.read(artifact, inputs.embedding.dimensions, "kinds")
        if not len(kinds):
            raise ArtifactError(f"{artifact.folder}: array 'kinds' is empty; train the router again")
        quality, cost = (artifact.array(f"arm_{name}", "f", 2, len(arms)) for name in ("quality", "cost"))
        comparable = artifact.array("comparable", "i", len(kinds))
        learned = _learned_in(artifact, inputs, m, len(arms), len(kinds)) if "limits" in artifact.arrays else None
        return cls(arms, quality, cost, kinds, comparable, learned)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The numbers as an artifact keeps them."""
        longest = max(map(len, self.arms))
        arms = np.array([(*arm, *[-1] * (longest - len(arm))) for arm in self.arms], dtype=np.int32)
        means: dict[str, NDArray[Any]] = {
            "arm_quality": self.quality,
            "arm_cost": self.cost,
            "comparable": self.comparable,
        }
        return {"arms": arms} | means | self.kinds.arrays("kinds") | self._learned_arrays()

    def _learned_arrays(self) -> dict[str, NDArray[Any]]:
        if self.learned is None:
            return {}
        experts, picker = self.learned.experts, self.learned.picker
        return experts.clusters.arrays() | {
            "limits": self.learned.limits,
            "expert_weights": experts.line.weights,
            "expert_offsets": experts.line.offsets,
            "expert_means": experts.means,
            "neighbours": experts.neighbours.vectors,
            "neighbour_quality": experts.neighbours.values,
            "picker_scaling": picker.scaling,
            "picker_quality_weights": picker.quality.weights,
            "picker_quality_offsets": picker.quality.offsets,
            "picker_cost_weights": picker.cost.weights,
            "picker_cost_offsets": picker.cost.offsets,
        }

    def foretell(self, inputs: Inputs, prompt: str, length: int, sentence: Vector | None = None) -> Foretold:
        """What is foretold on a prompt; `prompt`, `length`, `sentence`: the query's `text`, `length`, `embedding`."""
        text = stripped(prompt, inputs.embedding.wrappers)
        vector = inputs.embedding.embed(text, sentence)
        kind = self.kinds.nearest(vector)
        comparable = int(self.comparable[kind])
        likeness = None
        if self.learned is None:
            how = "mix"
        elif not vector.any():
            how = inputs.embedding.missing
        else:
            likenesses = self.learned.experts.neighbours.likeness(vector)
            likeness = float(likenesses.max())
            novel = likeness < self.learned.limits[0] or inputs.embedding.known_share(text) < self.learned.limits[1]
            how = "novel" if novel else "learned"
        if self.learned is None or how != "learned":
            return Foretold(self.quality[comparable], self.cost[comparable], bool(comparable), how, likeness)
        row = inputs.row(text, vector, length)
        indicators = np.zeros(len(self.kinds))
        indicators[kind] = 1.0
        features = np.concatenate(
            [self.learned.experts.predict(row, vector, likenesses), row[len(vector) :], indicators]
        )
        quality, cost = self.learned.picker.predict(features)
        floor = COST_FLOOR * self.cost[comparable]
        return Foretold(quality, np.maximum(cost, floor), bool(comparable), how, likeness)


def _comparable(votes: Votes, labels: NDArray[np.intp], k: int) -> NDArray[np.int8]:
    """For each kind whether enough of its replies have an answer, shape (k,)."""
    told, answered = np.zeros((2, k))
    np.add.at(told, labels, votes.told.sum(axis=1))
    np.add.at(answered, labels, (votes.told & (votes.answers >= 0)).sum(axis=1))
    return ((told > 0) & (answered >= COMPARABLE * told)).astype(np.int8)


def _worth_having(
    outcomes: Outcomes, pool: Pool, votes: Votes, there: NDArray[np.bool_], *, calls: int, seed: int
) -> Table:
    """All single models, and the ladders on the hull where blind mixing surely gains by having ladders.

    `there`: on which prompts answers can be compared, shape (n,).
    """
    m = len(pool.models)
    alone = look_up(singles(range(m)), outcomes, votes, pool.quality)
    if m < 3 or not there.any():
        return alone
    models = list(range(m))
    three = _told(look_up(ladders_of_three(models, pool.quality), outcomes, votes, pool.quality), there)
    if m > MANY:
        models = most_used(_joined(alone, three).rows(there), USED)
        three = three.take([column for column, arm in enumerate(three.arms) if set(arm) <= set(models)])
    table = _joined(alone, three)
    if calls > 3:
        fours = ladders_of_four(models, pool.quality, pool.cost)
        table = _joined(table, _told(look_up(fours, outcomes, votes, pool.quality), there))
    ground = Ground.of(table, there, pool)
    with_ladders, without = (ground.mixed(ladders=ladders, seed=seed) for ladders in (True, False))
    if not ground.better(with_ladders, without, doubt=picking.DOUBT_OF_LADDERS, seed=seed):
        return alone
    return table.take([*range(m), *(column for column in on_hull(table.rows(there)) if column >= m)])


def _told(table: Table, there: NDArray[np.bool_]) -> Table:
    """Only the arms with an outcome on a prompt where answers can be compared."""
    return table.take(np.flatnonzero(~np.isnan(table.quality[there]).all(axis=0)).tolist())


def _joined(one: Table, other: Table) -> Table:
    return Table(
        one.arms + other.arms,
        np.hstack([one.quality, other.quality]),
        np.hstack([one.cost, other.cost]),
    )


def _means(table: Table, there: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mean quality and cost where answers cannot be compared, and where they can; shape (2, a) each."""
    cost, quality = table.means()
    parts = [table.rows(~there).means(), table.rows(there).means()]
    return (
        np.array([np.where(np.isnan(part[1]), quality, part[1]) for part in parts]),
        np.array([np.where(np.isnan(part[0]), cost, part[0]) for part in parts]),
    )


def _indicators(labels: NDArray[np.intp], k: int) -> Floats:
    return np.eye(k)[labels]


def _learn(
    outcomes: Outcomes,
    pool: Pool,
    inputs: Inputs,
    rows: Floats,
    vectors: NDArray[np.float32],
    indicators: Floats,
    table: Table,
    there: NDArray[np.bool_],
    seed: int,
) -> Learned | None:
    """What foretells the arms of `table`, where picking by it surely beats mixing them blindly."""
    if not vectors.any():
        return None
    quality = np.where(known_cells(outcomes), outcomes.quality, np.nan)
    ground = Ground.of(table, there, pool)
    with one_thread():
        foretold = out_of_fold(rows, vectors, quality, seed=seed)
        features = np.hstack([foretold, rows[:, vectors.shape[1] :], indicators])
        picker, curve = picking.fit(ground, features)
        mix = ground.mixed(ladders=True, seed=seed)
        if not ground.better(curve, mix, doubt=picking.DOUBT_OF_PICKS, seed=seed):
            return None
        experts = Experts.fit(rows, vectors, quality, seed=seed)
        likeness = nearest_likeness(vectors)
    wrappers = inputs.embedding.wrappers
    familiar = [inputs.embedding.known_share(stripped(prompt, wrappers)) for prompt in outcomes.prompts]
    return Learned(experts, picker, np.array([np.quantile(likeness, FAR), np.quantile(familiar, STRANGE)]))


def _arms_in(artifact: Artifact, m: int) -> tuple[Arm, ...]:
    table = artifact.array("arms", "i", None, None)
    arms = tuple(tuple(place for place in row if place >= 0) for row in table.tolist())
    fits = arms[:m] == tuple((model,) for model in range(m)) and all(
        len(arm) in (3, 4) and max(arm) < m and len(set(arm)) == len(arm) for arm in arms[m:]
    )
    if not fits:
        raise ArtifactError(f"{artifact.folder}: array 'arms' holds no arms of its models; train the router again")
    return arms


def _learned_in(artifact: Artifact, inputs: Inputs, m: int, a: int, kinds: int) -> Learned:
    d = inputs.embedding.dimensions
    clusters = Clusters.read(artifact, d)
    vectors = artifact.array("neighbours", "f", None, d)
    if not len(clusters) or not len(vectors):
        raise ArtifactError(f"{artifact.folder}: no cluster or no training prompt is kept; train the router again")
    f = 3 * m + len(COUNTS) + kinds
    experts = Experts(
        _line_in(artifact, "expert", len(inputs), m),
        neighbours_of(vectors, artifact.array("neighbour_quality", "f", len(vectors), m, missing=True)),
        clusters,
        artifact.array("expert_means", "f", len(clusters), m),
    )
    picker = Picker(
        artifact.array("picker_scaling", "f", 2, f),
        _line_in(artifact, "picker_quality", f, a + 1),
        _line_in(artifact, "picker_cost", f, a),
    )
    return Learned(experts, picker, artifact.array("limits", "f", 2))


def _line_in(artifact: Artifact, name: str, inputs: int, outputs: int) -> Line:
    return Line(
        artifact.array(f"{name}_weights", "f", inputs, outputs), artifact.array(f"{name}_offsets", "f", outputs)
    )
