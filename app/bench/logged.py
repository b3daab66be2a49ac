"""Other routers on the traffic a proxy has served: off-policy estimates out of the ledger.

Each logged decision holds the probability of every model it could have put first, so a call that was decided by chance
(router `uniform`, or any with exploration) speaks for every router that might have decided likewise. What was not left
to chance speaks for nobody else: a call whose model the client named, and a call of a router that asks several models
and compares their replies, are left out, counted and said in words, like calls that nobody scored.

Routers are asked again with what they would have seen: the chat, the candidates of that call, its tradeoff, budget and
session. The chat is there only where `ledger.store_text` was on; a router that never looks at it needs none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import msgspec
import numpy as np

from app.bench.figures import Estimate
from app.bench.offpolicy import Floats, Log, OffPolicy, estimate
from app.bench.statistics import bootstrap_means, interval
from app.core.errors import ConfigError, HullspeedError
from app.store.database import Database
from app.store.queries.calls import CallFilter
from app.store.queries.decided import DecidedCall, comparing_routers, stream_decided, usual_costs
from routers import Candidate, Query, Router

FOLDS = 5
"""Parts the log is divided into so that no reward is predicted with the help of itself."""
GAP = 0.01
"""Share of a router's choices without any chance in the log from which on it is warned of."""
ONE_CALL = 0.1
"""Share of all weight on one call from which on it is warned of."""

Reason = Literal["explicit", "compared", "replaced", "failed", "unscored"]
LEFT_OUT: dict[Reason, str] = {
    "explicit": "named their model themselves: nothing was drawn, so they support no other choice",
    "compared": "were decided by a router that compares replies before it answers: no one model was chosen beforehand",
    "replaced": "were served the default because their router failed or was late: its probabilities are not known",
    "failed": "failed, and nobody scored them: score them 0 to have failures count",
    "unscored": "have no score: the estimates speak of the scored calls only",
}
"""Why calls are left out, in the order in which it is asked."""


class RouterEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What one router would have got."""

    router: str
    n: int
    """Logged calls that it could be asked about."""
    quality: OffPolicy | None
    """None where nothing can be said; `warnings` tells why."""
    cost_per_1k: Estimate | None
    """USD, self-normalised; None where the cost of a call is not known."""
    uncovered: float | None
    """Share of its choices on models which the log gave no chance at all on that call."""
    warnings: tuple[str, ...]


class Estimates(msgspec.Struct, frozen=True, kw_only=True):
    """Routers held against what was logged, over the same calls."""

    since: datetime | None
    until: datetime | None
    score: str
    """Name of the scores that count."""
    calls: int
    """Calls looked at."""
    n: int
    """Calls used."""
    left_out: dict[str, int]
    """Calls by the reason why not."""
    logged_by: dict[str, int]
    """Calls used by the router that decided them."""
    logged_quality: Estimate
    """Mean score of the calls as they were served."""
    logged_cost_per_1k: Estimate | None
    routers: tuple[RouterEstimate, ...]
    notes: tuple[str, ...]
    draws: int
    seed: int


class _Untold(Exception):
    """A router asked for a text that was not stored."""


class _NoText(Sequence[Any]):
    """The messages of a call whose text was not stored: whoever looks at them learns that."""

    def __getitem__(self, _index: Any) -> Any:
        raise _Untold

    def __len__(self) -> int:
        raise _Untold


@dataclass
class _Asked:
    """One router's probabilities, call by call."""

    name: str
    router: Router
    rows: list[int] = field(default_factory=list)
    """Places in the log of the calls it could be asked about."""
    probabilities: list[dict[str, float]] = field(default_factory=list)
    untold: int = 0
    """Calls whose text it would have needed."""

    def ask(self, place: int, query: Query) -> None:
        """Raises `ConfigError` where the router fails, or has no probabilities that one call could support."""
        try:
            decision = self.router.route(query)
        except _Untold:
            self.untold += 1
            return
        except Exception as error:
            raise ConfigError(
                f"router `{self.name}` failed on a logged call ({type(error).__name__}: {error})", param="router"
            ) from None
        if decision.review is not None:
            raise ConfigError(
                f"router `{self.name}` compares the replies of several models; a logged call holds one, so this router "
                "cannot be estimated from logs: replay a suite instead (`hullspeed bench run`)",
                param="router",
            )
        given = {choice.model: choice.probability for choice in decision.ranking if choice.probability}
        # A router that declines is served the default, as in scoring the first candidate.
        given = given if decision.ranking else {query.candidates[0].model: 1.0}
        if abs(sum(given.values()) - 1) > 1e-6:
            raise ConfigError(
                f"router `{self.name}` gives its choices no probabilities that add up to 1: it cannot be estimated",
                param="router",
            )
        self.rows.append(place)
        self.probabilities.append(given)


