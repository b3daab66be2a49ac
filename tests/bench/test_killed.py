"""A run or a recording killed without notice goes on and ends as if nothing had happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.bench import bundled, library
from app.bench.local import recorded_catalog, recorded_upstream
from app.store import migrate
from app.store.database import Database
from app.store.queries.calls import count_calls
from benchmarks.killed import MODELS, House, killed_recording, killed_run, write_config
from tests.serving import StartProxy

CONCURRENCY, ITEMS = 4, 150


@pytest.fixture
async def houses(tmp_path: Path, new_database: Callable[[], str]) -> tuple[House, House]:
    """Two, both with the bundled suite and with its items alone."""
    found = []
    for name in ("disturbed", "undisturbed"):
        house = House(tmp_path / name, new_database())
        house.folder.mkdir()
        database = Database(house.url, house.folder)
        await database.open()
        await migrate.upgrade(database)
        await library.save(database, bundled.load())
        bare = replace(bundled.load(), name="bare", items=bundled.load().items[:ITEMS], recorded=None)
        await library.save(database, bare)
        await database.close()
        found.append(house)
    return found[0], found[1]


async def test_a_killed_run_ends_with_the_same_report(houses: tuple[House, House]) -> None:
    calls = 6 * len(bundled.load().rows("test", 0))
    options = ("-r", "uniform", "--tradeoffs", "0,0.1,0.2,0.4,0.7,1", "--concurrency", str(CONCURRENCY))
    came = await asyncio.to_thread(killed_run, *houses, calls, *options)
    assert came.same
    assert came.lost == 0
    assert calls // 2 <= came.kept < calls


async def test_a_killed_recording_fills_the_same_matrix(
    houses: tuple[House, House], start_proxy: StartProxy, database: Database, tmp_path: Path
) -> None:
    suite = bundled.load()
    upstream = recorded_upstream(suite)
    provider = await start_proxy(catalog=recorded_catalog(suite, upstream), upstreams={"recorded": upstream})
    config = write_config(tmp_path, f"{provider.url}/v1")
    options = ("--yes", "--config", config, "--concurrency", str(CONCURRENCY))
    calls = 2 * ITEMS
    came = await asyncio.to_thread(killed_recording, *houses, calls, *options, models=MODELS[:2])
    assert came.same
    assert came.lost == 0
    assert calls // 2 <= came.kept < calls
    assert await provider.proxy.ledger.flush(10)
    asked = await count_calls(database)
    assert 2 * calls <= asked <= 2 * calls + CONCURRENCY, "asked twice for no more than what was under way"
