"""Calls and scores with every field set, or as few as there may be."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import uuid_utils

from app.core.types import Attempt, Call, DecisionRecord, Price, RankedModel, Score, Usage

NOW = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)
COST = Decimal("0.000261825000")


def new_id() -> str:
    return str(uuid_utils.uuid7())


def small_call(**fields: Any) -> Call:
    return Call(
        **{
            "id": new_id(),
            "started_at": datetime.now(UTC),
            "endpoint": "chat",
            "requested_model": "auto",
            "stream": False,
            "outcome": "rejected",
            "status": 400,
            "latency": 0.001,
            "source": "live",
            **fields,
        }
    )


def full_call(**fields: Any) -> Call:
    usage = Usage(812, 233, 100, 12, 50, estimated=True)
    price = Price(
        input=Decimal("1.5E-7"),
        output=Decimal("0.0000006"),
        cached_input=Decimal("0.000000075"),
        cache_write=Decimal("0.0000001875"),
        reasoning=Decimal("0.0000006000"),
        source="litellm 1.106.2",
    )
    attempts = (
        Attempt(
            model="large", upstream="litellm", outcome="rate_limited", offset=0.001, latency=0.1, status=429, error="x"
        ),
        Attempt(
            model="small",
            upstream="direct",
            outcome="ok",
            offset=0.10000000000000003,
            latency=1 / 3,
            status=200,
            time_to_first_token=0.29,
            upstream_model="small-2024",
            usage=usage,
            cost_usd=COST,
            price=price,
            finish_reason="stop",
        ),
    )
    return Call(
        **{
            "id": new_id(),
            "started_at": NOW,
            "endpoint": "chat",
            "requested_model": "auto/knn",
            "stream": True,
            "outcome": "ok",
            "status": 200,
            "latency": 1.1 + 2.2,
            "source": "replay",
            "overhead": 5e-324,
            "time_to_first_token": 0.3,
            "model": "small",
            "decision": DecisionRecord(
                router="knn",
                version="1",
                reason="best utility",
                tradeoff=0.30000000000000004,
                ranking=(RankedModel("small", 0.1, 1e-7, 0.9), RankedModel("large")),
                max_cost_usd=0.01,
                seed=2**40,
                duration=0.0001,
                problem="none",
            ),
            "attempts": attempts,
            "usage": usage,
            "cost_usd": COST,
            "run": "run-1",
            "item": "item-1",
            "session": "session-1",
            "client_request_id": "theirs",
            "error_type": "server_error",
            "error_code": "upstream",
            "error_message": "it said\nno 'thanks' \\ \"so\" \t,{}",
            "request_text": '{"messages": []}',
            "reply_text": "4 × 7 = 28 – done 🙂",
            "prompt_hash": "0123456789abcdef0123456789abcdef",
            **fields,
        }
    )


def score(call_id: str, **fields: Any) -> Score:
    return Score(
        **{
            "id": new_id(),
            "call_id": call_id,
            "name": "helpful",
            "value": 0.1,
            "source": "client",
            "comment": "fine",
            "created_at": NOW,
            **fields,
        }
    )
