"""When two replies give the same answer: the final answer of a reply in one spelling.

Numbers are read as numbers ($1,200.00 is 1200, \\frac{1}{2} is 0.5), with or without a unit behind them; choices are
their letter; literals lose the spaces between their elements and the kind of their quotes; anything else loses
emphasis, runs of spaces, a closing full stop and a capital at the start of a word. A reply without a recognisable
answer has none, and is equal to no other: of two essays nobody can tell whether they agree.
"""

from __future__ import annotations

import re

from routers.extraction import cut, final_answer
from routers.numerals import FRAME, numerals, tidy, whole

SHORT = 200
"""Longest reply, in characters, that may be an answer as a whole."""
LONGEST = 1_000
"""Longest answer in characters: a longer one is a text, which two models do not write alike."""

_LETTER = re.compile(
    r"(?:(?:option|choice|answer|letter)\s)?[(\[*]{0,4}\s?([A-J])(?:\s?[)\]*]{1,4}|[.:](?!\d)|(?=\Z))(?!\w)",
    re.IGNORECASE,
)
_LEADING = re.compile(r"[(\[*]{0,4}([A-J])(?:[)\]*]{1,4}[.:]?|[.:])\s")
_UNIT = re.compile(r"[A-Za-z°%²³/$ .-]{2,40}")
_HALF_OF_DAY = re.compile(r"[ap]\.?m\b", re.IGNORECASE)
_CAPITALISED = re.compile(r"(?<![A-Za-z])[A-Z][a-z]+(?![A-Za-z])")
_STRING = re.compile(r"'((?:[^'\\]|\\.){0,1000})'|\"((?:[^\"\\]|\\.){0,1000})\"")
_GAPS = re.compile(r"\s+")
_WORDS = {"true": "True", "false": "False", "null": "None", "none": "None", "yes": "yes", "no": "no"}
_WRAPS = (("**", "**"), ("`", "`"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("\\text{", "}"), ("\\boxed{", "}"))
_QUOTES = {"'": "'", '"': '"', "“": "”", "‘": "’"}
_BRACKETS = {"[": "]", "(": ")", "{": "}"}


def answer_in(reply: str | None) -> str | None:
    """The final answer of `reply` in one spelling; None where there is no reply, or nothing to compare in it."""
    if reply is None:
        return None
    text = cut(reply).strip()
    if len(text) <= SHORT and (letter := _LEADING.match(text)):
        return letter[1].upper()
    found = final_answer(text)
    if found is None or not (found.marked or len(text) <= SHORT) or len(found.text) > LONGEST:
        return None
    return spelled(found.text)


def spelled(answer: str) -> str:
    """An answer, as it was found in a reply, in one spelling."""
    text = _unwrapped(answer)
    if letter := _LETTER.fullmatch(text) or _LEADING.match(text):
        return letter[1].upper()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1]  # a string of digits keeps its zeros
    elif len(text) > 1 and _BRACKETS.get(text[0]) == text[-1]:
        return _literal(text)
    elif number := _number(text):
        return number
    else:
        text = text.rstrip(".!").rstrip()
    folded = _WORDS.get(text.lower())
    return folded or _CAPITALISED.sub(lambda match: match[0].lower(), _GAPS.sub(" ", text))


def _unwrapped(text: str) -> str:
    """Without emphasis and formula signs around the whole."""
    text = text.strip()
    for opening, closing in _WRAPS * 2:
        inside = text[len(opening) : len(text) - len(closing)]
        if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
            text = inside.strip()
    return text


def _number(text: str) -> str | None:
    """The number that an answer is, a unit behind it left out."""
    number = whole(text)
    if number is None:
        tidied = tidy(text)
        found = numerals(tidied)
        if len(found) != 1 or found[0].value is None or FRAME.sub("", tidied[: found[0].start]):
            return None
        unit = tidied[found[0].end :].strip()
        # One letter may be a variable, and 2 am is not 2 pm.
        if not _UNIT.fullmatch(unit) or _HALF_OF_DAY.match(unit):
            return None
        number = found[0]
    value = number.value
    if value is None:
        return None
    try:
        return f"{float(value):.12g}"
    except OverflowError:
        return str(value)


def _literal(text: str) -> str:
    """A literal without the spaces between its elements, all its strings in one kind of quotes."""
    parts: list[str] = []
    place = 0
    for match in _STRING.finditer(text):
        parts.append(_bare(text[place : match.start()]))
        parts.append(repr(match[1] if match[1] is not None else match[2]))
        place = match.end()
    return "".join([*parts, _bare(text[place:])])


def _bare(text: str) -> str:
    return re.sub(r"[A-Za-z]+", lambda match: _WORDS.get(match[0].lower(), match[0]), _GAPS.sub("", text))
