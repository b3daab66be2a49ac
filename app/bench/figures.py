"""The figures of a report: what is stored, printed, shown as a page and given out as JSON.

Nothing in it is rounded and nothing is NaN: what is not known is null, and a note says why. Money is USD per 1,000
requests unless its name says otherwise, time is seconds, qualities and shares lie in [0, 1]. What was added after a
report was stored has a default, so that the report still loads.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

Kind = Literal["replay", "score"]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """95 % percentile interval of a paired bootstrap over prompts."""

    low: float
    high: float


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Of seconds."""

    p50: float
    p95: float
    p99: float


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the cost-quality plane."""

    quality: float
    cost_per_1k: float


class Single(msgspec.Struct, frozen=True, kw_only=True):
    """A model asked for everything."""

    model: str
    quality: float
    cost_per_1k: float
    coverage: float = 1.0
    """Share of the items it has an outcome for; the others count as failed calls."""
    quality_interval: Interval | None = None
    cost_interval: Interval | None = None


class Oracle(msgspec.Struct, frozen=True, kw_only=True):
    """The best model of every prompt, ties to the cheapest, by one who has seen the answers."""

    quality: float
    cost_per_1k: float
    aiq: float
    """Of the curve argmax q − λc per prompt, over all λ."""
    unsolved: float
    """Share of the prompts on which no model scores more than 0."""
    solved_by_all: float
    """Share of the prompts on which every model scores 1."""
    curve: tuple[Mark, ...] = ()
    """That curve, thinned for drawing."""


class Zero(msgspec.Struct, frozen=True, kw_only=True):
    """The zero router: blind mixing of single models along their hull."""

    aiq: float
    hull: tuple[Single, ...] = ()


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Answered items of about the same predicted quality: one mark of a reliability diagram."""

    n: int
    predicted: float
    """Mean of what was predicted."""
    observed: float
    """Mean quality."""
    interval: Interval
    """Wilson's 95 % interval of `observed`; too wide, never too narrow, where quality is graded."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """How well a router foretold what the models it picked would do; about the others nothing is said."""

    n: int
    """Answered items with a predicted quality; `brier`, `ece` and `auc` are of these."""
    n_cost: int
    """Answered items with a predicted cost that cost something; `cost_mape` is of these."""
    brier: float | None = None
    """Mean squared error of predicted quality; None where none was predicted."""
    ece: float | None = None
    """Expected calibration error in ten bins of equal width; None where no quality was predicted."""
    auc: dict[str, float] = {}
    """Model → probability that of two of its items the better one was predicted better; 0.5 tells nothing. Without the
    models whose items all have the same quality."""
    cost_mape: float | None = None
    """Mean absolute error of predicted cost, relative to the cost; None where none was predicted."""
    bins: tuple[Bin, ...] = ()
    """The bins of `ece` that hold any item, ascending."""


class PairedTest(msgspec.Struct, frozen=True, kw_only=True):
    """A router at its best point against something else, item by item."""

    against: str
    """A model, or `zero router`."""
    n: int
    difference: Estimate
    """Quality of the router minus the other's; the interval is the bootstrap's."""
    test: Literal["mcnemar", "permutation"]
    """Exact McNemar where both qualities are 0 or 1, else the paired permutation test."""
    p: float
    """Two-sided."""
    p_holm: float | None = None
    """The same after Holm's correction over the routers of the report; None for a baseline."""
    only_router: int | None = None
    """McNemar: items that only the router had right."""
    only_other: int | None = None
    """McNemar: items that only the other had right."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """RouteLLM's figures, for a pool of two models. None throughout where the strong one is no better."""

    weak: str
    """The cheaper model."""
    strong: str
    """The dearer model."""
    pgr: float | None
    """Part of the quality gap between the two that is recovered at the best point."""
    apgr: float | None
    """The same on average over all shares of calls to the strong model; choosing at random gives 0.5."""
    auc: float
    """Area under quality over the share of calls to the strong model."""
    cpt: dict[str, float | None]
    """`20`, `50`, `80` → least share of calls to the strong model that recovers so many percent of the gap."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Of one figure over seeds."""

    mean: float
    sd: float | None
    """Standard deviation (n − 1); None for one seed."""


