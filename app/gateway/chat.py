"""A chat request: what of it Hullspeed reads, and what it passes on untouched."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from app.core.errors import InvalidRequest
from app.gateway.catalog import Model

REFUSED = frozenset(
    name.replace("_", "")
    for name in (
        "api_base", "base_url", "api_key", "api_version", "headers", "extra_headers", "extra_query", "default_headers",
        "proxy", "proxies", "http_client", "client", "custom_llm_provider", "azure_ad_token", "azure_endpoint",
        "vertex_credentials", "vertex_project", "aws_access_key_id", "aws_secret_access_key", "aws_session_token",
        "aws_bedrock_runtime_endpoint", "ssl_verify", "mock_response", "fallbacks", "organization",
    )
)  # fmt: skip
"""Names that would set where a call goes or with which key (CVE-2024-6587), as `_normal` has them."""

DATA = frozenset({"messages", "tools", "functions", "response_format", "tool_choice", "function_call", "prediction"})
"""Fields whose insides are data or schemas: there the names above mean nothing and stay."""


class RoutingOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `routing` object of a request body."""

    tradeoff: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """0 = quality only, 1 = cost only."""
    target_cost: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """In place of a tradeoff: the best quality at this share of the best single model's cost."""
    target_quality: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """In place of a tradeoff: the lowest cost at this share of the best single model's quality."""
    max_cost_usd: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Models that are expected to cost more are not candidates."""
    models: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None
    """Only these models are candidates."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    """Makes a router's randomness repeatable."""
    max_calls: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Most models that may be called to compare their replies; 1 gives the first token soonest."""
    max_latency_seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """No further model is called to compare replies once this would be passed."""


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True):
    """The fields Hullspeed reads. All others, known to OpenAI or not, pass through."""

    model: str
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    tools: list[dict[str, Any]] | None = None
    functions: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None
    routing: RoutingOptions | None = None

    @property
    def max_output(self) -> int | None:
        """Most tokens the reply may have, where the client said so."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def comparable(self) -> bool:
        """Whether the replies of several models can be compared: one text each, and no tools."""
        return not self.tools and not self.functions and self.n in (None, 1)

    @property
    def wants_usage(self) -> bool:
        """The client asked for the usage chunk of a stream."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def needs(self) -> frozenset[str]:
        """Capabilities a model must have to serve this request."""
        needed = set()
        if self.tools or self.functions:
            needed.add("tools")
        if self.response_format is not None and self.response_format.get("type") == "json_schema":
            needed.add("json_schema")
        for message in self.messages:
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                kind = part.get("type") if isinstance(part, dict) else None
                if kind == "image_url":
                    needed.add("vision")
                elif kind == "input_audio":
                    needed.add("audio")
        return frozenset(needed)


Fields = dict[str, msgspec.Raw]
"""Top-level fields of a body, in order, still encoded."""
Wire = TypeVar("Wire", bound=msgspec.Struct)

_decode_chat = msgspec.json.Decoder(ChatRequest).decode
_decode_fields = msgspec.json.Decoder(Fields).decode


def parse_chat(body: bytes) -> tuple[ChatRequest, Fields]:
    """Read a request body. Raises `InvalidRequest` that names the parameter."""
    chat, fields = read_body(body, _decode_chat, DATA)
    check_roles(chat.messages)
    if chat.routing is not None:
        refuse_several_aims(chat.routing)
    return chat, fields


def read_body(body: bytes, decode: Callable[[bytes], Wire], data: frozenset[str]) -> tuple[Wire, Fields]:
    """A body, read by `decode` and with its fields still encoded; `data`: fields whose insides are data.

    Raises `InvalidRequest` that names the parameter: one of the wrong type, or one that would steer the call.
    """
    try:
        # What is passed on as it came is not read by msgspec, so it would not be seen to be no UTF-8 (RFC 8259, 8.1).
        body.decode()
        read, fields = decode(body), _decode_fields(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}. Send a JSON object.") from None
    _refuse_steering(fields, data, read.__struct_fields__)
    return read, fields


def check_roles(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raises `InvalidRequest` for a message without a role."""
    for index, message in enumerate(messages):
        if not isinstance(message.get("role"), str):
            param = f"messages[{index}].role"
            raise InvalidRequest(f"`{param}` must be a string such as `user`.", param=param)


