"""Asking a router: which models are candidates, and what happens when the router fails.

A broken router never fails a call. One that raises, is late, declines or answers nonsense is replaced by the
configured order of models, and the decision's reason says so. `fast` routers run on the event loop, where a thread
would cost more than they do; all others run in a small pool of threads, where the deadline can be kept. A thread
that is stuck cannot be killed: while all of them are, decisions count as late at once instead of queueing behind.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import perf_counter

import msgspec

from app.core.errors import HullspeedError, InvalidRequest, ModelNotFound, NoUsableModel
from app.core.types import Attempt, DecisionRecord, RankedModel
from app.gateway.catalog import CHAT
from app.gateway.chat import RoutingOptions
from app.gateway.dialects.base import Asked
from app.gateway.embedders import Cache, EmbeddingFailed
from app.gateway.health import Fleet
from routers import Candidate, Choice, Decision, Query, Router, TrainableRouter
from routers.base import MAX_CALLS, text_length, tokens_of

log = logging.getLogger("hullspeed.decide")

AUTO = "auto"
EXPLICIT = "explicit"
THREADS = 4
SET_ASIDE = "is set aside after failures"
MOST_DETAIL = 100_000
"""Bytes of a router's own words on one decision, as JSON."""


@dataclass(eq=False)
class RouterEntry:
    """A router as the configuration names it."""

    name: str
    made: Router | None
    """None until somebody asks it, where it is one that can wait for that."""
    tradeoff: float
    """Used where a request sets none."""
    max_calls: int | None = None
    """Most models called for one request; None: the rules' own."""
    max_latency: float | None = None
    """Seconds, likewise."""
    origin: object = None
    """What the router was made of: equal where making it again would give the same one."""
    make: Callable[[], Router] | None = None
    """Makes one that is not made yet, named like the entry; with its imports that takes a while."""

    def router(self) -> Router:
        """The router, made now where it was not. Raises `ValueError` where its package is broken."""
        if self.made is None:
            assert self.make is not None
            self.made = self.make()
        return self.made

    @property
    def kind(self) -> str:
        """What the router itself is called."""
        return self.name if self.made is None else self.made.name

    def resolve(self, options: RoutingOptions) -> float:
        """The tradeoff a request asks for, by itself or by a target. Raises `InvalidRequest`."""
        wanted = options.target_cost if options.target_quality is None else options.target_quality
        if wanted is None:
            return self.tradeoff if options.tradeoff is None else options.tradeoff
        card = self.made.card if isinstance(self.made, TrainableRouter) else None
        if card is None:
            param = "routing.target_quality" if options.target_cost is None else "routing.target_cost"
            raise InvalidRequest(
                f"`{param}` needs a router that was validated when it was trained, and `{self.name}` has no table of "
                "settings: use `routing.tradeoff`, or train it with `hullspeed train`.",
                param=param,
            )
        return card.tradeoff_for_quality(wanted) if options.target_cost is None else card.tradeoff_for_cost(wanted)


@dataclass(frozen=True)
class RoutingRules:
    """What holds around every router."""

    default: str
    """Entry that serves `auto`."""
    deadline: float
    """Seconds a router may take."""
    fallback: tuple[str, ...]
    """All models, in the order they are tried when a router has no answer."""
    models: frozenset[str]
    """Models that routers may choose from."""
    max_calls: int = MAX_CALLS
    """Most models that may be called for one request to compare their replies."""
    max_latency: float | None = None
    """Seconds after which no further model is called to compare replies."""


class Ruling(msgspec.Struct, frozen=True):
    """A decision on one request."""

    record: DecisionRecord
    """As it is logged."""
    attempts: tuple[Attempt, ...] = ()
    """The calls of an embedding model that were made for it; their offsets begin with the decision."""


class Review(Ruling, frozen=True, kw_only=True):
    """A decision of a router that wants to see replies before one goes to the client."""

    entry: RouterEntry
    query: Query
    decision: Decision | None
    """The router's last word; None where it failed and was replaced."""


_NO_OPTIONS = RoutingOptions()


