"""The suites that come with Hullspeed: questions whose answers are computed.

`basics` has the outcomes of the simulated models. It needs no keys and no network: the demo runs on it, and the same
replies come from the simulated upstream, so what a replay measures is what stands in the recorded outcomes.

`tuning` has no outcomes: `hullspeed tune` asks somebody's own models.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import numpy as np

from app.bench.bundled.lines import Line, path_of
from app.bench.graders import grade
from app.bench.suite import Item, Recorded, Suite
from app.gateway.simulated_models import MODELS, Answer, AnswerKey, Form, simulate

NAME = "basics"
"""The suite of the demo."""
TUNING = "tuning"
"""The suite that models are asked for tuning."""
SAID = MappingProxyType(
    {
        NAME: "computed questions with the outcomes of simulated models: shows how routing works, without a key",
        TUNING: "computed questions, from easy to what strong models miss, without outcomes: for models of your own",
    }
)
"""What each of them is for."""
NAMES = tuple(SAID)
FORMS: dict[str, Form] = {"json": "json", "exact": "alone"}


def load(name: str = NAME) -> Suite:
    """The bundled suite called `name`, one of `NAMES`."""
    return _load(name)


@cache
def _load(name: str) -> Suite:
    known = _lines(name)
    simulated = name == NAME
    said = f"{len(known)} computed questions in {len({line.category for line in known})} categories"
    return Suite(
        name=name,
        items=tuple(
            Item(
                id=line.id,
                category=line.category,
                messages=[{"role": "user", "content": line.input}],
                target=line.target,
                grader=line.grader,
            )
            for line in known
        ),
        recorded=_simulated() if simulated else None,
        simulated=simulated,
        description=(
            f"{said}. The recorded models are simulated: the figures show how routing works, not how any real model "
            "does."
            if simulated
            else f"{said}, from easy to what strong models miss; without outcomes."
        ),
    )


class Example(NamedTuple):
    """A prompt to try."""

    category: str
    text: str


LONGEST_EXAMPLE = 600
"""Characters of a prompt that is no more than looked at."""


@cache
def examples() -> tuple[Example, ...]:
    """A prompt of every category of the bundled suites, the hardest that is not long. Reads both files the first time:
    run it in a thread."""
    found: dict[str, Line] = {}
    for name in NAMES:
        for line in _lines(name):
            known = found.get(line.category)
            if len(line.input) <= LONGEST_EXAMPLE and (known is None or line.difficulty > known.difficulty):
                found[line.category] = line
    return tuple(Example(category, line.input) for category, line in found.items())


def _simulated() -> Recorded:
    """The outcomes of all simulated models, n items by m models in the order of the pool.

    Quality is the item's grader on the simulated reply. Cost is USD: the exact decimal
    `price.input × prompt_tokens + price.output × completion_tokens`, then the nearest float, which is what the proxy
    bills for the same usage.
    """
    known = _lines(NAME)
    key = answer_key()
    models = list(MODELS.values())
    shape = (len(known), len(models))
    quality, cost = np.zeros(shape), np.zeros(shape)
    prompt_tokens, completion_tokens = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    replies = np.empty(shape, dtype=np.object_)
    for row, line in enumerate(known):
        for column, model in enumerate(models):
            reply = simulate(model, line.input, key)
            quality[row, column] = grade(line.grader, reply.text, line.target)
            cost[row, column] = float(model.cost(reply.prompt_tokens, reply.completion_tokens))
            prompt_tokens[row, column] = reply.prompt_tokens
            completion_tokens[row, column] = reply.completion_tokens
            replies[row, column] = reply.text
    for matrix in (quality, cost, prompt_tokens, completion_tokens, replies):
        # The suite is shared by all who load it.
        matrix.setflags(write=False)
    return Recorded(tuple(MODELS), quality, cost, prompt_tokens, completion_tokens, replies)


@cache
def answer_key() -> AnswerKey:
    """The key for `app.gateway.simulated_models.simulate`: every prompt of `basics` with its answer."""
    return MappingProxyType(
        {
            line.input: Answer(
                target=line.target,
                category=line.category,
                difficulty=line.difficulty,
                wrong=tuple(line.wrong),
                form=FORMS.get(line.grader, "prose"),
            )
            for line in _lines(NAME)
        }
    )


@cache
def _lines(name: str) -> tuple[Line, ...]:
    return tuple(msgspec.json.decode(raw, type=Line) for raw in path_of(name).read_bytes().splitlines())
