"""The port behind which a client's dialect stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import msgspec

from app.core.errors import HullspeedError, InvalidRequest
from app.core.types import Attempt
from app.gateway.catalog import CHAT, Model
from app.gateway.chat import ChatRequest, Fields, RoutingOptions, refuse_several_aims, upstream_fields
from app.gateway.events import COMMENT
from app.gateway.replies import Reading
from app.gateway.upstream import UpstreamError

if TYPE_CHECKING:
    from app.gateway.attempt import WholeAnswer

Reader = Callable[[bytes], tuple[Reading, Fields]]
"""Reads a whole reply or the parts of one stream, in order. Raises `msgspec.DecodeError`."""
EVERYTHING = ""
"""In place of a parameter: none of the request can be said in a chat."""
LITELLM_ONLY = frozenset({"drop_params", "additional_drop_params", "custom_llm_provider", "extra_headers"})
"""Parameters in the configuration that are litellm's, not the provider's."""
LONGEST_NAME = 64
"""Characters of a tool's name in OpenAI's API; others allow 128."""

Kind = Literal["function", "custom", "search"]
"""Of a tool. `custom`: takes text, asked for as a function of one parameter, `input`. `search`: looks for further
tools."""


class Tool(msgspec.Struct, frozen=True):
    """What a client calls a tool that a chat has under another name or in another form."""

    name: str
    namespace: str | None = None
    kind: Kind = "function"


def short_name(name: str) -> str:
    """`name`, or a shorter one for it where OpenAI's API would refuse it."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}_{blake2b(name.encode(), digest_size=4).hexdigest()}"


class Native(msgspec.Struct, frozen=True):
    """A request in the client's own dialect, for models whose provider speaks it."""

    endpoint: str
    fields: Fields
    params: frozenset[str]
    """Parameters of the configuration that mean the same in this dialect as in chat."""
    only: str | None = None
    """A parameter that chat has no words for, or `EVERYTHING`: only a model that speaks the dialect can be asked."""
    pinned: str | None = None
    """Why the client has to name the model, and no other may answer in its place, where that is so."""
    limit: str | None = None
    """The parameter that bounds the reply, where the dialect demands one."""
    counts: bool = False
    """A stream states its usage only where `stream_options` ask for it."""

    def unpinned(self, model: str) -> InvalidRequest:
        """The error for a request that names a router."""
        return InvalidRequest(f"`{model}` names a router, and {self.pinned}: name a model.", param="model")

    @property
    def path(self) -> str:
        """Of the endpoint, below the address of a provider."""
        return self.endpoint.removeprefix("/v1")


class Asked(msgspec.Struct, frozen=True):
    """A request as its dialect read it."""

    chat: ChatRequest
    """What Hullspeed reads of it."""
    fields: Fields
    """The body in OpenAI's chat form."""
    native: Native | None = None
    """None where the client speaks chat itself."""
    tools: Mapping[str, Tool] = {}
    """Names of functions in the chat → what the client calls them, where that differs."""

    def is_native(self, model: Model) -> bool:
        """Whether `model` is asked in the client's own dialect."""
        native = self.native
        if native is None or native.endpoint not in model.endpoints:
            return False
        sayable = native.params | LITELLM_ONLY
        return native.only is not None or CHAT not in model.endpoints or model.params.keys() <= sayable

    @property
    def is_pinned(self) -> bool:
        """No other model may answer in the place of the one that the client names."""
        return self.native is not None and self.native.pinned is not None

    @property
    def parameters(self) -> frozenset[str]:
        """Names of all that the request says, in either form."""
        return frozenset(self.fields) | frozenset(self.native.fields if self.native else ())

    def obstacle(self, model: Model) -> str | None:
        """Why `model` cannot be asked this at all, in few words; None where it can."""
        if self.is_native(model):
            return None
        if self.native is not None and self.native.only is not None:
            only = self.native.only
            return f"cannot be asked with `{only}`" if only else f"does not serve {self.native.endpoint}"
        return None if CHAT in model.endpoints else f"does not serve {CHAT}"

    def fields_for(self, model: Model, *, native: bool, stream: bool, usage: bool) -> Fields:
        """The body for one model. Raises `UpstreamError` where it cannot be said in its dialect.

        `stream` says how the model is asked, which need not be how the client asked; without `usage` no
        `stream_options` are sent.
        """
        if native:
            return self._native_fields(model, stream=stream, usage=usage)
        if CHAT not in model.endpoints or (self.native is not None and self.native.only is not None):
            raise UpstreamError(
                f"Model `{model.name}` {self.obstacle(model) or 'has to be asked in its own dialect'}.",
                status=400,
                type="invalid_request_error",
                retry=False,
            )
        sent = upstream_fields(self.chat, self.fields, model, stream=stream, usage=usage)
        return sent if self.native is None else _fitted(sent, self.chat, model)

    def _native_fields(self, model: Model, *, stream: bool, usage: bool) -> Fields:
        native = self.native
        assert native is not None
        sent: Fields = {name: raw for name, raw in native.fields.items() if name not in ("routing", "stream")}
        sent["model"] = encoded(model.target.removeprefix(f"{model.provider}/"))
        for name, value in model.params.items():
            if name in native.params:
                sent.setdefault(name, encoded(value))
        if native.limit is not None and self.chat.model != model.name:
            _bound(sent, native.limit, model.max_output)
        if stream:
            sent["stream"] = msgspec.Raw(b"true")
        if native.counts:
            sent.pop("stream_options", None)
            if stream and usage:
                sent["stream_options"] = msgspec.Raw(b'{"include_usage":true}')
        return sent


