"""The parser cuts any byte stream as the standard says, however it is split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.sse import MAX_EVENT_BYTES, EventParser, EventTooLarge, event


def parse(*pieces: bytes, most: int = MAX_EVENT_BYTES) -> list[bytes]:
    parser = EventParser(most)
    return [data for piece in pieces for data in parser.feed(piece)]


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b": comment\nevent: x\nid: 1\ndata: a\n\n", [b"a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b"\n\n\ndata: a\n\n", [b"a"]),
        (b"data: unfinished", []),
        (b"data\n\n", [b""]),
        (b"data: a:b\n\n", [b"a:b"]),
        (b"data: a\r\r", [b"a"]),
        (b"data: a\r\n\r\ndata: b\r\n\r", [b"a", b"b"]),
        (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
    ],
)
def test_events(raw: bytes, events: list[bytes]) -> None:
    assert parse(raw) == events
    assert parse(*(raw[i : i + 1] for i in range(len(raw)))) == events


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=6),
    st.sampled_from([b"\n", b"\r\n"]),
    st.data(),
)
def test_any_split_gives_the_same_events(texts: list[str], end: bytes, data: st.DataObject) -> None:
    raw = b"".join(b"data: " + text.encode() + end + end for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert parse(*pieces) == [text.encode() for text in texts]


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_never_raises(pieces: list[bytes]) -> None:
    parse(*pieces)


def test_an_endless_line_is_refused() -> None:
    with pytest.raises(EventTooLarge):
        parse(*[b"x" * (MAX_EVENT_BYTES // 16)] * 20)


def test_an_endless_event_is_refused() -> None:
    assert parse(b"data: " + b"x" * 90 + b"\n\n", most=100) == [b"x" * 90], "within the limit"
    with pytest.raises(EventTooLarge):
        parse(*[b"data: x\n"] * 100, most=100)


def test_what_is_too_large_does_not_depend_on_the_cuts() -> None:
    line = b"data: " + b"x" * 100 + b"\n\n"
    for pieces in ([line], [line[:60], line[60:]]):
        with pytest.raises(EventTooLarge):
            parse(*pieces, most=100)


def test_what_is_written_is_what_is_read() -> None:
    assert parse(event(b'{"a": 1}'), event(b"[DONE]")) == [b'{"a": 1}', b"[DONE]"]