@dataclass
class _Traffic:
    """The calls that can be used, column by column."""

    quality: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    """USD; NaN where unknown."""
    drawn: list[dict[str, float]] = field(default_factory=list)
    """What each model's chance to be put first was."""
    action: list[str] = field(default_factory=list)
    """The model that was put first: what came of falling back from it is its result too."""
    router: list[str] = field(default_factory=list)

    def add(self, call: DecidedCall) -> int:
        assert call.quality is not None
        self.quality.append(call.quality)
        self.cost.append(np.nan if call.cost_usd is None else float(call.cost_usd))
        self.drawn.append({choice.model: choice.probability for choice in call.ranking})
        self.action.append(call.ranking[0].model)
        self.router.append(call.router)
        return len(self.quality) - 1

    def check(self) -> None:
        """Raise `ConfigError` where a router logged no chance for what it chose."""
        blank = Counter(
            router
            for router, drawn, model in zip(self.router, self.drawn, self.action, strict=True)
            if not 0 < drawn[model] <= 1
        )
        for router, count in blank.items():
            raise ConfigError(
                f"router `{router}` logged no probability for what it chose on {count:,} calls, so they cannot be "
                "weighted: leave its calls out with --logged-by",
                param="logged_by",
            )


async def estimate_routers(
    database: Database,
    routers: Mapping[str, Router],
    wanted: CallFilter,
    *,
    score: str = "quality",
    tradeoff: float | None = None,
    candidates: Mapping[str, Candidate] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Estimates:
    """What each of `routers`, by name, would have got on the calls in `wanted`; replays are left out.

    `score`: name of the scores that count. `tradeoff`: asked of every router; None: what each call was asked with.
    `candidates`: models as the routers see them, by name; None: with the prices or mean costs that the ledger knows.
    Intervals are 95 % ones of a bootstrap over calls. Raises `ConfigError` where no call can be used or a router
    cannot be estimated, `StoreUnavailable`.
    """
    known = candidates if candidates is not None else await _candidates(database, wanted)
    asked = [_Asked(name, router) for name, router in routers.items()]
    traffic, left_out = _Traffic(), Counter[Reason]()
    # All their calls are of no use, those too in which the first reply stayed: it stayed because of what it said.
    comparing = await comparing_routers(database, wanted)
    total = 0
    async with aclosing(stream_decided(database, wanted, score=score)) as calls:
        async for call in calls:
            total += 1
            reason = _unusable(call, comparing)
            if reason is not None:
                left_out[reason] += 1
                continue
            place, query = traffic.add(call), _query(call, known, tradeoff)
            for one in asked:
                one.ask(place, query)
    if not traffic.quality:
        raise _nothing(total, left_out, score)
    traffic.check()
    counted = {reason: left_out[reason] for reason in LEFT_OUT if left_out[reason]}
    quality, cost = np.array(traffic.quality), np.array(traffic.cost)
    return Estimates(
        since=wanted.since,
        until=wanted.until,
        score=score,
        calls=total,
        n=len(quality),
        left_out={str(reason): count for reason, count in counted.items()},
        logged_by=dict(Counter(traffic.router).most_common()),
        logged_quality=_mean(quality, draws, seed),
        logged_cost_per_1k=None if np.isnan(cost).any() else _mean(1000 * cost, draws, seed),
        routers=tuple(_estimated(one, traffic, draws, seed) for one in asked),
        notes=tuple(f"{count:,} calls {LEFT_OUT[reason]}." for reason, count in counted.items()),
        draws=draws,
        seed=seed,
    )


async def _candidates(database: Database, wanted: CallFilter) -> dict[str, Candidate]:
    """The models as the ledger knows them: rates where attempts were billed by rates, else their mean cost."""
    return {
        one.model: Candidate(one.model, mean_cost=one.mean_cost)
        if one.price is None
        else Candidate(one.model, input_price=float(one.price.input), output_price=float(one.price.output))
        # Whoever decided: a model's price does not depend on that.
        for one in await usual_costs(database, CallFilter(since=wanted.since, until=wanted.until))
    }


def _unusable(call: DecidedCall, comparing: frozenset[str]) -> Reason | None:
    if call.router == "none":
        return "explicit"
    if call.router in comparing:
        return "compared"
    if call.replaced or not call.ranking:
        return "replaced"
    if call.quality is not None:
        return None
    return "unscored" if call.outcome == "ok" else "failed"


def _query(call: DecidedCall, known: Mapping[str, Candidate], tradeoff: float | None) -> Query:
    ranked = {choice.model for choice in call.ranking}
    # In the catalog's order, which some routers go by; what it does not know stands behind.
    listed = [candidate for name, candidate in known.items() if name in ranked]
    listed += [Candidate(name) for name in sorted(ranked - known.keys())]
    return Query(
        _messages(call.request_text),
        tuple(listed),
        tradeoff=call.tradeoff if tradeoff is None else tradeoff,
        max_cost=call.max_cost_usd,
        session=call.session,
        seed=call.seed,
    )


def _messages(body: str | None) -> Sequence[Any]:
    try:
        chat = None if body is None else msgspec.json.decode(body.encode("utf-8", "replace"))
    except msgspec.DecodeError:
        chat = None
    messages = chat.get("messages") if isinstance(chat, dict) else None
    return messages if isinstance(messages, list) and messages else _NoText()


def _nothing(total: int, left_out: Mapping[Reason, int], score: str) -> HullspeedError:
    if not total:
        return HullspeedError("No call fits: look at --since, --until and --logged-by.")
    told = "; ".join(f"{left_out[reason]:,} {LEFT_OUT[reason]}" for reason in LEFT_OUT if left_out.get(reason))
    return ConfigError(
        f"None of {total:,} calls can be used: {told}. What is needed are calls to `auto`, decided by a router that "
        f"leaves something to chance (`uniform`, or one with exploration), with scores named {score!r} posted to them."
    )


def _mean(values: Floats, draws: int, seed: int) -> Estimate:
    low, high = interval(bootstrap_means(values[:, None], draws=draws, seed=seed)[:, 0])
    return Estimate(value=float(values.mean()), low=low, high=high)


def _estimated(asked: _Asked, traffic: _Traffic, draws: int, seed: int) -> RouterEstimate:
    if not asked.rows:
        said = (
            f"{asked.name} looks at prompts, and no call has its text: serve with `ledger: {{store_text: true}}`; "
            "the calls from then on can be used."
        )
        return _unknown(asked, None, said)
    drawn, action = [traffic.drawn[row] for row in asked.rows], [traffic.action[row] for row in asked.rows]
    uncovered = _uncovered(asked.probabilities, drawn)
    log = _log(asked, traffic, np.array(traffic.quality)[asked.rows])
    try:
        quality = estimate(log, _predicted(log, seed), draws=draws, seed=seed)
    except ValueError as error:
        deterministic = all(chances[model] == 1 for chances, model in zip(drawn, action, strict=True))
        said = f"{asked.name}: {str(error).removeprefix('off-policy: ')}."
        return _unknown(asked, uncovered, said, *([_NO_CHANCE] if deterministic else []))
    costs = np.array(traffic.cost)[asked.rows]
    cost = None if np.isnan(costs).any() else estimate(replace(log, reward=1000 * costs), draws=draws, seed=seed).snips
    return RouterEstimate(
        router=asked.name,
        n=len(asked.rows),
        quality=quality,
        cost_per_1k=cost,
        uncovered=uncovered,
        warnings=tuple(_warnings(asked, quality, uncovered)),
    )


_NO_CHANCE = (
    "Every choice in the log was certain, none was drawn: it tells only what the logging router itself got. Serve part "
    "of the traffic with exploration (router `explore` or `uniform`), then ask again."
)


def _unknown(asked: _Asked, uncovered: float | None, *warnings: str) -> RouterEstimate:
    return RouterEstimate(
        router=asked.name, n=len(asked.rows), quality=None, cost_per_1k=None, uncovered=uncovered, warnings=warnings
    )


def _uncovered(policy: Sequence[Mapping[str, float]], drawn: Sequence[Mapping[str, float]]) -> float:
    """Mean over the calls of the new router's probability on models that had none."""
    missed = [
        sum(share for model, share in given.items() if not chances.get(model))
        for given, chances in zip(policy, drawn, strict=True)
    ]
    return float(np.mean(missed))


def _log(asked: _Asked, traffic: _Traffic, reward: Floats) -> Log:
    models = sorted({model for row in asked.rows for model in traffic.drawn[row]})
    column = {model: place for place, model in enumerate(models)}
    policy = np.zeros((len(asked.rows), len(models)))
    for place, given in enumerate(asked.probabilities):
        for model, share in given.items():
            policy[place, column[model]] = share
    return Log.of(
        reward,
        [column[traffic.action[row]] for row in asked.rows],
        [traffic.drawn[row][traffic.action[row]] for row in asked.rows],
        policy,
    )


def _predicted(log: Log, seed: int) -> Floats:
    """Each model's mean reward on the other folds' calls, shape (n, m); the mean of all where it was never asked."""
    n, m = log.policy.shape
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    predicted = np.empty((n, m))
    for part in range(FOLDS):
        others = fold != part if n > 1 else np.ones(n, dtype=bool)
        counts = np.bincount(log.action[others], minlength=m)
        sums = np.bincount(log.action[others], weights=log.reward[others], minlength=m)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), log.reward[others].mean())
        predicted[fold == part] = means
    return predicted


def _warnings(asked: _Asked, found: OffPolicy, uncovered: float) -> list[str]:
    said = []
    if asked.untold:
        said.append(
            f"{asked.name} looks at prompts: {asked.untold:,} calls without their text are left out for it, so it is "
            "not judged on the same calls as the others (`ledger: {store_text: true}` keeps texts)."
        )
    if uncovered >= GAP:
        said.append(
            f"{asked.name}: {uncovered:.1%} of its choices are models that had no chance on that call. The log cannot "
            "speak of those: IPS counts them as 0, SNIPS as if they went like the rest, DR by that model's mean."
        )
    if found.largest_weight > ONE_CALL * found.mean_weight * found.n:
        share = found.largest_weight / (found.mean_weight * found.n)
        said.append(f"{asked.name}: one single call carries {share:.0%} of all weight.")
    return said
