"""Every provider that does not speak OpenAI's dialect, through litellm: only this module and its parts import it.

The import takes seconds and much memory, so it happens in a thread, when the first such model is about to be needed.
litellm's own retries, fallbacks, callbacks and price look-ups stay off: one layer retries, and that is ours. Where the
provider's wire can be watched (`litellm_wire`), a reply that broke off is told from one that is finished, and errors
keep their status; for all others litellm's word is taken.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from app.gateway.litellm_errors import explain
from app.gateway.litellm_replies import ChunkEncoder, encode_embeddings, encode_reply
from app.gateway.litellm_wire import WATCHED, Wire
from app.gateway.upstream import (
    Upstream,
    UpstreamError,
    UpstreamReply,
    UpstreamRequest,
    UpstreamStream,
    broken_reply,
    forwarded,
    timed_out,
)

if TYPE_CHECKING:
    from app.gateway.litellm_translation import Translation

log = logging.getLogger("hullspeed.litellm")

SLACK_SECONDS = 5.0
"""By this much litellm's own deadline, where it has one, is later than ours, which says what happened."""
OURS = frozenset({"model", "messages", "stream", "timeout"})
DROPPED = frozenset({"metadata", "store"})
"""OpenAI's own bookkeeping. In litellm `metadata` steers its logging, so a client's must not reach it."""
PASSED = frozenset({"id", "roles", "order", "weight"})
"""In litellm's list of its own options, but too plain to be refused: a provider may have a parameter of this name."""
STEERING = frozenset(
    {
        "deployment_id", "default_headers", "request_timeout", "logger_fn", "hf_model_name", "allowed_openai_params",
        "drop_params", "additional_drop_params", "callbacks", "success_callback", "failure_callback",
        "cache_control_injection_points", "vector_store_ids", "fake_stream", "original_function", "kwargs",
        "optional_params", "additional_headers", "is_vertex_request", "use_psc_endpoint_format",
    }
)  # fmt: skip
STEERING_PREFIXES = (
    "_", "aws_", "vertex_", "azure_", "litellm_", "s3_", "langfuse_", "watsonx_", "wx_", "oci_", "gigachat_", "mock_",
)  # fmt: skip
STEERING_SUFFIXES = ("_api_key", "_api_base", "_base_url", "_credentials", "_secret", "_token", "_endpoint")
"""Where a call goes and with which key, for providers whose options litellm's list leaves out."""


@dataclass(frozen=True)
class _Loaded:
    """litellm, once it is imported."""

    module: ModuleType
    client: Any
    """The `AsyncHTTPHandler` given to it for providers whose wire is watched."""
    watched: Any
    """`litellm_transport.watched`."""
    steering: frozenset[str]
    translation: Translation


class LitellmUpstream:
    """Translates through `litellm.acompletion`, `litellm.aembedding` and, where that serves, its translation alone."""

    def __init__(self, direct: Upstream) -> None:
        """`direct`: sends what was translated."""
        _hush()
        self._direct = direct
        self._loaded: _Loaded | None = None
        self._loading = asyncio.Lock()

    async def warm(self) -> None:
        """Import litellm, off the event loop, unless that is done."""
        if self._loaded is None:
            async with self._loading:
                if self._loaded is None:
                    self._loaded = await asyncio.to_thread(_load, self._direct)

    async def _litellm(self) -> _Loaded:
        await self.warm()
        assert self._loaded is not None
        return self._loaded

    async def close(self) -> None:
        if self._loaded is not None:
            await self._loaded.client.close()
            await self._loaded.module.close_litellm_async_clients()

    async def complete(self, request: UpstreamRequest) -> UpstreamReply:
        wire = _wire_for(request)
        loaded = await self._litellm()
        if wire is not None and loaded.translation.takes(request):
            with self._explained(request, wire):
                return await loaded.translation.complete(request, wire)
        async with self._asking(request, wire) as answer:
            reply = await answer
        encoded = encode_embeddings(reply, request.fields) if _embeds(request) else encode_reply(reply)
        return UpstreamReply(encoded, _headers(reply, wire))

    async def stream(self, request: UpstreamRequest) -> UpstreamStream:
        wire = _wire_for(request)
        async with self._asking(request, wire) as acompletion:
            stream = await acompletion
            # For some providers nothing is sent before the first chunk is asked for.
            first = await anext(stream, None)
            if wire is not None and wire.failure is None and not wire.is_event_stream:
                kind = wire.headers.get("content-type", "").partition(";")[0] or "unknown"
                raise broken_reply(request.model, f"content type {kind} instead of an event stream")
        return UpstreamStream(self._chunks(request, wire, stream, first), _headers(stream, wire))

    @asynccontextmanager
    async def _asking(self, request: UpstreamRequest, wire: Wire | None) -> AsyncIterator[Awaitable[Any]]:
        """A call of litellm's to be awaited inside: watched, under its deadline, its failures explained."""
        loaded = await self._litellm()
        ask = loaded.module.aembedding if _embeds(request) else loaded.module.acompletion
        arguments = _arguments(request, loaded.steering)
        if wire is not None:
            arguments["client"] = loaded.client
        else:
            request.was_sent()  # as far as anybody can tell
        # The reads of a watched stream have their own deadlines.
        limit = None if wire is not None and request.stream else request.timeout
        try:
            with self._explained(request, wire), loaded.watched(wire):
                async with asyncio.timeout(limit):
                    yield ask(**arguments)
                _check(wire)
        except BaseException:
            if wire is not None:
                await wire.close()
            raise

    async def _chunks(
        self, request: UpstreamRequest, wire: Wire | None, stream: Any, chunk: Any
    ) -> AsyncIterator[Sequence[bytes]]:
        """`chunk`, which is there already, then the rest of `stream`."""
        # Where the wire is watched its reads have the deadline, so that a provider's pings count as life.
        limit = request.timeout if wire is None else None
        encode = ChunkEncoder().encode
        try:
            with self._explained(request, wire):
                while chunk is not None:
                    yield (encode(chunk),)
                    async with asyncio.timeout(limit):
                        chunk = await anext(stream, None)
                    _check(wire)
        finally:
            # litellm's own `aclose` leaves the connection of some providers open.
            if wire is not None:
                await wire.close()
            await stream.aclose()

    @contextmanager
    def _explained(self, request: UpstreamRequest, wire: Wire | None) -> Iterator[None]:
        """Whatever fails inside becomes an `UpstreamError`."""
        assert self._loaded is not None
        try:
            yield
        except TimeoutError:
            raise (wire and wire.failure) or timed_out(request.model, request.timeout) from None
        except Exception as error:
            failure = explain(self._loaded.module, request, wire, error)
            # The text of the original may hold keys and prompts.
            log.debug("model %r failed with litellm's %s: %s", request.model.name, type(error).__name__, failure)
            raise failure from None


