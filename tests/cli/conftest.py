"""Fixtures for the command line's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.program import Program


@pytest.fixture
def program(tmp_path: Path, new_database: Callable[[], str]) -> Program:
    """The program with an empty, not yet migrated ledger."""
    return Program(tmp_path, {"HULLSPEED_DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": new_database()})


@pytest.fixture
def migrated(program: Program) -> None:
    """Its tables are there, as from the second start on: a proxy that stops at once has its rows to bring, no more."""
    program.run("migrate")
