"""Costs are exact, and no token is billed twice."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.types import Price, Usage
from app.gateway.pricing import cost_of, find_listing, price_map

PRICE = Price(
    input=Decimal("0.000003"),
    output=Decimal("0.000015"),
    cached_input=Decimal("0.0000003"),
    cache_write=Decimal("0.00000375"),
    reasoning=Decimal("0.00002"),
)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(1000, 100), "0.0045"),
        (Usage(1000, 100, cached_tokens=400), "0.00342"),
        (Usage(1000, 100, cached_tokens=400, cache_write_tokens=500), "0.003795"),
        (Usage(1000, 100, reasoning_tokens=60), "0.0048"),
        (Usage(), "0"),
    ],
)
def test_every_kind_has_its_own_rate(usage: Usage, cost: str) -> None:
    assert cost_of(usage, PRICE) == Decimal(cost)


def test_without_special_rates_all_tokens_cost_the_plain_one() -> None:
    plain = Price(Decimal("0.000003"), Decimal("0.000015"))
    usage = Usage(1000, 100, cached_tokens=400, cache_write_tokens=100, reasoning_tokens=50)
    assert cost_of(usage, plain) == cost_of(Usage(1000, 100), plain) == Decimal("0.0045")


def test_an_unknown_price_is_none() -> None:
    assert cost_of(Usage(10, 10), None) is None


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_cached_never_costs_more(prompt: int, completion: int, cached: int) -> None:
    cached = min(cached, prompt)
    with_cache = cost_of(Usage(prompt, completion, cached_tokens=cached), PRICE)
    without = cost_of(Usage(prompt, completion), PRICE)
    assert with_cache is not None
    assert without is not None
    assert 0 <= with_cache <= without


def test_every_entry_of_the_price_map_can_be_read() -> None:
    for name in price_map():
        assert find_listing(name) is not None
    assert find_listing("openai/gpt-4o-mini") == find_listing("gpt-4o-mini")
    assert find_listing("nobody/knows-this") is None
