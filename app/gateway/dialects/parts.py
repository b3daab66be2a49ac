"""What a message of OpenAI's chat says, part by part, for dialects that order a reply by parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

Kind = Literal["thinking", "text", "refusal", "call"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of one part."""

    kind: Kind
    text: str
    """Of a call: a piece of its arguments."""
    call: int = 0
    """Which of the calls."""
    id: str | None = None
    """Of a call, where it begins; so is `name`."""
    name: str | None = None

    @property
    def key(self) -> tuple[str, int]:
        """The same for all pieces of one part."""
        return self.kind, self.call


def choice_of(fields: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    """The first choice of a reply or a chunk; empty where it has none."""
    choices = msgspec.json.decode(fields["choices"]) if "choices" in fields else None
    return next((choice for choice in choices or () if choice.get("index", 0) == 0), {})


def parts_of(said: Mapping[str, Any]) -> Iterator[Part]:
    """The parts of a message or of a delta, in the order in which models come to them."""
    # DeepSeek, vLLM and litellm say `reasoning_content`, OpenRouter and newer vLLM `reasoning`.
    for name, kind in _TEXTS:
        text = said.get(name)
        if isinstance(text, str) and text:
            yield Part(kind, text)
            if name == "reasoning_content":
                said = {**said, "reasoning": None}
    calls = said.get("tool_calls")
    for position, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, dict):
            yield _call_part(call, position)


def _call_part(call: Mapping[str, Any], position: int) -> Part:
    """A call or a piece of one. A server may send anything: what is no text counts as not sent."""
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    arguments, index = function.get("arguments"), call.get("index")
    if isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    return Part(
        "call",
        arguments if isinstance(arguments, str) else "",
        index if isinstance(index, int) else position,
        *(value if isinstance(value, str) else None for value in (call.get("id"), function.get("name"))),
    )


_TEXTS: tuple[tuple[str, Kind], ...] = (
    ("reasoning_content", "thinking"),
    ("reasoning", "thinking"),
    ("content", "text"),
    ("refusal", "refusal"),
)


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments of a call as an object; a model's broken JSON stays readable under `arguments`."""
    try:
        found = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        found = text
    return found if isinstance(found, dict) else {"arguments": found}
