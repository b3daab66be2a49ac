"""The facts of one call: what was used, what it cost, how it ended. Frozen; built once, passed one way."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

CallOutcome = Literal["ok", "rejected", "error", "truncated", "client_cancelled"]
"""How a client's request ended. `rejected`: never sent anywhere, the request was at fault. `truncated`: it broke
off after content had gone out, by the upstream's fault or because the proxy stopped."""

AttemptOutcome = Literal["ok", "error", "timeout", "rate_limited", "truncated", "client_cancelled", "abandoned"]
"""How one call to one model ended. `abandoned`: Hullspeed gave it up, since the call had been answered without
it, or since the proxy stopped."""


class Price(msgspec.Struct, frozen=True, omit_defaults=True):
    """USD per token. A rate that is None is charged like the rate it is a kind of (cached and written cache like
    input, reasoning like output)."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    source: str = "config"
    """Where the rates come from, e.g. `config` or `litellm 1.106.2`."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one attempt, normalised: `prompt_tokens` holds the cached and cache-written ones,
    `completion_tokens` the reasoning ones."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    """True where the upstream gave no usage and it was estimated from the text."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One call to one model."""

    model: str
    upstream: str
    """`direct`, `litellm`, `recorded` or `simulated`."""
    outcome: AttemptOutcome
    offset: float
    """Seconds from the start of the call to the start of the attempt."""
    latency: float
    """Seconds."""
    status: int | None = None
    """HTTP status of the upstream, where it spoke HTTP."""
    time_to_first_token: float | None = None
    """Seconds from the start of the attempt; streams only."""
    upstream_model: str | None = None
    """The model's name as the upstream reported it."""
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    price: Price | None = None
    """Snapshot of the rates the cost was computed with; None where the upstream itself stated the cost."""
    finish_reason: str | None = None
    error: str | None = None
    sent: bool = True
    """Whether the request was given to the network whole: each upstream has seen as many requests as there are attempts
    with `sent` at it. Where litellm has no way to tell, it counts as sent."""


class RankedModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """One candidate in a logged decision."""

    model: str
    quality: float | None = None
    cost: float | None = None
    probability: float = 0.0


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The decision as it is stored, whole."""

    router: str
    """Name of the router's entry in the configuration, or `none` where the client named a model."""
    version: str
    reason: str
    tradeoff: float
    ranking: tuple[RankedModel, ...]
    max_cost_usd: float | None = None
    seed: int = 0
    duration: float = 0.0
    """Seconds it took, with the embedding that the router needed."""
    problem: str | None = None
    """What went wrong where the router was replaced by the default."""
    detail: dict[str, Any] = {}
    """What the router itself says of how it came about, by name."""
    excluded: dict[str, str] = {}
    """Models that could not serve the request, each with why."""


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One client request with its attempts. Built once, when the request is over."""

    id: str
    """UUIDv7, made here."""
    started_at: datetime
    endpoint: str
    requested_model: str
    stream: bool
    outcome: CallOutcome
    status: int
    latency: float
    """Seconds from the first byte of the request read to the last byte of the reply given to the server."""
    source: str
    """`live` or `replay`."""
    overhead: float | None = None
    """Seconds of `latency` that were not spent waiting for an upstream."""
    time_to_first_token: float | None = None
    model: str | None = None
    """The model that answered."""
    decision: DecisionRecord | None = None
    attempts: tuple[Attempt, ...] = ()
    usage: Usage | None = None
    """Sum over the attempts."""
    cost_usd: Decimal | None = None
    """Sum over the attempts; None where any billed attempt has no known price."""
    run: str | None = None
    item: str | None = None
    session: str | None = None
    client_request_id: str | None = None
    """The client's own `x-request-id`: stored, never a key."""
    error_type: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    request_text: str | None = None
    """The request body, only where storing text is switched on."""
    reply_text: str | None = None
    prompt_hash: str | None = None
    """Digest of the messages (see `app.gateway.prompt_hash`), only where the call is part of a run."""
    traceparent: str | None = None
    """The client's span (W3C Trace Context), for what is exported; the ledger does not keep it."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A judgement of a call's reply: a grader's or a person's."""

    id: str
    call_id: str
    name: str
    value: float
    """In [0, 1]."""
    source: str
    """`client`, or `grader:<name>`."""
    comment: str | None = None
    created_at: datetime
