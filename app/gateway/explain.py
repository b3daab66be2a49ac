"""A decision without a call: what a router would do with a request, and why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from app.core.errors import HullspeedError, InvalidRequest
from app.gateway.chat import RoutingOptions, parse_chat
from app.gateway.decide import AUTO, Decider, Review
from app.gateway.dialects.base import Asked
from routers.base import seed_for, text_length, tokens_of


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


STEPS = tuple(step / 10 for step in range(11))
"""Tradeoffs that a sweep asks about."""
REPLY_TOKENS = 256
"""Completion tokens that a reply is expected to have where the request sets no limit."""


def with_router(body: bytes, router: str, **routing: Any) -> bytes:
    """A chat request's body for another router, with some of its `routing` changed. Raises `InvalidRequest`."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}. Send a JSON object.") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("The body must be a JSON object.")
    fields["model"] = f"{AUTO}/{router}"
    if routing:
        given = fields.get("routing")
        kept = {name: value for name, value in given.items() if name not in _AIMS} if isinstance(given, dict) else {}
        fields["routing"] = {**kept, **routing}
    return msgspec.json.encode(fields)


_AIMS = ("tradeoff", "target_cost", "target_quality")


async def explain_each(
    decider: Decider, body: bytes, routers: Sequence[str]
) -> AsyncIterator[tuple[str, dict[str, Any] | HullspeedError]]:
    """What each of `routers` would do with the request, as `explain` says it, or why it would be refused.

    Between two of them others have their turn: a proxy that is asked for all its routers goes on serving calls. Raises
    `InvalidRequest` where the body is no JSON object.
    """
    for router in routers:
        asked = with_router(body, router)
        try:
            yield router, await explain(decider, asked)
        except HullspeedError as error:
            yield router, error
        await asyncio.sleep(0)


async def sweep(decider: Decider, body: bytes, router: str) -> list[dict[str, Any]]:
    """The decisions of one router at each of `STEPS`, in their order. Raises what `explain` raises."""
    seed = seed_for(body)
    found = []
    for tradeoff in STEPS:
        found.append(await explain(decider, with_router(body, router, tradeoff=tradeoff, seed=seed)))
        await asyncio.sleep(0)
    return found


def expected_costs(decider: Decider, body: bytes) -> dict[str, float | None]:
    """USD that the request is expected to cost with each model of the catalog; None where its price is not known.
    Raises `InvalidRequest`."""
    chat, _ = parse_chat(body)
    tokens = tokens_of(text_length(chat.messages))
    completion = chat.max_output or REPLY_TOKENS
    candidates = decider.catalog.candidates
    return {name: candidate.expected_cost(tokens, completion) for name, candidate in candidates.items()}
