"""A request of OpenAI's Responses API in the words of its chat.

Our own for the reasons given in `messages_request`. What only the provider can do or has kept (a previous response,
tools of its own, files by their id) asks for a model that speaks the dialect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from app.core.errors import InvalidRequest
from app.gateway.chat import RoutingOptions
from app.gateway.dialects.responses_tools import SEARCH, Tools, sent_name

Json = dict[str, Any]

DATA = frozenset({"input", "instructions", "tools", "tool_choice", "text", "prompt"})
KEPT_BY_PROVIDER = ("previous_response_id", "conversation", "prompt")
"""What refers to something that its provider has kept."""
PAST = frozenset(
    {
        "reasoning", "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call",
        "mcp_list_tools", "mcp_call", "tool_search_call",
    }
)  # fmt: skip
"""What a provider's own tools and thoughts were in earlier turns; the words that came of it stand beside it."""
OURS = "rs_hullspeed_"
"""How the ids of thoughts begin that were put together here: their provider never heard of them."""


class ResponsesRequest(msgspec.Struct, frozen=True):
    """The fields that Hullspeed reads (platform.openai.com/docs/api-reference/responses)."""

    model: str
    input: str | list[Json] | None = None
    instructions: str | None = None
    stream: bool | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    text: Json | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Json | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | Json | None = None
    prompt: Json | None = None
    routing: RoutingOptions | None = None


@dataclass
class Translation:
    """A request in the words of a chat."""

    body: Json
    tools: Tools = field(default_factory=Tools)
    only: str | None = None
    """The first parameter that could not be translated."""
    pinned: str | None = None
    """Why no router can be asked: it refers to something that one provider has kept."""


def translate(request: ResponsesRequest) -> Translation:
    """The request as the body of a chat. Raises `InvalidRequest`."""
    if request.background:
        message = "`background` is not served: there is no way to fetch the reply later. Leave it out and wait."
        raise InvalidRequest(message, param="background")
    found = Translation({"model": request.model})
    for name in KEPT_BY_PROVIDER:
        if getattr(request, name) is not None:
            found.only, found.pinned = name, f"`{name}` refers to what one provider has kept"
            break
    found.tools.offer(request.tools or (), "tools")
    messages: list[Json] = []
    if request.instructions:
        messages.append({"role": "system", "content": request.instructions})
    if isinstance(request.input, str):
        messages.append({"role": "user", "content": request.input})
    for index, item in enumerate(request.input if isinstance(request.input, list) else ()):
        _add_item(found, messages, item, f"input[{index}]")
    if not messages:
        if not found.pinned:
            raise InvalidRequest("`input` is missing.", param="input")
        messages.append({"role": "user", "content": ""})
    found.body["messages"] = messages
    copied = {
        "stream": request.stream,
        "max_completion_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "reasoning_effort": (request.reasoning or {}).get("effort"),
        "response_format": _format((request.text or {}).get("format")),
    }
    found.body.update({name: value for name, value in copied.items() if value is not None})
    _add_tools(found, request)
    return found


def _format(wanted: Any) -> Json | None:
    if not isinstance(wanted, dict) or wanted.get("type") not in ("json_schema", "json_object"):
        return None
    if wanted["type"] == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {name: value for name, value in wanted.items() if name != "type"}}


def _add_tools(found: Translation, request: ResponsesRequest) -> None:
    functions, choice = found.tools.functions, request.tool_choice
    kind = choice.get("type") if isinstance(choice, dict) else None
    if not functions:
        # Beside tools of the client's own, one that the provider would run is an offer that a model may lack.
        found.only = found.only or found.tools.hosted
    if kind not in (None, "function", "custom"):
        found.only = found.only or "tool_choice"
    if not functions:
        return
    found.body["tools"] = functions
    if request.parallel_tool_calls is not None:
        found.body["parallel_tool_calls"] = request.parallel_tool_calls
    if isinstance(choice, dict) and kind in ("function", "custom"):
        found.body["tool_choice"] = {"type": "function", "function": {"name": _name(choice)}}
    elif isinstance(choice, str):
        found.body["tool_choice"] = choice


