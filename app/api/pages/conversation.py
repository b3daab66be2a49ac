"""What was asked, told from the stored body of a request in any dialect: who said what, which tools were called.

The body is anybody's text: whatever is not as expected is shown as JSON, and nothing here raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

LONGEST_BODY = 2_000_000
"""Characters of a body that is read as a conversation; decoding a longer one would hold up calls."""
LONGEST_TEXT = 20_000
"""Characters shown of one text."""
MOST_TURNS = 200


@dataclass(frozen=True)
class Piece:
    """A part of what somebody said."""

    kind: str
    """`text`, `image`, `audio`, `file`, `call` (of a tool), `result` (of a tool) or `json` (anything else)."""
    text: str
    name: str = ""
    """Of the tool."""


@dataclass(frozen=True)
class Turn:
    """What one of them said."""

    role: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Conversation:
    """A request, readable."""

    turns: tuple[Turn, ...]
    left_out: int
    """Turns between the first and the last ones that are not shown."""
    settings: Mapping[str, str]
    """The body's other fields, as JSON."""
    tools: tuple[str, ...]
    """Names of the tools offered."""


def read(body: str) -> Conversation | None:
    """The conversation in a body; None where it is too long, no JSON object, or holds none."""
    if len(body) > LONGEST_BODY:
        return None
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None
    if not isinstance(fields, dict):
        return None
    turns = list(_turns(fields))
    if not turns:
        return None
    offered = fields.get("tools", fields.get("functions"))
    said = ("messages", "input", "prompt", "system", "instructions", "tools", "functions")
    settings = {str(name): _json(value) for name, value in fields.items() if name not in said}
    left_out = max(len(turns) - MOST_TURNS, 0)
    if left_out:
        turns = [*turns[:1], *turns[len(turns) - MOST_TURNS + 1 :]]
    return Conversation(tuple(turns), left_out, settings, tuple(_tools(offered)))


def _turns(fields: Mapping[str, Any]) -> Iterator[Turn]:
    for name in ("system", "instructions"):
        if fields.get(name):
            yield Turn("system", tuple(_pieces(fields[name])))
    # Chats and Anthropic's messages, then Responses and embeddings, then completions.
    for name in ("messages", "input", "prompt"):
        value = fields.get(name)
        if isinstance(value, str):
            yield Turn("user", tuple(_pieces(value)))
        elif isinstance(value, list):
            for one in value:
                yield _turn(one)


def _turn(message: Any) -> Turn:
    if isinstance(message, str):
        return Turn("user", tuple(_pieces(message)))
    if not isinstance(message, dict):
        return Turn("?", (Piece("json", _json(message)),))
    kind = message.get("type")
    if kind in ("function_call", "custom_tool_call"):
        return Turn("assistant", (_called(message, message.get("arguments", message.get("input"))),))
    if kind in ("function_call_output", "custom_tool_call_output"):
        return Turn("tool", (Piece("result", _plain(message.get("output"))),))
    role = message.get("role")
    pieces = list(_pieces(message.get("content")))
    if role in ("tool", "function"):
        pieces = [Piece("result", piece.text, str(message.get("name") or "")) for piece in pieces]
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            pieces.append(_called(function, function.get("arguments")))
        else:
            pieces.append(Piece("json", _json(call)))
    if not isinstance(role, str) or not (pieces or "content" in message):
        return Turn(role if isinstance(role, str) else "?", (Piece("json", _json(message)),))
    return Turn(role, tuple(pieces))


def _pieces(content: Any) -> Iterator[Piece]:
    if content is None:
        return
    if isinstance(content, str):
        yield Piece("text", cut(content))
    elif isinstance(content, list):
        for part in content:
            yield _piece(part)
    else:
        yield Piece("json", _json(content))


def _piece(part: Any) -> Piece:
    if isinstance(part, str):
        return Piece("text", cut(part))
    if not isinstance(part, dict):
        return Piece("json", _json(part))
    kind = str(part.get("type"))
    if isinstance(part.get("text"), str):
        return Piece("text", cut(part["text"]))
    for sign in ("image", "audio", "file", "document"):
        if sign in kind:
            return Piece("file" if sign == "document" else sign, _described(part, kind))
    if kind == "tool_use":
        return _called(part, part.get("input"))
    if kind == "tool_result":
        return Piece("result", _plain(part.get("content")))
    return Piece("json", _json(part))


def _described(part: Mapping[str, Any], kind: str) -> str:
    """What a picture or a file is, without what is in it."""
    inner = part.get(kind, part.get("source"))
    held = inner if isinstance(inner, dict) else {"url": inner}
    place = held.get("url") or held.get("filename") or held.get("file_id")
    if isinstance(place, str) and not place.startswith("data:"):
        return cut(place, 200)
    data = place if isinstance(place, str) else held.get("data", held.get("file_data"))
    kind = str(held.get("media_type") or held.get("format") or "")
    if isinstance(data, str):
        kind = kind or data[5:60].partition(";")[0] if data.startswith("data:") else kind
        return f"{kind} {len(data) * 3 // 4 / 1000:,.0f} kB".strip()
    return kind or "not described"


def _called(function: Mapping[str, Any], arguments: Any) -> Piece:
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            return Piece("call", cut(arguments), str(function.get("name")))
    return Piece("call", _json(arguments), str(function.get("name")))


def _plain(content: Any) -> str:
    """What a tool gave back: its text where it is one."""
    if isinstance(content, str):
        return cut(content)
    pieces = list(_pieces(content))
    return "\n".join(piece.text for piece in pieces) if all(p.kind == "text" for p in pieces) else _json(content)


def _tools(offered: Any) -> Iterator[str]:
    for tool in offered if isinstance(offered, list) else ():
        if isinstance(tool, dict):
            function = tool.get("function")
            named = function if isinstance(function, dict) else tool
            yield str(named.get("name") or named.get("type") or "?")


def _json(value: Any) -> str:
    try:
        return cut(json.dumps(value, ensure_ascii=False, indent=2))
    except RecursionError:
        return "nested too deeply to be shown"


def cut(text: str, most: int = LONGEST_TEXT) -> str:
    """`text`, saying how much is missing where it is longer than `most`."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


_SAID = re.compile(
    r'"role"\s*:\s*"user"\s*,\s*"content"\s*:\s*(?:\[\s*\{[^{}"]*"type"\s*:\s*"(?:input_)?text"\s*,\s*"text"\s*:\s*)?"'
    r'|"(?:prompt|input)"\s*:\s*"'
)
_STRING = re.compile(r'(?:[^"\\]|\\(?:u[0-9a-fA-F]{4}|[^u]))*')


def beginning(start: str, most: int = 160) -> str:
    """How the user's first words begin, from the `start` of a body, which may break off anywhere; empty where they do
    not stand in it."""
    said = _SAID.search(start)
    if said is None:
        return ""
    found = _STRING.match(start, said.end(), said.end() + 6 * most)
    assert found is not None
    try:
        text = json.loads(f'"{found[0]}"', strict=False)
    except ValueError:
        return ""
    # Half a surrogate pair cannot be written to a page.
    text = " ".join(str(text).encode("utf-8", "replace").decode().split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
