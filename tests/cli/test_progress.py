"""What long work says of itself: a bar that fits the terminal, plain lines elsewhere, nothing beside JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.cli.test_bench import write_files


@pytest.fixture
def suite(program: Program, tmp_path: Path) -> Program:
    """The program with a suite `mine` in its ledger."""
    write_files(tmp_path)
    program.run("bench", "import", "outcomes", "outcomes.parquet", "--items", "items.parquet", "--name", "mine")
    return program


RUN = ("bench", "run", "mine", "-r", "cheapest", "--tradeoffs", "0,0.5", "--split", "all", "--fresh")


def test_plain_lines_where_there_is_no_terminal(suite: Program) -> None:
    done = suite.run(*RUN)
    lines = [line for line in done.stderr.splitlines() if line.startswith("replaying: ")]
    form = r"replaying: ([\d,]+) of ([\d,]+) \((\d+)%\) [\d,]+/s \$\d+\.\d{4} quality \d\.\d{3}, [\d,]+ s left"
    found = [re.fullmatch(form, line) for line in lines]
    assert all(found), done.stderr
    assert 8 <= len(lines) <= 11
    assert found[-1] is not None
    assert found[-1][1] == found[-1][2]
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("columns", [80, 120])
def test_a_bar_that_fits_the_terminal(suite: Program, columns: int) -> None:
    shown = suite.on_terminal(columns, *RUN)
    bars = [line for line in shown.splitlines() if line.startswith("replaying")]
    assert re.search(r"━.* (\d+)/\1 [\d,]+/s \$\d.* quality \d\.\d{3} +\d:\d\d:\d\d \d:\d\d:\d\d", bars[-1]), bars[-1]
    assert max(len(bar.rstrip()) for bar in bars) <= columns


def test_nothing_beside_json(suite: Program) -> None:
    done = suite.run(*RUN, "--json", "-")
    assert json.loads(done.stdout)["suite"] == "mine"
    assert done.stderr == ""
