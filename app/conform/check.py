"""What a check is, and the list of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from app.conform.stand import Case

Dialect = Literal["openai", "anthropic", "gemini"]
DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "gemini")
OPENAI: tuple[Dialect, ...] = ("openai",)
"""For what only OpenAI's own wire can say."""
Need = Literal["ledger", "key"]
Place = Literal["mock", "nowhere", "expired"]
"""Where the model is: at the mock, where nothing listens, or behind an expired certificate."""
Run = Callable[["Case"], Awaitable[str]]


class Broken(Exception):
    """The gateway does not keep the point; the message is the evidence, one line."""


class NotApplicable(Exception):
    """The point cannot be judged on this gateway; the message says why."""


def expect(kept: object, evidence: str) -> None:
    """Raise `Broken` unless `kept`."""
    if not kept:
        raise Broken(evidence)


@dataclass(frozen=True)
class Check:
    """One thing that the contract promises, and how it is seen."""

    point: int
    """Number in the contract."""
    name: str
    """Also the name of the model it uses, so that no check is in another's way."""
    what: str
    """What is promised, one line."""
    run: Run
    """Gives the evidence, one line; raises `Broken` or `NotApplicable`."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Further `litellm_params` of its model."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """`model_info` of its model."""
    fallback: bool = False
    """The model has the model `backup` to fall back on."""
    priced: bool = True
    dialects: tuple[Dialect, ...] = DIALECTS
    place: Place = "mock"
    needs: Need | None = None
    last: bool = False
    """Looks at what all others brought to light."""


CHECKS: dict[str, Check] = {}
"""By name, in the order they are declared."""


def check(point: int, *, name: str = "", what: str = "", **options: Any) -> Callable[[Run], Run]:
    """Put a coroutine on the list. Name and promise are its own name and docstring, unless they are given."""

    def register(run: Run) -> Run:
        called = name or run.__name__.replace("_", "-")
        assert called not in CHECKS, called
        promise = what or (run.__doc__ or "").strip().partition("\n")[0]
        CHECKS[called] = Check(point, called, promise, run, **options)
        return run

    return register
