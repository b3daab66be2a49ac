"""When two short texts say the same.

A target in quotes or brackets is a literal: case and the spaces within quotes count, the kind of quotes and the spaces
between elements do not. Any other target is prose: case, runs of spaces and a full stop do not count.
"""

from __future__ import annotations

import re

QUOTES = "'\"`"
PAIRED = {"“": "”", "‘": "’", "«": "»"}
BRACKETS = {"[": "]", "(": ")", "{": "}"}
WORDS = {"true": "True", "false": "False", "null": "None", "none": "None"}
SLACK = 1_000
"""Characters an answer may be longer than four times its target: reading a literal may cost the square of its
length, and a page is no answer to a word."""
UNESCAPED = re.compile(r"\\(['\"\\ntr])")
MEANING = {"n": "\n", "t": "\t", "r": "\r"}
WRAPS = (("**", "**"), ("$", "$"), ("\\(", "\\)"), ("\\text{", "}"), ("\\texttt{", "}"), ("\\mathrm{", "}"))


def folded(text: str) -> str:
    """Prose without case and runs of spaces."""
    return " ".join(text.casefold().split())


def same_text(answer: str, target: str) -> bool:
    """Whether `answer`, as it was found in a reply, says `target`."""
    if answer == target:
        return True
    if len(answer) > 4 * len(target) + SLACK:
        return False
    inner = unquoted(target.strip())
    if inner is not None:
        return _says(answer, inner)
    if _is_literal(target.strip()):
        plain = unwrapped(answer)
        return any(canonical(reading) == canonical(target) for reading in (plain, *_opened(plain)))
    return _prose(answer) == _prose(target)


def unquoted(text: str) -> str | None:
    """What stands between the quotes around `text`; None where there are none or they close earlier."""
    if len(text) < 2:
        return None
    if PAIRED.get(text[0]) == text[-1]:
        return text[1:-1]
    if text[0] not in QUOTES or text[-1] != text[0]:
        return None
    inside = text[1:-1]
    return None if text[0] in _without_escapes(inside) else inside


def _without_escapes(text: str) -> str:
    return re.sub(r"\\.", "", text, flags=re.DOTALL)


def _says(answer: str, inner: str) -> bool:
    """Whether an answer, quoted or not, is the string `inner` (source text between quotes)."""
    wanted = {inner, _unescape(inner)}
    # Without quotes the answer's own spaces count; around quotes they do not.
    readings = [answer, *_opened(answer.strip()), *_opened(unwrapped(answer))]
    return any(reading in wanted or _unescape(reading) in wanted for reading in readings)


def _opened(text: str) -> list[str]:
    """What stands between the outermost quotes, also where the inner ones were not escaped."""
    return [text[1:-1]] if len(text) >= 2 and text[0] in QUOTES and text[-1] == text[0] else []


def _unescape(text: str) -> str:
    return UNESCAPED.sub(lambda match: MEANING.get(match[1], match[1]), text)


def unwrapped(text: str) -> str:
    """Without emphasis, formula signs and backticks around the whole."""
    text = text.strip()
    for _ in range(4):
        before = text
        if len(text) >= 2 and text[0] == text[-1] == "`":
            text = text.strip("`").strip()
        for opening, closing in WRAPS:
            inside = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and inside.strip("*$ "):
                text = inside.strip()
        if text == before:
            break
    return text


def _is_literal(text: str) -> bool:
    return text in WORDS.values() or (len(text) >= 2 and BRACKETS.get(text[0]) == text[-1])


def canonical(text: str) -> str:
    """A literal without the spaces between its elements, all strings in one kind of quotes."""
    parts: list[str] = []
    place = 0
    while place < len(text):
        sign = text[place]
        if sign in "'\"" and (end := _closing(text, place)) is not None:
            parts.append("\0" + _unescape(text[place + 1 : end]) + "\0")
            place = end + 1
            continue
        end = place + 1
        while end < len(text) and text[end] not in "'\"":
            end += 1
        bare = "".join(text[place:end].split())
        parts.append(re.sub(r"[A-Za-z]+", lambda match: WORDS.get(match[0].lower(), match[0]), bare))
        place = end
    return "".join(parts)


def _closing(text: str, start: int) -> int | None:
    place = start + 1
    while place < len(text):
        if text[place] == "\\":
            place += 2
            continue
        if text[place] == text[start]:
            return place
        place += 1
    return None


def _prose(text: str) -> str:
    text = unwrapped(text).rstrip(".!").strip()
    content = unquoted(text)
    return folded(text if content is None else content)
