"""The tradeoffs that a run asks for, as somebody writes them."""

from __future__ import annotations

from app.core.errors import ConfigError

DEFAULT_TRADEOFFS = "0,0.02,0.05,0.1,0.2,0.4,0.7,1"
"""Denser near 0, where most of the way from the dearest models to the middle ones lies: c_ref is the dearest mean."""


def parse_tradeoffs(text: str) -> tuple[float, ...]:
    """Comma-separated numbers. Raises `ConfigError`; whether they are tradeoffs is for a plan to say."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"{text!r} is not a comma-separated list of numbers, e.g. 0,0.2,0.5,1", param="tradeoffs"
        ) from None
