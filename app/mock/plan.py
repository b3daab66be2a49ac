"""What the mock is told from outside: by a request itself, by a plan posted to it, or by chance with a seed.

A reply is written as the name of a model (`"mock-429"`), or as an object with one key: `{"answer": {…}}`,
`{"error": {"status": 429, …}}`, `{"fault": {"kind": "stall", …}}`, the fields being those of `app.mock.replies`.
"""

from __future__ import annotations

import random
from typing import Annotated, Any

import msgspec

from app.core.errors import InvalidRequest
from app.mock.models import MODELS
from app.mock.replies import Answer, Fault, Gate, HttpError, Reply

HEADER = "x-mock-reply"
FIELD = "mock_reply"
_KINDS: dict[str, type[Answer] | type[HttpError] | type[Fault]] = {
    "answer": Answer,
    "error": HttpError,
    "fault": Fault,
}


class Chaos(msgspec.Struct, forbid_unknown_fields=True):
    """Faults by chance. The same seed and the same order of requests give the same faults."""

    seed: int = 0
    rate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    """Share of the requests that go wrong."""
    replies: list[Any] = []
    """Drawn from evenly; empty: a choice of the built-in models."""


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /mock/plan`. Plans add up; `DELETE /mock/plan` forgets them."""

    model: str | None = None
    """Which model it is for; None: any."""
    replies: list[Any] = []
    """For the next requests, each used once."""
    always: Any = None
    """For each request once `replies` are used up; needs `model`."""
    chaos: Chaos | None = None


USUAL = (
    "mock-429", "mock-500", "mock-503", "mock-529", "mock-cut-before-headers", "mock-cut-after-headers",
    "mock-cut-midevent", "mock-reset", "mock-stall-midstream", "mock-no-finish", "mock-broken-line",
)  # fmt: skip
"""What goes wrong by chance where a plan names nothing."""


class Dice:
    """`Chaos` being drawn."""

    def __init__(self, chaos: Chaos) -> None:
        self._random = random.Random(chaos.seed)
        self._rate = chaos.rate
        self._replies = [read_reply(spec) for spec in chaos.replies or USUAL]

    def throw(self) -> Reply | None:
        """A fault, or None for a request that goes well."""
        if self._random.random() >= self._rate:
            return None
        return self._random.choice(self._replies)


def read_plan(body: bytes) -> Plan:
    """A posted plan. Raises `InvalidRequest`."""
    try:
        plan = msgspec.json.decode(body, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The plan is not valid: {error}.") from None
    if plan.always is not None and plan.model is None:
        raise InvalidRequest("`always` needs `model`: name the model that it is for.", param="model")
    return plan


def read_reply(spec: Any) -> Reply:
    """A reply as it is written in a plan, a header or a body. Raises `InvalidRequest`."""
    if isinstance(spec, str):
        if spec not in MODELS:
            raise InvalidRequest(f"There is no mock model {spec!r}; GET /mock/models lists them.", param="reply")
        return MODELS[spec][1]
    if not isinstance(spec, dict) or len(spec) != 1 or (kind := next(iter(spec))) not in _KINDS:
        raise InvalidRequest("A reply is a model's name or an object with `answer`, `error` or `fault`.", param="reply")
    try:
        reply: Reply = msgspec.convert(spec[kind], _KINDS[kind], dec_hook=_no_gate)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"`{kind}`: {error}.", param="reply") from None
    return reply


def _no_gate(kind: type, _value: Any) -> Any:
    raise ValueError("a gate is for programs that hold one" if kind is Gate else f"cannot read a {kind.__name__}")


def asked_reply(headers: dict[str, str], body: Any) -> Reply | None:
    """The reply that a request asks for itself, in the header `x-mock-reply` or the field `mock_reply`."""
    if HEADER in headers:
        text = headers[HEADER]
        try:
            return read_reply(msgspec.json.decode(text) if text.startswith("{") else text)
        except msgspec.DecodeError:
            raise InvalidRequest(f"`{HEADER}` is no JSON.", param=HEADER) from None
    if isinstance(body, dict) and FIELD in body:
        return read_reply(body[FIELD])
    return None
