"""How figures are written for people: the same on a terminal and on a page."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal


def usd(amount: Decimal | float | None) -> str:
    """Dollars with as many digits as tell something; `–` where unknown."""
    if amount is None:
        return "–"
    value = float(amount)
    if value == 0:
        return "$0"
    digits = 2 if abs(value) >= 1 else 4 if abs(value) >= 0.01 else 6
    return f"${value:,.{digits}f}"


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it; `–` where there is none."""
    if value is None:
        return "–"
    if value < 0.0995:
        return f"{1000 * value:.1f} ms"
    return f"{1000 * value:.0f} ms" if value < 0.9995 else f"{value:.1f} s"


def share(part: float, whole: float) -> str:
    """A percentage; `–` of nothing."""
    if not whole:
        return "–"
    if not part:
        return "0%"
    if abs(part / whole) < 0.0005:
        return "<0.1%"
    return f"{part / whole:.1%}" if part / whole < 0.0995 else f"{part / whole:.0%}"


def count(value: int | None) -> str:
    """A whole number; `–` where unknown."""
    return "–" if value is None else f"{value:,}"


def short_count(value: int | None) -> str:
    """Tokens, as windows are spoken of: 128k, 1.0M, 2.5B; `–` where unknown."""
    if value is None:
        return "–"
    if value < 10_000:
        return f"{value}"
    if value < 1_000_000:
        return f"{value / 1000:.0f}k"
    return f"{value / 1e6:.1f}M" if value < 1e9 else f"{value / 1e9:.1f}B"


def cut(text: str, width: int) -> str:
    """`text`, ending in `…` where it is longer than `width`."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def ago(moment: datetime, now: datetime) -> str:
    """How long before `now` something was, in one unit."""
    past = max(0.0, (now - moment).total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if past >= size:
            return f"{past / size:.0f} {unit} ago"
    return f"{past:.0f} s ago"
