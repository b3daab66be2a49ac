"""What a provider's dialect gives: its endpoint, its key, its envelope, its replies whole and as events."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar, Literal

from app.mock.replies import Answer, HttpError, Json, Wire
from app.mock.seen import Seen

Part = Literal["open", "content", "finish", "usage", "end"]


@dataclass(frozen=True)
class Event:
    """One server-sent event. A stream's events come in the order of `Part`."""

    data: Json | str
    part: Part = "content"
    name: str | None = None


@dataclass(frozen=True)
class Target:
    """What a path alone says of a request; None where the body says it."""

    model: str | None = None
    stream: bool | None = None


class Dialect(ABC):
    """A provider's words for things. Holds no state but a counter for ids."""

    base: ClassVar[str] = ""
    """Path of the address that a client is given."""

    def __init__(self) -> None:
        self._serials = count(1)

    def serial(self) -> int:
        """1, 2, 3 … for ids."""
        return next(self._serials)

    @abstractmethod
    def find(self, method: str, path: str, query: dict[str, str]) -> Target | None:
        """The completion that a request asks for; None where it is not for this dialect."""

    @abstractmethod
    def bears(self, seen: Seen, key: str) -> bool:
        """Whether the request bears `key`."""

    @abstractmethod
    def wrong_key(self) -> HttpError:
        """What a wrong key is answered with."""

    @abstractmethod
    def check(self, body: Json, model: str) -> HttpError | None:
        """What a request that the provider would refuse is answered with."""

    @abstractmethod
    def envelope(self, error: HttpError) -> Json:
        """The error body."""

    @abstractmethod
    def whole(self, body: Json, model: str, answer: Answer) -> Json:
        """The reply in one piece."""

    @abstractmethod
    def events(self, body: Json, model: str, answer: Answer) -> list[Event]:
        """The reply as a stream."""

    def error_event(self, error: HttpError) -> Event:
        """An error after a 200."""
        return Event(self.envelope(error))


def frame(event: Event, wire: Wire) -> bytes:
    """An event as it goes on the wire."""
    if isinstance(event.data, str):
        text = event.data
    elif wire.multiline:
        text = json.dumps(event.data, ensure_ascii=wire.ascii_only, indent=1)
    else:
        text = json.dumps(event.data, ensure_ascii=wire.ascii_only, separators=(",", ":"))
    end = "\r\n" if wire.crlf else "\n"
    data = "data: " if wire.space else "data:"
    lines = [": keep-alive", ""] if wire.comments else []
    if event.name is not None:
        lines.append(f"event: {event.name}")
    lines.extend(data + line for line in text.split("\n"))
    return end.join([*lines, "", ""]).encode()


def split_text(text: str, chunks: int | tuple[str, ...] | None) -> list[str]:
    """The pieces that a streamed text comes in; together they are the text."""
    if isinstance(chunks, tuple):
        return list(chunks)
    if chunks is None:
        words = text.split(" ")
        return [word if index == 0 else " " + word for index, word in enumerate(words)] if text else []
    size = max(1, -(-len(text) // chunks))
    return [text[start : start + size] for start in range(0, len(text), size)]


def texts_of(content: Any) -> str:
    """All text in a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if isinstance(part, dict) and "text" in part)
    return ""
