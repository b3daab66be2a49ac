"""No event stream and no body breaks the readers; the long run is `python -m benchmarks.fuzz`."""

from __future__ import annotations

import pytest

from app.core.errors import InvalidRequest
from app.gateway.chat import parse_chat
from app.gateway.dialects.completions import Completions
from app.gateway.dialects.messages import Messages, count_tokens
from benchmarks import fuzz


def test_a_short_run_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(400, 7), capsys.readouterr().out


def test_a_wrong_parser_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(stream: bytes) -> object:
        raise KeyError(stream)

    assert fuzz.run("wrong", 20, lambda dice: fuzz.try_body(dice, wrong, [{"model": "m"}]), 0) == 20
    assert "KeyError" in capsys.readouterr().out


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"metadata":{"a":"\xff"}}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"user":"\xed\xa0\x80"}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"tool_choice":"\xff"}',
    ],
)
def test_text_that_is_no_utf8_is_refused_wherever_it_stands(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        parse_chat(body)


@pytest.mark.parametrize("number", [b"1e999", b"1" + b"0" * 5000])
@pytest.mark.parametrize("name", ["seed", "prediction"])
def test_a_number_that_cannot_be_held_names_its_field(name: str, number: bytes) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"%b":%b}' % (name.encode(), number)
    with pytest.raises(InvalidRequest, match="out of range") as caught:
        parse_chat(body)
    assert caught.value.param == name


def test_a_completion_with_such_a_number_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="`n`"):
        Completions().parse(b'{"model":"m","prompt":"x","n":1e999}')


def test_depth_is_refused_not_a_fault() -> None:
    refused = 0
    for depth in range(300, 1100, 7):
        deep = b"[" * depth + b"]" * depth
        message = b'{"role":"user","content":[{"type":"text","text":' + deep + b"}]}"
        body = b'{"model":"m","max_tokens":1,"messages":[' + message + b'],"metadata":' + deep + b"}"
        for parse in (parse_chat, Messages().parse, count_tokens):
            try:
                parse(body)
            except InvalidRequest:
                refused += 1
    assert refused
