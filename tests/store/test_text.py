import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.store import text

anything = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["\x00", "\\u0000", "\\\x00", "\ud800\udc00"]
)


def replaced(value: str) -> str:
    return "".join("\ufffd" if sign == "\x00" or 0xD800 <= ord(sign) <= 0xDFFF else sign for sign in value)


@given(anything)
def test_only_what_postgres_refuses_is_replaced(value: str) -> None:
    assert text.clean(value) == replaced(value)
    assert msgspec.json.decode(text.encode(value)) == replaced(value)


@given(st.recursive(anything | st.none() | st.booleans() | st.integers(-(2**53), 2**53), st.lists, max_leaves=10))
def test_nested_text_is_cleaned_too(value: object) -> None:
    line = text.encode({"key\x00": value})
    assert b"\n" not in line
    assert msgspec.json.decode(line) == {"key\ufffd": text.clean(value)}
