"""A decision without a call: what a router would do with a request, and why."""

from __future__ import annotations

from typing import Any

from app.gateway.chat import RoutingOptions, parse_chat
from app.gateway.decide import Decider, Review
from app.gateway.dialects.base import Asked
from routers.base import seed_for


async def explain(decider: Decider, body: bytes, session: str | None = None) -> dict[str, Any]:
    """The decision on a chat request's `body`, as JSON values. Nothing is recorded, and nothing called but
    the embedder of a router that was trained with one.

    `candidates` are ranked, best first; `excluded` says why each other model could not serve the request; `asked` are
    the models that would be called at once, and `reviewed` whether the router would look at their replies before it
    answers. Raises what a call with this body would be refused with.
    """
    asked = Asked(*parse_chat(body))
    options = asked.chat.routing or RoutingOptions()
    seed = seed_for(body) if options.seed is None else options.seed
    ruling = await decider.decide(asked, session=session, seed=seed, explain=True)
    record = ruling.record
    first = ruling.decision.ask if isinstance(ruling, Review) and ruling.decision is not None else 1
    return {
        "object": "decision",
        "router": record.router,
        "version": record.version,
        "reason": record.reason,
        "problem": record.problem,
        "tradeoff": record.tradeoff,
        "seed": seed,
        "asked": [ranked.model for ranked in record.ranking[:first]],
        "reviewed": isinstance(ruling, Review),
        "candidates": [
            {
                "model": ranked.model,
                "quality": ranked.quality,
                "cost_usd": ranked.cost,
                "probability": ranked.probability,
                "context_window": decider.catalog[ranked.model].context_window,
            }
            for ranked in record.ranking
        ],
        "excluded": record.excluded,
        "detail": record.detail,
        "duration_ms": record.duration * 1000,
    }
