"""What the addresses and the form of `/ui/calls` say: which calls, and how many of them at once.

The names are those of `GET /v1/calls`. What the pages have besides is `last`, a time that moves along with the clock.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, get_args
from urllib.parse import urlencode

from app.core import formats
from app.core.types import CallOutcome
from app.store.queries.calls import MAX_PAGE, CallFilter

PERIODS = {
    "15m": ("15 min", timedelta(minutes=15)),
    "1h": ("1 h", timedelta(hours=1)),
    "24h": ("24 h", timedelta(hours=24)),
    "7d": ("7 d", timedelta(days=7)),
    "30d": ("30 d", timedelta(days=30)),
}
CUSTOM = "custom"
PAGE_SIZES = (25, 50, 100, 200)
PAGE_SIZE = 50
OUTCOMES: tuple[str, ...] = get_args(CallOutcome)
LABELS = {
    "text": "text",
    "model": "model",
    "router": "router",
    "outcome": "outcome",
    "session": "session",
    "run": "run",
    "source": "source",
    "error_type": "error type",
    "min_attempts": "attempts ≥",
    "min_cost_usd": "cost ≥",
    "max_cost_usd": "cost ≤",
    "min_latency": "latency ≥",
    "max_latency": "latency ≤",
    "since": "since",
    "until": "until",
}
"""Names of the filters as a page writes them, in the order of their chips."""
_LONGEST = 1000
"""Characters of a value."""


@dataclass(frozen=True)
class Asked:
    """An address of the list, read."""

    given: Mapping[str, str]
    """What is set, as it was typed, by name; nothing empty."""
    wanted: CallFilter
    limit: int = PAGE_SIZE
    cursor: str | None = None
    problems: Mapping[str, str] = field(default_factory=dict)
    """Name of a field → what is wrong with it and what to write instead."""

    @property
    def filters(self) -> dict[str, str]:
        """What narrows the list: the address of a call is given it too, for the calls beside it."""
        return {name: value for name, value in self.given.items() if name in LABELS or name == "last"}

    @property
    def kept(self) -> dict[str, str]:
        """Everything but the place."""
        return {name: value for name, value in self.given.items() if name != "cursor"}

    @property
    def period(self) -> str:
        """One of `PERIODS`, `custom`, or empty for all time."""
        last = self.given.get("last", "")
        return CUSTOM if "since" in self.given or "until" in self.given else last

    def chips(self) -> list[Chip]:
        """What is set, each with the address without it."""
        return [
            Chip(name, LABELS[name], _shown(name, self.given[name]), _without(self.kept, name))
            for name in LABELS
            if name in self.given and name not in self.problems
        ]

    def api_parameters(self) -> dict[str, str]:
        """The same question to `GET /v1/calls`."""
        wanted = {name: _written(getattr(self.wanted, name)) for name in CallFilter.__struct_fields__}
        return {name: value for name, value in wanted.items() if value is not None} | {"limit": str(self.limit)}

    def curl(self, base: str, *, key: bool) -> str:
        """A command for a shell that asks the API; `base`: the proxy's address, `key`: whether it wants one."""
        parts = [f"curl -G {shlex.quote(f'{base}/v1/calls')}"]
        if key:
            parts.append('-H "Authorization: Bearer $HULLSPEED_ADMIN_KEY"')
        parts += [f"--data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in self.api_parameters().items()]
        return " \\\n  ".join(parts)


@dataclass(frozen=True)
class Chip:
    """A filter that is set."""

    name: str
    label: str
    value: str
    without: str
    """Address of the list without it."""


def read(query: Mapping[str, str], now: datetime) -> Asked:
    """Read the parameters of an address; what cannot be read is a problem of its field, and narrows nothing."""
    given = {name: value.strip() for name, value in query.items() if value.strip()}
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, parse in _FIELDS.items():
        if name in given:
            try:
                if len(given[name]) > _LONGEST:
                    raise ValueError(f"At most {_LONGEST:,} characters.")
                values[name] = parse(given[name])
            except ValueError as error:
                problems[name] = str(error)
    last = given.get("last")
    if "since" in given or "until" in given:
        given.pop("last", None)
    elif last is not None and last != CUSTOM:
        if last in PERIODS:
            values["since"] = now - PERIODS[last][1]
        else:
            problems["last"] = f"One of {', '.join(PERIODS)}, or {CUSTOM} with since and until."
    limit = values.pop("limit", PAGE_SIZE)
    for low, high, what in (
        ("min_cost_usd", "max_cost_usd", "cost"),
        ("min_latency", "max_latency", "latency"),
        ("since", "until", "time"),
    ):
        if low in values and high in values and values[low] > values[high]:
            problems[high] = f"Below the lowest {what}: nothing can be both."
    return Asked(given, CallFilter(**values), limit, given.get("cursor"), problems)


def _outcome(value: str) -> str:
    if value not in OUTCOMES:
        raise ValueError(f"One of {', '.join(OUTCOMES)}.")
    return value


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
            raise ValueError(f"A whole number from {least} to {most:,}.")
        return int(value)

    return parse


def _usd(value: str) -> Decimal:
    try:
        amount = Decimal(value.removeprefix("$").replace(",", ""))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0 or amount > 10**9:
        raise ValueError("Dollars, such as 0.002.")
    return amount


def _duration(value: str) -> float:
    number, unit = value.removesuffix("ms"), 0.001
    if number == value:
        number, unit = value.removesuffix("s"), 1.0
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 10**9:
        raise ValueError("Seconds, such as 1.5, or 250ms.")
    return seconds


def _moment(value: str) -> datetime:
    # In an address a plus sign that was not written as %2B is a space.
    for written in (value, value.replace(" ", "+")):
        try:
            moment = datetime.fromisoformat(written)
            # A form gives a time without a zone where no script could say which; then it is UTC, as in the API.
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise ValueError("A time such as 2026-03-04T05:06 (UTC, unless it says otherwise).")


_FIELDS: Mapping[str, Callable[[str], Any]] = {
    "run": str,
    "model": str,
    "router": str,
    "outcome": _outcome,
    "session": str,
    "source": str,
    "error_type": str,
    "min_attempts": _whole(0, 1000),
    "min_cost_usd": _usd,
    "max_cost_usd": _usd,
    "min_latency": _duration,
    "max_latency": _duration,
    "text": str,
    "since": _moment,
    "until": _moment,
    "limit": _whole(1, MAX_PAGE),
}


def _without(given: Mapping[str, str], name: str) -> str:
    return list_url({key: value for key, value in given.items() if key != name})


def list_url(given: Mapping[str, str]) -> str:
    """The address of the list with these parameters."""
    return f"/ui/calls?{urlencode(given)}" if given else "/ui/calls"


def _shown(name: str, value: str) -> str:
    if name.endswith("_latency"):
        return formats.seconds(_duration(value))
    if name.endswith("_cost_usd"):
        return formats.usd(_usd(value))
    if name in ("since", "until"):
        return f"{_moment(value):%Y-%m-%d %H:%M} UTC"
    return formats.cut(value, 60)


def _written(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{value:g}" if isinstance(value, float) else str(value)
