"""The endpoints that ask models, as raw ASGI: the hot path pays for no request or response objects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import unquote

import msgspec
from starlette.types import Message, Receive, Scope, Send

from app.api.guard import Checks, credential
from app.core.errors import HullspeedError, TooLarge
from app.gateway.admission import Stopping
from app.gateway.attempt import ABANDONED
from app.gateway.call import OpenCall, RequestHead
from app.gateway.dialects.base import Dialect
from app.gateway.flow import Client, Gateway
from app.gateway.idempotency import Idempotency, scoped

RawHeaders = list[tuple[bytes, bytes]]
"""Names in lower case, as ASGI has them."""
LONGEST_TAG = 1000
"""Characters kept of a header that is stored."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Connected(Client, Protocol):
    """A client whose connection tells when it is lost."""

    started: bool
    """Its reply has begun."""
    leaves: bool
    """The call is to be given up then."""


class AsgiClient:
    """The client behind an ASGI `send`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.gone = False
        self.started = False

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        await self._start(status, {**headers, "content-length": str(len(body))})
        await self._send({"type": "http.response.body", "body": body})

    async def open(self, headers: Mapping[str, str]) -> None:
        await self._start(200, headers)

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})


class CallEndpoint:
    """Authorise, read the body, hand over to the gateway, and watch whether the client is still there."""

    def __init__(
        self, dialect: Dialect, gateway: Gateway, guard: Checks, idempotency: Idempotency, max_body_bytes: int
    ) -> None:
        self.dialect = dialect
        self.gateway = gateway
        self.guard = guard
        self.idempotency = idempotency
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As a raw ASGI application."""
        client = AsgiClient(send)
        call = await self._admit(scope["headers"], client)
        if call is None:
            return
        try:
            body = await _read_body(scope, receive, self.max_body_bytes)
        except HullspeedError as error:
            await self.gateway.reject(call, error, client)
            return
        except ClientGone:
            return
        try:
            if call.head.idempotency is None:
                await self._serve(call, body, client, receive)
                return

            async def serve(marked: Client) -> None:
                await self._serve(call, body, marked, receive)

            await self.idempotency.serve(self.gateway, call, body, client, serve)
        except asyncio.CancelledError:
            if client.gone or client.started:
                raise
            await self._cut_off(call, client)

    async def answer(self, headers: RawHeaders, body: bytes, client: Connected) -> None:
        """Serve a request that has come whole; who calls cancels this when the client is gone."""
        call = await self._admit(headers, client)
        if call is None:
            return
        if len(body) > self.max_body_bytes:
            await self.gateway.reject(call, too_large(self.max_body_bytes), client)
            return
        try:
            if call.head.idempotency is None:
                await self.gateway.handle(call, body, client)
                return

            async def serve(marked: Client) -> None:
                client.leaves = True
                await self.gateway.handle(call, body, marked)

            # Its reply is kept for a client that comes back for it.
            client.leaves = False
            await self.idempotency.serve(self.gateway, call, body, client, serve)
        except asyncio.CancelledError:
            if client.gone or client.started:
                raise
            await self._cut_off(call, client)

    async def _cut_off(self, call: OpenCall, client: Client) -> None:
        """The server stops before there is a reply: the client hears of it."""
        error = Stopping()
        await client.send(error.status, self._error_headers(call, error), self.dialect.error(error))

    def _error_headers(self, call: OpenCall, error: HullspeedError) -> dict[str, str]:
        pause = {} if error.retry_after is None else {"retry-after": f"{error.retry_after:.0f}"}
        return dict.fromkeys(self.dialect.id_headers, call.id) | {"content-type": "application/json"} | pause

    async def _admit(self, headers: RawHeaders, client: Client) -> OpenCall | None:
        """The call that a request begins; None where it has been answered: no key, or not the right one."""
        call = OpenCall(_head(headers, self.dialect), self.dialect)
        try:
            tag = self.guard.check(headers)
        except HullspeedError as error:
            # Not a call: whoever may not pass must not be able to write to the ledger.
            asked = {"www-authenticate": "Bearer"} if error.status == 401 else {}
            told = {**self._error_headers(call, error), **asked}
            await client.send(error.status, told, self.dialect.error(error))
            return None
        if tag is not None and call.head.run is None:
            call.head = msgspec.structs.replace(call.head, run=tag[:LONGEST_TAG])
        return call

    async def _serve(self, call: OpenCall, body: bytes, client: Client, receive: Receive) -> None:
        work = asyncio.ensure_future(self.gateway.handle(call, body, client))
        watch = asyncio.ensure_future(_wait_until_gone(receive))
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            client.gone = not work.done()
            if client.gone and self.gateway.read_on:
                await asyncio.wait((work,), timeout=self.gateway.read_on)
        finally:
            # Also when the server itself cancels this request at the end of its patience.
            watch.cancel()
            if not work.done():
                work.cancel(None if client.gone else ABANDONED)
                await asyncio.wait((work,))
        if not work.cancelled():
            work.result()


_READ = frozenset({
    b"x-hullspeed-run", b"x-hullspeed-item", b"x-hullspeed-session", b"x-request-id", b"idempotency-key",
    b"traceparent", b"content-encoding", b"x-stainless-retry-count",
})  # fmt: skip
"""Headers that say something of a call; no other is looked at."""


def _head(raw: RawHeaders, dialect: Dialect) -> RequestHead:
    headers = {name: value for name, value in raw if name in _READ}
    if not headers and not dialect.passes:
        return RequestHead(dialect.endpoint)

    def text(name: bytes) -> str | None:
        value = headers.get(name)
        return value.decode("latin-1")[:LONGEST_TAG] if value else None

    item = text(b"x-hullspeed-item")
    key = headers.get(b"idempotency-key")
    return RequestHead(
        endpoint=dialect.endpoint,
        run=text(b"x-hullspeed-run"),
        # Ids may hold any character; a header may not, so they come percent-encoded (RFC 3986).
        item=unquote(item) if item else None,
        session=text(b"x-hullspeed-session"),
        client_request_id=text(b"x-request-id"),
        idempotency=None if key is None else scoped(credential(dict(raw)), dialect.endpoint, key),
        traceparent=text(b"traceparent"),
        coding=text(b"content-encoding"),
        client_retries=_count(headers.get(b"x-stainless-retry-count")),
        passed=_passed(raw, dialect.passes),
    )


def _passed(raw: RawHeaders, names: Sequence[str]) -> dict[str, str]:
    """Those of `names` that were sent, for a provider that speaks the client's dialect."""
    headers = dict(raw) if names else {}
    return {name: headers[name.encode()].decode("latin-1") for name in names if name.encode() in headers}


def _count(value: bytes | None) -> int:
    return int(value) if value is not None and value.isdigit() and len(value) < 4 else 0


def too_large(limit: int) -> TooLarge:
    """The error for a body of more than `limit` bytes."""
    return TooLarge(f"The body is larger than {limit:,} bytes; HULLSPEED_MAX_BODY_BYTES raises the limit.")


async def _read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
