"""Serving a router that wants to see replies first: ask several models, let it judge, ask on, return the winner.

The live counterpart of `routers.walk.follow`. The models of one round are called side by side; each call is an
attempt of its own, billed and logged. A model that fails is a missing vote, not an error. A router that fails at
judging is replaced like one that fails at deciding: the reply foretold to be best goes out, and the reason says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from app.gateway.attempt import ABANDONED, WholeAnswer
from app.gateway.attempts import Attempts
from app.gateway.call import OpenCall
from app.gateway.decide import Decider, Review
from app.gateway.upstream import UpstreamError
from routers import Reply
from routers.walk import BadReview, answer_of, next_models


@dataclass(frozen=True)
class _Asker:
    """Calls one model for one request."""

    attempts: Attempts
    call: OpenCall

    async def vote(self, model: str) -> WholeAnswer | UpstreamError:
        try:
            return await self.attempts.one(self.call, model)
        except UpstreamError as error:
            return error


@dataclass
class _Votes:
    """What was asked and answered so far."""

    replies: list[Reply] = field(default_factory=list)
    answers: dict[str, WholeAnswer] = field(default_factory=dict)
    failure: UpstreamError | None = None
    """The first one."""

    def add(self, model: str, outcome: WholeAnswer | UpstreamError | None) -> None:
        """`outcome`: None where the model was given up."""
        if isinstance(outcome, WholeAnswer):
            self.answers[model] = outcome
            cost = outcome.attempt.cost_usd
            self.replies.append(Reply(model, outcome.reply.text or None, None if cost is None else float(cost)))
        else:
            self.failure = self.failure or outcome
            self.replies.append(Reply(model, None))


class Reviewer:
    """Carries out the decisions of routers that review replies."""

    def __init__(self, decider: Decider, attempts: Attempts) -> None:
        self.decider = decider
        self.attempts = attempts

    async def answer(self, call: OpenCall, ruling: Review) -> WholeAnswer:
        """The reply the router settles on; `call.decision` is then its last word.

        Raises `UpstreamError` where no model answers.
        """
        asker, votes = _Asker(self.attempts, call), _Votes()
        while (decision := ruling.decision) is not None and decision.review is not None:
            try:
                models = next_models(decision, votes.replies, ruling.query)
            except BadReview as error:
                ruling = _replaced(ruling, "default:error", str(error))
                break
            limit = _limit(call, ruling, models, votes)
            if limit is not None:
                ruling = _replaced(ruling, "default:limit", limit)
                break
            await _hear(asker, models, ruling.query.max_latency, votes)
            if votes.failure is not None and not votes.failure.next_model and not votes.answers:
                break  # The request itself is at fault: no other model will do better.
            ruling = await self.decider.review(ruling, partial(decision.review, tuple(votes.replies)))
        winner = None
        if ruling.decision is not None and ruling.decision.review is None:
            try:
                winner = answer_of(ruling.decision, votes.replies)
            except BadReview as error:
                ruling = _replaced(ruling, "default:error", str(error))
        call.decision = ruling.record
        return await self._settle(asker, ruling, winner or _foretold(ruling, votes), votes)

    async def _settle(self, asker: _Asker, ruling: Review, winner: str | None, votes: _Votes) -> WholeAnswer:
        """The winner's reply, or where there is none that of the models not called yet."""
        call = asker.call
        if winner is not None and winner in votes.answers:
            call.model = winner
            return votes.answers[winner]
        if votes.failure is not None and not votes.failure.next_model and not votes.answers:
            raise votes.failure
        called = {reply.model for reply in votes.replies}
        ranking = [] if ruling.decision is None else [choice.model for choice in ruling.decision.ranking]
        ranking += [ranked.model for ranked in ruling.record.ranking if ranked.model not in ranking]
        waiting = [model for model in ranking if model not in called]
        if waiting:
            return await self.attempts.whole(call, waiting)
        if votes.answers:
            # Replies without words (a refusal, say) are better than none.
            call.model, answer = next(iter(votes.answers.items()))
            return answer
        assert votes.failure is not None
        raise votes.failure


async def _hear(asker: _Asker, models: Sequence[str], max_latency: float | None, votes: _Votes) -> None:
    """Call `models` side by side. Once one reply is there, the others are given up when the time has passed."""
    tasks = {asyncio.ensure_future(asker.vote(model)): model for model in models}
    pending = set(tasks)
    told = any(reply.text is not None for reply in votes.replies)
    try:
        while pending:
            patience = max(max_latency - asker.call.elapsed(), 0.0) if max_latency is not None and told else None
            done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            told = told or any(isinstance(task.result(), WholeAnswer) for task in done)
    except asyncio.CancelledError as cancelled:
        for task in pending:
            task.cancel(*cancelled.args)
        pending = set()
        raise
    finally:
        for task in pending:
            task.cancel(ABANDONED)
        # Each puts its attempt on the call's list before the call is closed.
        await asyncio.wait(tasks)
    for task, model in tasks.items():
        votes.add(model, None if task.cancelled() else task.result())


def _limit(call: OpenCall, ruling: Review, models: Sequence[str], votes: _Votes) -> str | None:
    """Why the next round would break a bound of the request; None where it keeps them all."""
    query = ruling.query
    if query.max_latency is not None and votes.replies and call.elapsed() >= query.max_latency:
        return f"{query.max_latency:g} s have passed"
    if query.max_cost is None:
        return None
    candidates = {candidate.model: candidate for candidate in query.candidates}
    costs = [candidates[model].expected_cost(query.prompt_tokens) for model in models]
    costs += [reply.cost for reply in votes.replies if reply.text is not None]
    if any(cost is None for cost in costs):
        return "the cost of a reply is not known"
    total = sum(cost or 0.0 for cost in costs)
    return f"it would cost ${total:.6f}" if total > query.max_cost else None


def _foretold(ruling: Review, votes: _Votes) -> str | None:
    """Of the models that answered in words the one foretold to be best, the first of several."""
    told = [reply.model for reply in votes.replies if reply.text is not None]
    quality = {ranked.model: ranked.quality or 0.0 for ranked in ruling.record.ranking}
    return max(told, key=lambda model: quality.get(model, 0.0), default=None)


def _replaced(ruling: Review, reason: str, problem: str) -> Review:
    record = msgspec.structs.replace(ruling.record, reason=reason, problem=problem)
    return msgspec.structs.replace(ruling, decision=None, record=record)
