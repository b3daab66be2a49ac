"""Prices and what a call costs.

Rates come from the config, else from the price map that litellm ships (a JSON file, read without importing litellm).
We compute costs ourselves from a snapshot stored with the row: prices change, and litellm's per-call prices mutate
a global map. An unknown price gives None, never 0.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from app.core.types import Price, Usage

PRICE_MAP = "model_prices_and_context_window_backup.json"


class Listing(msgspec.Struct, frozen=True):
    """What the price map says of one model; None where it says nothing."""

    litellm_provider: str | None = None
    mode: str | None = None
    supported_endpoints: list[str] | None = None
    supports_reasoning: bool | None = None
    deprecation_date: str | None = None
    max_input_tokens: int | float | str | None = None
    max_output_tokens: int | float | str | None = None
    input_cost_per_token: float | str | None = None
    output_cost_per_token: float | str | None = None
    cache_read_input_token_cost: float | str | None = None
    cache_creation_input_token_cost: float | str | None = None
    output_cost_per_reasoning_token: float | str | None = None
    supports_function_calling: bool | None = None
    supports_vision: bool | None = None
    supports_audio_input: bool | None = None
    supports_response_schema: bool | None = None


@cache
def price_map() -> Mapping[str, msgspec.Raw]:
    """litellm's bundled price map, each entry still encoded (there are thousands; a catalog needs a few)."""
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    return msgspec.json.decode((Path(spec.origin).parent / PRICE_MAP).read_bytes(), type=dict[str, msgspec.Raw])


def forget_price_map() -> None:
    """Let go of the map, which takes megabytes, where no name will be looked up for a while; then it is read again."""
    price_map.cache_clear()


def find_listing(litellm_model: str) -> Listing | None:
    """The price map's entry for litellm's `provider/model`, or None."""
    entries = price_map()
    bare = litellm_model.partition("/")[2]
    for name in (litellm_model, bare):
        if name and name in entries:
            return msgspec.json.decode(entries[name], type=Listing, strict=False)
    return None


@cache
def price_map_source() -> str:
    """Name and version of the map, as stored with each price."""
    return f"litellm {version('litellm')}"


def decimal(value: Any) -> Decimal | None:
    """A rate as Decimal, exactly as it was written (floats by their shortest form)."""
    return None if value is None else Decimal(str(value))


def cost_of(usage: Usage, price: Price | None) -> Decimal | None:
    """USD for `usage` at `price`; None where the price is unknown.

    `usage` is normalised (see `Usage`): cached and cache-written tokens are part of the prompt's, reasoning tokens of
    the completion's, so each kind is taken out before the plain rate is applied and nothing is billed twice.
    """
    if price is None:
        return None
    cached, written, reasoning = usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens
    plain_input = max(usage.prompt_tokens - cached - written, 0)
    plain_output = max(usage.completion_tokens - reasoning, 0)
    cost = plain_input * price.input + plain_output * price.output
    if cached:
        cost += cached * (price.input if price.cached_input is None else price.cached_input)
    if written:
        cost += written * (price.input if price.cache_write is None else price.cache_write)
    if reasoning:
        cost += reasoning * (price.output if price.reasoning is None else price.reasoning)
    return cost
