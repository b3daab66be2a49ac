"""The graders that are plain rules: cheap, exact, and with no limits to set."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from app.bench.graders.texts import folded, same_text, unquoted, unwrapped
from app.core.errors import ConfigError
from routers.extraction import cut, fences, final_answer
from routers.numerals import Numeral, picked, whole

Rule = Callable[[str, str], bool]

LETTER = re.compile(
    r"[\s*_(\[{$`\"']{0,6}(?:\\(?:text|mathrm|mathbf|textbf)\{\(?)?"
    r"(?:(?:option|choice|answer|letter)\s)?[\s*_(\[`\"']{0,4}"
    # "The answer is I think …" and "… is a matter of …" name no letter.
    r"(?-i:([A-J])(?![\w'’]|\s(?:think|believe|guess|would|am)\b)|([a-j])(?=\s{0,4}(?:[.,;:)\]}*_`\"']|\Z)))",
    re.IGNORECASE,
)
ALONE = re.compile(r"[\s*_(\[`\"']{0,6}([A-Ja-j])[\s*_)\]`\"'.:]{0,6}")
BRACKETED = re.compile(r"(?<![\w)\]])[(\[*]{1,3}\s?([A-J])\s?[)\]*]{1,3}(?!\w)")
NAMED = re.compile(
    r"\b(?:option|choice|answer|letter|select|choose|pick)\s[(*\"'`]{0,3}([A-J])(?![\w'’])", re.IGNORECASE
)
LEADING = re.compile(r"([A-J])(?:[.):]|\s[-–—:]\s)")
CAPITAL = re.compile(r"(?<![\w'’])([B-HJ])(?![\w'’])")


def check_rule(grader: str, target: str) -> None:
    """Raise `ConfigError` where no reply could ever be right: a pattern that does not compile, a number that is
    none, JSON that does not parse, a choice that is no letter from A to J."""
    if grader == "regex":
        try:
            found_by_re2(target, "")
        except pa.ArrowInvalid as error:
            raise ConfigError(f"target {shortened(target)} is no RE2 pattern ({_reason(error)})") from error
    elif grader == "number" and _number_of_target(target) is None:
        raise ConfigError(f"target {shortened(target)} holds no number: write it in digits")
    elif grader == "json" and parse_json(target) is NOT_JSON:
        raise ConfigError(f"target {shortened(target)} is not JSON: quote its strings with double quotes")
    elif grader == "choice" and _letter_of_target(target) is None:
        raise ConfigError(f"target {shortened(target)} is not a letter from A to J")


def shortened(text: str) -> str:
    """`text` as an error message quotes it."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _exact(reply: str, target: str) -> bool:
    """The whole reply, case and runs of spaces aside."""
    return _normal(reply) == _normal(target)


def _normal(text: str) -> str:
    return folded(unicodedata.normalize("NFC", text))


def _contains(reply: str, target: str) -> bool:
    """The target stands in the reply, case and runs of spaces aside, and not within a longer word or number."""
    text, wanted = _normal(reply), _normal(target)
    if not wanted:
        return False
    place = text.find(wanted)
    while place >= 0:
        if not _continues(text, place, place - 1) and not _continues(
            text, place + len(wanted) - 1, place + len(wanted)
        ):
            return True
        # Past the whole match: overlapping ones would cost the square of the length, and begin within a word anyway.
        place = text.find(wanted, place + len(wanted))
    return False


def _continues(text: str, inside: int, outside: int) -> bool:
    return 0 <= outside < len(text) and text[inside].isalnum() and text[outside].isalnum()


def _number(reply: str, target: str) -> bool:
    """The number the reply comes to: that of its final answer, else its last one."""
    wanted = _number_of_target(target)
    if wanted is None:
        return False
    found = final_answer(reply)
    number = picked(found.text, marked=found.marked) if found is not None else None
    if number is None:
        number = picked(cut(reply), marked=False)
    return number is not None and number.equals(wanted)