def refuse_several_aims(routing: RoutingOptions) -> None:
    """Raises `InvalidRequest` where a request gives more than one of tradeoff and targets."""
    aims = ("tradeoff", "target_cost", "target_quality")
    given = [name for name in aims if getattr(routing, name) is not None]
    if len(given) > 1:
        param = f"routing.{given[1]}"
        raise InvalidRequest(f"`{param}` stands beside `routing.{given[0]}`: give one of them.", param=param)


def _explain(message: str) -> InvalidRequest:
    """msgspec's `Expected `int`, got `str` - at `$.a.b`` as a sentence with the parameter's name."""
    what, _, where = message.partition(" - at `$")
    param = where.removesuffix("`").lstrip(".").replace("[...]", "[]")
    missing = re.search(r"missing required field `(\w+)`", what)
    unknown = re.search(r"unknown field `([^`]*)`", what)
    if missing:
        param = f"{param}.{missing[1]}".lstrip(".")
        return InvalidRequest(f"`{param}` is missing.", param=param)
    if unknown:
        known = ", ".join(RoutingOptions.__struct_fields__)
        param = f"{param}.{unknown[1]}".lstrip(".")
        return InvalidRequest(f"`{param}` is not known; `routing` takes {known}.", param=param)
    if not param:
        return InvalidRequest(f"The body must be a JSON object: {what[0].lower()}{what[1:]}.")
    return InvalidRequest(f"`{param}`: {what[0].lower()}{what[1:]}.", param=param)


_OPENING = b"{["


def _refuse_steering(fields: Fields, data: frozenset[str], known: Collection[str]) -> None:
    """`known`: fields that have been read whole already, but for what is unknown inside objects that are no data."""
    for name, raw in fields.items():
        is_data = name in data or name == "routing"
        # None of the known ones is refused.
        if name in known and (is_data or memoryview(raw)[0] not in _OPENING):
            continue
        if _normal(name) in REFUSED:
            raise _refused(name)
        value = _read_field(name, raw)
        found = _find_refused(value, name) if isinstance(value, dict | list) and not is_data else None
        if found:
            raise _refused(found)


def _read_field(name: str, raw: msgspec.Raw) -> Any:
    # A field that nobody reads is not looked into at first: its numbers may be too large, its text half a surrogate.
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        what = str(error)
        raise InvalidRequest(f"`{name}`: {what[0].lower()}{what[1:]}.", param=name) from None


def _find_refused(value: Any, path: str) -> str | None:
    """Path of a refused name inside `value`. Not recursive: what JSON can nest, calls cannot always follow."""
    waiting = [(path, value)]
    while waiting:
        path, value = waiting.pop()
        inside = enumerate(value) if isinstance(value, list) else value.items()
        for name, inner in inside:
            where = f"{path}[{name}]" if isinstance(name, int) else f"{path}.{name}"
            if isinstance(name, str) and _normal(name) in REFUSED:
                return where
            if isinstance(inner, dict | list) and name not in DATA:
                waiting.append((where, inner))
    return None


def _normal(name: str) -> str:
    """However it is spelled: `api_base`, `api-base`, `apiBase`."""
    return name.lower().replace("-", "").replace("_", "")


def _refused(param: str) -> InvalidRequest:
    message = f"`{param}` is not accepted: where a call goes, and with which key, is set in the configuration only."
    return InvalidRequest(message, param=param)


def upstream_fields(chat: ChatRequest, fields: Fields, model: Model, *, stream: bool, usage: bool = True) -> Fields:
    """The body for one model: its own name, its configured parameters, and usage asked for in streams.

    `stream` says how the model is asked, which need not be how the client asked; without `usage` no `stream_options`
    are sent, for a server that does not know them.
    """
    sent: Fields = {name: raw for name, raw in fields.items() if name not in ("routing", "stream")}
    sent["model"] = msgspec.Raw(msgspec.json.encode(model.target))
    for name, value in model.params.items():
        sent.setdefault(name, msgspec.Raw(msgspec.json.encode(value)))
    if stream:
        sent["stream"] = msgspec.Raw(b"true")
        options: Mapping[str, Any] = msgspec.json.decode(fields["stream_options"]) if chat.stream_options else {}
        sent["stream_options"] = msgspec.Raw(msgspec.json.encode({**options, "include_usage": True}))
    if not stream or not usage:
        sent.pop("stream_options", None)
    return sent