class DeltaSpread(Spread, frozen=True, kw_only=True):
    """Of the difference to the zero router over seeds."""

    values: tuple[float, ...]
    """One a seed."""
    above: int
    """Seeds whose interval lies above 0."""


class Seeds(msgspec.Struct, frozen=True, kw_only=True):
    """What other splits and fits would have given: the noise of training, which no interval over items shows."""

    n: int
    seeds: tuple[int, ...]
    aiq: Spread
    delta_aiq: DeltaSpread


class PointReport(msgspec.Struct, frozen=True, kw_only=True):
    """A router at one tradeoff."""

    tradeoff: float
    n: int
    coverage: float
    """Share of the items that were answered; the others count as quality 0."""
    quality: float
    cost_per_1k: float
    quality_interval: Interval
    cost_interval: Interval
    """USD per 1,000 requests."""
    share: dict[str, float]
    """Model → part of all items it answered, largest first; the parts add up to `coverage`."""
    entropy: float
    """Of the shares, in bits: 0 where one model answers everything."""
    pareto: bool
    """No other point of this report, single models included, is as cheap and better or as good and cheaper."""
    latency: Percentiles | None = None
    """End to end; None where nothing was called."""
    overhead: Percentiles | None = None
    """Hullspeed's own part of it; None where nothing was called."""
    opt_sel: float | None = None
    """Share of the items on which the oracle's model answered."""
    opt_cost: float | None = None
    """The oracle's cost / this cost; None where this is 0."""
    opt_acc: float | None = None
    """This quality / the oracle's; None where that is 0."""
    regret: float | None = None
    """Mean utility q − λc lost against the best pick of each prompt, at this tradeoff; None at tradeoff 1."""
    arena: float | None = None
    """RouterArena's score of this quality and cost, in [0, 1]."""
    calibration: Calibration | None = None
    """None where the router predicted nothing, or its predictions were not kept."""


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """An item on which a router did worse than the best model of that item (ties to the cheapest) would have."""

    item: str
    category: str
    prompt: str
    """Cut where it is long, as the replies are; the cut says how much is left out."""
    quality_lost: float
    """The best model's quality minus this one's, never below 0."""
    cost_lost_usd: float
    """USD paid beyond the best model's cost for this item; negative where less was paid."""
    model: str | None
    """The model that answered; None where the call failed."""
    quality: float
    cost_usd: float
    """USD of this one call."""
    reply: str | None
    """None where no text was kept."""
    best_model: str
    best_quality: float
    best_cost_usd: float
    best_reply: str | None


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """Where a router lost most at its best point, against the oracle: quality first, then money."""

    tradeoff: float
    worse: int
    """Items on which another model would have done better."""
    dearer: int
    """Items on which a cheaper model would have done as well."""
    items: tuple[Loss, ...]
    """The greatest losses, the greatest first."""


class RouterReport(msgspec.Struct, frozen=True, kw_only=True):
    """A router at all its tradeoffs."""

    router: str
    params: dict[str, Any]
    points: tuple[PointReport, ...]
    best_point: int
    """Position in `points` of the highest utility at an even tradeoff (0.5): one setting to show where there is room
    for only one, chosen by a rule that knows no router."""
    hull: tuple[Mark, ...]
    """Non-decreasing concave hull of the points, ascending in cost."""
    aiq: float | None = None
    aiq_interval: Interval | None = None
    delta_aiq: Estimate | None = None
    """AIQ minus the zero router's."""
    verdict: str | None = None
    """`better than the zero router`, `worse than the zero router` or `no difference shown`."""
    aiq_log: float | None = None
    """None where the cheapest model is free."""
    aiq_rb_compat: float | None = None
    """As RouterBench computes it; depends on which routers are compared."""
    gap_closed: float | None = None
    """Part of the way from the zero router to the oracle."""
    cost_save: float | None = None
    """Part of the best single model's cost saved at its quality; None where that quality is not reached."""
    perf_gain: float | None = None
    pareto_dist: float | None = None
    """Mean distance of the points to the Pareto set of this report, in ranges of the pool."""
    delta_p: float | None = None
    """Two-sided bootstrap p value of `delta_aiq`; never below 2 / (draws + 1)."""
    delta_p_holm: float | None = None
    """The same after Holm's correction over the routers of the report; None for a baseline."""
    conclusion: str | None = None
    """The verdict in a sentence, which says where Holm's correction takes it back."""
    against_best_single: PairedTest | None = None
    """The best point against the best single model."""
    against_zero: PairedTest | None = None
    """The best point against the zero router at the same mean cost; None where the router is cheaper than that hull."""
    pair: Pair | None = None
    """None unless the pool has two models."""
    seeds: Seeds | None = None
    """None unless the run was repeated with several seeds; all other figures are those of the first."""
    losses: Losses | None = None
    """None where there is no pool to tell the best model, for baselines, and for what cannot serve."""


