"""The proxy of a replay in processes of its own: the same figures, every call in the ledger, and they end."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from pydantic import SecretStr

from app.bench import bundled, library
from app.bench.local import recorded_source, recorded_upstream
from app.bench.plan import Plan, RouterSpec
from app.bench.run import Target, replay, score
from app.cli.apart import PROCESSES, describe, served_apart
from app.core.errors import ConfigError
from app.core.settings import Settings
from app.store.database import Database
from app.store.queries.calls import CallFilter, count_calls
from routers import Decision, Query, Router


class Holding(Router):
    """Holds what no other process can have."""

    name = "holding"

    def __init__(self) -> None:
        self.held = threading.Lock()

    def route(self, query: Query, replies: object = ()) -> Decision:
        raise NotImplementedError


def settings_for(url: str, folder: Path) -> Settings:
    return Settings(data_dir=folder / "data", DATABASE_URL=SecretStr(url))


async def test_figures_are_those_of_scoring_and_the_process_ends(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    suite = bundled.load()
    await library.save(database, suite)
    plan = Plan(suite, (RouterSpec.parse("uniform"), RouterSpec.parse("knn:k=20")), (0.0, 1.0), split="test", limit=15)
    built = plan.build()
    described = describe(settings_for(database_url, tmp_path), recorded_upstream(suite), recorded_source(suite), built)
    assert described is not None
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    async with served_apart(described) as url:
        children = psutil.Process().children(recursive=True)
        started = [child for child in children if child.pid not in before and "spawn_main" in " ".join(child.cmdline())]
        report, progress = await replay(plan, Target(url, "recorded", known_pool=True), database, built)
    assert progress.done == 60
    assert progress.failed == 0
    expected = score(plan)
    assert [router.points for router in report.routers] != []
    for got, wanted in zip(report.routers, expected.routers, strict=True):
        for one, other in zip(got.points, wanted.points, strict=True):
            assert (one.quality, one.cost_per_1k, one.share) == (other.quality, other.cost_per_1k, other.share)
    assert await count_calls(database, CallFilter(run=report.run)) == 60
    assert len(started) == PROCESSES
    assert [child for child in started if child.is_running()] == []


def test_what_cannot_leave_its_process_stays(tmp_path: Path) -> None:
    suite = bundled.load()
    settings = Settings(data_dir=tmp_path)
    assert describe(settings, recorded_upstream(suite), "here", {"holding": Holding()}) is None


async def test_why_it_does_not_start(database_url: str, tmp_path: Path) -> None:
    suite = bundled.load()
    settings = Settings(data_dir=tmp_path, DATABASE_URL=SecretStr(database_url), host="0.0.0.0")
    described = describe(settings, recorded_upstream(suite), "here", {})
    assert described is not None
    with pytest.raises(ConfigError, match="HULLSPEED_API_KEY"):
        async with served_apart(described):
            raise AssertionError("it serves")
