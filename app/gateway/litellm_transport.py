"""The HTTP client that litellm is given: litellm's own transport, watched.

litellm calls some providers through a client of the caller's (`client=`, public). Ours keeps what litellm loses on the
way (see `litellm_wire`), puts our deadlines on streams (litellm's have none for some providers), and really closes the
connection of a stream that is given up. Imported only together with litellm.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import aiohttp
import httpx

from app.gateway.direct import MAX_REPLY_BYTES, too_large
from app.gateway.litellm_wire import Wire
from app.gateway.pool import CONNECT_SECONDS, NO_CONNECTION
from app.gateway.upstream import UpstreamError, broken_reply, timed_out, unreachable

_wire: ContextVar[Wire | None] = ContextVar("hullspeed_wire", default=None)
"""The attempt that the running code belongs to. litellm copies the context into the thread it prepares calls in."""


@contextmanager
def watched(wire: Wire | None) -> Iterator[None]:
    """Requests made inside are noted on `wire`."""
    token = _wire.set(wire)
    try:
        yield
    finally:
        _wire.reset(token)


class WatchedTransport(httpx.AsyncBaseTransport):
    """Passes requests on to `inner` and notes what comes back."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        wire = _wire.get()
        if wire is None:
            return await self._inner.handle_async_request(request)
        # The deadlines are ours: litellm's come on top, and for some providers are 600 s whatever was asked for.
        request.extensions = {**request.extensions, "timeout": {"connect": CONNECT_SECONDS}}
        try:
            async with asyncio.timeout(wire.read_limit):
                response = await self._inner.handle_async_request(request)
        except Exception as error:
            # httpx's own errors would make litellm ask a second time.
            raise wire.fail(_not_opened(wire, error)) from None
        wire.request.was_sent()
        wire.opened(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response)
        # The tee reads decoded bytes, so what is handed on is neither compressed nor as long as stated.
        headers = [
            pair for pair in response.headers.raw if pair[0].lower() not in (b"content-encoding", b"content-length")
        ]
        return httpx.Response(
            response.status_code, headers=headers, stream=_Tee(response, wire), extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Tee(httpx.AsyncByteStream):
    """The body, read by litellm and by the wire."""

    def __init__(self, response: httpx.Response, wire: Wire) -> None:
        self._response = response
        self._wire = wire

    async def __aiter__(self) -> AsyncIterator[bytes]:
        wire, pieces = self._wire, self._response.aiter_bytes()
        size = 0
        try:
            while True:
                async with asyncio.timeout(wire.read_limit):
                    piece = await anext(pieces, None)
                if piece is None:
                    break
                size += len(piece)
                if size > MAX_REPLY_BYTES and not wire.request.stream:
                    raise wire.fail(too_large(wire.request.model, MAX_REPLY_BYTES))
                seen = wire.read(piece)
                if seen:
                    yield seen
                wire.check()
            wire.ended()
        except UpstreamError:
            raise
        except Exception as error:
            raise wire.fail(_broken_off(wire, error)) from None
        finally:
            await self._response.aclose()

    async def aclose(self) -> None:
        await self._response.aclose()


def make_client() -> Any:
    """litellm's `AsyncHTTPHandler` over a watched transport."""
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    inner = AsyncHTTPHandler.create_async_transport()
    _tell_when_sent(inner)
    transport = WatchedTransport(cast("httpx.AsyncBaseTransport", inner))
    # An upstream that redirects could send key and prompt anywhere.
    return AsyncHTTPHandler(transport=transport, follow_redirects=False)


def _tell_when_sent(transport: Any) -> None:
    """Have the sessions of litellm's transport note when a request has been written.

    Where the transport is another one than is known here, a request is noted once its reply begins.
    """
    make = getattr(transport, "client", None)
    if not callable(make):
        return
    trace = aiohttp.TraceConfig()

    async def written(*_: object) -> None:
        if (wire := _wire.get()) is not None:
            wire.request.was_sent()

    trace.on_request_chunk_sent.append(written)
    trace.freeze()

    def traced() -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = make()
        session.trace_configs.append(trace)
        return session

    transport.client = transport._client_factory = traced


def _not_opened(wire: Wire, error: Exception) -> UpstreamError:
    if isinstance(error, httpx.ConnectTimeout):
        return unreachable(wire.request.model, NO_CONNECTION)
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return timed_out(wire.request.model, wire.request.timeout)
    return unreachable(wire.request.model, _reason(error))


def _broken_off(wire: Wire, error: Exception) -> UpstreamError:
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return timed_out(wire.request.model, wire.request.timeout)
    what = "the stream broke off" if wire.request.stream else "it broke off"
    return broken_reply(wire.request.model, f"{what} ({_reason(error)})")


def _reason(error: Exception) -> str:
    """Few words, without addresses. The transport wraps the error of the client below, which knows more."""
    cause = error.__cause__
    return _describe(cause if isinstance(cause, Exception) else error)


def _describe(error: Exception) -> str:
    """Few words for a transport error, without addresses."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name does not resolve"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "its TLS certificate is not accepted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"connection failed ({error.os_error.strerror or type(error.os_error).__name__})"
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return "its URL is not valid"
    return type(error).__name__
