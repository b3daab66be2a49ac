"""Regular expressions that somebody wrote into a config, matched against prompts that anybody may send.

Python's matcher tries one way after the other, holds the interpreter while it does, and cannot be stopped. So a
pattern is judged before it is used. One that repeats something which itself can be matched in several ways takes
exponential time, and is refused. For all others the number of ways is a polynomial in the length of the text, and
they are shown no more of a text than keeps the ways within `STEPS`. Source: the analysis of ReDoS by ambiguity
(Weideman et al. 2016, "Analyzing matching time behavior of backtracking regular expression matchers"), in its most
cautious form.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

STEPS = 20_000_000
"""Most ways tried on the worst text: at worst a tenth of a second or so."""
LONGEST = 6_000
"""Characters of a text that even the simplest pattern is shown."""
SHORTEST = 100
"""A pattern that could not be shown this many is refused."""
_MANY = 32
"""A repetition that may go on further than this is taken for one without an end."""


class CostlyPattern(ValueError):
    """A pattern that some text could keep busy for too long, or that is none."""


@dataclass(frozen=True)
class Pattern:
    """A pattern with the number of characters it may be shown."""

    compiled: re.Pattern[str]
    reach: int

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Raises `CostlyPattern` saying what is wrong with `text`."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a pattern that another Python will read otherwise
                compiled = re.compile(text)
                ends, factor = _ways(parser.parse(text), repeated=False)
        except (re.error, RecursionError, OverflowError, Warning) as error:
            raise CostlyPattern(f"{text!r} is no regular expression: {error}") from None
        # Each place in the text may be the start, and each open end may stand at each place after it.
        reach = min(LONGEST, int((STEPS / factor) ** (1 / (ends + 1))))
        if reach < SHORTEST:
            raise CostlyPattern(
                f"{text!r} can be matched in too many ways: use fewer repetitions and alternatives, or 'keywords'"
            )
        return cls(compiled, reach)

    def found_in(self, text: str) -> bool:
        """Whether the pattern is found in the text's first `reach` characters, or in its last."""
        if len(text) <= self.reach:
            return self.compiled.search(text) is not None
        half = self.reach // 2
        return any(self.compiled.search(part) is not None for part in (text[:half], text[-half:]))


_PLAIN = {
    codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN, codes.AT, codes.CATEGORY, codes.RANGE, codes.NEGATE,
    codes.GROUPREF, codes.FAILURE,
}  # fmt: skip
_REPEATS = {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}


def _ways(items: Any, *, repeated: bool) -> tuple[int, int]:
    """In how many ways a parsed pattern can match: the number of open ends, and a factor beside them.

    `repeated`: within a repetition, where anything that can be matched in several ways is refused.
    """
    ends, factor = 0, 1
    for code, value in items:
        more = _ways_of(code, value, repeated=repeated)
        ends, factor = ends + more[0], factor * more[1]
    return ends, factor


def _ways_of(code: Any, value: Any, *, repeated: bool) -> tuple[int, int]:
    if code in _PLAIN:
        return 0, 1
    if code in _REPEATS:
        return _ways_of_repeat(*value, repeated=repeated)
    if code is codes.SUBPATTERN:
        return _ways(value[-1], repeated=repeated)
    if code is codes.ATOMIC_GROUP:
        return _ways(value, repeated=repeated)
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return _ways(value[1], repeated=repeated)
    if code is codes.BRANCH:
        if repeated:
            raise re.error("a repeated group holds alternatives; write it without the repetition")
        found = [_ways(option, repeated=False) for option in value[1]]
        return max(ends for ends, _ in found), sum(factor for _, factor in found)
    raise re.error(f"{str(code).lower()} is not supported here")


def _ways_of_repeat(least: int, most: int, inner: Any, *, repeated: bool) -> tuple[int, int]:
    if most <= 1:
        if repeated and least != most:
            raise re.error("a repeated group holds an optional part; write it without one of the two")
        ends, factor = _ways(inner, repeated=repeated)
        return ends, factor + (least != most)
    if repeated and least != most:
        raise re.error("a repetition within a repetition takes forever on some texts; write it without one of them")
    ends, factor = _ways(inner, repeated=True)
    if least == most:
        return ends, factor
    return (ends + 1, factor) if most > _MANY else (ends, factor * (most - least + 1))
