"""What somebody asks routers about, as a form or an address has it."""

from __future__ import annotations

import json
import math
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Self

from starlette.datastructures import ImmutableMultiDict

SHAREABLE = 1500
"""Characters of an address, up to which it holds the question: longer ones are cut on their way through chats and
proxies."""
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
"""What stands for any tool: models that cannot call any are no candidates then."""


@dataclass(frozen=True)
class Question:
    """Everything as it was typed."""

    prompt: str = ""
    system: str = ""
    tools: bool = False
    tradeoff: str = ""
    """Empty: each router's own."""
    max_cost: str = ""
    models: tuple[str, ...] = ()
    """None: all."""
    body: str = ""
    """A whole request as JSON, in place of all others."""

    @classmethod
    def of(cls, given: ImmutableMultiDict[str, Any]) -> Self:
        """From a form or a query; what is no text is left out."""

        def text(name: str) -> str:
            value = given.get(name, "")
            return value.replace("\r\n", "\n") if isinstance(value, str) else ""

        models = tuple(value for value in given.getlist("models") if isinstance(value, str) and value)
        names = ("prompt", "system", "tradeoff", "max_cost", "body")
        return cls(**{name: text(name) for name in names}, tools=bool(text("tools")), models=models)

    @property
    def is_asked(self) -> bool:
        """Whether there is anything to decide."""
        return bool(self.prompt.strip() or self.body.strip())

    def problems(self, models: Container[str]) -> dict[str, str]:
        """What is wrong, by the field that is at fault; `models`: those that there are."""
        if self.body.strip():
            return self._problems_of_body()
        found = {}
        if self.tradeoff.strip() and not 0 <= _number(self.tradeoff) <= 1:
            found["tradeoff"] = "A number from 0 (quality only) to 1 (cost only), or nothing."
        if self.max_cost.strip() and not 0 < _number(self.max_cost) < math.inf:
            found["max_cost"] = "A positive number of USD, or nothing."
        unknown = [name for name in self.models if name not in models]
        if unknown:
            found["models"] = f"There is no model {', '.join(unknown)[:200]} here."
        return found

    def _problems_of_body(self) -> dict[str, str]:
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            return {"body": f"This is not JSON: {error}."}
        return {} if isinstance(value, dict) else {"body": "A JSON object, as a chat request has it."}

    def as_body(self) -> bytes:
        """The chat request, for `auto`; of a question without problems."""
        if self.body.strip():
            return json.dumps({"model": "auto", **json.loads(self.body)}).encode()
        messages = [{"role": "system", "content": self.system}] if self.system.strip() else []
        routing: dict[str, Any] = {}
        if self.tradeoff.strip():
            routing["tradeoff"] = _number(self.tradeoff)
        if self.max_cost.strip():
            routing["max_cost_usd"] = _number(self.max_cost)
        if self.models:
            routing["models"] = list(self.models)
        body: dict[str, Any] = {"model": "auto", "messages": [*messages, {"role": "user", "content": self.prompt}]}
        if self.tools:
            body["tools"] = [TOOL]
        return json.dumps(body | ({"routing": routing} if routing else {})).encode()

    def as_fields(self) -> dict[str, Any]:
        """As a form sends it; what is empty is left out."""
        given = {
            "prompt": self.prompt,
            "system": self.system,
            "tools": "1" if self.tools else "",
            "tradeoff": self.tradeoff,
            "max_cost": self.max_cost,
            "models": list(self.models),
            "body": self.body,
        }
        return {name: value for name, value in given.items() if value}


def _number(text: str) -> float:
    """NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
