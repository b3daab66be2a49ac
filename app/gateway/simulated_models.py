"""Simulated models: what keyless demos and tests route between.

A simulated model cannot answer anything. It is handed the key to a list of questions and decides, by its skill and the
question's difficulty, whether to give the right answer or a plausible wrong one. So the pool behaves as real pools do
(dear and cheap, generalists and specialists), costs nothing, and says the same in every process: all chance comes from
a hash of the model's name and the prompt. Every description says that the model is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from app.core.types import Price
from routers.base import seed_for

SHARPNESS = 9.0
"""How steeply the chance of a right answer falls where difficulty passes skill."""
CHARACTERS_PER_TOKEN = 4
MILLION = 10**6

Form = Literal["prose", "alone", "json"]
"""How an answer is asked for: in any words, as the whole reply, or as JSON that may stand in a code fence."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the simulated models know of one question."""

    target: str
    category: str
    difficulty: float
    """In [0, 1]."""
    wrong: tuple[str, ...]
    """Plausible wrong answers, at least one."""
    form: Form = "prose"


AnswerKey = Mapping[str, Answer]
"""Answers by the text of the prompt, as `Query.text` gives it."""


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """One model of the pool."""

    name: str
    description: str
    input_price: Decimal
    """USD per million prompt tokens."""
    output_price: Decimal
    """USD per million completion tokens."""
    skill: float
    """The difficulty at which it is right every second time, in categories that `skills` does not name."""
    skills: Mapping[str, float]
    """The same by category."""
    sentences: int
    """Sentences of working before the answer, at most."""
    first_token: float
    """Seconds to the first token."""
    speed: float
    """Tokens per second after it."""

    @property
    def price(self) -> Price:
        """The rates per token."""
        return Price(input=self.input_price / MILLION, output=self.output_price / MILLION, source="simulated")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """USD of one call: `price.input × prompt_tokens + price.output × completion_tokens`, exactly."""
        price = self.price
        return price.input * prompt_tokens + price.output * completion_tokens


