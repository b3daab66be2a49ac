"""Upstreams that speak OpenAI's dialect, or the client's: the body goes through as it came, over pooled connections."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from app.gateway.catalog import Model
from app.gateway.http1 import HttpError, Origin, Reply, ReplyTooLarge, Unreachable, parse_url
from app.gateway.pool import Pool
from app.gateway.sse import DONE, EventParser, EventTooLarge
from app.gateway.upstream import (
    FORWARDED,
    FORWARDED_PREFIXES,
    UpstreamError,
    UpstreamReply,
    UpstreamRequest,
    UpstreamStream,
    broken_reply,
    error_from_reply,
    timed_out,
    unreachable,
)

ERROR_SECONDS = 10.0
"""For the body of an error reply."""
MAX_REPLY_BYTES = 32 * 1024 * 1024
"""Of a whole reply: a server that never ends must not fill the memory until its time is over."""
ANTHROPIC_URL = "https://api.anthropic.com"
ANTHROPIC_VERSION = "2023-06-01"
"""Sent where the client names none (docs.anthropic.com/en/api/versioning)."""
MOST_HEADS = 1024
_FORWARDED = frozenset(name.encode() for name in FORWARDED)
_FORWARDED_PREFIXES = tuple(prefix.encode() for prefix in FORWARDED_PREFIXES)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class _Head:
    """What is the same in every request to one model at one path."""

    model: Model
    origin: Origin
    lines: bytes
    """Request line and headers, but for those of the client and the length of the body."""


class DirectUpstream:
    """One pool of keep-alive connections for all models that are reached directly."""

    def __init__(self) -> None:
        self._pool = Pool()
        self._heads: dict[tuple[int, str], _Head] = {}

    async def warm(self) -> None:
        """Nothing is to be loaded."""

    async def close(self) -> None:
        pool, self._pool = self._pool, Pool()
        await pool.close()

    async def complete(self, request: UpstreamRequest) -> UpstreamReply:
        deadline = asyncio.get_running_loop().time() + request.timeout
        reply = await self._open(request, deadline)
        try:
            body = await reply.read()
        except ReplyTooLarge:
            raise too_large(request.model, MAX_REPLY_BYTES) from None
        except HttpError as error:
            raise broken_reply(request.model, f"it broke off ({error})") from None
        except TimeoutError:
            raise timed_out(request.model, request.timeout) from None
        finally:
            reply.close()
        return UpstreamReply(body, _forwarded(reply))

    async def stream(self, request: UpstreamRequest) -> UpstreamStream:
        # How long a stream may take, and be silent, is watched by who reads it.
        reply = await self._open(request, None)
        kind = reply.header(b"content-type").partition(b";")[0].strip().lower()
        if kind != b"text/event-stream":
            reply.close()
            named = kind.decode("latin-1")[:100] or "application/octet-stream"
            raise broken_reply(request.model, f"content type {named} instead of an event stream")
        return UpstreamStream(_chunks(request, reply), _forwarded(reply))

    async def _open(self, request: UpstreamRequest, deadline: float | None) -> Reply:
        model, body = request.model, request.body()
        try:
            head = self._head(model, request.path)
            lines = head.lines + _lines(request.headers) if request.headers else head.lines
            reply = await self._pool.post(
                head.origin,
                b"%bcontent-length: %d\r\n\r\n" % (lines, len(body)),
                body,
                most=MAX_REPLY_BYTES,
                deadline=deadline,
                on_sent=request.was_sent,
            )
        except TimeoutError:
            raise timed_out(model, request.timeout) from None
        except ReplyTooLarge:
            raise too_large(model, MAX_REPLY_BYTES) from None
        except Unreachable as error:
            raise unreachable(model, str(error)) from None
        except HttpError as error:
            raise unreachable(model, str(error)) from None
        except ValueError:
            raise unreachable(model, "its URL is not valid") from None
        if reply.status != 200:
            raise await _refusal(request, reply)
        return reply

    def _head(self, model: Model, path: str) -> _Head:
        """Made once for each model and path. Raises `ValueError` where the address or a header is none."""
        head = self._heads.get((id(model), path))
        if head is None:
            if len(self._heads) >= MOST_HEADS:
                self._heads.clear()
            # The model is kept with it, so that its id stays its own.
            head = self._heads[id(model), path] = _head(model, path)
        return head


def _head(model: Model, path: str) -> _Head:
    url = parse_url(_url(model, path))
    headers = {"host": url.host, "content-type": "application/json", "accept": "*/*", "user-agent": "hullspeed"}
    # A coded stream would hold words back until a block of them is full.
    headers["accept-encoding"] = "identity"
    if path == "/messages":
        headers["anthropic-version"] = ANTHROPIC_VERSION
    if model.api_key and model.provider == "anthropic":
        headers["x-api-key"] = model.api_key
    elif model.api_key:
        headers["authorization"] = f"Bearer {model.api_key}"
    headers |= {name.lower(): value for name, value in model.headers.items()}
    return _Head(model, url.origin, f"POST {url.target} HTTP/1.1\r\n".encode() + _lines(headers))


def _lines(headers: Mapping[str, str]) -> bytes:
    """Raises `ValueError` where a header would not stay one line (RFC 9110, 5.5)."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers) or "\0" in text:
        raise ValueError("a line break in a header")
    return text.encode("latin-1", "replace")


def _url(model: Model, path: str) -> str:
    if model.provider == "anthropic":
        # Its address is written without the version, as its SDK's is, or with it, or as that of the endpoint.
        base = (model.base_url or ANTHROPIC_URL).rstrip("/").removesuffix("/messages").removesuffix("/v1")
        return f"{base.rstrip('/')}/v1{path}"
    return f"{model.base_url}{path}"


async def _chunks(request: UpstreamRequest, reply: Reply) -> AsyncIterator[Sequence[bytes]]:
    parser = EventParser()
    try:
        while piece := await reply.piece():
            events = parser.feed(piece)
            if events and (events[-1] == DONE or DONE in events):
                reply.leave()
                yield events[: events.index(DONE)]
                return
            if events:
                yield events
    except HttpError as error:
        raise broken_reply(request.model, f"the stream broke off ({error})") from None
    except EventTooLarge:
        raise broken_reply(request.model, "an event is too large") from None
    finally:
        # Closing the connection is what tells the upstream to stop generating.
        reply.close()


def _forwarded(reply: Reply) -> dict[str, str]:
    """As `upstream.forwarded`, from the bytes of the head, of which most replies have nothing to forward."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in reply.headers
        if (name in _FORWARDED or name.startswith(_FORWARDED_PREFIXES)) and not _CONTROL.search(value)
    }


def too_large(model: Model, most: int) -> UpstreamError:
    """The error for a reply of more than `most` bytes."""
    return broken_reply(model, f"it is larger than {most >> 20} MiB")


async def _refusal(request: UpstreamRequest, reply: Reply) -> UpstreamError:
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            body = await reply.read()
    except (TimeoutError, HttpError):
        body = b""
    finally:
        reply.close()
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reply.headers}
    return error_from_reply(request.model, reply.status, body, headers)
