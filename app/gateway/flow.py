"""The way of one request: parse, decide, attempt, reply, record.

`Gateway.handle` is the spine. Whatever happens in it, exactly one `Call` leaves it, built once and recorded before
the reply's last byte goes out. It knows neither ASGI nor a database: the client is behind the `Client` port, the
ledger behind `Sink`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Protocol

import msgspec

from app.core.errors import CodedBody, HullspeedError
from app.core.metrics import Metrics
from app.core.types import Call
from app.gateway.admission import Admission, Stopping
from app.gateway.attempt import StreamAnswer, WholeAnswer
from app.gateway.attempts import Attempts
from app.gateway.call import OpenCall
from app.gateway.decide import Decider, Review
from app.gateway.dialects.base import Asked
from app.gateway.events import EventStream
from app.gateway.prompt_hash import prompt_hash
from app.gateway.replies import as_chunks
from app.gateway.review import Reviewer
from app.gateway.upstream import UpstreamError
from routers.base import seed_for

log = logging.getLogger("hullspeed.gateway")

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
KEEP_ALIVE = 15.0
"""Seconds of silence after which a streaming client gets a comment."""
TELL_SECONDS = 1.0
"""How long a client may take to hear that the proxy stops."""


class Client(Protocol):
    """Where a reply goes."""

    gone: bool
    """True once the client has closed the connection."""

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """A whole reply."""

    async def open(self, headers: Mapping[str, str]) -> None:
        """Begin a stream with status 200."""

    async def write(self, data: bytes) -> None:
        """A part of the stream; waits while the client is slow."""

    async def end(self, data: bytes) -> None:
        """The last part of the stream."""


class Sink(Protocol):
    """Where finished calls go. Must not block and must not raise."""

    def record(self, call: Call) -> None: ...


class Gateway:
    """Handles requests, one `handle` each."""

    def __init__(
        self,
        *,
        decider: Decider,
        attempts: Attempts,
        sink: Sink,
        metrics: Metrics,
        admission: Admission,
        store_text: bool = False,
        keep_alive: float = KEEP_ALIVE,
        read_on: float = 0.0,
    ) -> None:
        """`keep_alive`: seconds of silence in a stream; `read_on`: seconds that a call goes on without its client."""
        self.decider = decider
        self.attempts = attempts
        self.reviewer = Reviewer(decider, attempts)
        self.admission = admission
        self.keep_alive = keep_alive
        self.read_on = read_on
        self.sink = sink
        self.metrics = metrics
        self.store_text = store_text

    async def handle(self, call: OpenCall, body: bytes, client: Client) -> None:
        """Serve one request whose body has been read. Raises only `asyncio.CancelledError`."""
        exchange = _Exchange(self, call, client)
        try:
            await self.admission.enter()
        except HullspeedError as error:
            await self._turn_away(exchange, error)
            return
        except asyncio.CancelledError:
            call.outcome = "client_cancelled"
            exchange.record()
            exchange.count()
            raise
        self.metrics.inflight.value += 1
        try:
            await exchange.serve(body)
        except asyncio.CancelledError:
            if client.gone:
                call.outcome = "client_cancelled"
            else:
                await exchange.cut_off()
            raise
        except HullspeedError as error:
            await exchange.refuse(error)
        except Exception:
            log.exception("call %s failed inside Hullspeed", call.id)
            await exchange.refuse(InternalError())
        finally:
            exchange.record()
            exchange.count()
            # The two hold each other: they would wait for the garbage collector, which seldom comes.
            exchange.stream = None
            self.metrics.inflight.value -= 1
            self.admission.leave()

    async def reject(self, call: OpenCall, error: HullspeedError, client: Client) -> None:
        """Record and answer a request that was refused before its body could be read."""
        await self._turn_away(_Exchange(self, call, client), error)

    async def _turn_away(self, exchange: _Exchange, error: HullspeedError) -> None:
        try:
            await exchange.refuse(error)
        finally:
            exchange.count()


class InternalError(HullspeedError):
    """A fault of ours; the log has the details."""

    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("Hullspeed failed on this request; its log says why, under the call id of this reply.")


class _Exchange:
    """One request being served."""

    def __init__(self, gateway: Gateway, call: OpenCall, client: Client) -> None:
        self.gateway = gateway
        self.call = call
        self.client = client
        self.stream: EventStream | None = None
        self.upstream_headers: Mapping[str, str] = {}
        self.pending = 0
        """Attempts that are running and not on the call's list yet."""
        self.finished: Call | None = None
        """Once it is recorded."""
        self.counted = False

    def record(self) -> None:
        """Hand the finished call to the ledger, once."""
        if self.finished is not None:
            return
        if self.client.gone:
            self.call.outcome = "client_cancelled"
        self.finished = call = self.call.close()
        self.gateway.sink.record(call)

    def count(self) -> None:
        """Hand the recorded call to the metrics, once: behind the reply, which does not wait for it."""
        if self.finished is not None and not self.counted:
            self.counted = True
            self.gateway.metrics.observe(self.finished)

    async def serve(self, body: bytes) -> None:
        call, gateway = self.call, self.gateway
        coding = call.head.coding
        if coding is not None and coding.lower() != "identity":
            raise CodedBody(f"The body has the content-encoding `{coding}`: send it plain.", param="content-encoding")
        if gateway.store_text:
            call.request_text = body.decode(errors="replace")
        call.asked = asked = call.dialect.parse(body)
        chat = asked.chat
        call.requested_model, call.stream = chat.model, bool(chat.stream)
        if call.head.run:
            call.prompt_hash = prompt_hash(chat.messages)
        seed = chat.routing.seed if chat.routing and chat.routing.seed is not None else seed_for(call.id)
        offset = call.elapsed()
        ruling = await gateway.decider.decide(asked, session=call.head.session, seed=seed)
        call.decision = ruling.record
        if ruling.attempts:
            call.attempts += [msgspec.structs.replace(one, offset=offset + one.offset) for one in ruling.attempts]
        ranking = [ranked.model for ranked in ruling.record.ranking]
        if not call.stream:
            if isinstance(ruling, Review):
                await self._reply(asked, await gateway.reviewer.answer(call, ruling))
            else:
                await self._reply(asked, await gateway.attempts.whole(call, ranking))
            return
        self.stream = EventStream(self.client, self._stream_headers, gateway.keep_alive, call.dialect.keep_alive)
        try:
            if isinstance(ruling, Review):
                await self._retell(self.stream, asked, await gateway.reviewer.answer(call, ruling))
            else:
                await self._relay(self.stream, asked, await gateway.attempts.stream(call, ranking))
        finally:
            self.stream.stop()

    async def refuse(self, error: HullspeedError) -> None:
        """Tell the client what went wrong."""
        call = self.call
        if self.stream is not None and self.stream.opened:
            # Before the first token only comments have gone out, and nothing was cut.
            call.fail(error, "error" if call.time_to_first_token is None else "truncated")
            call.status = 200  # That is what went out before the stream broke.
            self.record()
            await self.stream.end(call.dialect.error_event(error))
            return
        call.fail(error, "error" if call.attempts or error.status >= 500 else "rejected")
        headers = {**self._headers(), "content-type": JSON}
        if isinstance(error, UpstreamError):
            headers |= error.headers
        spent = call.cost()
        if call.attempts and spent is not None:
            headers["x-hullspeed-cost-usd"] = f"{spent:f}"
        if error.retry_after is not None:
            headers["retry-after"] = f"{error.retry_after:.0f}"
        self.record()
        await self.client.send(error.status, headers, call.dialect.error(error))

    async def cut_off(self) -> None:
        """The proxy stops before the call is over: its client hears of it, where it reads at all."""
        if self.finished is not None:
            return  # Its last bytes are on their way.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TELL_SECONDS):
                await self.refuse(Stopping())

    async def _reply(self, asked: Asked, answer: WholeAnswer) -> None:
        call, total = self.call, self.call.cost()
        if self.gateway.store_text:
            call.reply_text = answer.reply.text
        headers = {**answer.headers, **self._headers(), "content-type": JSON}
        if total is not None:
            headers["x-hullspeed-cost-usd"] = f"{total:f}"
        headers["x-hullspeed-overhead-ms"] = f"{call.overhead() * 1000:.3f}"
        body = call.dialect.whole(asked, answer, total)
        self.record()
        await self.client.send(200, headers, body)

    async def _retell(self, stream: EventStream, asked: Asked, answer: WholeAnswer) -> None:
        """A whole reply as the stream the client asked for."""
        call, attempt = self.call, answer.attempt
        call.time_to_first_token = call.elapsed()
        self.upstream_headers = answer.headers
        if self.gateway.store_text:
            call.reply_text = answer.reply.text
        telling = call.dialect.telling(asked, attempt.model, native=False)
        events = b"".join(telling.say(answer.reply, fields) for fields in as_chunks(answer.fields))
        events += telling.end(attempt, call.cost())
        self.record()
        await stream.end(events)

    async def _relay(self, stream: EventStream, asked: Asked, answer: StreamAnswer) -> None:
        call, attempt = self.call, answer.attempt
        call.time_to_first_token = attempt.started - call.started + (attempt.first_token or 0.0)
        self.upstream_headers, self.pending = answer.headers, 1
        telling = call.dialect.telling(asked, attempt.model.name, native=attempt.native)
        texts: list[str] = []
        try:
            await stream.open()
            async for together in answer.chunks:
                if self.gateway.store_text:
                    texts += [reply.text for reply, _ in together]
                events = b"".join([telling.say(reply, fields) for reply, fields in together])
                if events:
                    await stream.write(events)
            closed = attempt.close("ok")
        except UpstreamError as error:
            attempt.close("timeout" if error.outcome == "timeout" else "truncated", error)
            raise
        finally:
            call.reply_text = "".join(texts) if self.gateway.store_text else None
            if attempt.is_open:
                attempt.close("client_cancelled" if self.client.gone else "abandoned")
            await answer.chunks.aclose()
        ending = telling.end(closed, call.cost())
        self.record()
        await stream.end(ending)

    def _stream_headers(self) -> dict[str, str]:
        return {
            **self.upstream_headers,
            **self._headers(),
            "content-type": EVENT_STREAM,
            "cache-control": "no-cache",
        }

    def _headers(self) -> dict[str, str]:
        """What every reply says of its call, as far as it is known."""
        call = self.call
        headers = dict.fromkeys(call.dialect.id_headers, call.id)
        if call.decision is not None:
            headers["x-hullspeed-router"] = call.decision.router
            headers["x-hullspeed-reason"] = _header_safe(call.decision.reason)
            headers["x-hullspeed-attempts"] = str(len(call.attempts) + self.pending)
        if call.model is not None:
            headers["x-hullspeed-model"] = _header_safe(call.model)
        return headers


def _header_safe(text: str) -> str:
    """Header values are Latin-1 without control characters (RFC 9110, 5.5)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text)
