"""How a model stands, as pages say it: one word, and what there is to know of it."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.formats import seconds
from app.gateway.standing import ModelStanding
from app.store.queries.attempted import Attempted


@dataclass(frozen=True)
class State:
    """How a model stands."""

    word: str
    tone: str
    detail: str = ""


def state_of(standing: ModelStanding | None, attempted: Attempted | None = None) -> State:
    """`standing`: None for a model that is not in the configuration; `attempted`: how its newest attempts went."""
    if standing is None:
        return State("not configured", "", "it answered calls of this time and is not in the configuration now")
    total, troubled = len(standing.deployments), standing.troubled
    if not troubled:
        if standing.is_full:
            return State("at its limit", "warn", "every deployment is at its cap or rate limit")
        return State("up", "good")
    first = troubled[0]
    since = "" if first.aside_for is None else f", set aside for {seconds(first.aside_for)}"
    again = f"tried again in {seconds(first.back_in)}" if first.back_in else "the next call tries it"
    last = "" if attempted is None or not attempted.last_error else f"; the last error: {attempted.last_error}"
    detail = f"{first.reason or 'it failed'}{since}, {again}{last}"
    if standing.state == "up":
        return State(f"{total - len(troubled)} of {total} up", "warn", detail)
    return State(standing.state, "bad" if standing.state == "down" else "warn", detail)
