from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.store.spans import Spans, both, minus, singles, size, union

numbers = st.sets(st.integers(1, 40))
some_spans = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)))


def members(spans: Spans) -> set[int]:
    return {number for start, stop in spans for number in range(start, stop)}


def is_set(spans: Spans) -> bool:
    """Sorted, disjoint, none empty, none that touch."""
    ends = [end for span in spans for end in span]
    return all(one < other for one, other in pairwise(ends))


@given(some_spans)
def test_a_union_is_a_set(spans: Spans) -> None:
    found = union(spans)
    assert is_set(found)
    assert members(found) == members(spans)


@given(numbers, numbers)
def test_spans_are_sets(these: set[int], those: set[int]) -> None:
    one, other = singles(these), singles([*those, *those])
    assert members(one) == these
    assert size(one) == len(these)
    for found, wanted in (
        (minus(one, other), these - those),
        (both(one, other), these & those),
        (union(one + other), these | those),
    ):
        assert is_set(found)
        assert members(found) == wanted
