"""A call while it is being served. Everything known of it is gathered here and frozen into a `Call` at the end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from time import perf_counter

import msgspec
import uuid_utils

from app.core.errors import HullspeedError
from app.core.types import Attempt, Call, CallOutcome, DecisionRecord, Usage
from app.gateway.dialects.base import Asked, Dialect


class RequestHead(msgspec.Struct, frozen=True):
    """What the headers of a client's request say."""

    endpoint: str
    run: str | None = None
    item: str | None = None
    session: str | None = None
    client_request_id: str | None = None
    idempotency: bytes | None = None
    """Digest of the client's `Idempotency-Key`, where it sent one (see `app.gateway.idempotency`)."""
    client_retries: int = 0
    """How often the client has retried this request already, as OpenAI's SDKs say in `x-stainless-retry-count`."""
    traceparent: str | None = None
    """The span that the request was made in (W3C Trace Context)."""
    coding: str | None = None
    """How the body is coded (`content-encoding`), where it says so."""
    passed: Mapping[str, str] = {}
    """Headers for a provider that speaks the client's dialect."""


class OpenCall(msgspec.Struct, eq=False):
    """One client request, from its first byte to its last."""

    head: RequestHead
    dialect: Dialect
    """How the client speaks."""
    id: str = msgspec.field(default_factory=lambda: str(uuid_utils.uuid7()))
    started: float = msgspec.field(default_factory=perf_counter)
    started_at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
    requested_model: str = ""
    asked: Asked | None = None
    """The request, once it has been read."""
    stream: bool = False
    decision: DecisionRecord | None = None
    attempts: list[Attempt] = msgspec.field(default_factory=list)
    model: str | None = None
    outcome: CallOutcome = "ok"
    status: int = 200
    time_to_first_token: float | None = None
    error: HullspeedError | None = None
    request_text: str | None = None
    reply_text: str | None = None
    prompt_hash: str | None = None

    def elapsed(self) -> float:
        """Seconds since the request was read."""
        return perf_counter() - self.started

    def overhead(self) -> float:
        """Seconds so far in which no attempt was running; attempts may run side by side."""
        if len(self.attempts) == 1:
            return max(self.elapsed() - self.attempts[0].latency, 0.0)
        idle, end = 0.0, 0.0
        for attempt in sorted(self.attempts, key=lambda attempt: attempt.offset):
            idle += max(attempt.offset - end, 0.0)
            end = max(end, attempt.offset + attempt.latency)
        return idle + max(self.elapsed() - end, 0.0)

    def fail(self, error: HullspeedError, outcome: CallOutcome) -> None:
        """Note how the call failed."""
        self.error, self.outcome, self.status = error, outcome, error.status

    def cost(self) -> Decimal | None:
        """USD of all attempts; None where any of them used tokens at an unknown price."""
        if len(self.attempts) == 1:
            only = self.attempts[0]
            return Decimal(0) if only.usage is None else only.cost_usd
        billed = [attempt for attempt in self.attempts if attempt.usage is not None]
        if any(attempt.cost_usd is None for attempt in billed):
            return None
        return sum((attempt.cost_usd or Decimal(0) for attempt in billed), Decimal(0))

    def usage(self) -> Usage | None:
        """Tokens of all attempts together."""
        if len(self.attempts) == 1:
            return self.attempts[0].usage
        used = [attempt.usage for attempt in self.attempts if attempt.usage is not None]
        if not used:
            return None
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in used),
            completion_tokens=sum(usage.completion_tokens for usage in used),
            cached_tokens=sum(usage.cached_tokens for usage in used),
            cache_write_tokens=sum(usage.cache_write_tokens for usage in used),
            reasoning_tokens=sum(usage.reasoning_tokens for usage in used),
            estimated=any(usage.estimated for usage in used),
        )

    def close(self) -> Call:
        """The finished call."""
        return Call(
            id=self.id,
            started_at=self.started_at,
            endpoint=self.head.endpoint,
            requested_model=self.requested_model,
            stream=self.stream,
            outcome=self.outcome,
            status=self.status,
            latency=self.elapsed(),
            source="replay" if self.head.run else "live",
            overhead=self.overhead(),
            time_to_first_token=self.time_to_first_token,
            model=self.model,
            decision=self.decision,
            attempts=tuple(self.attempts),
            usage=self.usage(),
            cost_usd=self.cost(),
            run=self.head.run,
            item=self.head.item,
            session=self.head.session,
            client_request_id=self.head.client_request_id,
            error_type=self.error.type if self.error else None,
            error_code=self.error.code if self.error else None,
            error_message=self.error.message if self.error else None,
            request_text=self.request_text,
            reply_text=self.reply_text,
            prompt_hash=self.prompt_hash,
            traceparent=self.head.traceparent,
        )
