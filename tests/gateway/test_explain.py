"""Asking many routers, or one at many tradeoffs, without a call."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from app.core.errors import HullspeedError, InvalidRequest
from app.gateway.explain import STEPS, expected_costs, explain_each, sweep, with_router
from tests.gateway.test_inventory import decided, trained

BODY = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "add total apples 5"}]}).encode()


async def test_every_router_in_its_turn(tmp_path: Path) -> None:
    _, decider = decided(tmp_path, {"routers": {"near": {"artifact": trained(tmp_path)}}})
    turns: list[str] = []

    async def others() -> None:
        while True:
            turns.append("other")
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    async for name, decision in explain_each(decider, BODY, ["near", "cheapest", "length"]):
        assert isinstance(decision, dict)
        assert decision["router"] == name
        turns.append(name)
    beside.cancel()
    # Calls are served in between.
    assert "other" in turns[turns.index("near") : turns.index("cheapest")]
    assert "other" in turns[turns.index("cheapest") : turns.index("length")]


async def test_a_refusal_is_one_routers_own(tmp_path: Path) -> None:
    _, decider = decided(tmp_path, {"routers": {"near": {"artifact": trained(tmp_path)}}})
    body = json.dumps({**json.loads(BODY), "routing": {"target_quality": 0.9}}).encode()
    found = {name: decision async for name, decision in explain_each(decider, body, ["near", "cheapest"])}
    assert isinstance(found["near"], dict)
    assert isinstance(found["cheapest"], HullspeedError)


async def test_over_all_tradeoffs(tmp_path: Path) -> None:
    _, decider = decided(tmp_path, {"routers": {"near": {"artifact": trained(tmp_path)}}})
    body = json.dumps({**json.loads(BODY), "routing": {"target_quality": 0.9, "models": ["small", "large"]}}).encode()
    found = await sweep(decider, body, "near")
    assert [decision["tradeoff"] for decision in found] == list(STEPS)
    assert found[-1]["asked"] == ["small"]
    assert all(len(decision["candidates"]) == 2 for decision in found)
    drawn = await sweep(decider, body, "uniform")
    assert len({tuple(decision["asked"]) for decision in drawn}) == 1, "the same draw at each step"


async def test_expected_costs(tmp_path: Path) -> None:
    _, decider = decided(tmp_path, {})
    body = json.dumps({**json.loads(BODY), "max_tokens": 100}).encode()
    found = expected_costs(decider, body)
    assert found["small"] == pytest.approx(5 * 1e-6 + 100 * 2e-6)
    assert found["large"] == pytest.approx(1000 * (found["small"] or 0))


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_request(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        with_router(body, "knn")