@lru_cache(maxsize=4096)
def _number_of_target(target: str) -> Numeral | None:
    return whole(target) or picked(target[:1000], marked=True)


def _choice(reply: str, target: str) -> bool:
    """The letter the reply chooses, in the usual phrasings."""
    wanted = _letter_of_target(target)
    return wanted is not None and _letter(reply) == wanted


def _letter_of_target(target: str) -> str | None:
    match = re.fullmatch(r"\s{0,4}\(?([A-Ja-j])[).:]?(?:\s.{0,500})?", target, flags=re.DOTALL)
    return match[1].upper() if match else None


def _letter(reply: str) -> str | None:
    found = final_answer(reply)
    if found is not None and found.marked:
        match = LETTER.match(found.text)
        if match is not None:
            return (match[1] or match[2]).upper()
    text = cut(reply).strip()
    alone = ALONE.fullmatch(text.rpartition("\n")[2])
    if alone is not None:
        return alone[1].upper()
    leading = LEADING.match(text)
    if leading is not None:
        return leading[1]
    # A and I stand alone as words too, so they count only where they are marked as letters.
    for pattern in (NAMED, BRACKETED, CAPITAL):
        letters = [match[1].upper() for match in pattern.finditer(text)]
        if letters:
            return letters[-1]
    return None


def _regex(reply: str, target: str) -> bool:
    """The pattern is found in the reply."""
    try:
        return found_by_re2(target, reply)
    except pa.ArrowInvalid:
        return False


def found_by_re2(pattern: str, text: str) -> bool:
    """Whether the RE2 pattern is found in `text`. Raises `ValueError` where it is none."""
    # RE2 (through Arrow) and not `re`: its time is linear in the text, so no pattern of a suite's author can hang
    # a run on an unlucky reply. The price: no back-references and no look-around.
    column = pa.array([_utf8(text)], type=pa.large_string())
    return bool(pc.match_substring_regex(column, pattern=_utf8(pattern))[0].as_py())


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


NOT_JSON = object()


def _json(reply: str, target: str) -> bool:
    """The reply, its last code fence or its final answer is JSON of the target's value."""
    wanted = parse_json(target)
    if wanted is NOT_JSON:
        return False
    text = cut(reply)
    sources = [text, *fences(text)[-1:]] if "```" in text else [text]
    found = final_answer(text)
    # A single value is no sign of JSON: "the answer is 3" says what it says.
    if found is not None and found.marked and (value := unwrapped(found.text)).startswith(("{", "[")):
        sources.append(value)
    try:
        return any(_same_value(parse_json(source), wanted) for source in sources)
    except RecursionError:
        return False


def parse_json(text: str) -> Any:
    """The value of a JSON text; `NOT_JSON` where it is none."""
    try:
        return json.loads(text.strip(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return NOT_JSON


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _same_value(left: Any, right: Any) -> bool:
    """Equal as JSON values: 1 is 1.0, but true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same_value(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same_value, left, right))
    return bool(left == right)


def _answer(reply: str, target: str) -> bool:
    """The final answer is the target: as a number where the target is one, else as text."""
    found = final_answer(reply)
    if found is None:
        return False
    if same_text(found.text, target):
        return True
    wanted = _target_number(target)
    if wanted is None:
        return False
    # A number in quotes is still that number; a list with one number in it is not.
    text = unquoted(found.text.strip())
    text = found.text.strip() if text is None else text
    if text.startswith(("[", "{")):
        return False
    number = picked(text, marked=found.marked)
    return number is not None and number.equals(wanted)


@lru_cache(maxsize=4096)
def _target_number(target: str) -> Numeral | None:
    return whole(target) if unquoted(target.strip()) is None and target.strip()[:1] not in "[({" else None


GRADERS: Mapping[str, Rule] = MappingProxyType(
    {
        "answer": _answer,
        "choice": _choice,
        "contains": _contains,
        "exact": _exact,
        "json": _json,
        "number": _number,
        "regex": _regex,
    }
)
"""Every grader: (reply, target) → right or wrong."""
