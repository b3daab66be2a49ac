"""Fixtures for the command line's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.program import Program


@pytest.fixture
def program(tmp_path: Path, migrated_database: Callable[[], str]) -> Program:
    """The program with an empty ledger."""
    return Program(tmp_path, {"HULLSPEED_DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": migrated_database()})


@pytest.fixture
def newcomer(tmp_path: Path, new_database: Callable[[], str]) -> Program:
    """The program before its first start: its database has no tables yet."""
    return Program(tmp_path, {"HULLSPEED_DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": new_database()})
