"""The policy interface: what a router may look at, and what it answers.

A router ranks *all* usable candidates rather than naming one, so that the proxy can fall back down the
ranking without asking again, and so that off-policy estimates find the propensity of every choice. *Declining*
(an empty ranking) is a normal outcome: the proxy then serves its configured default and says so.

A router that wants to see replies before it answers (a cascade, an agreement ladder) says how many models of the top
it wants asked at once, and gives the function that reviews their replies. What it decided stays with it in that
function, so nothing is computed twice and a router keeps no state between rounds.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import neg
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from routers.card import Card
    from routers.outcomes import Outcomes


MAX_CALLS = 4
"""Most models that may be called for one query where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as a router sees it. Whatever is not known is None, never a guess."""

    model: str
    """Name of the model in the catalog."""
    input_price: float | None = None
    """USD per prompt token."""
    output_price: float | None = None
    """USD per completion token."""
    mean_cost: float | None = None
    """Mean observed cost of one call, USD."""
    context_window: int | None = None
    """Tokens of prompt and completion together."""
    max_output: int | None = None
    """Most tokens of one completion."""
    capabilities: frozenset[str] = frozenset()
    """Of `tools`, `vision`, `audio`, `json_schema`, `reasoning`."""
    latency: float | None = None
    """Median observed seconds of one call."""

    def expected_cost(self, prompt_tokens: int, completion_tokens: int = 256) -> float | None:
        """USD one call is expected to cost: the observed mean where there is one, else tokens × price."""
        if self.mean_cost is not None:
            return self.mean_cost
        if self.input_price is None or self.output_price is None:
            return None
        return self.input_price * prompt_tokens + self.output_price * completion_tokens


@dataclass(frozen=True)
class Query:
    """All that a router may look at."""

    messages: Sequence[Mapping[str, Any]]
    """The chat in OpenAI's form; `content` is a string, a list of parts, or None."""
    candidates: tuple[Candidate, ...]
    """The usable models, in the catalog's order; never empty when the proxy asks."""
    tradeoff: float = 0.5
    """0 = quality only, 1 = cost only."""
    max_cost: float | None = None
    """Most USD the call may cost; the proxy has already left out candidates known to cost more."""
    session: str | None = None
    """The client's own name for a conversation."""
    seed: int = 0
    """The only source of randomness a router may use."""
    features: Mapping[str, float] = field(default_factory=dict)
    """Numbers the proxy computed beforehand, by name."""
    max_calls: int = MAX_CALLS
    """Most models that may be called for this query. 1 where replies cannot be compared: a request with tools, with
    several choices, or one whose client wants the first token as soon as it is there."""
    explain: bool = False
    """True where somebody asks why: a router may then take the time to tell in `Decision.detail`."""
    max_latency: float | None = None
    """Most seconds until the reply; a plan that asks one model after another must fit into it."""
    embedding: NDArray[np.float32] | None = None
    """Sentence embedding of `text` by the embedder that the router needs (`Router.needs_embedding`), a unit vector of
    shape (e,); None where it needs none or none was to be had in time."""

    @cached_property
    def text(self) -> str:
        """Text of the last user message, or of the last message where no user speaks."""
        return last_text(self.messages)

    @cached_property
    def length(self) -> int:
        """Characters of text in all messages together."""
        return text_length(self.messages)

    @property
    def prompt_tokens(self) -> int:
        """Rough number of prompt tokens (four characters each), for costs before a call."""
        return tokens_of(self.length)


def last_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Text of the last user message, or of the last message where no user speaks; empty without messages."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return message_text(message)
    return message_text(messages[-1]) if messages else ""


def text_length(messages: Sequence[Mapping[str, Any]]) -> int:
    """Characters of text in all messages together."""
    total = 0
    for message in messages:
        content = message.get("content")
        total += len(content if isinstance(content, str) else message_text(message))
    return total


def tokens_of(characters: int) -> int:
    """Rough number of tokens: four characters each."""
    return characters // 4 + 1


def message_text(message: Mapping[str, Any]) -> str:
    """The text of one chat message; images and other parts contribute nothing."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "\n".join(text for text in parts if isinstance(text, str))
    return ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate with what the router thinks of it."""

    model: str
    quality: float | None = None
    """Predicted quality in [0, 1]."""
    cost: float | None = None
    """Predicted cost of the call, USD."""
    probability: float = 0.0
    """Propensity: the probability with which this router puts this model first for this query."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered to the query."""

    model: str
    text: str | None
    """None where the model failed or said nothing in words: a missing vote."""
    cost: float | None = None
    """USD billed; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A ranking of the usable candidates, best first; empty when the router declines."""

    ranking: tuple[Choice, ...]
    reason: str
    """Few words, from a small fixed set per router: it becomes a metric label."""
    ask: int = 1
    """How many of the top are called at once; more than one only together with `review`."""
    review: Callable[[Sequence[Reply]], Decision] | None = None
    """Given, the router sees the replies of all models called so far, in the order it asked for them, before one goes
    to the client. It answers with a decision that names the `reply`, or ranks models not called yet and asks again.
    As pure as `route`; None: the first model of the ranking that answers is the answer."""
    reply: str | None = None
    """The model, called already, whose reply is the answer. Only in the answer of a `review`; its ranking is what is
    called, in order, where that one failed."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """How the decision came about, as JSON values by name (neighbours, the arm, votes): for whoever asks why."""


class Router(ABC):
    """A routing policy: constructed once, then asked for every request; it does not change while routing."""

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    fast: ClassVar[bool] = False
    """True where a decision surely takes less than a few milliseconds: it may then run on the event loop. Others
    are run in a thread, where the deadline can be kept."""
    bench_only: ClassVar[bool] = False
    """True for a router that knows what it could not know when serving (the oracle)."""

    @property
    def needs_embedding(self) -> str | None:
        """Name of the embedder whose vectors the router was trained with; None: it asks for none."""
        return None

    def named_models(self) -> tuple[str, ...]:
        """Models that the router's own parameters name: who serves it checks that they exist."""
        return ()

    def learner(self) -> LearningRouter | None:
        """Who learns from the scores of the calls that this router decided: itself, one within it, or nobody."""
        return None

    @abstractmethod
    def route(self, query: Query) -> Decision:
        """Rank `query.candidates`. Pure: no I/O, no clock, no randomness but `query.seed`."""


