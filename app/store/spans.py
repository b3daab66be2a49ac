"""Sets of whole numbers as sorted, disjoint, half-open spans: [(1, 5), (7, 8)] is 1, 2, 3, 4 and 7."""

from __future__ import annotations

from collections.abc import Iterable

Spans = list[tuple[int, int]]


def union(spans: Iterable[tuple[int, int]]) -> Spans:
    """Any spans, in any order, overlapping or not, as a set."""
    found: Spans = []
    for start, stop in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        elif start < stop:
            found.append((start, stop))
    return found


def minus(these: Spans, those: Spans) -> Spans:
    """What is in `these` and not in `those`, both sets."""
    left: Spans = []
    place = 0
    for start, stop in these:
        at = start
        # The last one looked at may reach into the next of `these`.
        while place < len(those) and those[place][0] < stop:
            first, end = those[place]
            if at < first:
                left.append((at, first))
            at = max(at, end)
            if end > stop:
                break
            place += 1
        if at < stop:
            left.append((at, stop))
    return left


def both(these: Spans, those: Spans) -> Spans:
    """What is in both sets."""
    return minus(these, minus(these, those))


def size(spans: Spans) -> int:
    """How many numbers a set holds."""
    return sum(stop - start for start, stop in spans)


def singles(numbers: Iterable[int]) -> Spans:
    """Numbers, in any order and as often as they may come, as a set."""
    return union((number, number + 1) for number in numbers)