def _name(called: Json) -> str:
    return sent_name(called.get("name"), called.get("namespace"))


def _add_item(found: Translation, messages: list[Json], item: Json, where: str) -> None:
    match item.get("type") or "message":
        case "message":
            _add_message(found, messages, item, where)
        case "function_call":
            _add_call(messages, item, _name(item), str(item.get("arguments") or "{}"))
        case "custom_tool_call":
            _add_call(messages, item, _name(item), msgspec.json.encode({"input": item.get("input")}).decode())
        case "function_call_output" | "custom_tool_call_output":
            _add_output(found, messages, item, where)
        case "tool_search_call" if item.get("execution") == "client":
            _add_call(messages, item, SEARCH, msgspec.json.encode(item.get("arguments") or {}).decode())
        case "tool_search_output" | "additional_tools":
            _add_found(found, messages, item, where)
        case kind if str(kind) in PAST:
            pass
        case _:
            found.only = found.only or where


def _add_message(found: Translation, messages: list[Json], item: Json, where: str) -> None:
    role = item.get("role")
    if not isinstance(role, str):
        raise InvalidRequest(f"`{where}.role` must be a string such as `user`.", param=f"{where}.role")
    content = _content(found, item.get("content"), f"{where}.content")
    # Servers other than OpenAI's know no `developer`.
    messages.append({"role": "system" if role == "developer" else role, "content": content})


def _add_call(messages: list[Json], item: Json, name: str, arguments: str) -> None:
    """A call belongs to the turn in which it was made; calls side by side are one turn."""
    call = {"id": item.get("call_id"), "type": "function", "function": {"name": name, "arguments": arguments}}
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _add_output(found: Translation, messages: list[Json], item: Json, where: str) -> None:
    """What a tool returned, and behind it the pictures in it, which in a chat only a user can show."""
    output = _content(found, item.get("output"), f"{where}.output")
    pictures = [part for part in output if part["type"] != "text"] if isinstance(output, list) else []
    if isinstance(output, list):
        output = "\n".join(part["text"] for part in output if part["type"] == "text")
    messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})
    if pictures:
        messages.append({"role": "user", "content": pictures})


def _add_found(found: Translation, messages: list[Json], item: Json, where: str) -> None:
    """Tools that came up on the way: a chat has them from the start."""
    tools = item.get("tools")
    tools = tools if isinstance(tools, list) else []
    found.tools.offer(tools, f"{where}.tools")
    if item.get("type") == "tool_search_output" and item.get("execution") == "client":
        names = ", ".join(str(tool.get("name")) for tool in tools if isinstance(tool, dict)) or "none"
        said = {"role": "tool", "tool_call_id": item.get("call_id"), "content": f"Tools found: {names}"}
        messages.append(said)


def _content(found: Translation, content: Any, where: str) -> str | list[Json]:
    """Parts as those of a chat message; text alone as a string, which every server takes."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequest(f"`{where}` must be a string or a list of parts.", param=where)
    parts = [
        part
        for index, raw in enumerate(content)
        if isinstance(raw, dict)
        for part in _parts(found, raw, f"{where}[{index}]")
    ]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _parts(found: Translation, part: Mapping[str, Any], where: str) -> Iterator[Json]:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            yield {"type": "text", "text": str(part.get("text", ""))}
        case "refusal":
            yield {"type": "text", "text": str(part.get("refusal", ""))}
        case "input_image" if isinstance(part.get("image_url"), str):
            detail = {"detail": part["detail"]} if part.get("detail") else {}
            yield {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
        case "input_file" if isinstance(part.get("file_data"), str):
            kept = {name: part[name] for name in ("filename", "file_data") if name in part}
            yield {"type": "file", "file": kept}
        case "input_audio":
            yield {"type": "input_audio", "input_audio": part.get("input_audio")}
        case _:
            found.only = found.only or where


def without_ours(items: Sequence[Json]) -> list[Json]:
    """The items without thoughts that were put together here, which a provider would look for in vain."""
    return [item for item in items if not is_ours(item)]


def is_ours(item: Mapping[str, Any]) -> bool:
    return item.get("type") == "reasoning" and str(item.get("id")).startswith(OURS)
