"""Calls of one's own in a ledger that is served: recorded as a proxy records them."""

from __future__ import annotations

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.core.metrics import Metrics
from app.core.types import Attempt, Call, DecisionRecord, Price, RankedModel, Score, Usage
from app.store.database import Database
from app.store.journal import Journal
from app.store.writer import Ledger
from tests.store.samples import new_id

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
PRICE = Price(Decimal("0.000001"), Decimal("0.000002"), cached_input=Decimal("0.0000005"), source="config")


def plant(url: str, *rows: Call | Score) -> None:
    """Record them, and return once they are in Postgres."""

    async def work() -> None:
        database = Database(url, Path())
        await database.open()
        with tempfile.TemporaryDirectory() as folder:
            ledger = Ledger(database, Journal(Path(folder), max_bytes=1 << 24), Metrics())
            await ledger.start()
            for row in rows:
                (ledger.record if isinstance(row, Call) else ledger.record_score)(row)
            assert await ledger.flush(30)
            await ledger.close()
        await database.close()

    # In a thread of its own: Playwright's loop may run in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work()).result()


def attempt(model: str = "small", **fields: Any) -> Attempt:
    """One that went well: 1,000 tokens of the prompt, 400 of them from the cache, and 200 of the reply."""
    given: dict[str, Any] = {
        "upstream": "direct",
        "outcome": "ok",
        "offset": 0.01,
        "latency": 0.9,
        "status": 200,
        "time_to_first_token": 0.2,
        "usage": Usage(1000, 200, cached_tokens=400),
        "cost_usd": Decimal("0.0012"),
        "price": PRICE,
        "finish_reason": "stop",
        "upstream_model": f"{model}-2026",
    }
    return Attempt(model=model, **{**given, **fields})


def decision(router: str = "knn", **fields: Any) -> DecisionRecord:
    """small before medium and large, as rank_by_utility has it."""
    given: dict[str, Any] = {
        "version": "1",
        "reason": "predicted",
        "tradeoff": 0.3,
        "ranking": (
            RankedModel("small", 0.83, 0.00012, 1.0),
            RankedModel("medium", 0.85, 0.0012),
            RankedModel("large", 0.7, 0.012),
        ),
        "seed": 7,
        "duration": 0.004,
        "detail": {"dearest_usd": 0.012},
    }
    return DecisionRecord(router=router, **{**given, **fields})


def call(ago: float = 5.0, **fields: Any) -> Call:
    """One that small answered, picked by knn, `ago` seconds ago."""
    given: dict[str, Any] = {
        "id": new_id(),
        "started_at": datetime.now(UTC) - timedelta(seconds=ago),
        "endpoint": "/v1/chat/completions",
        "requested_model": "auto",
        "stream": True,
        "outcome": "ok",
        "status": 200,
        "latency": 0.92,
        "source": "live",
        "overhead": 0.01,
        "time_to_first_token": 0.21,
        "model": "small",
        "decision": decision(),
        "attempts": (attempt(),),
        "usage": Usage(1000, 200, cached_tokens=400),
        "cost_usd": Decimal("0.0012"),
        "session": "planted",
    }
    return Call(**{**given, **fields})
