"""Anthropic's Messages request in the words of OpenAI's chat.

Our own, and compact: routers see the chat before any model is chosen, so it must cost microseconds and not need
litellm, whose adapters work on the objects of its own calls. What chat has no words for (cache marks, `top_k`,
`metadata`) is left out; what would change the question itself (a file by its id, say) asks for a model that speaks
the dialect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from app.core.errors import InvalidRequest
from app.gateway.chat import RoutingOptions, check_roles
from app.gateway.dialects.base import Tool, short_name

Json = dict[str, Any]

DATA = frozenset({"messages", "system", "tools", "tool_choice", "mcp_servers", "output_config", "output_format"})
PAST = frozenset({"thinking", "redacted_thinking", "server_tool_use", "tool_reference", "compaction"})
"""Parts of earlier turns that only a model of Anthropic's can read; their `…_tool_result` likewise."""
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


class MessagesRequest(msgspec.Struct, frozen=True):
    """The fields that Hullspeed reads (docs.anthropic.com/en/api/messages)."""

    model: str
    messages: Annotated[list[Json], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    system: str | list[Json] | None = None
    stream: bool | None = None
    tools: list[Json] | None = None
    tool_choice: Json | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    thinking: Json | None = None
    output_config: Json | None = None
    routing: RoutingOptions | None = None


@dataclass
class Translation:
    """A request in OpenAI's words."""

    body: Json
    tools: dict[str, Tool] = field(default_factory=dict)
    """Shortened names of tools → the client's own."""
    only: str | None = None
    """The first parameter that could not be translated."""
    unsigned: bool = False
    """Some thoughts have no signature: they are not a model's of Anthropic's, and it would refuse them."""


def translate(request: MessagesRequest) -> Translation:
    """The request as the body of a chat. Raises `InvalidRequest`."""
    check_roles(request.messages)
    found = Translation({"model": request.model})
    body = found.body
    messages: list[Json] = []
    if request.system:
        messages.append({"role": "system", "content": _content(found, request.system, "system")})
    for index, message in enumerate(request.messages):
        messages.extend(_messages(found, message, f"messages[{index}]"))
    body["messages"] = messages
    copied = {
        "stream": request.stream,
        "max_completion_tokens": request.max_tokens,
        "stop": request.stop_sequences,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "reasoning_effort": _effort(request),
        "response_format": _format(request.output_config or {}),
    }
    body.update({name: value for name, value in copied.items() if value is not None})
    _add_tools(found, request)
    return found


def _add_tools(found: Translation, request: MessagesRequest) -> None:
    functions = []
    hosted = None
    for index, tool in enumerate(request.tools or ()):
        if tool.get("type") in (None, "custom") and "input_schema" in tool:
            functions.append(_function(found, tool))
        else:
            hosted = hosted or f"tools[{index}]"
    choice = request.tool_choice or {}
    named = choice.get("name")
    if functions:
        found.body["tools"] = functions
    if hosted is not None and (not functions or (named and named not in [tool.get("name") for tool in _own(request)])):
        # Beside tools of the client's own, one that the provider would run is an offer that a model may lack.
        found.only = found.only or hosted
    if not functions or not choice:
        return
    kind = str(choice.get("type"))
    if kind == "tool":
        found.body["tool_choice"] = {"type": "function", "function": {"name": _short(found, str(named))}}
    elif kind in _CHOICES:
        found.body["tool_choice"] = _CHOICES[kind]
    else:
        raise InvalidRequest("`tool_choice.type` must be `auto`, `any`, `tool` or `none`.", param="tool_choice.type")
    if choice.get("disable_parallel_tool_use"):
        found.body["parallel_tool_calls"] = False


def _own(request: MessagesRequest) -> Iterator[Json]:
    return (tool for tool in request.tools or () if "input_schema" in tool)


def _function(found: Translation, tool: Json) -> Json:
    kept = {name: tool[name] for name in ("description", "strict") if name in tool}
    name = _short(found, str(tool.get("name")))
    return {"type": "function", "function": {"name": name, **kept, "parameters": tool["input_schema"]}}


def _short(found: Translation, name: str) -> str:
    """What the chat calls a tool."""
    short = short_name(name)
    if short != name:
        found.tools[short] = Tool(name)
    return short


def _effort(request: MessagesRequest) -> str | None:
    """How long to think, in OpenAI's words; the bounds of a budget are those that litellm has too."""
    thinking = request.thinking or {}
    stated = _EFFORTS.get(str((request.output_config or {}).get("effort")))
    if thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens")
        budget = budget if isinstance(budget, int) else 0
        return stated or ("high" if budget >= 10_000 else "medium" if budget >= 5_000 else "low")
    return stated if thinking.get("type") != "disabled" else None


def _format(config: Json) -> Json | None:
    wanted = config.get("format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": wanted.get("schema")}}


