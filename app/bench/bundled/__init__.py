"""The bundled suite `basics`: questions whose answers are computed, with the outcomes of the simulated models.

It needs no keys and no network: the demo runs on it, and the same replies come from the simulated upstream, so what a
replay measures is what stands in the recorded outcomes.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType

import msgspec
import numpy as np

from app.bench.bundled.lines import PATH, Line
from app.bench.graders import grade
from app.bench.suite import Item, Recorded, Suite
from app.gateway.simulated_models import MODELS, Answer, AnswerKey, Form, simulate

NAME = "basics"
FORMS: dict[str, Form] = {"json": "json", "exact": "alone"}


@cache
def load() -> Suite:
    """The suite with the outcomes of all simulated models, n items by m models in the order of the pool.

    Quality is the item's grader on the simulated reply. Cost is USD: the exact decimal
    `price.input × prompt_tokens + price.output × completion_tokens`, then the nearest float, which is what the proxy
    bills for the same usage.
    """
    known = _lines()
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
    return Suite(
        name=NAME,
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
        recorded=Recorded(tuple(MODELS), quality, cost, prompt_tokens, completion_tokens, replies),
        simulated=True,
        description=(
            f"{len(known)} computed questions in {len({line.category for line in known})} categories. The recorded "
            "models are simulated: the figures show how routing works, not how any real model does."
        ),
    )


@cache
def answer_key() -> AnswerKey:
    """The key for `app.gateway.simulated_models.simulate`: every prompt of the suite with its answer."""
    return MappingProxyType(
        {
            line.input: Answer(
                target=line.target,
                category=line.category,
                difficulty=line.difficulty,
                wrong=tuple(line.wrong),
                form=FORMS.get(line.grader, "prose"),
            )
            for line in _lines()
        }
    )


@cache
def _lines() -> tuple[Line, ...]:
    return tuple(msgspec.json.decode(raw, type=Line) for raw in PATH.read_bytes().splitlines())
