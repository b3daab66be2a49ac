"""Server-sent events, read and written as bytes.

Parsing follows the WHATWG HTML standard, section 9.2.6: lines end with LF, CRLF or CR; `data` lines of one event are
joined with LF; comments and other fields are passed over. Working on bytes, a UTF-8 character split across reads
needs no care.
"""

from __future__ import annotations

MAX_EVENT_BYTES = 16 * 1024 * 1024
DONE = b"[DONE]"
BOM = b"\xef\xbb\xbf"
"""May stand at the very beginning of a stream, and says nothing."""


class EventTooLarge(ValueError):
    """One event is larger than `MAX_EVENT_BYTES`."""


class EventParser:
    """Cuts a byte stream into the `data` of its events."""

    def __init__(self, most: int = MAX_EVENT_BYTES) -> None:
        """`most`: bytes that one line, or the data of one event, may have."""
        self._most = most
        self._buffer = b""
        self._data: list[bytes] = []
        self._size = 0
        self._begun = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes, in order. Raises `EventTooLarge`."""
        if not chunk:
            return []
        if self._begun and not self._buffer and not self._data and not self._after_cr:
            # As nearly all servers send: whole events of one line of data each.
            plain = _plain_events(chunk, self._most)
            if plain is not None:
                return plain
        if self._after_cr:
            # A CR ends its line at once, whatever follows: the LF of a CRLF may be long in coming.
            chunk, self._after_cr = chunk.removeprefix(b"\n"), False
        buffer = self._buffer + chunk
        if not self._begun:
            if len(buffer) < len(BOM) and BOM.startswith(buffer):
                self._buffer = buffer
                return []
            buffer, self._begun = buffer.removeprefix(BOM), True
        lines = buffer.splitlines(keepends=True)
        self._buffer = b""
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            self._buffer = lines.pop()
            if len(self._buffer) > self._most:
                raise EventTooLarge
        self._after_cr = bool(lines) and not self._buffer and lines[-1].endswith(b"\r")
        events: list[bytes] = []
        for line in lines:
            self._take(line.rstrip(b"\r\n"), events)
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
                self._data, self._size = [], 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(line)
        if len(line) > self._most or self._size > self._most:
            raise EventTooLarge


def _plain_events(chunk: bytes, most: int) -> list[bytes] | None:
    """The events where a chunk is nothing but whole `data: ` lines, each with an empty one behind it."""
    if not chunk.endswith(b"\n\n") or len(chunk) > most or b"\r" in chunk:
        return None
    events = []
    for line in chunk[:-2].split(b"\n\n"):
        if not line.startswith(b"data: ") or b"\n" in line:
            return None
        events.append(line[6:])
    return events


def event(data: bytes) -> bytes:
    """One event on the wire. `data` is JSON or `[DONE]`."""
    return b"data: " + _in_one_line(data) + b"\n\n"


def named_event(name: str, data: bytes) -> bytes:
    """One event with its type, as Anthropic's dialect and OpenAI's Responses have it."""
    return b"event: " + name.encode() + b"\ndata: " + _in_one_line(data) + b"\n\n"


def _in_one_line(data: bytes) -> bytes:
    """JSON that an upstream sent over several lines: its line breaks stand between its parts, never inside a string."""
    return data.replace(b"\n", b" ") if b"\n" in data else data
