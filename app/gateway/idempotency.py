"""The `Idempotency-Key` header: a request that comes again gets the reply of the first, and nobody pays twice.

After draft-ietf-httpapi-idempotency-key-header-06: the same key with another body is refused with 422, one whose first
request still runs with 409. A key holds for one API key and one endpoint. Only good replies are kept: after an error,
a stream that broke off or one that is too large, the key is free again and a retry is a new call. A call with a key
is finished also when its client has gone, since its reply is what the client will come back for.

The replies are in Postgres, so that every worker and replica finds them. While Postgres is away requests with a key
are served like all others, and the reply says that nothing guards it: the header asks for less cost, and failing the
call instead would cost more than it saves. Requests without the header have no part in any of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from app.core.errors import HullspeedError, InvalidRequest, StoreUnavailable
from app.store.kept import HOLD_SECONDS, KeptReplies, KeptReply

if TYPE_CHECKING:
    from app.gateway.call import OpenCall
    from app.gateway.flow import Client, Gateway

log = logging.getLogger("hullspeed.idempotency")

LONGEST_KEY = 255
MOST_BYTES = 4 * 1024 * 1024
"""A larger reply is not kept."""
STORE_SECONDS = 1.0
"""How long Postgres may take; a request with a key is not slowed by more."""
AWAY_SECONDS = 5.0
"""After a failure it is left alone for so long."""
PURGE_SECONDS = 600.0
STALE = ("retry-after", "x-ratelimit-")
"""Headers that say nothing any more when a reply is repeated."""


class KeyInUse(HullspeedError):
    status, type, code = 409, "conflict_error", "idempotency_key_in_use"


class KeyReused(HullspeedError):
    status, type, code = 422, "invalid_request_error", "idempotency_key_reused"


def scoped(credential: bytes, endpoint: str, key: bytes) -> bytes:
    """The digest under which a client's key is known. Empty, where the key is no good."""
    bare = key.strip().removeprefix(b'"').removesuffix(b'"')
    if not bare or len(bare) > LONGEST_KEY:
        return b""
    parts = (credential, endpoint.encode(), bare)
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


class Idempotency:
    """Serves requests with a key."""

    def __init__(self, replies: KeptReplies, *, enabled: bool = True) -> None:
        self._replies = replies
        self._enabled = enabled
        self._away_until = 0.0
        self._purge_at = 0.0
        self._purging: asyncio.Task[None] | None = None

    async def serve(
        self,
        gateway: Gateway,
        call: OpenCall,
        body: bytes,
        client: Client,
        unguarded: Callable[[Client], Awaitable[None]],
    ) -> None:
        """Serve the request once, or repeat its reply; `unguarded` serves it without all this."""
        key = call.head.idempotency
        assert key is not None
        if not key:
            message = f"`Idempotency-Key` must have 1 to {LONGEST_KEY} characters."
            await gateway.reject(call, InvalidRequest(message, param="Idempotency-Key"), client)
            return
        request = hashlib.sha256(body).digest()
        try:
            async with self._asking():
                claimed = await self._replies.claim(key, request, call.id)
        except StoreUnavailable:
            await unguarded(_Unguarded(client))
            return
        if claimed is None:
            self._purge_now_and_then()
            await self._serve_once(gateway, call, body, client, key)
        elif claimed.request != request:
            message = "This `Idempotency-Key` came with another body before; take a new key for a new request."
            await gateway.reject(call, KeyReused(message, param="Idempotency-Key"), client)
        elif claimed.reply is None:
            message = "The first request with this `Idempotency-Key` is still running; ask again in a moment."
            await gateway.reject(call, KeyInUse(message, param="Idempotency-Key", retry_after=1.0), client)
        else:
            await _repeat(claimed.reply, client)

    async def _serve_once(self, gateway: Gateway, call: OpenCall, body: bytes, client: Client, key: bytes) -> None:
        async def settle(reply: KeptReply | None) -> None:
            with contextlib.suppress(StoreUnavailable):
                async with self._asking():
                    if reply is not None:
                        await self._replies.keep(key, call.id, reply)
                    else:
                        await self._replies.release(key, call.id)

        keeper = _Keeper(client, call, settle)
        holding = asyncio.create_task(self._hold(key, call.id))
        try:
            await gateway.handle(call, body, keeper)
        finally:
            holding.cancel()
            if not keeper.settled:
                await settle(None)

    async def _hold(self, key: bytes, call_id: str) -> None:
        while True:
            await asyncio.sleep(HOLD_SECONDS / 4)
            with contextlib.suppress(StoreUnavailable):
                async with self._asking():
                    await self._replies.hold(key, call_id)

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Postgres is asked in the block, if it may be. Raises `StoreUnavailable`."""
        if not self._enabled or time.monotonic() < self._away_until:
            raise StoreUnavailable("Replies are not kept at the moment.")
        try:
            async with asyncio.timeout(STORE_SECONDS):
                yield
        except Exception as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            known = isinstance(error, StoreUnavailable | TimeoutError)
            why = "Requests with an Idempotency-Key are not guarded for now: Postgres does not take their replies"
            log.warning(why, exc_info=None if known else error)
            raise StoreUnavailable("Postgres does not answer.") from error

    def _purge_now_and_then(self) -> None:
        if time.monotonic() >= self._purge_at:
            self._purge_at = time.monotonic() + PURGE_SECONDS
            self._purging = asyncio.create_task(self._purge())

    async def _purge(self) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self._replies.purge()


async def _repeat(reply: KeptReply, client: Client) -> None:
    headers = {**reply.headers, "idempotency-replayed": "true"}
    if reply.stream:
        await client.open(headers)
        await client.end(reply.body)
    else:
        await client.send(200, headers, reply.body)


class _Keeper:
    """A client whose reply is kept, or its key given free, before the last byte goes out: whoever has it all may ask
    again at once."""

    def __init__(self, client: Client, call: OpenCall, settle: Callable[[KeptReply | None], Awaitable[None]]) -> None:
        self.settled = False
        self.gone = False  # It may come back.
        self._client, self._call, self._settle = client, call, settle
        self._headers: Mapping[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._take(body)
        await self._finish(headers, stream=False, good=status == 200)
        await self._client.send(status, headers, body)

    async def open(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        await self._client.open(headers)

    async def write(self, data: bytes) -> None:
        if data != self._call.dialect.keep_alive:
            self._take(data)
        await self._client.write(data)

    async def end(self, data: bytes) -> None:
        self._take(data)
        await self._finish(self._headers, stream=True, good=self._call.error is None)
        await self._client.end(data)

    def _take(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MOST_BYTES:
            self._parts.append(data)
        else:
            self._parts.clear()

    async def _finish(self, headers: Mapping[str, str], *, stream: bool, good: bool) -> None:
        reply = None
        if good and self._size <= MOST_BYTES:
            lasting = {name: value for name, value in headers.items() if not name.startswith(STALE)}
            reply = KeptReply(stream, lasting, b"".join(self._parts))
        await self._settle(reply)
        self.settled = True


class _Unguarded:
    """A client that is told that its key guards nothing."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def gone(self) -> bool:
        return self._client.gone

    @gone.setter
    def gone(self, gone: bool) -> None:
        self._client.gone = gone

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        await self._client.send(status, {**headers, **_NOT_KEPT}, body)

    async def open(self, headers: Mapping[str, str]) -> None:
        await self._client.open({**headers, **_NOT_KEPT})

    async def write(self, data: bytes) -> None:
        await self._client.write(data)

    async def end(self, data: bytes) -> None:
        await self._client.end(data)


_NOT_KEPT = {"x-hullspeed-idempotency": "unguarded"}