def chat_of(body: dict[str, Any], routing: RoutingOptions | None) -> tuple[ChatRequest, Fields]:
    """A translated body, read like one that came as a chat. Raises `InvalidRequest`."""
    if routing is not None:
        refuse_several_aims(routing)
    try:
        chat = msgspec.convert(body, ChatRequest)
        fields = {name: encoded(value) for name, value in body.items()}
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The request cannot be read: {error}.") from None
    except RecursionError:
        raise too_deep() from None
    return msgspec.structs.replace(chat, routing=routing), fields


def too_deep() -> InvalidRequest:
    """The error for a body whose parts lie too deep in each other to be translated."""
    return InvalidRequest("The body is nested too deeply; send a flatter one.")


def has(fields: Fields, name: str) -> bool:
    """Whether a field is there and not null."""
    return bytes(fields.get(name, b"null")) != b"null"


def encoded(value: object) -> msgspec.Raw:
    """A value as a field."""
    return msgspec.Raw(msgspec.json.encode(value))


def _fitted(sent: Fields, chat: ChatRequest, model: Model) -> Fields:
    """A translated body without what this model is known to refuse: its client could not know which one it gets."""
    if chat.max_output is not None:
        sent.pop("max_tokens", None)
        _bound(sent, "max_completion_tokens", model.max_output)
        if model.upstream == "direct" and model.provider != "openai":
            # OpenAI's newer models take only the newer name, many other servers only the older one.
            sent["max_tokens"] = sent.pop("max_completion_tokens")
    if "reasoning" not in (model.capabilities or ()):
        sent.pop("reasoning_effort", None)
    return sent


def _bound(sent: Fields, name: str, most: int | None) -> None:
    if most is not None and name in sent and msgspec.json.decode(sent[name]) > most:
        sent[name] = encoded(most)


class Telling(Protocol):
    """One reply being streamed to its client."""

    def say(self, reply: Reading, fields: Fields) -> bytes:
        """The events for one part; empty where there is nothing to say yet."""

    def end(self, attempt: Attempt, cost: Decimal | None) -> bytes:
        """The last events: how it finished, and what it took."""


class Dialect(ABC):
    """How a client speaks at one endpoint. Holds no state."""

    endpoint: ClassVar[str]
    id_headers: ClassVar[tuple[str, ...]] = ("x-request-id", "x-hullspeed-call-id")
    """Reply headers that bear the id of the call."""
    passes: ClassVar[tuple[str, ...]] = ()
    """Request headers that go through to a model that speaks the dialect."""
    keep_alive: ClassVar[bytes] = COMMENT
    """Sent after a long silence."""

    @abstractmethod
    def parse(self, body: bytes) -> Asked:
        """Read a request. Raises `InvalidRequest` that names the parameter."""

    @abstractmethod
    def reader(self) -> Reader:
        """Reads one reply of a model that speaks the dialect."""

    @abstractmethod
    def whole(self, asked: Asked, answer: WholeAnswer, cost: Decimal | None) -> bytes:
        """The body of a whole reply; `cost`: USD of the call."""

    @abstractmethod
    def telling(self, asked: Asked, model: str, *, native: bool) -> Telling:
        """A stream to begin; `native`: its parts come in the dialect itself, otherwise as chunks of a chat."""

    def error(self, error: HullspeedError) -> bytes:
        """The body of an error reply."""
        return error.envelope()

    @abstractmethod
    def error_event(self, error: HullspeedError) -> bytes:
        """The event that ends a stream which failed."""