def _messages(found: Translation, message: Json, where: str) -> Iterator[Json]:
    """One turn as the messages of a chat: results of tools are messages of their own there."""
    role, content = message["role"], message.get("content")
    if isinstance(content, str):
        yield {"role": role, "content": content}
        return
    if not isinstance(content, list):
        raise InvalidRequest(f"`{where}.content` must be a string or a list of blocks.", param=f"{where}.content")
    blocks = [block for block in content if isinstance(block, dict)]
    if role == "assistant":
        yield _assistant(found, blocks, where)
        return
    rest: list[Json] = []
    for block in blocks:
        if block.get("type") == "tool_result":
            said, pictures = _result(found, block, where)
            yield said
            rest.extend(pictures)
        else:
            rest.append(block)
    if rest:
        yield {"role": role, "content": _content(found, rest, f"{where}.content")}


def _assistant(found: Translation, blocks: Sequence[Json], where: str) -> Json:
    texts, calls = [], []
    for index, block in enumerate(blocks):
        kind = block.get("type")
        if kind == "text":
            texts.append(str(block.get("text", "")))
        elif kind == "tool_use":
            arguments = msgspec.json.encode(block.get("input") or {}).decode()
            function = {"name": _short(found, str(block.get("name"))), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif not _is_past(kind):
            found.only = found.only or f"{where}.content[{index}]"
        found.unsigned = found.unsigned or is_unsigned(block)
    said: Json = {"role": "assistant", "content": "\n".join(texts) if texts or not calls else None}
    return said | ({"tool_calls": calls} if calls else {})


def is_unsigned(block: Mapping[str, Any]) -> bool:
    """A thought that no model of Anthropic's had."""
    return block.get("type") == "thinking" and not block.get("signature")


def _is_past(kind: Any) -> bool:
    return isinstance(kind, str) and (kind in PAST or kind.endswith("_tool_result"))


def _result(found: Translation, block: Json, where: str) -> tuple[Json, list[Json]]:
    """What a tool returned, and the pictures in it, which in a chat only a user can show."""
    content = block.get("content")
    inner = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    pictures = [part for part in inner if part.get("type") in ("image", "document")]
    texts = [part for part in inner if part not in pictures]
    said = content if isinstance(content, str) else _content(found, texts, f"{where}.content") if texts else ""
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": said}, pictures


def _content(found: Translation, content: str | Sequence[Json], where: str) -> str | list[Json]:
    """Blocks as the parts of a chat message; text alone as a string, which every server takes."""
    if isinstance(content, str):
        return content
    parts = [part for index, block in enumerate(content) for part in _parts(found, block, f"{where}[{index}]")]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _parts(found: Translation, block: Json, where: str) -> Iterator[Json]:
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    match block.get("type"), source.get("type"):
        case "text", _:
            yield {"type": "text", "text": str(block.get("text", ""))}
        case "image", "base64":
            yield {"type": "image_url", "image_url": {"url": _data_url(source)}}
        case "image", "url":
            yield {"type": "image_url", "image_url": {"url": source.get("url")}}
        case "document", "text":
            yield {"type": "text", "text": str(source.get("data", ""))}
        case "document", "content" if isinstance(source.get("content"), str):
            yield {"type": "text", "text": source["content"]}
        case "document", "base64":
            name = str(block.get("title") or "document.pdf")
            yield {"type": "file", "file": {"filename": name, "file_data": _data_url(source)}}
        case "search_result", _:
            heads = [str(block[name]) for name in ("title", "source") if isinstance(block.get(name), str)]
            inner = block.get("content")
            told = [part for part in inner if isinstance(part, dict)] if isinstance(inner, list) else []
            texts = [str(part.get("text", "")) for part in told]
            yield {"type": "text", "text": "\n".join([*heads, *texts])}
        case kind, _ if _is_past(kind):
            return
        case _:
            found.only = found.only or where


def _data_url(source: Json) -> str:
    return f"data:{source.get('media_type')};base64,{source.get('data')}"
