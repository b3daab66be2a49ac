"""Following a decision to its answer where every model's reply is known already: in training, scoring and notebooks.

The proxy follows decisions in the same way, with real calls that run side by side (`app.gateway.review`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from routers.base import Choice, Decision, Query, Reply


class BadReview(ValueError):
    """A router's review answered with something that cannot be carried out."""


@dataclass(frozen=True)
class Walk:
    """What came of a decision."""

    answer: Choice
    """The model whose reply goes to the client, with what was foretold of it when the query came."""
    called: tuple[str, ...]
    """Every model that was called, in order; all of them are billed."""
    decision: Decision
    """The last decision: the router's own, or what its last review answered."""


def follow(decision: Decision, query: Query, ask: Callable[[str], Reply]) -> Walk:
    """Carry `decision` out, asking `ask` for the reply of a model.

    `decision` must not be empty. A decision without `review` is answered by the first model of its ranking, whatever
    its reply: falling back is the proxy's. Raises `BadReview` where a review asks for nothing new, for more than
    `query.max_calls`, or names a reply it has not seen.
    """
    first = {choice.model: choice for choice in decision.ranking}
    replies: list[Reply] = []
    while decision.review is not None:
        replies += [ask(model) for model in next_models(decision, replies, query)]
        decision = decision.review(tuple(replies))
    answer = answer_of(decision, replies)
    called = tuple(reply.model for reply in replies)
    return Walk(first.get(answer, Choice(answer)), called if answer in called else (*called, answer), decision)


def next_models(decision: Decision, replies: list[Reply], query: Query) -> list[str]:
    """The models to call at once before the next review; raises `BadReview`."""
    asked = [choice.model for choice in decision.ranking[: decision.ask]]
    seen = {reply.model for reply in replies}
    if not asked or len(set(asked)) < len(asked) or seen.intersection(asked):
        raise BadReview(f"asks for {asked or 'nobody'} after {sorted(seen)}: name models not called yet, each once")
    if len(replies) + len(asked) > query.max_calls:
        raise BadReview(f"asks for {len(replies) + len(asked)} calls where {query.max_calls} are allowed")
    return asked


def answer_of(decision: Decision, replies: list[Reply]) -> str:
    """The model that answers by a decision without review; raises `BadReview`.

    Where the reply it names failed, the first reply that did not, else the first model that was not called yet.
    """
    worded = {reply.model: reply.text is not None for reply in replies}
    if decision.reply is not None and decision.reply not in worded:
        raise BadReview(f"returns the reply of {decision.reply!r}, which was not called")
    if decision.reply is not None and worded[decision.reply]:
        return decision.reply
    waiting = [choice.model for choice in decision.ranking if choice.model not in worded]
    alternatives = [model for model, told in worded.items() if told] + waiting
    if decision.reply is None and waiting:
        return waiting[0]
    return alternatives[0] if alternatives else next(iter(worded))