class TrainableRouter(Router):
    """A router that is fitted to outcomes and kept as an artifact folder."""

    card: Card | None = None
    """What training found out about it; None where nothing was held out to find out with."""
    needs_training: ClassVar[bool] = True
    """False where the constructor alone makes a router that serves, and training only improves it."""

    @classmethod
    @abstractmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Self:
        """Fit to `outcomes`; raises `ValueError` that names the parameter when `params` are wrong."""

    @abstractmethod
    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write the artifact (see `routers.artifacts`) to `folder`.

        Raises `routers.artifacts.ArtifactError` when the folder holds something already; with `overwrite` an
        artifact is replaced, anything else still refused.
        """

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read an artifact; raises `routers.artifacts.ArtifactError` when it is not one of this router's."""


class LearningRouter(Router):
    """A router that learns from the scores of the calls it decided, while it serves.

    What it has learned is a sum: one array per model to which every score adds its share. So the order of scores does
    not matter, a score is taken back by adding it with weight −1, and the sums of several workers are put together by
    adding them. The durable truth are the decisions and scores of the ledger, never this object: `Decision.detail`
    carries all that learning from a call needs, and the sums can be made anew from the rows at any time. A worker
    that restores nothing and folds in each scored call of the ledger once, its own or another worker's, holds the
    same sums as every other worker.

    `route` sees either the sums before an update or those after it, never half of one; one thread may update.
    """

    @abstractmethod
    def update(self, detail: Mapping[str, Any], model: str, reward: float, *, weight: float = 1.0) -> None:
        """Learn that `model`, which answered, earned `reward` in [0, 1] on the call that was decided with `detail`.

        `detail`: `Decision.detail` as it was logged; `weight`: −1 takes back what was added with 1. Raises
        `ValueError` for a reward outside [0, 1], and for a detail that this router cannot learn from: of another
        router, or of one fitted otherwise, whose contexts mean something else.
        """

    @abstractmethod
    def state(self) -> Mapping[str, NDArray[np.float64]]:
        """What was learned from scores: model → sums; a copy. What fitting gave is not in it."""

    @abstractmethod
    def restore(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Hold `state` in place of what was learned from scores; an empty one forgets all of it.

        Raises `ValueError` where it is not a state of a router like this one.
        """

    def merge(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Add what another worker learned; raises `ValueError` like `restore`."""
        mine = dict(self.state())
        self.restore(mine | {model: mine[model] + sums if model in mine else sums for model, sums in state.items()})

    def learner(self) -> LearningRouter | None:
        return self


def seed_for(*parts: object) -> int:
    """A 63-bit seed from `parts`, the same on every machine and in every process."""
    text = "\x1f".join(map(str, parts))
    # A client may send half a surrogate pair; a seed must not fail on it.
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def price_of_quality(tradeoff: float, dearest: float) -> float:
    """λ of the utility q̂ − λ·ĉ: quality given up per USD.

    λ = t / (1 − t) / c_ref, with t the tradeoff and c_ref the pool's dearest mean cost; t = 1 gives infinity.
    """
    if tradeoff >= 1:
        return math.inf
    return tradeoff / (1 - tradeoff) / dearest if dearest > 0 else 0.0


def rank_by_utility(
    models: Sequence[str],
    quality: Sequence[float],
    cost: Sequence[float],
    *,
    tradeoff: float,
    dearest: float,
    reason: str,
    behind: Mapping[str, Any] | None = None,
) -> Decision:
    """Rank models by q̂ − λ·ĉ, ties to the cheaper, then to the better, then to the name.

    `quality`: predictions in [0, 1]; `cost`: predictions in USD; `dearest`: c_ref of `price_of_quality`, which is kept
    in the decision's detail, before what is `behind` it: with the tradeoff it is all that is needed to reckon the
    utilities again.
    """
    weight = price_of_quality(tradeoff, dearest)
    if math.isinf(weight):
        losses = [0.0] * len(models)
    else:
        losses = [weight * usd - good for good, usd in zip(quality, cost, strict=True)]
    ranked = sorted(zip(losses, cost, map(neg, quality), models, strict=True))
    choices = [
        Choice(model, -float(bad), float(usd), 0.0 if place else 1.0)
        for place, (_, usd, bad, model) in enumerate(ranked)
    ]
    return Decision(tuple(choices), reason, detail={"dearest_usd": float(dearest), **(behind or {})})
