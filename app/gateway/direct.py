"""Upstreams that speak OpenAI's dialect, or the client's: the body goes through as it came, over pooled connections."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator

import aiohttp

from app.gateway.catalog import Model
from app.gateway.sse import DONE, EventParser, EventTooLarge
from app.gateway.upstream import (
    UpstreamError,
    UpstreamReply,
    UpstreamRequest,
    UpstreamStream,
    broken_reply,
    error_from_reply,
    forwarded,
    timed_out,
    unreachable,
)

CONNECT_SECONDS = 10.0
LARGE_BODY = 1 << 20
MAX_REPLY_BYTES = 32 * 1024 * 1024
"""Of a whole reply: a server that never ends must not fill the memory until its time is over."""
ANTHROPIC_URL = "https://api.anthropic.com"
ANTHROPIC_VERSION = "2023-06-01"
"""Sent where the client names none (docs.anthropic.com/en/api/versioning)."""


class DirectUpstream:
    """One pool of keep-alive connections for all OpenAI-speaking models."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def _client(self) -> aiohttp.ClientSession:
        # Made on first use: a session belongs to the running loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
                # A proxy named in the environment must not see keys and prompts unasked.
                trust_env=False,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _open(self, request: UpstreamRequest, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        model = request.model
        headers = {"content-type": "application/json"}
        if request.path == "/messages":
            headers |= {"anthropic-version": ANTHROPIC_VERSION, **request.headers}
        if model.api_key and model.provider == "anthropic":
            headers["x-api-key"] = model.api_key
        elif model.api_key:
            headers["authorization"] = f"Bearer {model.api_key}"
        headers |= model.headers
        try:
            response = await self._client().post(
                _url(request),
                data=_payload(request.body()),
                headers=headers,
                timeout=limits,
                # An upstream that redirects could send key and prompt anywhere.
                allow_redirects=False,
            )
        except (TimeoutError, aiohttp.ServerTimeoutError):
            raise timed_out(model, request.timeout) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise unreachable(model, describe(error)) from None
        if response.status != 200:
            raise await _refusal(request, response)
        return response

    async def complete(self, request: UpstreamRequest) -> UpstreamReply:
        response = await self._open(request, aiohttp.ClientTimeout(request.timeout, sock_connect=CONNECT_SECONDS))
        try:
            body = await _body(request, response)
        except (TimeoutError, aiohttp.ServerTimeoutError):
            raise timed_out(request.model, request.timeout) from None
        except (aiohttp.ClientError, OSError) as error:
            raise broken_reply(request.model, f"it broke off ({describe(error)})") from None
        finally:
            response.release()
        return UpstreamReply(body, forwarded(response.headers))

    async def stream(self, request: UpstreamRequest) -> UpstreamStream:
        limits = aiohttp.ClientTimeout(None, sock_connect=CONNECT_SECONDS, sock_read=request.timeout)
        response = await self._open(request, limits)
        if response.content_type != "text/event-stream":
            response.close()
            raise broken_reply(request.model, f"content type {response.content_type} instead of an event stream")
        return UpstreamStream(_chunks(request, response), forwarded(response.headers))


def _url(request: UpstreamRequest) -> str:
    model = request.model
    if model.provider == "anthropic":
        # Its address is written without the version, as its SDK's is, or with it.
        return f"{(model.base_url or ANTHROPIC_URL).rstrip('/').removesuffix('/v1')}/v1{request.path}"
    return f"{model.base_url}{request.path}"


async def _chunks(request: UpstreamRequest, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    parser = EventParser()
    done = False
    try:
        async for piece in response.content.iter_any():
            for data in parser.feed(piece):
                if data == DONE:
                    done = True
                    return
                yield data
    except (TimeoutError, aiohttp.ServerTimeoutError):
        raise timed_out(request.model, request.timeout) from None
    except (aiohttp.ClientError, OSError) as error:
        raise broken_reply(request.model, f"the stream broke off ({describe(error)})") from None
    except EventTooLarge:
        raise broken_reply(request.model, "an event is too large") from None
    finally:
        if done:
            response.release()
        else:
            # Closing the connection is what tells the upstream to stop generating.
            response.close()


def _payload(body: bytes) -> bytes | io.BytesIO:
    """Large bodies as a file: aiohttp sends those in parts, and would block the loop on a large block of bytes."""
    return io.BytesIO(body) if len(body) > LARGE_BODY else body


async def _body(request: UpstreamRequest, response: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises `UpstreamError` where it is too large."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_REPLY_BYTES:
            raise too_large(request.model, MAX_REPLY_BYTES)
    return b"".join(parts)


def too_large(model: Model, most: int) -> UpstreamError:
    """The error for a reply of more than `most` bytes."""
    return broken_reply(model, f"it is larger than {most >> 20} MiB")


async def _refusal(request: UpstreamRequest, response: aiohttp.ClientResponse) -> UpstreamError:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            body = await _body(request, response)
    except (TimeoutError, aiohttp.ClientError, OSError, UpstreamError):
        body = b""
    finally:
        response.release()
    return error_from_reply(request.model, response.status, body, response.headers)


def describe(error: Exception) -> str:
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
