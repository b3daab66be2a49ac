"""Server-sent events, read and written as bytes.

Parsing follows the WHATWG HTML standard, section 9.2.6: lines end with LF, CRLF or CR; `data` lines of one event are
joined with LF; comments and other fields are passed over. Working on bytes, a UTF-8 character split across reads
needs no care.
"""

from __future__ import annotations

MAX_EVENT_BYTES = 16 * 1024 * 1024
DONE = b"[DONE]"


class EventTooLarge(ValueError):
    """One event is larger than `MAX_EVENT_BYTES`."""


class EventParser:
    """Cuts a byte stream into the `data` of its events."""

    def __init__(self) -> None:
        self._buffer = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes, in order."""
        lines = (self._buffer + chunk).splitlines(keepends=True)
        self._buffer = b""
        if lines and not lines[-1].endswith(b"\n"):
            # A CR at the very end may be the first half of a CRLF: wait for what follows.
            self._buffer = lines.pop()
            if len(self._buffer) > MAX_EVENT_BYTES:
                raise EventTooLarge
        events: list[bytes] = []
        for line in lines:
            self._take(line.rstrip(b"\r\n"), events)
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
                self._data = []
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))


def event(data: bytes) -> bytes:
    """One event on the wire. `data` is JSON or `[DONE]`."""
    return b"data: " + _in_one_line(data) + b"\n\n"


def named_event(name: str, data: bytes) -> bytes:
    """One event with its type, as Anthropic's dialect and OpenAI's Responses have it."""
    return b"event: " + name.encode() + b"\ndata: " + _in_one_line(data) + b"\n\n"


def _in_one_line(data: bytes) -> bytes:
    """JSON that an upstream sent over several lines: its line breaks stand between its parts, never inside a string."""
    return data.replace(b"\n", b" ") if b"\n" in data else data
