"""Suites as the ledger keeps them."""

from __future__ import annotations

import contextlib

import msgspec

from app.bench import bundled
from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError, NotFound
from app.store import suites
from app.store.database import Database
from app.store.suites import StoredItem, StoredOutcomes, StoredSuite


async def save(database: Database, suite: Suite, *, replace: bool = False) -> None:
    """Keep a suite under its name. Raises `ConfigError` where the name is taken and `replace` is False."""
    recorded = suite.recorded
    stored = StoredSuite(
        name=suite.name,
        digest=suite.digest,
        items=tuple(StoredItem(**msgspec.structs.asdict(item)) for item in suite.items),
        grader=suite.grader,
        simulated=suite.simulated,
        description=suite.description,
        outcomes=None
        if recorded is None
        else StoredOutcomes(
            recorded.models,
            recorded.quality,
            recorded.cost,
            recorded.prompt_tokens,
            recorded.completion_tokens,
            recorded.replies,
        ),
    )
    await suites.save_suite(database, stored, replace=replace)


async def load(database: Database, name: str) -> Suite:
    """The suite called `name`; a bundled one is put there when it is first asked for. Raises `NotFound`."""
    try:
        stored = await suites.load_suite(database, name)
    except NotFound:
        if name not in bundled.NAMES:
            raise
        with contextlib.suppress(ConfigError):  # Somebody else has just put it there.
            await save(database, bundled.load(name))
        stored = await suites.load_suite(database, name)
    outcomes = stored.outcomes
    return Suite(
        name=stored.name,
        items=tuple(Item(**msgspec.structs.asdict(item)) for item in stored.items),
        grader=stored.grader,
        recorded=None
        if outcomes is None
        else Recorded(
            outcomes.models,
            outcomes.quality,
            outcomes.cost,
            outcomes.prompt_tokens,
            outcomes.completion_tokens,
            outcomes.replies,
        ),
        simulated=stored.simulated,
        description=stored.description,
    )