@dataclass(frozen=True, slots=True)
class SimulatedReply:
    """What a simulated model says, and what saying it takes."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    """Time the call would take, within a fifth of first token + completion tokens / speed."""


def _pool(*models: SimulatedModel) -> Mapping[str, SimulatedModel]:
    return MappingProxyType({model.name: model for model in models})


MODELS: Mapping[str, SimulatedModel] = _pool(
    SimulatedModel(
        name="sim-nano",
        description="A simulated small model: excellent at look-ups and exact formats, weak at the rest.",
        input_price=Decimal("0.05"),
        output_price=Decimal("0.20"),
        skill=0.2,
        skills={"lookup": 1.25, "format": 1.15, "logic": 0.1},
        sentences=1,
        first_token=0.08,
        speed=240.0,
    ),
    SimulatedModel(
        name="sim-mini",
        description="A simulated small generalist: good enough for easy questions of every kind.",
        input_price=Decimal("0.15"),
        output_price=Decimal("0.60"),
        skill=0.5,
        skills={"words": 0.65, "lookup": 0.7},
        sentences=2,
        first_token=0.15,
        speed=150.0,
    ),
    SimulatedModel(
        name="sim-coder",
        description="A simulated specialist: strong at arithmetic, code and letters, plain elsewhere.",
        input_price=Decimal("0.80"),
        output_price=Decimal("2.40"),
        skill=0.5,
        skills={"arithmetic": 1.15, "code": 1.2, "strings": 1.05, "calendar": 0.7},
        sentences=2,
        first_token=0.25,
        speed=110.0,
    ),
    SimulatedModel(
        name="sim-pro",
        description="A simulated large generalist: good at everything.",
        input_price=Decimal("3.00"),
        output_price=Decimal("12.00"),
        skill=0.75,
        skills={"words": 0.95, "calendar": 0.85, "strings": 0.6},
        sentences=4,
        first_token=0.45,
        speed=80.0,
    ),
    SimulatedModel(
        name="sim-max",
        description="A simulated flagship: best at logic and word problems, dear, careless about exact formats.",
        input_price=Decimal("15.00"),
        output_price=Decimal("60.00"),
        skill=0.85,
        skills={"logic": 1.15, "words": 1.1, "calendar": 1.0, "format": 0.65, "strings": 0.7},
        sentences=7,
        first_token=0.9,
        speed=45.0,
    ),
)
"""The pool by name, cheapest first."""

WORKING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "arithmetic": (
            "I take the operations one after the other.",
            "Carrying needs care here, so I go column by column.",
            "A rough estimate first tells me the size to expect.",
            "The estimate and the exact figure agree in size.",
        ),
        "code": (
            "I trace the program line by line.",
            "The variables change inside the loop, so I keep a note of them.",
            "Indices start at zero in Python.",
            "After the last pass the state is final and gets printed.",
        ),
        "logic": (
            "I write the clues down as a chain.",
            "Each clue links two of them, so the order is fixed.",
            "Following the chain from one end leaves a single possibility.",
            "I checked that no clue is broken by it.",
        ),
        "words": (
            "First I collect the figures of the story.",
            "Then I put them together step by step.",
            "The units match, so nothing has to be converted.",
            "Putting it back into the story fits.",
        ),
        "": (
            "Let me go through this step by step.",
            "I read the question once more to see what is asked.",
            "Working through it in order gives a clear outcome.",
            "A second look confirms this.",
        ),
    }
)
PROSE = (
    "The answer is {}.",
    "Answer: {}",
    "So the answer is **{}**.",
    "The result is {}.",
    "{}",
    "Therefore, the final answer is {}.",
)


def tokens(text: str) -> int:
    """Tokens a simulated model counts in `text`: one for every 4 characters begun, at least one."""
    return max(1, -(-len(text) // CHARACTERS_PER_TOKEN))


def simulate(model: SimulatedModel, prompt_text: str, key: AnswerKey) -> SimulatedReply:
    """What `model` says to a prompt: the same in every process. Right with the chance that `chance` gives; where the
    key does not hold the prompt, a sentence that says that a simulated model cannot answer."""
    answer = key.get(prompt_text)
    if answer is None:
        text = f"I am {model.name}, a simulated model, and cannot really answer: I only know my suite's questions."
    else:
        right = _draw(model, prompt_text, "right") < chance(model, answer)
        given = answer.target if right else _pick(answer.wrong, model, prompt_text, "wrong")
        text = _worded(model, prompt_text, answer, given)
    completion = tokens(text)
    stretch = 0.8 + 0.4 * _draw(model, prompt_text, "seconds")
    return SimulatedReply(
        text, tokens(prompt_text), completion, stretch * (model.first_token + completion / model.speed)
    )


def chance(model: SimulatedModel, answer: Answer) -> float:
    """Probability in (0, 1) that the model is right: logistic in skill − difficulty."""
    skill = model.skills.get(answer.category, model.skill)
    return 1 / (1 + math.exp(-SHARPNESS * (skill - answer.difficulty)))


def _worded(model: SimulatedModel, prompt_text: str, answer: Answer, given: str) -> str:
    if answer.form == "alone":
        return given
    if answer.form == "json":
        return f"```json\n{given}\n```" if _draw(model, prompt_text, "fence") < 0.3 else given
    sentence = _pick(PROSE, model, prompt_text, "words").format(given)
    count = int(_draw(model, prompt_text, "sentences") * (model.sentences + 1))
    working = " ".join((*WORKING.get(answer.category, ()), *WORKING[""])[:count])
    return f"{working}\n\n{sentence}" if working else sentence


def _draw(model: SimulatedModel, prompt_text: str, purpose: str) -> float:
    """A number in [0, 1) that belongs to the model, the prompt and the purpose."""
    # A prompt may hold half a surrogate pair, which has no UTF-8.
    known = prompt_text.encode("utf-8", "replace").decode()
    return seed_for(model.name, known, purpose) / 2**63


def _pick(options: tuple[str, ...], model: SimulatedModel, prompt_text: str, purpose: str) -> str:
    return options[int(_draw(model, prompt_text, purpose) * len(options))]
