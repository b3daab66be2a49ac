"""Numbers as people and models write them, read as exact rational numbers.

Exact, because a tolerance that forgives a rounding also forgives a wrong last digit: `12345678` is not `12345679`.
Only what a float's own printing adds (`0.30000000000000004`) is forgiven.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

DIGITS = 1_000
"""Most digits of a number that is read, and its largest decimal exponent: a reply must not buy a gigabyte of
zeros."""
RELATIVE = Fraction(1, 10**12)

NUMBER = re.compile(
    r"(?P<minus>(?<![\w)\]}.])[-+]\s?)?(?:\\?[$€£¥₹]\s?(?P<inner>[-+](?=[\d.]))?)?"
    r"(?<![A-Za-z_\d])(?:"
    r"(?P<continental>\d{1,3}(?:\.\d{3}){1,9},\d{1,9})(?![\d.])"  # 1.234,56: both signs, so there is no doubt
    r"|(?P<grouped>\d{1,3}(?:(?:,|\{,\}|\\,|_|[ \u00a0\u2009\u202f])\d{3}){1,99}(?:\.\d+)?)(?![\d_])"
    r"|(?P<plain>\d+(?:\.\d+)?|\.\d+)"
    r")(?:[eE](?P<power>[+-]?\d{1,6})(?![\w.]))?"
)
BEHIND = re.compile(
    r"(?:(?P<mixed>\s\d{1,9}/\d{1,9})(?![\d/])"
    r"|\s{0,2}/\s{0,2}(?P<lower>\d{1,300}(?:\.\d{1,300})?)(?![\d/]))?"
    r"(?:\s{0,2}(?P<scale>thousand|million|billion|trillion)\b)?"
    r"(?P<percent>\s{0,2}\\?%)?"
    r"(?P<factor>\s{0,2}(?:\\?sqrt|√|\\?pi\b|π|\^|\*\*\d))?",
    re.IGNORECASE,
)
WITHIN = re.compile(r"(?:sqrt|√|\^|[\w)]\s?\*\*)\s?[{(\[]?\Z")
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
SIGNS = str.maketrans(
    {"−": "-", "﹣": "-", "－": "-", "⁄": "/", "，": ",", "％": "%"}
    | {"½": " 1/2", "⅓": " 1/3", "⅔": " 2/3", "¼": " 1/4", "¾": " 3/4", "⅕": " 1/5", "⅛": " 1/8"}
)
FRAC = re.compile(r"\\{1,2}[dt]?frac\s?\{\s?(-?\d{1,300})\s?\}\s?\{\s?(\d{1,300})\s?\}")
TIMES_TEN = re.compile(
    r"(?<=\d)\s{0,2}(?:\\times|\\cdot|×|·|x|\*)\s{0,2}10\s?(?:\^|\*\*)\s?\{?([+-]?\d{1,6})\}?", re.IGNORECASE
)
DEGREE = re.compile(r"\s?\^\s?\{?\s?\\circ\s?\}?")
SUBSCRIPT = re.compile(r"(?<=[0-9A-Z])(?:_(?:\{(?:\\text\{)?\d{1,2}\}{1,2}|\d{1,2}(?![\d_]))|[₀-₉]{1,2})")
BETWEEN = re.compile(r"[\s$,;&]|\\?\\text\{|\}|\band\b|\bor\b", re.IGNORECASE)
FRAME = re.compile(r"[\s$*`\\()\[\]{}°,;:.!'\"€£¥₹]|degrees?\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Numeral:
    """A number, and where it stands in the text as `tidy` gives it."""

    start: int
    end: int
    percent: bool
    factor: bool
    """Part of an expression (2√3, 2^10), which has no value of its own."""
    digits: re.Match[str]
    behind: re.Match[str]

    @property
    def value(self) -> Fraction | None:
        """None for a factor and for a number too long to be read. Reckoned when it is asked for: of the 200,000 that
        a reply may hold one counts, and all their fractions take ten seconds."""
        return None if self.factor else _value(self.digits, self.behind)

    def equals(self, other: Numeral) -> bool:
        """Equal as values; `50%` is both 50 and 0.5 to a number without the sign."""
        mine, theirs = self.value, other.value
        if mine is None or theirs is None:
            return False
        if _close(mine, theirs):
            return True
        if self.percent == other.percent:
            return False
        if self.percent:
            return _close(mine / 100, theirs)
        return _close(mine, theirs / 100)


def _close(left: Fraction, right: Fraction) -> bool:
    if left == right:
        return True
    if left.denominator == 1 and right.denominator == 1:
        return False
    return abs(left - right) <= RELATIVE * max(abs(left), abs(right))


def tidy(text: str) -> str:
    """`text` with typographic signs, LaTeX fractions, powers of ten and base subscripts in plain form."""
    plain = FRAC.sub(r" \1/\2 ", text.translate(SIGNS))
    # A base is left out rather than converted: 221_3 names the digits 221.
    return SUBSCRIPT.sub("", TIMES_TEN.sub(r"e\1", DEGREE.sub("°", plain)))


def numerals(tidied: str) -> list[Numeral]:
    """All numbers of a text that went through `tidy`, in order."""
    found: list[Numeral] = []
    place = 0
    while (match := NUMBER.search(tidied, place)) is not None:
        behind = BEHIND.match(tidied, match.end())
        assert behind is not None  # every part of it is optional
        start = match.start()
        factor = bool(behind["factor"] or WITHIN.search(tidied, max(0, start - 8), start))
        found.append(Numeral(start, behind.end(), bool(behind["percent"]), factor, match, behind))
        place = behind.end()
    return found


def _value(match: re.Match[str], behind: re.Match[str]) -> Fraction | None:
    if match["continental"]:
        digits = match["continental"].replace(".", "").replace(",", ".")
    else:
        digits = re.sub(r"[^\d.]", "", match["grouped"]) if match["grouped"] else match["plain"]
    power = int(match["power"] or 0)
    if len(digits) > DIGITS or abs(power) > DIGITS:
        return None
    value = Fraction(digits) * Fraction(10) ** power
    if behind["mixed"]:
        value += _ratio(behind["mixed"])
    if behind["lower"]:
        lower = Fraction(behind["lower"])
        if lower == 0:
            return None
        value /= lower
    value *= SCALES.get((behind["scale"] or "").lower(), 1)
    negative = "-" in (match["minus"] or "") or match["inner"] == "-"
    return -value if negative else value


def _ratio(text: str) -> Fraction:
    top, _, bottom = text.strip().partition("/")
    return Fraction(int(top), int(bottom)) if int(bottom) else Fraction(0)


def whole(text: str) -> Numeral | None:
    """The number that `text` is, but for currency signs, percent, emphasis and the like; None where it is none."""
    tidied = tidy(text)
    found = numerals(tidied)
    if len(found) != 1 or found[0].value is None:
        return None
    number = found[0]
    rest = tidied[: number.start] + tidied[number.end :]
    return number if not FRAME.sub("", rest) else None


def picked(text: str, *, marked: bool) -> Numeral | None:
    """The number that an answer in a sentence comes to: the one behind the last equals sign, else the first where
    the sentence is `marked` as the answer and the last where it is not. None where it holds none, or is a bare list
    of several: who gives two answers has not given one."""
    tidied = tidy(text)
    found = numerals(tidied)
    if not found:
        return None
    equals = max(tidied.rfind(sign) for sign in ("=", "≈", "\\approx", "≡"))
    results = [number for number in found if number.start >= equals >= 0]
    if results:
        return results[0]
    if marked and len(found) > 1 and _is_list(tidied, found):
        return None
    return found[0] if marked else found[-1]


def _is_list(tidied: str, found: list[Numeral]) -> bool:
    gaps = [tidied[left.end : right.start] for left, right in pairwise(found)]
    outside = tidied[: found[0].start] + tidied[found[-1].end :]
    return not FRAME.sub("", outside) and all(not BETWEEN.sub("", gap) for gap in gaps)
