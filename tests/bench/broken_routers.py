"""Routers that each break one promise: every check of `conform-router` must find its own.

numpy is imported by those that need it: each is tested by two new processes.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routers import Choice, Decision, Query, Reply, Router, TrainableRouter, artifacts
from routers.artifacts import TrainedOn

if TYPE_CHECKING:
    from routers import Outcomes


def ranked(query: Query, reason: str = "fine", **fields: Any) -> Decision:
    names = [candidate.model for candidate in query.candidates]
    return Decision(
        tuple(Choice(name, probability=float(not place)) for place, name in enumerate(names)), reason, **fields
    )


class Sound(Router):
    name = "sound"

    def __init__(self, word: str = "fine") -> None:
        self.word = word

    def route(self, query: Query) -> Decision:
        return ranked(query, self.word)


class Unbuildable(Sound):
    def __init__(self) -> None:
        raise RuntimeError("no model file")


class Deadly(Sound):
    def route(self, query: Query) -> Decision:
        os._exit(7)


class Endless(Sound):
    def route(self, query: Query) -> Decision:
        while True:
            pass


class Fragile(Sound):
    def route(self, query: Query) -> Decision:
        query.text.encode()
        return ranked(query)


class Forgetful(Sound):
    def route(self, query: Query) -> Decision:
        return Decision(ranked(query).ranking[:1], "fine")


class Inventive(Sound):
    def route(self, query: Query) -> Decision:
        return Decision((Choice("gpt-9", probability=1.0),), "fine")


class Repetitive(Sound):
    def route(self, query: Query) -> Decision:
        return Decision(ranked(query).ranking * 2, "fine")


class Mute(Sound):
    def route(self, query: Query) -> Decision:
        return None  # type: ignore[return-value]


class Hasty(Sound):
    def route(self, query: Query) -> Decision:
        return ranked(query, ask=2)


class Prophet(Sound):
    def route(self, query: Query) -> Decision:
        return ranked(query, reply="sim-nano")


class Improbable(Sound):
    def route(self, query: Query) -> Decision:
        return Decision(tuple(Choice(choice.model) for choice in ranked(query).ranking), "fine")


class Overconfident(Sound):
    def route(self, query: Query) -> Decision:
        return Decision(tuple(Choice(choice.model, probability=1.0) for choice in ranked(query).ranking), "fine")


class Undefined(Sound):
    def route(self, query: Query) -> Decision:
        return Decision(
            tuple(Choice(c.model, float("nan"), None, c.probability) for c in ranked(query).ranking), "fine"
        )


class Refunding(Sound):
    def route(self, query: Query) -> Decision:
        return Decision(tuple(Choice(c.model, None, -0.1, c.probability) for c in ranked(query).ranking), "fine")


class Numeric(Sound):
    def route(self, query: Query) -> Decision:
        import numpy as np

        return Decision(
            tuple(Choice(c.model, np.float64(0.5), None, c.probability) for c in ranked(query).ranking), "fine"
        )


class Opaque(Sound):
    def route(self, query: Query) -> Decision:
        import numpy as np

        return ranked(query, detail={"vector": np.zeros(3)})


class Fickle(Sound):
    def route(self, query: Query) -> Decision:
        return ranked(query, detail={"luck": random.random()})


class Counting(Sound):
    calls = 0

    def route(self, query: Query) -> Decision:
        self.calls += 1
        return ranked(query, "odd" if self.calls % 2 else "even")


class Hashing(Sound):
    def route(self, query: Query) -> Decision:
        return ranked(query, detail={"bucket": hash(query.text)})


class Meddling(Sound):
    def route(self, query: Query) -> Decision:
        query.messages.append({"role": "system", "content": "Be brief."})  # type: ignore[attr-defined]
        return ranked(query)


class Reading(Sound):
    def route(self, query: Query) -> Decision:
        Path(os.devnull).read_bytes()
        return ranked(query)


class Calling(Sound):
    def route(self, query: Query) -> Decision:
        with socket.socket() as connection:
            connection.connect_ex(("127.0.0.1", 9))
        return ranked(query)


class Spawning(Sound):
    def route(self, query: Query) -> Decision:
        subprocess.run(["true"], check=True)
        return ranked(query)


class Writing(Sound):
    """Does its harm in a review."""

    def route(self, query: Query) -> Decision:
        return ranked(query, review=self.review)

    def review(self, replies: Sequence[Reply]) -> Decision:
        Path(os.devnull).write_text("seen")
        return Decision((), "fine", reply=replies[0].model)


class Chatty(Sound):
    def route(self, query: Query) -> Decision:
        return ranked(query, f"seed {query.seed}")


class Wordless(Sound):
    def route(self, query: Query) -> Decision:
        return ranked(query, "")


class Greedy(Sound):
    """Calls all there are, whatever the query allows."""

    def route(self, query: Query) -> Decision:
        return ranked(
            query, ask=len(query.candidates), review=lambda replies: Decision((), "fine", reply=replies[0].model)
        )


class Tireless(Sound):
    """Asks for the same model for ever."""

    def route(self, query: Query) -> Decision:
        decision = ranked(query, review=lambda _replies: decision)
        return decision


class Liar(Sound):
    """Returns the reply of a model it has not called."""

    def route(self, query: Query) -> Decision:
        last = query.candidates[-1].model if query.candidates else "nobody"
        return ranked(query, review=lambda _replies: Decision((), "fine", reply=last))


class Stumbling(Sound):
    """Cannot bear a model that fails."""

    def route(self, query: Query) -> Decision:
        def review(replies: Sequence[Reply]) -> Decision:
            assert replies[-1].text is not None
            return Decision((), "fine", reply=replies[-1].model)

        return ranked(query, review=review)


class Shrugging(Sound):
    def route(self, query: Query) -> Decision:
        return ranked(query, review=lambda _replies: None)  # type: ignore[arg-type,return-value]


class Sloppy(TrainableRouter):
    """Forgets what it has learned on the way to its folder."""

    name = "sloppy"

    def __init__(self, best: str, trained_on: TrainedOn) -> None:
        self.best, self.trained_on = best, trained_on

    @classmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Sloppy:
        return cls(outcomes.models[int(outcomes.quality.mean(axis=0).argmax())], TrainedOn.of(outcomes))

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        artifacts.write(folder, self, params={}, trained_on=self.trained_on, arrays={}, overwrite=overwrite)

    @classmethod
    def load(cls, folder: Path) -> Sloppy:
        artifact = artifacts.read(folder, cls)
        return cls(artifact.trained_on.models[0], artifact.trained_on)

    def route(self, query: Query) -> Decision:
        names = sorted((candidate.model for candidate in query.candidates), key=lambda name: name != self.best)
        return Decision(tuple(Choice(n, probability=float(not place)) for place, n in enumerate(names)), "best")
