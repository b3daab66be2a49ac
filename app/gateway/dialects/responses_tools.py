"""The tools of a Responses request as functions of a chat.

A chat knows one list of functions. Responses also has tools that take text, tools in a namespace, a tool by which the
client looks for more tools, and tools that only come up on the way
(platform.openai.com/docs/guides/tools-tool-search): agents use all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.gateway.dialects.base import Kind, Tool, short_name

Json = dict[str, Any]

SEARCH = "tool_search"
_FUNCTION = ("description", "parameters", "strict")
_TEXT: Json = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


class Tools:
    """What a request offers, in the order in which it comes up."""

    def __init__(self) -> None:
        self.known: dict[str, Tool] = {}
        """Names sent → what the client calls them, for those that are no plain function of that name."""
        self.hosted: str | None = None
        """The first tool that only a provider can run."""
        self._functions: dict[str, Json] = {}

    @property
    def functions(self) -> list[Json]:
        """As a chat has them."""
        return [{"type": "function", "function": function} for function in self._functions.values()]

    def offer(self, tools: Iterable[Any], where: str, namespace: str | None = None) -> None:
        """Add tools; `where`: path of their list in the request. One that is there already stays as it is."""
        for index, tool in enumerate(tools):
            kind = tool.get("type") if isinstance(tool, dict) else None
            if kind == "namespace" and namespace is None and isinstance(tool.get("tools"), list):
                self.offer(tool["tools"], f"{where}[{index}].tools", str(tool.get("name")))
            elif kind == "function":
                kept = {name: tool[name] for name in _FUNCTION if tool.get(name) is not None}
                self._add(kept, str(tool.get("name")), namespace)
            elif kind == "custom":
                self._add(_freeform(tool), str(tool.get("name")), namespace, "custom")
            elif kind == SEARCH and tool.get("execution") == "client":
                kept = {name: tool[name] for name in ("description", "parameters") if tool.get(name) is not None}
                self._add(kept, SEARCH, kind="search")
            elif kind != SEARCH:
                # A search of the provider's is not missed: a chat has all its tools from the start.
                self.hosted = self.hosted or f"{where}[{index}]"

    def _add(self, said: Json, own: str, namespace: str | None = None, kind: Kind = "function") -> None:
        name = sent_name(own, namespace)
        if name not in self._functions:
            self._functions[name] = {"name": name, **said}
            if name != own or kind != "function":
                self.known[name] = Tool(own, namespace, kind)


def sent_name(name: Any, namespace: Any = None) -> str:
    """What a chat calls a tool."""
    return short_name(f"{namespace}__{name}" if namespace else str(name))


def _freeform(tool: Mapping[str, Any]) -> Json:
    """A tool that takes text as a function; the grammar of its text, which no chat enforces, goes along in words."""
    format_ = tool.get("format")
    grammar = format_.get("definition") if isinstance(format_, dict) else None
    said = [str(tool["description"])] if tool.get("description") else []
    said += [f"The input must match this grammar:\n{grammar}"] if grammar else []
    described = {"description": "\n\n".join(said)} if said else {}
    return {**described, "parameters": _TEXT}
