"""Calling models: one of them, or down a ranking until one answers.

Another model may take over until the first content has gone out to the client; a chunk that carries only a role is
held back until then. After that, two models' words are never spliced.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import msgspec

from app.core.types import AttemptOutcome
from app.gateway.attempt import ABANDONED, OpenAttempt, StreamAnswer, WholeAnswer
from app.gateway.call import OpenCall
from app.gateway.catalog import Catalog, Model
from app.gateway.chat import Fields
from app.gateway.decide import EXPLICIT
from app.gateway.dialects.base import Asked
from app.gateway.health import Fleet, Health, HealthRules
from app.gateway.patience import Patience
from app.gateway.replies import Reading
from app.gateway.retries import RetryBudget, RetryRules, pause
from app.gateway.upstream import (
    CHAT_PATH,
    Upstream,
    UpstreamError,
    UpstreamRequest,
    broken_reply,
    saturated,
    timed_out,
)


@dataclass(frozen=True)
class Limits:
    """How long an upstream may take, in seconds."""

    total: float = 600.0
    """For a whole reply, where the model sets none."""
    first_token: float = 300.0
    """Until the first content of a stream."""
    idle: float = 60.0
    """Between two chunks of a stream after that."""
    stream: float = 3600.0
    """For a stream from its first byte to its last."""


MOST_DROPPED = 5
"""Parameters that are left out one after the other for one request, each at the price of an attempt."""

Answer = TypeVar("Answer")
Ask = Callable[[OpenAttempt, UpstreamRequest], Awaitable[Answer]]
"""How one model is asked. Closes the attempt where it returns a whole reply."""


class _Walk(msgspec.Struct):
    """How far a call has come down its ranking."""

    waiting: list[str]
    """Models to be asked in the next round."""
    rounds: int
    """Retries that there may be."""
    queue: float
    """Seconds that it may still wait for a place."""
    number: int = 0
    too_small: int = 0
    """The largest window that was too small for the prompt."""
    failure: UpstreamError | None = None
    passing: list[str] = []
    """Models of this round that may do better a little later, with the pause that each asked for."""
    pauses: list[float] = []
    full: list[str] = []
    """Those of them that were not asked, as all their places were taken."""


class Attempts:
    """Calls models in the order of a decision."""

    def __init__(
        self,
        catalog: Catalog,
        upstreams: Mapping[str, Upstream],
        limits: Limits | None = None,
        rules: RetryRules | None = None,
        fleet: Fleet | None = None,
    ) -> None:
        self.catalog = catalog
        self.upstreams = upstreams
        self.limits = limits or Limits()
        self.rules = rules or RetryRules()
        self.fleet = fleet or Fleet(catalog, HealthRules())
        self.budget = RetryBudget(self.rules.budget)
        self._unsupported: WeakKeyDictionary[Health, frozenset[str]] = WeakKeyDictionary()
        """Parameters that a deployment does not take."""

    # No coroutines of their own: each would be one more to go through whenever the call goes on.

    def one(self, call: OpenCall, model: str) -> Coroutine[Any, Any, WholeAnswer]:
        """The whole reply of one model, however the client wants it. Raises `UpstreamError`."""
        return self._model(call, model, self._whole, stream=False)

    def whole(self, call: OpenCall, ranking: Sequence[str]) -> Coroutine[Any, Any, WholeAnswer]:
        """The first whole reply down the ranking. Raises the last `UpstreamError` where no model answers."""
        return self._walk(call, ranking, self._whole, stream=False)

    def stream(self, call: OpenCall, ranking: Sequence[str]) -> Coroutine[Any, Any, StreamAnswer]:
        """The first stream down the ranking that brings content. Raises the last `UpstreamError` where none does."""
        return self._walk(call, ranking, self._stream, stream=True)

    async def _whole(self, attempt: OpenAttempt, request: UpstreamRequest) -> WholeAnswer:
        answer = await self.upstreams[attempt.upstream].complete(request)
        reply, body = attempt.read(answer.body)
        if not reply.is_whole:
            raise broken_reply(attempt.model, "no choices in it")
        return WholeAnswer(attempt.close("ok"), reply, body, answer.headers, attempt.native)

    async def _stream(self, attempt: OpenAttempt, request: UpstreamRequest) -> StreamAnswer:
        patience = attempt.model.first_token_timeout or min(self.limits.first_token, request.timeout)
        try:
            async with asyncio.timeout(patience):
                answer = await self.upstreams[attempt.upstream].stream(request)
                chunks = cast("AsyncGenerator[Sequence[bytes]]", answer.chunks)
                held: list[tuple[Reading, Fields]] = []
                rest: Sequence[bytes] = ()
                try:
                    async for together in chunks:
                        for place, data in enumerate(together, 1):
                            held.append(attempt.read(data))
                            if held[-1][0].has_content:
                                attempt.saw_content()
                                rest = together[place:]
                                break
                        if attempt.first_token is not None:
                            break
                    else:
                        _check_finished(attempt)
                except BaseException:
                    await chunks.aclose()
                    raise
        except TimeoutError:
            raise timed_out(attempt.model, patience) from None
        idle = min(self.limits.idle, request.timeout, attempt.model.first_token_timeout or request.timeout)
        return StreamAnswer(attempt, _resume(attempt, held, rest, chunks, idle, self.limits.stream), answer.headers)

    async def _walk(self, call: OpenCall, ranking: Sequence[str], ask: Ask[Answer], *, stream: bool) -> Answer:
        """Down the ranking, then again over the models that failed for passing reasons, as the rules allow."""
        self.budget.called()
        # A client that retries by itself must not multiply with our own retries.
        rounds = max(self.rules.retries - call.head.client_retries, 0)
        walk = _Walk(list(ranking), rounds, self.rules.queue)
        while True:
            answer = await self._round(call, walk, ask, stream=stream)
            if answer is not None:
                return answer
            await self._wait(call, walk)

    async def _round(self, call: OpenCall, walk: _Walk, ask: Ask[Answer], *, stream: bool) -> Answer | None:
        """Ask each of the models that wait, until one answers. Raises where no other is to be asked."""
        waiting, walk.passing, walk.pauses, walk.full = walk.waiting, [], [], []
        for place, name in enumerate(waiting, 1):
            window = self.catalog[name].context_window
            if walk.too_small and window is not None and window <= walk.too_small:
                continue
            try:
                answer = await self._model(call, name, ask, stream=stream)
            except UpstreamError as error:
                walk.failure = error
                if not error.next_model:
                    raise
                if error.too_long:
                    walk.too_small = max(walk.too_small, window or 0)
                    waiting[place:place] = self._larger(call, name, waiting)
                elif error.retry:
                    walk.passing.append(name)
                    walk.pauses.append(error.pause or 0.0)
                    walk.full += [name] if error.is_saturated else []
                if call.elapsed() >= self.rules.seconds:
                    raise
            else:
                call.model = name
                return answer
        return None

    async def _wait(self, call: OpenCall, walk: _Walk) -> None:
        """Until a round that failed may be followed by another. Raises its last failure where none may."""
        assert walk.failure is not None
        walk.waiting, rules = walk.passing, self.rules
        if walk.full and walk.full == walk.passing:
            # Nobody else can answer: a place is waited for, which is no retry.
            began = call.elapsed()
            if not await self.fleet.room(walk.full, walk.queue):
                raise walk.failure
            walk.queue -= call.elapsed() - began
            return
        seconds = pause(walk.number, min(walk.pauses, default=None))
        walk.number += 1
        if (
            not walk.passing
            or walk.number > walk.rounds
            or seconds > rules.longest_pause
            or call.elapsed() + seconds >= rules.seconds
            or not self.budget.spend()
        ):
            raise walk.failure
        await asyncio.sleep(seconds)

    def _larger(self, call: OpenCall, name: str, waiting: Sequence[str]) -> list[str]:
        """The models set up for prompts that are too long for one that the client named."""
        pinned = call.asked is not None and call.asked.is_pinned
        if pinned or call.decision is None or call.decision.reason != EXPLICIT:
            return []
        return [other for other in self.catalog.fallbacks.larger(name) if other not in waiting]

    async def _model(self, call: OpenCall, name: str, ask: Ask[Answer], *, stream: bool) -> Answer:
        """One model: its deployments one after the other, while what fails is the deployment."""
        failure: UpstreamError | None = None
        healths = self.fleet.order(name)
        for health in healths:
            if health.is_full or (failure is not None and health.is_out):
                failure = failure or saturated(health.model, health.room_in)
                continue
            try:
                return await self._deployment(call, health, ask, stream=stream)
            except UpstreamError as error:
                failure = error
                if error.blame == "nobody":
                    break
        assert failure is not None
        raise failure

    async def _deployment(self, call: OpenCall, health: Health, ask: Ask[Answer], *, stream: bool) -> Answer:
        model, asked = health.model, call.asked
        assert asked is not None
        without = self._unsupported.get(health, model.dropped)
        for left in range(MOST_DROPPED, -1, -1):
            try:
                return await self._attempt(call, asked, health, ask, stream=stream, without=without)
            except UpstreamError as error:
                name = _unsupported(error, model, asked.parameters, stream=stream)
                if name is None or name in without or not left:
                    raise
                # Asked once more without, and remembered where the model never takes it.
                without |= {name}
                if error.code != "unsupported_value":
                    self._unsupported[health] = without
        raise AssertionError("the last try raises")

    async def _attempt(
        self,
        call: OpenCall,
        asked: Asked,
        health: Health,
        ask: Ask[Answer],
        *,
        stream: bool,
        without: frozenset[str],
    ) -> Answer:
        model = health.model
        # A reply that is asked for whole and told as a stream is told from its chat form.
        native = stream == call.stream and asked.is_native(model)
        sent = asked.fields_for(model, native=native, stream=stream, usage="stream_options" not in without)
        for name in without:
            sent.pop(name, None)
        request = UpstreamRequest(
            model=model,
            fields=sent,
            stream=stream,
            timeout=model.timeout or self.limits.total,
            messages=asked.chat.messages,
            item=call.head.item,
            path=asked.native.path if native and asked.native else CHAT_PATH,
            headers=call.head.passed if native else {},
        )
        # litellm would translate what needs no translation.
        upstream = "direct" if native and model.provider == "anthropic" else model.upstream
        await self.upstreams[upstream].warm()
        attempt = OpenAttempt(call, health, upstream, native=native)
        try:
            return await ask(attempt, request)
        except UpstreamError as error:
            attempt.close(error.outcome, error, sent=request.sent)
            raise
        except asyncio.CancelledError as cancelled:
            outcome: AttemptOutcome = "abandoned" if cancelled.args == (ABANDONED,) else "client_cancelled"
            attempt.close(outcome, sent=request.sent)
            raise
        except Exception:
            # A fault of ours: the attempt is on record all the same, and the deployment is not to blame.
            attempt.close("error", sent=request.sent)
            raise


def _unsupported(error: UpstreamError, model: Model, fields: Container[str], *, stream: bool) -> str | None:
    """The parameter that the upstream refuses and that may be left out, if that is what the error says.

    OpenAI's `stream_options`, which not every server knows; with litellm's `drop_params` others too. litellm looks up
    what a model supports; here the model says it itself.
    """
    if error.upstream_status not in (400, 422):
        return None
    name = (error.param or "").partition(".")[0]
    if stream and (name == "stream_options" or "stream_options" in error.message):
        return "stream_options"
    said = error.code in ("unsupported_parameter", "unsupported_value", "unknown_parameter")
    said = said or re.search(r"(?i)unsupported|not support|unrecognized|unknown", error.message) is not None
    droppable = model.drop_params and name in fields and name not in ("model", "messages", "stream")
    return name if said and droppable else None


async def _resume(
    attempt: OpenAttempt,
    held: list[tuple[Reading, Fields]],
    rest: Sequence[bytes],
    chunks: AsyncGenerator[Sequence[bytes]],
    idle: float,
    total: float,
) -> AsyncGenerator[Sequence[tuple[Reading, Fields]]]:
    """The chunks held back and the `rest` of what came with them, then all others as they come.

    `idle`, `total`: seconds between two and for all of them.
    """
    patience = Patience(idle, max(total - (perf_counter() - attempt.started), 0.0))
    async with aclosing(chunks):
        broken = _read(attempt, rest, held)
        yield held
        try:
            async with patience:
                while broken is None:
                    together = await anext(chunks, None)
                    if together is None:
                        break
                    patience.rest()
                    pairs: list[tuple[Reading, Fields]] = []
                    broken = _read(attempt, together, pairs)
                    yield pairs
                    patience.wait()
        except TimeoutError:
            raise timed_out(attempt.model, patience.exceeded) from None
        if broken is not None:
            raise broken
        _check_finished(attempt)


def _read(attempt: OpenAttempt, chunks: Sequence[bytes], pairs: list[tuple[Reading, Fields]]) -> UpstreamError | None:
    """Read `chunks` into `pairs`, up to the first that is broken: what came before it is good."""
    try:
        for data in chunks:
            pairs.append(attempt.read(data))
    except UpstreamError as error:
        return error
    return None


def _check_finished(attempt: OpenAttempt) -> None:
    if not attempt.is_finished:
        raise broken_reply(attempt.model, "the stream ended before the reply was finished")
