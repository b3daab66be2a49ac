"""Walking down the ranking: one attempt per model until one answers.

Another model may take over until the first content has gone out to the client; a chunk that carries only a role is
held back until then. After that, two models' words are never spliced.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from time import perf_counter
from typing import TypeVar, cast

import msgspec

from app.core.types import Attempt, AttemptOutcome, Price, Usage
from app.gateway.call import OpenCall
from app.gateway.catalog import Catalog, Model
from app.gateway.chat import ChatRequest, Fields, upstream_fields
from app.gateway.pricing import cost_of
from app.gateway.replies import Reply, estimate, read_reply
from app.gateway.upstream import (
    Upstream,
    UpstreamError,
    UpstreamRequest,
    broken_reply,
    error_from_reply,
)
from routers import Query

Answer = TypeVar("Answer")


class OpenAttempt:
    """One call to one model while it runs; put on the call's list when it is over, once."""

    def __init__(self, call: OpenCall, model: Model, prompt_characters: int) -> None:
        self.call = call
        self.model = model
        self.started = perf_counter()
        self.finish_reason: str | None = None
        self.first_token: float | None = None
        self._offset = self.started - call.started
        self._prompt_characters = prompt_characters
        self._characters = 0
        self._usage: Usage | None = None
        self._stated_cost: Decimal | None = None
        self._upstream_model: str | None = None
        self._closed = False

    def read(self, data: bytes) -> tuple[Reply, Fields]:
        """Read a completion or a chunk and note what it says. Raises `UpstreamError` where it is none."""
        try:
            reply, fields = read_reply(data)
        except msgspec.DecodeError:
            raise broken_reply(self.model, "not the JSON of a chat completion") from None
        if reply.error is not None:
            raise error_from_reply(self.model, 502, data, {})
        found = reply.read_usage()
        if found is not None:
            # Several chunks may carry usage, each with the totals so far: the last one counts.
            self._usage, self._stated_cost = found
        self._upstream_model = reply.model or self._upstream_model
        self.finish_reason = reply.finish_reason or self.finish_reason
        self._characters += len(reply.text)
        return reply, fields

    def saw_content(self) -> None:
        """The first content has come."""
        if self.first_token is None:
            self.first_token = perf_counter() - self.started

    @property
    def usage(self) -> Usage:
        """What the upstream reported, or an estimate that says it is one."""
        return self._usage or estimate(self._prompt_characters, self._characters)

    def close(self, outcome: AttemptOutcome, error: UpstreamError | None = None) -> Attempt:
        """Freeze the attempt and put it on the call's list."""
        assert not self._closed
        self._closed = True
        # An error before the first token is not billed by any provider we know; a reply, or a part of one, is.
        billed = outcome in ("ok", "truncated", "client_cancelled")
        usage = self.usage if billed else self._usage
        price: Price | None = self.model.price
        cost = None if usage is None else cost_of(usage, price)
        if price is None and usage is not None:
            cost = self._stated_cost
        attempt = Attempt(
            model=self.model.name,
            upstream=self.model.upstream,
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
        )
        self.call.attempts.append(attempt)
        return attempt

    @property
    def is_open(self) -> bool:
        return not self._closed


@dataclass(frozen=True)
class WholeAnswer:
    """A model's whole reply."""

    attempt: Attempt
    reply: Reply
    fields: Fields
    headers: Mapping[str, str]


@dataclass(frozen=True)
class StreamAnswer:
    """A model's reply that is still coming; its first content is there."""

    attempt: OpenAttempt
    chunks: AsyncGenerator[tuple[Reply, Fields]]
    """Every chunk from the beginning. Raises `UpstreamError` where the stream breaks off."""
    headers: Mapping[str, str]


class Attempts:
    """Calls models in the order of a decision."""

    def __init__(self, catalog: Catalog, upstreams: Mapping[str, Upstream], timeout: float) -> None:
        self.catalog = catalog
        self.upstreams = upstreams
        self.timeout = timeout
        """Seconds for one attempt, where the model sets none."""

    async def whole(self, call: OpenCall, chat: ChatRequest, fields: Fields) -> WholeAnswer:
        """The first whole reply. Raises the last `UpstreamError` where no model answers."""

        async def ask(attempt: OpenAttempt, request: UpstreamRequest) -> WholeAnswer:
            answer = await self.upstreams[attempt.model.upstream].complete(request)
            reply, body = attempt.read(answer.body)
            if not reply.choices:
                raise broken_reply(attempt.model, "no choices in it")
            return WholeAnswer(attempt.close("ok"), reply, body, answer.headers)

        return await self._walk(call, chat, fields, ask)

    async def stream(self, call: OpenCall, chat: ChatRequest, fields: Fields) -> StreamAnswer:
        """The first stream that brings content. Raises the last `UpstreamError` where no model's does."""

        async def ask(attempt: OpenAttempt, request: UpstreamRequest) -> StreamAnswer:
            answer = await self.upstreams[attempt.model.upstream].stream(request)
            chunks = cast("AsyncGenerator[bytes]", answer.chunks)
            held: list[tuple[Reply, Fields]] = []
            try:
                async for data in chunks:
                    held.append(attempt.read(data))
                    if held[-1][0].has_content:
                        attempt.saw_content()
                        break
                else:
                    _check_finished(attempt)
            except BaseException:
                await chunks.aclose()
                raise
            return StreamAnswer(attempt, _resume(attempt, held, chunks), answer.headers)

        return await self._walk(call, chat, fields, ask)

    async def _walk(
        self,
        call: OpenCall,
        chat: ChatRequest,
        fields: Fields,
        ask: Callable[[OpenAttempt, UpstreamRequest], Awaitable[Answer]],
    ) -> Answer:
        assert call.decision is not None
        query = Query(chat.messages, ())
        too_small = 0
        failure: UpstreamError | None = None
        for ranked in call.decision.ranking:
            model = self.catalog[ranked.model]
            if too_small and model.context_window is not None and model.context_window <= too_small:
                continue
            request = UpstreamRequest(
                model=model,
                fields=upstream_fields(chat, fields, model),
                stream=bool(chat.stream),
                timeout=model.timeout or self.timeout,
                prompt=query.text,
                item=call.head.item,
            )
            attempt = OpenAttempt(call, model, query.length)
            try:
                answer = await ask(attempt, request)
            except UpstreamError as error:
                attempt.close(error.outcome, error)
                failure = error
                if not error.next_model:
                    break
                if error.too_long:
                    too_small = max(too_small, model.context_window or 0)
            except asyncio.CancelledError:
                attempt.close("client_cancelled")
                raise
            else:
                call.model = model.name
                return answer
        assert failure is not None
        raise failure


async def _resume(
    attempt: OpenAttempt, held: list[tuple[Reply, Fields]], chunks: AsyncGenerator[bytes]
) -> AsyncGenerator[tuple[Reply, Fields]]:
    """The chunks held back, then the rest as they come."""
    async with aclosing(chunks):
        for pair in held:
            yield pair
        async for data in chunks:
            yield attempt.read(data)
        _check_finished(attempt)


def _check_finished(attempt: OpenAttempt) -> None:
    if attempt.finish_reason is None:
        raise broken_reply(attempt.model, "the stream ended before the reply was finished")
