"""Whole replies of Anthropic's models without `acompletion`: litellm's own translation, our own client.

Around a translation that takes tenths of a millisecond, `acompletion` spends milliseconds on loggers, callbacks, caches
and a general HTTP client. What it alone can do (streams, media, options of litellm's, headers of the configuration)
goes through it all the same; what goes this way comes out alike, which a test holds together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import httpx
import msgspec

from app.gateway.litellm_replies import encode_reply
from app.gateway.litellm_wire import Wire, with_plain_limits
from app.gateway.upstream import Upstream, UpstreamError, UpstreamReply, UpstreamRequest

PROVIDER = "anthropic"
PATH = "/messages"
PARAMS = frozenset(
    {
        "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "n", "seed", "user", "tools",
        "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "presence_penalty",
        "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "drop_params",
    }
)  # fmt: skip
"""What is translated, or refused, here; a request with anything else is left to `acompletion`."""
UNTOUCHED = frozenset({"model", "messages", "stream", "metadata", "store"})
"""What is no parameter: the last two are OpenAI's own bookkeeping."""
MESSAGE = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
MOST_STOPS = 4
"""litellm leaves out what comes after them, without a word."""
LOGIN = "sk-ant-oat"
"""So begin keys of a login, which need other headers."""
SETTINGS = 256
"""Sets of parameters that are remembered, if they are not larger than `SMALL` bytes."""
SMALL = 16 << 10


class _Settings(NamedTuple):
    """What becomes of a request's parameters beside its messages."""

    params: dict[str, Any]
    json_mode: bool
    headers: dict[str, str]
    own: dict[str, Any]
    """litellm's own."""


class Translation:
    """Anthropic's dialect, as litellm's `AnthropicConfig` speaks it."""

    def __init__(self, litellm: ModuleType, direct: Upstream) -> None:
        """`direct`: sends what is in the provider's own dialect already."""
        from litellm.anthropic_beta_headers_manager import update_request_with_filtered_beta
        from litellm.llms.anthropic.chat.transformation import ANTHROPIC_TOOL_NAME_REVERSE_MAP_KEY
        from litellm.utils import get_optional_params, validate_and_fix_openai_messages

        self._direct = direct
        self._config = litellm.AnthropicConfig()
        self._names = ANTHROPIC_TOOL_NAME_REVERSE_MAP_KEY
        self._new_reply: Callable[[], Any] = litellm.ModelResponse
        self._optional_params: Callable[..., dict[str, Any]] = get_optional_params
        self._checked: Callable[[list[Any]], list[Any]] = validate_and_fix_openai_messages
        self._filtered: Callable[..., tuple[dict[str, str], dict[str, Any]]] = update_request_with_filtered_beta
        self._remembered = lru_cache(SETTINGS)(self._settings)

    def takes(self, request: UpstreamRequest) -> bool:
        """Whether the request can go this way."""
        model = request.model
        return (
            model.provider == PROVIDER
            and not request.stream
            and bool(model.api_key)
            and not (model.api_key or "").startswith(LOGIN)
            and not model.headers
            and all(name in PARAMS or name in UNTOUCHED for name in request.fields)
            and _is_plain(request.fields, model.params)
            and all(map(_is_text, request.messages))
        )

    async def complete(self, request: UpstreamRequest, wire: Wire) -> UpstreamReply:
        """The reply, as OpenAI has it. Raises `UpstreamError`, or what litellm raises; `wire` sees the provider's."""
        model = request.model
        target = model.target.removeprefix(f"{PROVIDER}/")
        given = msgspec.json.encode({name: raw for name, raw in request.fields.items() if name in PARAMS})
        settings = self._remembered(target, given) if len(given) <= SMALL else self._settings(target, given)
        messages = self._config.translate_developer_role_to_system_role(
            messages=self._checked(msgspec.json.decode(request.fields["messages"]))
        )
        headers, own = dict(settings.headers), dict(settings.own)
        body = self._config.transform_request(
            model=target,
            messages=messages,
            # It writes into them.
            optional_params=copy.deepcopy(settings.params),
            litellm_params=own,
            headers=headers,
        )
        headers, body = self._filtered(headers=headers, request_data=body, provider=PROVIDER)
        sent = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
        betas = {name: value for name, value in headers.items() if name == "anthropic-beta"}
        translated = msgspec.structs.replace(request, fields=sent, path=PATH, headers=betas)
        try:
            answer = await self._direct.complete(translated)
        except UpstreamError as error:
            error.headers = with_plain_limits(error.headers)
            raise
        finally:
            request.sent = translated.sent
        wire.came(answer.body)
        reply = self._config.transform_parsed_response(
            completion_response=msgspec.json.decode(answer.body),
            raw_response=_NO_HEADERS,
            model_response=self._new_reply(),
            json_mode=settings.json_mode,
            tool_name_reverse_map=own.get(self._names),
        )
        return UpstreamReply(encode_reply(reply), with_plain_limits(answer.headers))

    def _settings(self, model: str, given: bytes) -> _Settings:
        """The same for many requests, and half of the work. `given`: the parameters, as JSON."""
        asked = msgspec.json.decode(given)
        own = {"drop_params": asked.get("drop_params")}
        params = self._optional_params(model=model, custom_llm_provider=PROVIDER, **asked)
        params.pop("stream", None)
        json_mode = bool(params.pop("json_mode", False))
        headers = self._config.validate_environment(
            headers={}, model=model, messages=[], optional_params=params, litellm_params=own, api_key="-"
        )
        return _Settings(params, json_mode, headers, own)


_NO_HEADERS = httpx.Response(200)


def _is_plain(fields: Mapping[str, msgspec.Raw], configured: Mapping[str, Any]) -> bool:
    """No parameter has a form that litellm mends before it translates, and litellm's own is the configuration's."""
    if bytes(fields.get("drop_params", b"null")) != msgspec.json.encode(configured.get("drop_params")):
        return False
    choice = msgspec.json.decode(fields.get("tool_choice", b"null"))
    stop = msgspec.json.decode(fields.get("stop", b"null"))
    named = isinstance(choice, dict) and {"type", "function"} <= choice.keys()
    return (named or choice is None or isinstance(choice, str)) and (
        not isinstance(stop, list) or len(stop) <= MOST_STOPS
    )


def _is_text(message: Mapping[str, Any]) -> bool:
    """The message holds text and calls of tools, nothing that has to be fetched or that needs a header."""
    if not MESSAGE.issuperset(message) or message["role"] not in ROLES:
        return False
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        return all(
            isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "text" for part in content
        )
    return content is None or isinstance(content, str)
