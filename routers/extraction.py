"""Where in a reply the final answer stands.

A model that was asked for one answer gives it in one of a few places, searched in the order of how surely it was
meant: a JSON field `answer` (complete or not), `\\boxed{}`, after `####` or a phrase like "the answer is", in the last
code fence, in bold on the last line, on the last line. Only the last place may hold working rather than an answer, so
it must be short.

Replies are untrusted and may be long: every search goes through the text once. There are no patterns with an
unbounded repetition before something that can fail, and the text is cut to `BUDGET`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

BUDGET = 200_000
"""Characters of a reply that are read; of a longer one the end, where the answer stands."""
LAST_LINE = 200
"""Longest last line, in characters, that may be an answer."""
MARKS = 100
"""Most marks of an answer that are tried, from the last one backwards."""

KEY = re.compile(r'"(?:final[ _]?)?answer"\s{0,20}:', re.IGNORECASE)
PHRASE = re.compile(
    r"\b(?:(?:final|correct|right|best|my)\s{1,4})?(?:answer|choice|option|result|solution)"
    r"(?:\s{1,4}(?:to|for|of)\s[^.:\n]{1,80})?"
    r"(?:\s{0,4}[*_]{0,3}(?:\s{0,4}(?:is|are|was|would\sbe|should\sbe|equals)\b\s{0,4}:?|\s{0,4}:))",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
CLOSING = re.compile(r'[`.,;]{0,3}\s{0,200}(?:\}|```|\Z|"[^"\n]{1,80}"\s{0,20}:)')
BLANK_FORM = re.compile(r"_{1,40}|…|\.\.\.")
OPEN_MARK = re.compile(r"\A[*_]{1,3}(?=\s)")
BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Found:
    """A final answer as it stands in the reply."""

    text: str
    marked: bool
    """True where the reply says that this is the answer; False for a last line."""


def cut(reply: str) -> str:
    """The part of a reply that is read: all of it, or its last `BUDGET` characters."""
    return reply[-BUDGET:]


def final_answer(reply: str) -> Found | None:
    """The final answer of `reply`; None where it gives none (broken off in its working, empty)."""
    text = cut(reply)
    for search in (_json_field, _boxed, _after_hashes, _after_phrase, _fenced, _bold):
        answer = search(text)
        if answer is not None:
            return Found(answer, marked=True)
    line = _last_line(text)
    return Found(line, marked=False) if line and len(line) <= LAST_LINE else None


def fences(text: str) -> list[str]:
    """Contents of the code fences of `text` in order, without their language tags; the last may be unclosed."""
    contents = []
    for part in text.split("```")[1::2]:
        tag, newline, rest = part.partition("\n")
        # "```json\n…" has a tag; "```42```" has none.
        contents.append(rest if newline and len(tag) <= 20 and " " not in tag.strip() else part)
    return contents


def _json_field(text: str) -> str | None:
    """The value of the last key `answer`, as text; read with a scanner where the JSON is broken or cut off."""
    for match in reversed(list(KEY.finditer(text))[-MARKS:]):
        start = _skip_blanks(text, match.end())
        if start >= len(text):
            continue
        value = _string_at(text, start) if text[start] == '"' else _bare_at(text, start)
        # A form that was repeated without being filled in is no answer.
        if value is not None and not (value and BLANK_FORM.fullmatch(value)):
            return value
    return None


def _skip_blanks(text: str, start: int) -> int:
    while start < len(text) and text[start] in " \t\r\n":
        start += 1
    return start


def _string_at(text: str, start: int) -> str:
    """The JSON string that opens at `start`. Models forget to escape quotes within and invent escapes, so a quote
    closes the string only where JSON could go on behind it."""
    parts: list[str] = []
    place = start + 1
    while place < len(text):
        sign = text[place]
        if sign == "\\" and place + 1 < len(text):
            step, decoded = _escape(text, place)
            parts.append(decoded)
            place += step
            continue
        if sign == '"' and _closes(text, place):
            break
        parts.append(sign)
        place += 1
    # Two escapes may be the halves of one character; a half alone is replaced.
    return "".join(parts).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _escape(text: str, place: int) -> tuple[int, str]:
    """Length and meaning of the escape at `place`; an unknown one, such as LaTeX's, stands for itself."""
    sign = text[place + 1]
    if sign in '"\\/':
        return 2, sign
    if sign == "u":
        digits = text[place + 2 : place + 6]
        if re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            return 6, chr(int(digits, 16))
    # \frac and \text are LaTeX that was not escaped; a form feed or a tab is never followed by a letter's rest.
    if sign in ESCAPES and not (sign in "bfrt" and text[place + 2 : place + 4].isalpha()):
        return 2, ESCAPES[sign]
    return 2, "\\" + sign


def _closes(text: str, place: int) -> bool:
    return CLOSING.match(text, place + 1) is not None


def _bare_at(text: str, start: int) -> str | None:
    """A value without quotes: JSON where it is that, else what stands up to the end of the object."""
    try:
        _, end = json.JSONDecoder(strict=False).raw_decode(text, start)
    except (ValueError, RecursionError):
        return _up_to_close(text[start : start + 10_000])
    # The source text, not the value: 9.110 and 1e400 stay what the model wrote.
    return text[start:end]


def _up_to_close(text: str) -> str | None:
    """Up to the closing brace of the object around it, brackets within skipped; at most to the end of the line."""
    depth = 0
    for place, sign in enumerate(text):
        if sign in "([{":
            depth += 1
        elif sign in ")]}":
            if depth == 0:
                text = text[:place]
                break
            depth -= 1
        elif sign == "\n" and depth == 0:
            text = text[:place]
            break
    return text.strip().rstrip(",") or None


def _boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{…}`, braces balanced."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    start = text.index("{", start) + 1
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    return None


def _after_hashes(text: str) -> str | None:
    place = f"\n{text}".rfind("\n#### ")
    if place < 0:
        return None
    line = text[place + 5 :].partition("\n")[0].strip()
    return line or None


def _after_phrase(text: str) -> str | None:
    """The rest of the sentence behind the last phrase such as "the answer is"."""
    places = [match.end() for match in PHRASE.finditer(text)][-MARKS:]
    for start in reversed(places):
        rest = OPEN_MARK.sub("", text[start : start + 2_000].lstrip(" \t:")).lstrip(" \t:")
        if rest.startswith("\n"):
            # "Answer:" as a heading over a short line.
            rest = rest.lstrip()
        if rest.startswith("```") and (inside := fences(rest)[0].strip()):
            return inside
        if rest.startswith(("{", "[")) and (value := _json_over_lines(rest)):
            return value
        end = SENTENCE_END.search(rest)
        sentence = (rest[: end.start()] if end else rest).strip()
        # "The **answer is 42**." leaves the closing mark.
        if sentence.endswith("**") and sentence.count("**") % 2:
            sentence = sentence[:-2].strip()
        if sentence:
            return sentence
    return None


def _json_over_lines(text: str) -> str | None:
    """The JSON that `text` begins with, where it is spread over several lines."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return text[:end] if "\n" in text[:end] else None


def _fenced(text: str) -> str | None:
    """The last code fence, where the reply ends with it."""
    if "```" not in text:
        return None
    contents = fences(text)
    tail = text[text.rfind("```") + 3 :].strip()
    if not contents or tail:
        return None
    return contents[-1].strip("\n") or None


def _bold(text: str) -> str | None:
    """The one thing in bold on the last line."""
    line = _last_line(text)
    marked = BOLD.findall(line) if len(line) <= LAST_LINE else []
    return marked[0].strip() if len(marked) == 1 else None


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2].strip()