class Baselines(msgspec.Struct, frozen=True, kw_only=True):
    """What every router stands beside."""

    cheapest: Single
    best_single: Single
    random: Mark
    """The expectation of a uniform choice."""
    oracle: Oracle
    zero: Zero
    length: RouterReport | None = None
    """Routes by the prompt's length alone; None where it could not be fitted (a note says why)."""
    know_dataset: RouterReport | None = None
    """The best model per category; None where there is nothing to fit it to."""


class CategoryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A router at one tradeoff on the items of one category."""

    tradeoff: float
    coverage: float
    quality: float
    cost_per_1k: float
    quality_interval: Interval | None
    """None, as every interval of a category, where it has too few items for a bootstrap to say anything."""
    share: dict[str, float]
    """Model → part of the category's items it answered, largest first; the parts add up to `coverage`."""


class CategoryRouter(msgspec.Struct, frozen=True, kw_only=True):
    """A router on one category."""

    router: str
    points: tuple[CategoryPoint, ...]
    """One a tradeoff, in the order of the router's own points."""
    hull: tuple[Mark, ...]
    aiq: float | None = None
    """Between the limits of this category; None without a pool."""
    delta_aiq: Estimate | None = None
    """AIQ minus the zero router's on this category, not corrected for the number of categories."""


class Category(msgspec.Struct, frozen=True, kw_only=True):
    """The cost-quality plane of the items of one category."""

    category: str
    n: int
    pool: tuple[Single, ...]
    """The single models on these items, ascending in cost; empty where nothing is recorded."""
    routers: tuple[CategoryRouter, ...]
    """In the order of the report's routers."""
    best_single: str | None = None
    oracle: Mark | None = None
    zero: tuple[Mark, ...] = ()
    """The hull of the single models."""


class ModelPrice(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's calls were billed at."""

    model: str
    input_per_1m: float
    """USD per million prompt tokens."""
    output_per_1m: float
    """USD per million completion tokens."""
    source: str
    """Where the rates come from, e.g. `config`."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of one run."""

    suite: str
    suite_digest: str
    """SHA-256 of the items."""
    simulated: bool
    """True where the models are simulated ones: the figures then say nothing about real models."""
    n: int
    """Scored items, the same for every router."""
    split: str
    split_by: str = "stratified"
    """How the suite was divided: see `app.bench.splits`."""
    seed: int
    kind: Kind
    """`replay`: through the running proxy; `score`: from recorded outcomes, nothing was called."""
    run: str | None
    upstream: str | None
    """What answered the calls of a replay, e.g. `recorded`."""
    quality_source: str
    """`recorded`, or `grader:<name>`."""
    draws: int
    """Of the bootstrap behind every interval."""
    created_at: datetime
    versions: dict[str, str]
    headline: str
    """The result in words."""
    notes: tuple[str, ...]
    """What a reader has to know to read the figures right."""
    pool: tuple[Single, ...]
    """The single models, ascending in cost; empty where nothing is recorded."""
    baselines: Baselines | None
    """None where nothing is recorded to compute them from."""
    routers: tuple[RouterReport, ...]
    categories: tuple[Category, ...] = ()
    """Largest first."""
    prices: tuple[ModelPrice, ...] = ()
    """Of the calls of a replay, as the ledger has them; empty where costs were recorded or stated by the upstream."""
    judge_cost_usd: float | None = None
    """What judging cost, as far as prices are known; counted in no other figure. None where no model judged."""

    def to_json(self) -> bytes:
        """The report as JSON, indented."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    @classmethod
    def from_json(cls, raw: bytes | str) -> Report:
        """A stored report; raises `msgspec.ValidationError` where it is none."""
        return msgspec.json.decode(raw, type=cls)
