"""Costs for recordings that hold none: tokens times a price that the user names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from app.bench.importers.complaints import SHOWN, fail, listing
from app.core.errors import ConfigError
from app.core.types import Price

MILLION = 1_000_000
CHARACTERS = 4
"""Characters taken for one token where a recording counts none; English text has about so many."""


def parse_prices(pairs: Sequence[str]) -> dict[str, Price]:
    """Prices by model from `model=INPUT/OUTPUT`, both in USD per million tokens, e.g. `gpt-4-1106-preview=10/30`.

    Raises `ConfigError` that says how to write one.
    """
    prices: dict[str, Price] = {}
    for pair in pairs:
        model, _, rates = pair.rpartition("=")
        given, slash, taken = rates.partition("/")
        try:
            rate = [Decimal(number) / MILLION for number in (given, taken)]
        except InvalidOperation:
            rate = []
        if not model or not slash or not rate or any(not number.is_finite() or number < 0 for number in rate):
            raise ConfigError(f"price `{pair}` is not of the form model=INPUT/OUTPUT, USD per million tokens: m=10/30")
        prices[model] = Price(input=rate[0], output=rate[1])
    return prices


def check_prices(path: Path, prices: Mapping[str, Price], models: Iterable[str]) -> None:
    """Raise `ConfigError` where a model has no price."""
    unpriced = [model for model in models if model not in prices]
    if unpriced:
        fail(
            path,
            f"holds no costs for {len(unpriced)} models, first {listing(unpriced[:SHOWN])}: name their prices, USD per "
            f"million tokens in and out, e.g. {unpriced[0]}=10/30",
        )


def cost(price: Price, prompt_tokens: int, completion_tokens: int) -> float:
    """USD: the exact decimal, then the nearest float, as the proxy bills it."""
    return float(price.input * prompt_tokens + price.output * completion_tokens)


def rough_tokens(text: str) -> int:
    """Tokens of a text nobody counted: one for every `CHARACTERS` characters begun."""
    return -(-len(text) // CHARACTERS)
