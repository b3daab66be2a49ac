"""Kinds of questions of the suite `tuning`, one file per category: from easy to what strong models miss.

Each category asks for another strength, and each kind goes from a few steps of working to a few dozen. Answers are
open and their form is said.

What a model costs that is asked all of it: 95,000 prompt tokens (3.2 characters each) and 182,000 completion tokens
(12 for each step of working and 30 for the answer; no reply above 750), so $0.82 at 1 USD per million prompt tokens and
4 USD per million completion tokens. A model that thinks at length takes several times as many.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.bench.bundled.questions.base import Maker
from app.bench.bundled.questions.tuning import (
    counting,
    entailment,
    exact,
    graphs,
    puzzles,
    shaping,
    space,
    state,
    stories,
    tables,
    text,
    time,
    tracing,
)

CATEGORIES: Mapping[str, tuple[Maker, ...]] = {
    "counting": counting.MAKERS,
    "entailment": entailment.MAKERS,
    "exact": exact.MAKERS,
    "graphs": graphs.MAKERS,
    "puzzles": puzzles.MAKERS,
    "shaping": shaping.MAKERS,
    "space": space.MAKERS,
    "state": state.MAKERS,
    "stories": stories.MAKERS,
    "tables": tables.MAKERS,
    "text": text.MAKERS,
    "time": time.MAKERS,
    "tracing": tracing.MAKERS,
}
