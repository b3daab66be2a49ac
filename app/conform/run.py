"""Running the checks, and what came of them."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.conform.check import CHECKS, Broken, Check, Dialect, NotApplicable
from app.conform.stand import Stand

Verdict = Literal["kept", "broken", "not applicable"]
SUBJECTS = ("requests", "errors", "streams", "endings", "clients", "recovery", "load", "books", "operations")
"""The modules that hold checks."""
AT_ONCE = 12

UNSEEN: Mapping[int, str] = {
    14: "a router that fails is not to be had from outside",
    17: "needs the gateway's database",
    20: "needs the gateway's process",
    22: "needs the gateway's configuration file",
    23: "needs the gateway's process, and hours",
}
"""Points of the contract that no client can see, and why."""


@dataclass(frozen=True)
class Result:
    """What one check found."""

    point: int
    name: str
    what: str
    verdict: Verdict
    evidence: str

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def all_checks() -> list[Check]:
    """Every check, by point, in the order of declaration."""
    for subject in SUBJECTS:
        importlib.import_module(f"app.conform.{subject}")
    return sorted(CHECKS.values(), key=lambda check: check.point)


def select(only: Sequence[str]) -> list[Check]:
    """Checks whose point is named, or whose name begins so; all where `only` is empty. Raises `ValueError`."""
    chosen: list[Check] = []
    for word in only:
        found = [
            check
            for check in all_checks()
            if (word.isdigit() and check.point == int(word)) or (not word.isdigit() and check.name.startswith(word))
        ]
        if not found:
            raise ValueError(f"there is no check {word!r}")
        chosen += [check for check in found if check not in chosen]
    return sorted(chosen, key=lambda check: check.point) if only else all_checks()


async def run(
    stand: Stand, checks: Iterable[Check], *, on_result: Callable[[Result], None] | None = None
) -> list[Result]:
    """Run the checks, several at once, each with a model of its own. In the order of `checks`."""
    checks = list(checks)
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(check: Check) -> Result:
        async with slots:
            verdict, evidence = await _judge(stand, check)
        result = Result(check.point, check.name, check.what, verdict, evidence)
        if on_result is not None:
            on_result(result)
        return result

    first = await asyncio.gather(*(one(check) for check in checks if not check.last))
    last = [await one(check) for check in checks if check.last]
    found = {result.name: result for result in [*first, *last]}
    return [found[check.name] for check in checks]


async def _judge(stand: Stand, check: Check) -> tuple[Verdict, str]:
    reason = _why_not(stand, check)
    if reason is not None:
        return "not applicable", reason
    try:
        return "kept", await check.run(stand.case(check))
    except Broken as broken:
        return "broken", str(broken)
    except NotApplicable as reason_given:
        return "not applicable", str(reason_given)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        # What came back does not have the form that the check takes for granted.
        return "broken", f"the reply has not the form of one: {type(error).__name__}: {error}"


def _why_not(stand: Stand, check: Check) -> str | None:
    dialect: Dialect = stand.dialect
    if dialect not in check.dialects:
        return f"{dialect}'s dialect cannot say it"
    if check.needs == "key" and stand.key is None:
        return "no key is in use (--api-key)"
    if check.needs == "ledger" and stand.ledger is None:
        return "needs Hullspeed's ledger (--ledger-url)"
    if check.place == "expired" and not stand.expired:
        return "needs the program `openssl`"
    return None


def unseen(checks: Iterable[Check]) -> list[Result]:
    """A line for each point that no client can see; none where only some checks were chosen."""
    if len(list(checks)) < len(all_checks()):
        return []
    return [Result(point, "", "cannot be seen from outside", "not applicable", why) for point, why in UNSEEN.items()]
