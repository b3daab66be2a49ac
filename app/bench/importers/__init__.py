"""Suites from files: recorded outcomes in the formats of the benches there are, and plain lists of items.

Each `read_…` gives a suite whose every cell has been checked, and what there is to say about it; each error is one
line that names the file, the column or cell, and what to do.
"""

from __future__ import annotations

from pathlib import Path

from app.bench.importers.findings import Findings, Imported, find
from app.bench.importers.inspect_logs import read_inspect
from app.bench.importers.items import read_items
from app.bench.importers.llmrouterbench import read_llmrouterbench
from app.bench.importers.mtbench import read_mt_bench
from app.bench.importers.outcomes import read_outcomes
from app.bench.importers.prices import parse_prices
from app.bench.importers.routellm import read_routellm
from app.bench.importers.routerbench import read_routerbench
from app.bench.suite import Suite

__all__ = [
    "Findings",
    "Imported",
    "find",
    "import_items",
    "import_outcomes",
    "parse_prices",
    "read_inspect",
    "read_items",
    "read_llmrouterbench",
    "read_mt_bench",
    "read_outcomes",
    "read_routellm",
    "read_routerbench",
]


def import_outcomes(
    outcomes: Path, items: Path | None, name: str, *, grader: str | None = None, allow_missing: bool = False
) -> Suite:
    """The suite of a long table of outcomes; `read_outcomes` says more. Raises `ConfigError`."""
    return read_outcomes(outcomes, items, name, grader=grader, allow_missing=allow_missing).suite


def import_items(path: Path, name: str, grader: str | None = None) -> Suite:
    """The suite of a plain list of items; `read_items` says more. Raises `ConfigError`."""
    return read_items(path, name, grader).suite
