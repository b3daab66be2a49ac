"""Every provider that does not speak OpenAI's dialect, through litellm: the only module that imports it.

The import takes seconds and much memory, so it happens in a thread, when the first such model is about to be needed.
litellm's own retries, fallbacks, callbacks and price look-ups stay off: one layer retries, and that is ours.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import msgspec

from app.gateway.upstream import (
    UpstreamError,
    UpstreamReply,
    UpstreamRequest,
    UpstreamStream,
    broken_reply,
    error_from_status,
    timed_out,
    unreachable,
)

OURS = frozenset({"model", "messages", "stream", "timeout"})
DROPPED = frozenset({"metadata", "store"})
"""OpenAI's own bookkeeping. In litellm `metadata` steers its logging, so a client's must not reach it."""
STEERING_PREFIXES = ("aws_", "vertex_", "azure_", "litellm_", "s3_", "langfuse_", "watsonx_", "oci_")
STEERING = frozenset(
    {"deployment_id", "default_headers", "request_timeout", "logger_fn", "hf_model_name", "allowed_openai_params"}
)


class LitellmUpstream:
    """Translates through `litellm.acompletion`."""

    def __init__(self) -> None:
        self._module: ModuleType | None = None
        self._steering: frozenset[str] = STEERING
        self._loading = asyncio.Lock()

    async def warm(self) -> None:
        """Import litellm now, off the event loop, so that no request has to wait for it."""
        async with self._loading:
            if self._module is None:
                self._module, names = await asyncio.to_thread(_import)
                self._steering = STEERING | names

    async def _litellm(self) -> ModuleType:
        if self._module is None:
            await self.warm()
        assert self._module is not None
        return self._module

    async def close(self) -> None:
        if self._module is not None:
            await self._module.close_litellm_async_clients()

    async def complete(self, request: UpstreamRequest) -> UpstreamReply:
        reply = await self._ask(request)
        headers = getattr(reply, "_response_headers", None) or {}
        return UpstreamReply(_encode(reply), {k: v for k, v in dict(headers).items() if k.startswith("x-ratelimit-")})

    async def stream(self, request: UpstreamRequest) -> UpstreamStream:
        return UpstreamStream(self._chunks(request, await self._ask(request)))

    async def _ask(self, request: UpstreamRequest) -> Any:
        litellm = await self._litellm()
        arguments = self._arguments(request)
        try:
            return await litellm.acompletion(**arguments)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise self._explain(request, error) from None

    def _arguments(self, request: UpstreamRequest) -> dict[str, Any]:
        model = request.model
        given = {name: msgspec.json.decode(raw) for name, raw in request.fields.items() if name not in DROPPED}
        for name in given:
            if name not in model.params and (name in self._steering or name.startswith(STEERING_PREFIXES)):
                raise UpstreamError(
                    f"`{name}` is not accepted: it is an option of litellm's, which only the configuration may set.",
                    status=400,
                    type="invalid_request_error",
                    param=name,
                    next_model=False,
                )
        arguments = {name: value for name, value in given.items() if name not in OURS}
        arguments |= {
            "model": model.target,
            "messages": given["messages"],
            "stream": request.stream,
            "timeout": request.timeout,
            "num_retries": 0,
            "max_retries": 0,
            "no-log": True,
        }
        if model.api_key:
            arguments["api_key"] = model.api_key
        if model.base_url:
            arguments["api_base"] = model.base_url
        return arguments

    async def _chunks(self, request: UpstreamRequest, stream: Any) -> AsyncIterator[bytes]:
        try:
            async for chunk in stream:
                yield _encode(chunk)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as error:
            raise self._explain(request, error) from None
        finally:
            await stream.aclose()

    def _explain(self, request: UpstreamRequest, error: Exception) -> UpstreamError:
        litellm, model = self._module, request.model
        assert litellm is not None
        if isinstance(error, UpstreamError):
            return error
        if isinstance(error, litellm.Timeout | TimeoutError):
            return timed_out(model, request.timeout)
        if isinstance(error, litellm.UnsupportedParamsError):
            # Another model may well take the parameter.
            failure = error_from_status(model, 400, _said(error), code="unsupported_parameter")
            failure.next_model = True
            return failure
        if isinstance(error, litellm.ContextWindowExceededError):
            return error_from_status(model, 400, _said(error), code="context_length_exceeded")
        status = getattr(error, "status_code", None)
        if isinstance(error, litellm.APIConnectionError) or not isinstance(status, int):
            logging.getLogger("hullspeed.litellm").debug("model %r failed", model.name, exc_info=error)
            return unreachable(model, _said(error)) if status is not None else broken_reply(model, _said(error))
        response = getattr(error, "response", None)
        headers = dict(response.headers) if response is not None else {}
        return error_from_status(model, status, _said(error), headers=headers)


def _import() -> tuple[ModuleType, frozenset[str]]:
    # Without this the import fetches the price map from the network.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm
    from litellm.types.utils import all_litellm_params

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    return litellm, frozenset(map(str, all_litellm_params)) - {"id", "roles", "order", "weight"} - DROPPED


def _encode(reply: Any) -> bytes:
    """litellm's object as OpenAI's JSON. Its usage chunk has an empty choice, where OpenAI's has none."""
    data: dict[str, Any] = reply.model_dump(exclude_none=True)
    choices = data.get("choices") or []
    if data.get("usage") and all("delta" in c and not c["delta"] and not c.get("finish_reason") for c in choices):
        data["choices"] = []
    for choice in choices:
        choice.setdefault("finish_reason", None)
    return msgspec.json.encode(data)


def _said(error: Exception) -> str:
    """The provider's own message out of litellm's wrapping (`litellm.X: YException - {"error": {"message": …}}`)."""
    text = str(getattr(error, "message", "") or error)
    start = text.find("{")
    if start >= 0:
        try:
            body = msgspec.json.decode(text[start : text.rfind("}") + 1])
            inner = body.get("error", body)
            found = inner.get("message") if isinstance(inner, dict) else inner
            if isinstance(found, str):
                return found
        except (msgspec.DecodeError, AttributeError):
            pass
    return text.removeprefix("litellm.")
