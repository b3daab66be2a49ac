"""`hullspeed bench conform-router` and `hullspeed calibrate`, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.bench import bundled
from routers import artifacts
from routers.knn import KnnRouter
from routers.threshold import ThresholdRouter
from tests.cli.program import Program

MINE = """
from routers import Choice, Decision, Router

class Mine(Router):
    name = "mine"
    def route(self, query):
        return Decision(tuple(Choice(c.model, probability=1 / len(query.candidates)) for c in query.candidates), "mine")

class Careless(Mine):
    def route(self, query):
        return Decision(super().route(query).ranking, open("mine.py").readline())
"""


@pytest.fixture
def here(tmp_path: Path) -> Program:
    (tmp_path / "mine.py").write_text(MINE)
    return Program(tmp_path, {})


def test_a_router_in_a_file_is_put_to_the_test(here: Program) -> None:
    said = here.run("bench", "conform-router", "./mine.py:Mine").stdout
    assert "FAILED" not in said
    assert "decision time: p50" in said
    assert "reasons: mine" in said


def test_a_broken_one_ends_with_1_and_says_why(here: Program) -> None:
    said = here.run("bench", "conform-router", "./mine.py:Careless", code=1).stdout
    assert "FAILED" in said
    found = json.loads(here.run("bench", "conform-router", "./mine.py:Careless", "--json", code=1).stdout)
    failed = {check["name"]: check["said"] for check in found["checks"] if not check["passed"]}
    assert failed.keys() == {"no I/O"}
    assert "open('mine.py'" in failed["no I/O"]
    assert found["router"] == "./mine.py:Careless"
    assert found["queries"] > 60


def test_what_is_no_router_is_one_line(here: Program) -> None:
    assert "did you mean 'knn'" in here.fails("bench", "conform-router", "knm")
    assert "has no class 'Yours'" in here.fails("bench", "conform-router", "mine.py:Yours")


def test_a_threshold_is_calibrated_and_written(here: Program) -> None:
    suite = bundled.load()
    trained = ThresholdRouter.fit(suite.outcomes().take(suite.rows("train", 0)), strong="sim-max", weak="sim-mini")
    trained.save(here.folder / "trained")
    asked = ("calibrate", "trained", "--suite", "basics", "--strong-share", "0.3")
    assert "30.0% of 480 prompts go to `sim-max`" in here.run(*asked).stdout
    found = json.loads(here.run(*asked, "--split", "test", "--json", "--output", "calibrated").stdout)
    back = artifacts.load(here.folder / "calibrated")
    assert isinstance(back, ThresholdRouter)
    assert back.threshold == found["threshold"]
    queries = [suite.items[row].as_query() for row in suite.rows("test", 0)]
    strong = sum(back.win_probability(query) >= back.threshold for query in queries)
    assert strong / len(queries) == found["share"] == pytest.approx(0.3, abs=0.01)
    assert "calibrated holds an artifact already" in here.fails(*asked, "--output", "calibrated")


def test_only_a_threshold_router_can_be_calibrated(here: Program) -> None:
    KnnRouter.fit(bundled.load().outcomes()).save(here.folder / "knn")
    said = here.fails("calibrate", "knn", "--suite", "basics", "--strong-share", "0.3")
    assert "is of router `knn`; only `threshold` has a threshold" in said
    assert "manifest.json cannot be read" in here.fails("calibrate", "no", "--suite", "basics", "--strong-share", "0.3")
