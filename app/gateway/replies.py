"""What a reply says of itself: usage, content, how it finished. Reads just that and leaves the rest encoded."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from app.core.types import Usage
from app.gateway.chat import Fields


class Reading(Protocol):
    """What a whole reply, or a part of a stream, says of itself, whatever its dialect."""

    @property
    def error(self) -> Any:
        """What the upstream says went wrong, as in OpenAI's envelope; None where nothing did."""

    @property
    def error_status(self) -> int:
        """HTTP status that `error` stands for."""

    @property
    def model(self) -> str | None: ...

    @property
    def text(self) -> str:
        """Text of the first choice."""

    @property
    def finish_reason(self) -> str | None:
        """In OpenAI's words, once the reply is all there."""

    @property
    def has_several(self) -> bool:
        """It is about another choice than the first, or about several."""

    @property
    def ends(self) -> Sequence[tuple[int, str | None]]:
        """Index and finish reason of each choice that it is about."""

    @property
    def has_content(self) -> bool:
        """True where a part of a stream carries more than a role: from there on no other model may take over."""

    @property
    def is_whole(self) -> bool:
        """True for a whole reply, whatever it says."""

    @property
    def has_usage(self) -> bool: ...

    def read_usage(self) -> tuple[Usage, Decimal | None] | None:
        """Tokens used so far, normalised, and the cost where the upstream states one."""


class Details(msgspec.Struct, frozen=True):
    """What prompt or completion tokens were, in OpenAI's dialects; written to a cache has two names."""

    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


_NO_DETAILS = Details()


def usage_of(
    prompt: int, completion: int, prompt_details: Details | None, completion_details: Details | None, written: int = 0
) -> Usage:
    """Usage as OpenAI's dialects state it, `prompt` with the cached tokens in it; `written`: where said beside."""
    read, made = prompt_details or _NO_DETAILS, completion_details or _NO_DETAILS
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=read.cached_tokens or 0,
        cache_write_tokens=written or read.cache_creation_tokens or read.cache_write_tokens or 0,
        reasoning_tokens=made.reasoning_tokens or 0,
    )


def stated_cost(cost: float | None) -> Decimal | None:
    """USD as JSON has it."""
    return None if cost is None else Decimal(repr(cost))


class _WireUsage(msgspec.Struct):
    """OpenAI's usage object with what providers add; `prompt_tokens` includes the cached ones in this dialect."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    cache_creation_input_tokens: int | None = None
    cost: float | None = None


class _Message(msgspec.Struct):
    content: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message | None = None
    delta: dict[str, Any] | None = None
    text: Any = None
    """In legacy completions."""
    finish_reason: str | None = None


class Reply(msgspec.Struct):
    """The fields of a chat completion, or of a chunk of one, that Hullspeed reads."""

    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    model: str | None = None
    error: Any = None

    def read_usage(self) -> tuple[Usage, Decimal | None] | None:
        """Tokens used, and the cost where the upstream states one; None where there is no usable usage."""
        if not self.has_usage:
            return None
        try:
            wire = _decode_usage(self.usage)
        except msgspec.DecodeError:
            return None
        usage = usage_of(
            wire.prompt_tokens,
            wire.completion_tokens,
            wire.prompt_tokens_details,
            wire.completion_tokens_details,
            wire.cache_creation_input_tokens or 0,
        )
        return usage, stated_cost(wire.cost)

    @property
    def has_usage(self) -> bool:
        """True where the usage field is there and not null."""
        return bytes(self.usage) not in (b"", b"null")

    @property
    def text(self) -> str:
        """Text of the first choice."""
        for choice in self.choices or ():
            if choice.index == 0:
                content = choice.message.content if choice.message else (choice.delta or {}).get("content", choice.text)
                return content if isinstance(content, str) else ""
        return ""

    @property
    def finish_reason(self) -> str | None:
        """Of the first choice that has one."""
        for choice in self.choices or ():
            if choice.finish_reason:
                return choice.finish_reason
        return None

    @property
    def has_several(self) -> bool:
        """It is about another choice than the first, or about several."""
        choices = self.choices
        return choices is not None and bool(choices) and (len(choices) > 1 or choices[0].index != 0)

    @property
    def ends(self) -> Sequence[tuple[int, str | None]]:
        """Index and finish reason of each choice."""
        return [(choice.index, choice.finish_reason) for choice in self.choices or ()]

    @property
    def has_content(self) -> bool:
        """True where a chunk carries more than a role: from there on no other model may take over."""
        return any(
            value not in (None, "", [], {})
            for choice in self.choices or ()
            for name, value in (choice.delta or {"text": choice.text}).items()
            if name != "role"
        )

    @property
    def is_whole(self) -> bool:
        """True for a whole reply, whatever it says."""
        return bool(self.choices)

    @property
    def error_status(self) -> int:
        """HTTP status that `error` stands for: OpenAI states none."""
        return 502


_decode_reply = msgspec.json.Decoder(Reply).decode
_decode_usage = msgspec.json.Decoder(_WireUsage).decode
_decode_fields = msgspec.json.Decoder(Fields).decode


def read_reply(body: bytes) -> tuple[Reply, Fields]:
    """A completion or chunk, read and with its fields still encoded. Raises `msgspec.DecodeError`."""
    return _decode_reply(body), _decode_fields(body)


def as_chunks(fields: Fields) -> list[Fields]:
    """A completion as the chunks of a stream: all that its choices say, then how each finished.

    `fields` are those of a whole reply, still encoded; what is not known here goes along untouched. Usage is left out.
    """
    kept = {name: raw for name, raw in fields.items() if name not in ("choices", "usage")}
    kept["object"] = msgspec.Raw(b'"chat.completion.chunk"')
    said, finished = [], []
    for choice in msgspec.json.decode(fields["choices"]):
        rest = {name: value for name, value in choice.items() if name not in ("message", "finish_reason")}
        said.append({**rest, "delta": choice.get("message") or {}, "finish_reason": None})
        finished.append({"index": choice.get("index", 0), "delta": {}, "finish_reason": choice.get("finish_reason")})
    return [{**kept, "choices": msgspec.Raw(msgspec.json.encode(choices))} for choices in (said, finished)]


def with_cost(usage: msgspec.Raw, cost: Decimal | None) -> msgspec.Raw:
    """The usage object with `cost` in USD; unchanged where the cost is not known."""
    if cost is None:
        return usage
    plain = bytes(usage)
    if plain.endswith(b"}") and plain.find(b'"cost"') < 0 and plain.find(b":") > 0:
        # It has other fields, as it came from an upstream: put behind them without reading them once more.
        return msgspec.Raw(b'%b,"cost":%b}' % (plain[:-1], str(cost).encode()))
    fields = _decode_fields(usage)
    fields["cost"] = msgspec.Raw(str(cost).encode())
    return msgspec.Raw(msgspec.json.encode(fields))


def estimate(prompt: int, completion: int) -> Usage:
    """Usage guessed from characters, four to a token, where an upstream gives none."""
    return Usage(prompt_tokens=prompt // 4 + 1, completion_tokens=completion // 4 + 1, estimated=True)