class Decider:
    """Turns a request into a ranking of models."""

    def __init__(
        self, fleet: Fleet, entries: Mapping[str, RouterEntry], rules: RoutingRules, embedder: Cache | None = None
    ) -> None:
        """`embedder`: for the routers that need the embeddings of one by this name."""
        self.fleet = fleet
        self.embedder = embedder
        self.catalog = fleet.catalog
        self.entries = entries
        self.rules = rules
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="router")
        self._busy = 0
        self._all = tuple(name for name in self.catalog if name in rules.models)
        models = [self.catalog[name] for name in self._all]
        self._all_chat = bool(models) and all(CHAT in model.endpoints for model in models)
        self._smallest_window = min((model.context_window or math.inf for model in models), default=0.0)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self.embedder is not None:
            self.embedder.close()

    def entry_for(self, model: str) -> RouterEntry | None:
        """The router a model name asks for; None where it names a model of the catalog.

        Raises `ModelNotFound` for `auto/<router>` with an unknown router, and for an unknown model.
        """
        if self.catalog.lists(model):
            return None
        if model == AUTO:
            return self.entries[self.rules.default]
        if model.startswith(AUTO + "/"):
            entry = self.entries.get(model.removeprefix(AUTO + "/"))
            if entry is None:
                known = ", ".join(f"auto/{name}" for name in self.entries)
                raise ModelNotFound(f"There is no router `{model}`; there are: {known}.", param="model")
            return entry
        self.catalog.find(model)  # A wildcard may stand for it.
        return None

    async def decide(self, asked: Asked, *, session: str | None, seed: int, explain: bool = False) -> Ruling:
        """The decision for one request; with `explain` the router may take the time to say more of it.

        Raises `ModelNotFound`, `NoUsableModel`, and `InvalidRequest` for a target the router cannot aim at.
        """
        chat = asked.chat
        entry = self.entry_for(chat.model)
        options = chat.routing or _NO_OPTIONS
        if entry is None:
            name = self.catalog.find(chat.model).name
            self._check_named(asked, name)
            others = [] if asked.is_pinned else self.catalog.fallbacks.after(name)
            others = [other for other in others if asked.obstacle(self.catalog.find(other)) is None]
            usable = self.fleet.usable([name, *others])
            return Ruling(
                DecisionRecord(
                    router="none",
                    version="",
                    reason=EXPLICIT,
                    tradeoff=options.tradeoff or 0.0,
                    ranking=(RankedModel(usable[0], probability=1.0), *map(RankedModel, usable[1:])),
                )
            )
        if asked.native is not None and asked.native.pinned:
            raise asked.native.unpinned(chat.model)
        tradeoff = entry.resolve(options)
        candidates, excluded = self._candidates(asked, options)
        query = Query(
            messages=chat.messages,
            candidates=candidates,
            tradeoff=tradeoff,
            max_cost=options.max_cost_usd,
            session=session,
            seed=seed,
            max_calls=(options.max_calls or entry.max_calls or self.rules.max_calls) if chat.comparable else 1,
            max_latency=options.max_latency_seconds or entry.max_latency or self.rules.max_latency,
            explain=explain,
        )
        router = entry.made
        if router is None:
            router = await self._made(entry)
        started = perf_counter()
        attempts: tuple[Attempt, ...] = ()
        missing: str | None = None
        if router.needs_embedding is not None:
            query, attempts, missing = await self._embedded(router, query)
        decision, reason, problem = await self._ask(entry, lambda: router.route(query), query)
        detail = dict(decision.detail) if decision else {}
        record = DecisionRecord(
            router=entry.name,
            version=router.version,
            reason=reason,
            tradeoff=tradeoff,
            ranking=self._complete(decision.ranking if decision else (), query.candidates),
            max_cost_usd=options.max_cost_usd,
            seed=seed,
            duration=perf_counter() - started,
            problem=problem,
            detail=detail if missing is None else {**detail, "embedding": missing},
            excluded=excluded,
        )
        if decision is not None and decision.review is not None:
            return Review(record, entry=entry, query=query, decision=decision, attempts=attempts)
        return Ruling(record, attempts)

    async def _made(self, entry: RouterEntry) -> Router:
        try:
            return await asyncio.to_thread(entry.router)
        except ValueError as error:
            raise ModelNotFound(f"The router `{AUTO}/{entry.name}` cannot be had: {error}", param="model") from None

    async def review(self, ruling: Review, judge: Callable[[], Decision]) -> Review:
        """The next word of the router; `judge` asks it. Without a decision where it failed at that."""
        started = perf_counter()
        decision, reason, problem = await self._ask(ruling.entry, judge, ruling.query)
        record = msgspec.structs.replace(
            ruling.record,
            reason=reason,
            duration=ruling.record.duration + perf_counter() - started,
            problem=problem,
            detail={**ruling.record.detail, **(decision.detail if decision else {})},
        )
        return msgspec.structs.replace(ruling, record=record, decision=decision)

    async def _embedded(self, router: Router, query: Query) -> tuple[Query, tuple[Attempt, ...], str | None]:
        """The query with the embedding that its router needs, what was called for it, and why there is none if so.

        It may take as long as a router may, before that begins; late or failed, the router does without.
        """
        if self.embedder is None or self.embedder.name != router.needs_embedding:
            return query, (), f"there is no embedder `{router.needs_embedding}`"
        try:
            found = await asyncio.wait_for(self.embedder.embed(query.text), self.rules.deadline)
        except TimeoutError:
            return query, (), f"no embedding within {self.rules.deadline:g} s"
        except HullspeedError as error:
            made = error.attempts if isinstance(error, EmbeddingFailed) else ()
            return query, made, error.message[:500]
        except Exception as error:
            log.exception("embedder %r failed; the router does without", self.embedder.name)
            return query, (), f"{type(error).__name__}: {error}"[:500]
        return replace(query, embedding=found.vector), found.attempts, None

    def _check_named(self, asked: Asked, name: str) -> None:
        """Raises `InvalidRequest` where the model that the client names cannot be asked this at all."""
        obstacles = [asked.obstacle(model) for model in self.catalog.deployments(name)]
        if obstacles and None not in obstacles:
            param = "model" if asked.native is None else asked.native.only or "model"
            raise InvalidRequest(f"The model `{name}` {obstacles[0]}.", param=param)

    def _candidates(self, asked: Asked, options: RoutingOptions) -> tuple[tuple[Candidate, ...], dict[str, str]]:
        """The models that can serve the request, and why each other one cannot; raises `NoUsableModel` that says why
        none can."""
        if self._may_ask_all(asked, options):
            return self._up(self._all, {})
        problems = self.problems(asked, options)
        able = tuple(name for name, problem in problems.items() if problem is None)
        if not able:
            reasons = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
            reasons = reasons or "routers may choose from none; wildcards are called by name"
            raise NoUsableModel(f"No model can serve this request ({reasons}).", param="model")
        return self._up(able, {name: problem for name, problem in problems.items() if problem is not None})

    def _up(self, able: tuple[str, ...], excluded: dict[str, str]) -> tuple[tuple[Candidate, ...], dict[str, str]]:
        """Those of `able` that are not set aside, and the others beside those `excluded`."""
        candidates = self.fleet.seen(able)
        if len(candidates) == len(able):
            return candidates, excluded
        up = {candidate.model for candidate in candidates}
        return candidates, excluded | {name: SET_ASIDE for name in able if name not in up}

    def _may_ask_all(self, asked: Asked, options: RoutingOptions) -> bool:
        """The request asks nothing that a model could lack: most do not, and need no look at each model."""
        if asked.native is not None or options.models is not None or options.max_cost_usd is not None:
            return False
        tokens = tokens_of(text_length(asked.chat.messages))
        return self._all_chat and tokens <= self._smallest_window and not asked.chat.needs()

    def problems(self, asked: Asked, options: RoutingOptions) -> dict[str, str | None]:
        """Why each model that routers may choose cannot serve the request, None where it can.

        Raises `ModelNotFound` where the request names a model that is not in the catalog.
        """
        chat = asked.chat
        prompt_tokens = tokens_of(text_length(chat.messages))
        named = {self.catalog.find(name).name for name in options.models or ()}
        needs, allowed = chat.needs(), named or self.rules.models
        return {
            name: asked.obstacle(self.catalog[name])
            or self._problem(name, needs, prompt_tokens, chat.max_output, options.max_cost_usd)
            for name in self.catalog
            if name in allowed
        }

    def _problem(
        self, name: str, needs: frozenset[str], prompt_tokens: int, max_output: int | None, max_cost: float | None
    ) -> str | None:
        """Why a model cannot serve a request, in few words; None where it can."""
        model, candidate = self.catalog[name], self.catalog.candidates[name]
        if model.capabilities is not None and not needs <= model.capabilities:
            return f"lacks {', '.join(sorted(needs - model.capabilities))}"
        # The estimate of four characters a token may be a third too high: only what surely does not fit is left out.
        if model.context_window is not None and prompt_tokens * 2 / 3 > model.context_window:
            return f"its window of {model.context_window:,} tokens is too small"
        if max_cost is not None:
            expected = candidate.expected_cost(prompt_tokens, max_output or 256)
            if expected is None:
                return "its price is not known"
            if expected > max_cost:
                return f"is expected to cost ${expected:.6f}"
        return None

    def _complete(self, ranking: Sequence[Choice], candidates: Sequence[Candidate]) -> tuple[RankedModel, ...]:
        """The ranking with the candidates it left out behind it, so that falling back has somewhere to go."""
        ranked = [RankedModel(choice.model, choice.quality, choice.cost, choice.probability) for choice in ranking]
        if len(ranked) == len(candidates):
            return tuple(ranked)
        named = {model.model for model in ranked}
        usable = {candidate.model for candidate in candidates} - named
        rest = [RankedModel(name) for name in self.rules.fallback if name in usable]
        if rest and not ranked:
            rest[0] = RankedModel(rest[0].model, probability=1.0)
        return (*ranked, *rest)

    async def _ask(
        self, entry: RouterEntry, question: Callable[[], Decision], query: Query
    ) -> tuple[Decision | None, str, str | None]:
        """The router's decision, its reason, and what went wrong if it has to be replaced."""
        try:
            decision = _asked(question) if entry.router().fast else await self._in_thread(question)
            _check(decision, query)
        except TimeoutError:
            return None, "default:late", f"no decision within {self.rules.deadline:g} s"
        except Exception as error:
            log.exception("router %r failed; its call is served by the fallback order", entry.name)
            return None, "default:error", f"{type(error).__name__}: {error}"[:500]
        if not decision.ranking and decision.reply is None:
            return None, "default:declined", decision.reason[:500] or None
        return decision, decision.reason[:100], None

    async def _in_thread(self, question: Callable[[], Decision]) -> Decision:
        if self._busy >= THREADS:
            raise TimeoutError
        self._busy += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, _asked, question)
        future.add_done_callback(self._freed)
        return await asyncio.wait_for(asyncio.shield(future), self.rules.deadline)

    def _freed(self, future: asyncio.Future[Decision]) -> None:
        self._busy -= 1
        if not future.cancelled():
            future.exception()  # A late router's error has been answered for already.


def _asked(question: Callable[[], Decision]) -> Decision:
    """The router's answer. What would end the process or the call (`sys.exit`) is an error like any other of its."""
    try:
        return question()
    except Exception:
        raise
    except BaseException as error:
        raise RuntimeError(f"the router raised {type(error).__name__}") from error


def _check(decision: Decision, query: Query) -> None:
    """Raise where the ranking is none: unknown candidates, or one twice."""
    if not isinstance(decision, Decision):
        raise TypeError(f"the router returned {type(decision).__name__}, not a Decision")
    left = {candidate.model for candidate in query.candidates}
    for choice in decision.ranking:
        try:
            left.remove(choice.model)
        except KeyError:
            twice = any(choice.model == candidate.model for candidate in query.candidates)
            what = " twice" if twice else ", which is not a candidate"
            raise ValueError(f"ranked {choice.model!r}{what}") from None
    if decision.detail:
        try:
            size = len(msgspec.json.encode(decision.detail))
        except TypeError as error:
            raise TypeError(f"the detail of the decision is not JSON: {error}") from None
        if size > MOST_DETAIL:
            raise ValueError(f"the detail of the decision has {size:,} bytes; {MOST_DETAIL:,} are kept at most")
