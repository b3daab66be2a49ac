"""One call to one model: while it runs, and what comes of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from decimal import Decimal
from time import perf_counter

import msgspec

from app.core.types import Attempt, AttemptOutcome, Price, Usage
from app.gateway.call import OpenCall
from app.gateway.chat import Fields
from app.gateway.dialects.base import Reader
from app.gateway.health import Health
from app.gateway.pricing import cost_of
from app.gateway.replies import Reading, estimate, read_reply
from app.gateway.upstream import UpstreamError, broken_reply, error_from_reply
from routers.base import text_length

ABANDONED = "abandoned"
"""Message of the cancellation of an attempt that Hullspeed itself gives up."""


class OpenAttempt:
    """One call to one model while it runs; put on the call's list when it is over, once."""

    def __init__(self, call: OpenCall, health: Health, upstream: str, *, native: bool = False) -> None:
        """`upstream`: how the model is reached; `native`: it is asked in the client's own dialect."""
        self.call = call
        self.model = health.model
        self.native = native
        self.upstream = upstream
        self._read: Reader = call.dialect.reader() if native else read_reply
        self._health = health
        health.begin()
        self.started = perf_counter()
        self.finish_reason: str | None = None
        self.first_token: float | None = None
        self._offset = self.started - call.started
        self._characters = 0
        self._usage: Usage | None = None
        self._stated_cost: Decimal | None = None
        self._upstream_model: str | None = None
        self._begun = False
        self._ends: dict[int, str | None] | None = None
        """How each choice ended, once there is another than the first."""
        self._closed = False

    def read(self, data: bytes) -> tuple[Reading, Fields]:
        """Read a completion or a chunk and note what it says. Raises `UpstreamError` where it is none."""
        try:
            if not data.isascii():
                # What is passed on as it came is not looked into otherwise.
                data.decode()
            reply, fields = self._read(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise broken_reply(self.model, "not the JSON of a chat completion") from None
        if reply.error is not None:
            stated = msgspec.json.encode({"error": reply.error})
            raise error_from_reply(self.model, reply.error_status, stated, {})
        found = reply.read_usage()
        if found is not None:
            # Several chunks may carry usage, each with the totals so far: the last one counts.
            self._usage, self._stated_cost = found
        self._upstream_model = reply.model or self._upstream_model
        if self._ends is None and not reply.has_several:
            self._begun = True
            self.finish_reason = reply.finish_reason or self.finish_reason
        else:
            self._note(reply)
        self._characters += len(reply.text)
        return reply, fields

    def _note(self, reply: Reading) -> None:
        """Of a reply with several choices: how each of them ended."""
        if self._ends is None:
            self._ends = {0: self.finish_reason} if self._begun else {}
        for index, reason in reply.ends:
            self._ends[index] = reason or self._ends.get(index)
        self.finish_reason = next((reason for _, reason in sorted(self._ends.items()) if reason), None)

    @property
    def is_finished(self) -> bool:
        """Every choice that was begun has said how it ended."""
        return self.finish_reason is not None and (self._ends is None or None not in self._ends.values())

    def saw_content(self) -> None:
        """The first content has come."""
        if self.first_token is None:
            self.first_token = perf_counter() - self.started

    @property
    def usage(self) -> Usage:
        """What the upstream reported, or an estimate that says it is one."""
        if self._usage is not None:
            return self._usage
        asked = self.call.asked
        return estimate(0 if asked is None else text_length(asked.chat.messages), self._characters)

    def close(self, outcome: AttemptOutcome, error: UpstreamError | None = None, *, sent: bool = True) -> Attempt:
        """Freeze the attempt and put it on the call's list. `sent`: the request has gone out."""
        assert not self._closed
        self._closed = True
        # An error before the first token is not billed by any provider we know; a reply, or a part of one, is.
        billed = self.first_token is not None or outcome in ("ok", "truncated", "client_cancelled", "abandoned")
        usage = self.usage if billed else self._usage
        price: Price | None = self.model.price
        cost = None if usage is None else cost_of(usage, price)
        if price is None and usage is not None:
            cost = self._stated_cost
        attempt = Attempt(
            model=self.model.name,
            upstream=self.upstream,
            outcome=outcome,
            offset=self._offset,
            latency=perf_counter() - self.started,
            status=200 if outcome == "ok" else error.upstream_status if error else None,
            time_to_first_token=self.first_token,
            upstream_model=self._upstream_model,
            usage=usage,
            cost_usd=cost,
            price=price,
            finish_reason=self.finish_reason,
            error=error.message if error else None,
            sent=sent,
        )
        self.call.attempts.append(attempt)
        self._judge(attempt, error)
        return attempt

    def _judge(self, attempt: Attempt, error: UpstreamError | None) -> None:
        """Tell the deployment's health how it went."""
        health, usage = self._health, attempt.usage
        health.end(0 if usage is None else usage.prompt_tokens + usage.completion_tokens)
        if attempt.outcome == "ok":
            health.succeeded(attempt.latency)
        elif error is None or error.blame == "nobody":
            health.unjudged()
        elif error.blame == "limit":
            health.limited(error.pause)
        else:
            health.failed()

    @property
    def is_open(self) -> bool:
        return not self._closed


class WholeAnswer(msgspec.Struct, frozen=True):
    """A model's whole reply."""

    attempt: Attempt
    reply: Reading
    fields: Fields
    headers: Mapping[str, str]
    native: bool = False
    """It came in the client's own dialect, not as a chat completion."""


class StreamAnswer(msgspec.Struct, frozen=True):
    """A model's reply that is still coming; its first content is there."""

    attempt: OpenAttempt
    chunks: AsyncGenerator[Sequence[tuple[Reading, Fields]]]
    """Every chunk from the beginning, those together that came together. Raises `UpstreamError` where the stream breaks
    off."""
    headers: Mapping[str, str]
