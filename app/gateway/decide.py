"""Asking a router: which models are candidates, and what happens when the router fails.

A broken router never fails a call. One that raises, is late, declines or answers nonsense is replaced by the
configured order of models, and the decision's reason says so. `fast` routers run on the event loop, where a thread
would cost more than they do; all others run in a small pool of threads, where the deadline can be kept. A thread
that is stuck cannot be killed: while all of them are, decisions count as late at once instead of queueing behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

from app.core.errors import ModelNotFound, NoUsableModel
from app.core.types import DecisionRecord, RankedModel
from app.gateway.catalog import Catalog
from app.gateway.chat import ChatRequest, RoutingOptions
from routers import Candidate, Choice, Decision, Query, Router

log = logging.getLogger("hullspeed.decide")

AUTO = "auto"
EXPLICIT = "explicit"
THREADS = 4


@dataclass(frozen=True)
class RouterEntry:
    """A router as the configuration names it."""

    name: str
    router: Router
    tradeoff: float
    """Used where a request sets none."""


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


class Decider:
    """Turns a request into a ranking of models."""

    def __init__(self, catalog: Catalog, entries: Mapping[str, RouterEntry], rules: RoutingRules) -> None:
        self.catalog = catalog
        self.entries = entries
        self.rules = rules
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="router")
        self._busy = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def entry_for(self, model: str) -> RouterEntry | None:
        """The router a model name asks for; None where it names a model of the catalog.

        Raises `ModelNotFound` for `auto/<router>` with an unknown router, and for an unknown model.
        """
        if model in self.catalog:
            return None
        if model == AUTO:
            return self.entries[self.rules.default]
        if model.startswith(AUTO + "/"):
            entry = self.entries.get(model.removeprefix(AUTO + "/"))
            if entry is None:
                known = ", ".join(f"auto/{name}" for name in self.entries)
                raise ModelNotFound(f"There is no router `{model}`; there are: {known}.", param="model")
            return entry
        self.catalog.find(model)
        raise AssertionError("find() raises for a name that is not in the catalog")

    async def decide(self, chat: ChatRequest, *, session: str | None, seed: int) -> DecisionRecord:
        """The decision for one request, as it is logged. Raises `ModelNotFound`, `NoUsableModel`."""
        entry = self.entry_for(chat.model)
        options = chat.routing or RoutingOptions()
        if entry is None:
            return DecisionRecord(
                router="none",
                version="",
                reason=EXPLICIT,
                tradeoff=options.tradeoff or 0.0,
                ranking=(RankedModel(chat.model, probability=1.0),),
            )
        tradeoff = entry.tradeoff if options.tradeoff is None else options.tradeoff
        query = Query(
            messages=chat.messages,
            candidates=self._candidates(chat, options),
            tradeoff=tradeoff,
            max_cost=options.max_cost_usd,
            session=session,
            seed=seed,
        )
        started = perf_counter()
        decision, reason, detail = await self._ask(entry, query)
        return DecisionRecord(
            router=entry.name,
            version=entry.router.version,
            reason=reason,
            tradeoff=tradeoff,
            ranking=_complete(decision.ranking, self._fallback(query.candidates)),
            max_cost_usd=options.max_cost_usd,
            seed=seed,
            duration=perf_counter() - started,
            detail=detail,
        )

    def _candidates(self, chat: ChatRequest, options: RoutingOptions) -> tuple[Candidate, ...]:
        """The models that can serve the request; raises `NoUsableModel` that says why none can."""
        prompt_tokens = Query(chat.messages, ()).prompt_tokens
        for name in options.models or ():
            self.catalog.find(name)
        needs, allowed = chat.needs(), set(options.models or self.rules.models)
        usable, reasons = [], []
        for name in self.catalog:
            if name not in allowed:
                continue
            problem = self._problem(name, needs, prompt_tokens, chat.max_output, options.max_cost_usd)
            if problem is None:
                usable.append(self.catalog.candidates[name])
            else:
                reasons.append(f"{name}: {problem}")
        if not usable:
            raise NoUsableModel(f"No model can serve this request ({'; '.join(reasons)}).", param="model")
        return tuple(usable)

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

    def _fallback(self, candidates: Sequence[Candidate]) -> list[str]:
        usable = {candidate.model for candidate in candidates}
        return [name for name in self.rules.fallback if name in usable]

    async def _ask(self, entry: RouterEntry, query: Query) -> tuple[Decision, str, str | None]:
        """The router's decision, its reason, and what went wrong if it was replaced."""
        try:
            decision = await self._run(entry.router, query)
            ranking = _checked(decision, query)
        except TimeoutError:
            return _NONE, "default:late", f"no decision within {self.rules.deadline:g} s"
        except Exception as error:
            log.exception("router %r failed; its call is served by the fallback order", entry.name)
            return _NONE, "default:error", f"{type(error).__name__}: {error}"[:500]
        if not ranking:
            return _NONE, "default:declined", decision.reason[:500] or None
        return Decision(ranking, decision.reason), decision.reason[:100], None

    async def _run(self, router: Router, query: Query) -> Decision:
        if router.fast:
            return router.route(query)
        if self._busy >= THREADS:
            raise TimeoutError
        self._busy += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, router.route, query)
        future.add_done_callback(self._freed)
        return await asyncio.wait_for(asyncio.shield(future), self.rules.deadline)

    def _freed(self, future: asyncio.Future[Decision]) -> None:
        self._busy -= 1
        if not future.cancelled():
            future.exception()  # A late router's error has been answered for already.


_NONE = Decision((), "")


def _checked(decision: Decision, query: Query) -> tuple[Choice, ...]:
    """The ranking, if it is one: known candidates, none twice."""
    if not isinstance(decision, Decision):
        raise TypeError(f"route() returned {type(decision).__name__}, not a Decision")
    known = {candidate.model for candidate in query.candidates}
    seen: set[str] = set()
    for choice in decision.ranking:
        if choice.model not in known:
            raise ValueError(f"ranked {choice.model!r}, which is not a candidate")
        if choice.model in seen:
            raise ValueError(f"ranked {choice.model!r} twice")
        seen.add(choice.model)
    return decision.ranking


def _complete(ranking: Sequence[Choice], fallback: Sequence[str]) -> tuple[RankedModel, ...]:
    """The ranking with the candidates it left out behind it, so that falling back has somewhere to go."""
    ranked = [RankedModel(choice.model, choice.quality, choice.cost, choice.probability) for choice in ranking]
    named = {model.model for model in ranked}
    rest = [RankedModel(name) for name in fallback if name not in named]
    if rest and not ranked:
        rest[0] = RankedModel(rest[0].model, probability=1.0)
    return (*ranked, *rest)