def _hush() -> None:
    """Leave out warnings of litellm's that say nothing to whoever runs this.

    Not beside other threads: a filter that is set while one of them is inside `catch_warnings` goes with its end.
    """
    # Its types, built when first used, warn of a Pydantic feature.
    warnings.filterwarnings("ignore", ".*using the `ReadOnly` qualifier", UserWarning)
    # A call that is given up while litellm prepares it leaves one behind.
    warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)


def _load(direct: Upstream) -> _Loaded:
    # Without the first the import fetches the price map from the network, without the second it reads a `.env`.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    import litellm
    from litellm.types.utils import all_litellm_params

    from app.gateway.litellm_translation import Translation
    from app.gateway.litellm_transport import make_client, watched

    # Otherwise it prints to standard output on errors.
    litellm.suppress_debug_info = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        # Its log lines hold prompts and addresses.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    steering = STEERING | frozenset(map(str, all_litellm_params)) - PASSED - DROPPED
    return _Loaded(litellm, make_client(), watched, steering, Translation(litellm, direct))


def _check(wire: Wire | None) -> None:
    """Raises what went wrong on the wire, should litellm have made nothing of it."""
    if wire is not None and wire.failure is not None:
        raise wire.failure


def _wire_for(request: UpstreamRequest) -> Wire | None:
    model = request.model
    watched = model.provider in WATCHED and "custom_llm_provider" not in model.params
    return Wire(request) if watched and not _embeds(request) else None


def _embeds(request: UpstreamRequest) -> bool:
    return request.path == "/embeddings"


def _headers(reply: Any, wire: Wire | None) -> dict[str, str]:
    if wire is not None:
        return wire.forwarded()
    hidden = getattr(reply, "_hidden_params", None) or {}
    found: Mapping[str, Any] = hidden.get("additional_headers") or {}
    return forwarded({name: str(value) for name, value in found.items()})


def _arguments(request: UpstreamRequest, steering: frozenset[str]) -> dict[str, Any]:
    """The arguments of litellm's call. Raises `UpstreamError` where the client sent an option of litellm's."""
    model = request.model
    given = {name: msgspec.json.decode(raw) for name, raw in request.fields.items() if name not in DROPPED}
    for name, value in given.items():
        if _steers(name, steering) and (name not in model.params or value != _plain(model.params[name])):
            raise UpstreamError(
                f"`{name}` is not accepted: it is an option of litellm's, which only the configuration may set.",
                status=400,
                type="invalid_request_error",
                param=name,
                next_model=False,
                retry=False,
                blame="nobody",
            )
    arguments = {name: value for name, value in given.items() if name not in OURS}
    arguments |= {
        "model": model.target,
        "timeout": request.timeout + SLACK_SECONDS,
        "num_retries": 0,
        "max_retries": 0,
        "no-log": True,
    }
    if _embeds(request):
        # Numbers, which every provider gives; `encode_embeddings` writes them as the client wants them.
        arguments.pop("encoding_format", None)
    else:
        # Calls with tools need a package otherwise that only litellm's proxy brings.
        arguments |= {"messages": given["messages"], "stream": request.stream, "_skip_mcp_handler": True}
    if model.api_key:
        arguments["api_key"] = model.api_key
    if model.base_url:
        arguments["api_base"] = _api_base(request, model.base_url)
    return arguments


def _steers(name: str, steering: frozenset[str]) -> bool:
    return name in steering or name.startswith(STEERING_PREFIXES) or name.endswith(STEERING_SUFFIXES)


def _plain(value: Any) -> Any:
    """A configured parameter as it looks once it has been through JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _api_base(request: UpstreamRequest, url: str) -> str:
    """The URL in the form that litellm needs, which differs by provider, however it was written."""
    model = request.model
    if model.provider == "cohere" and not urlsplit(url).path.strip("/"):
        # litellm asks at the very address that it is given.
        return f"{url.rstrip('/')}/v2/{'embed' if _embeds(request) else 'chat'}"
    if model.provider == "anthropic":
        # litellm adds `/v1/messages` itself.
        return url.rstrip("/").removesuffix("/v1").rstrip("/")
    if model.provider == "gemini":
        url = url.rstrip("/").removesuffix("/models")
        return url if urlsplit(url).path else f"{url}/v1beta"
    return url
