"""Commands of our own as processes beside: what they are told, and what is remembered of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from app.bench.aside import NICE, Aside, AsideFailed
from app.bench.starts import Starts
from app.core.errors import ConfigError
from app.core.settings import Settings


@pytest.fixture
def aside(tmp_path: Path, database_url: str) -> Aside:
    settings = Settings(data_dir=tmp_path, DATABASE_URL=database_url, host="127.0.0.1")
    return Aside(settings, "hs-secret")


def test_secrets_go_by_the_environment(aside: Aside) -> None:
    told = aside.environment({"PATH": "/bin", "HULLSPEED_ADMIN_KEY": "a", "HULLSPEED_API_KEY": "old", "COLUMNS": "10"})
    assert told["HULLSPEED_API_KEY"] == "hs-secret"
    assert told["HULLSPEED_ALLOW_CODE"] == "0"
    assert told["PATH"] == "/bin"
    assert told.keys().isdisjoint({"HULLSPEED_ADMIN_KEY", "COLUMNS", "HULLSPEED_CONFIG"})


async def test_what_a_command_says_is_the_error(aside: Aside) -> None:
    with pytest.raises(ConfigError, match="no router is named 'nothing'"):
        await aside.ask("bench", "run", "basics", "-r", "nothing", "--dry-run")
    with pytest.raises(AsideFailed, match="There is no run"):
        await aside.ask("bench", "compare", "nothing", "nothing", "--json")
    assert '"suites"' in await aside.ask("bench", "list", "--json")


def test_a_start_is_remembered_and_stopped(aside: Aside, tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    arguments = ("bench", "run", "basics", "-r", "cheapest", "--split", "all", "--concurrency", "1")
    start = starts.begin(aside, arguments, suite="basics", form={"suite": "basics"}, max_cost=None)
    assert starts.get(start.id) == start
    assert [one.id for one in starts.newest()] == [start.id]
    process = psutil.Process(start.process)
    assert process.nice() == NICE
    assert os.getsid(process.pid) == process.pid
    while starts.run_of(start.id) is None and starts.is_alive(start):
        time.sleep(0.02)
    run = starts.run_of(start.id)
    assert run is not None, starts.said(start)
    assert starts.of_run(run) == start
    assert starts.stop(start)
    process.wait(60)
    while starts.is_alive(start):
        time.sleep(0.02)
    assert "interrupted" in starts.said(start)
    assert not starts.stop(start)


def test_what_is_no_start(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    assert starts.newest() == []
    for key in ("", "..", "../../etc", "x" * 36, "01a22410-784b-7562-b258-5430f8db1dd2"):
        assert starts.get(key) is None
    assert starts.of_run("01a22410-784b-7562-b258-5430f8db1dd2") is None
