"""Kinds of questions of the suite `basics`, one file per category: from trivial to tiresome."""

from __future__ import annotations

from collections.abc import Mapping

from app.bench.bundled.questions.base import Maker
from app.bench.bundled.questions.basics import arithmetic, calendar, code, formats, logic, lookup, strings, words

CATEGORIES: Mapping[str, tuple[Maker, ...]] = {
    "arithmetic": arithmetic.MAKERS,
    "calendar": calendar.MAKERS,
    "code": code.MAKERS,
    "format": formats.MAKERS,
    "logic": logic.MAKERS,
    "lookup": lookup.MAKERS,
    "strings": strings.MAKERS,
    "words": words.MAKERS,
}
