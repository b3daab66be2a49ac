"""Is this reply right? Learned from the prompt, from how the reply looks, and from whether other replies agree.

Agreement says most: of two cheap models that give the same answer both are right nearly always, of two that differ
seldom one. Where no answer can be read from the replies, only the look of a reply is left, and it says little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.artifacts import Artifact
from routers.logistic import fit_logistic, probability
from routers.regression import Line

Floats = NDArray[np.float64]

LOOKS = ("prior", "mean", "length", "oddity", "no answer", "agreeing", "trust in agreeing", "trust in others", "rival",
         "silent")  # fmt: skip
"""Names of what is seen of a reply among k: log-odds of the quality foretold for the prompt, the model's mean quality,
length in standard deviations from the model's mean, its square, whether it has no answer, how many others agree, the
qualities foretold for those, for those with another answer, and for the strongest group with another answer, and how
many others have no answer."""
_ALPHA = 1.0
_FARTHEST = 3.0


def looks(prior: Floats, mean: Floats, length: Floats, answers: NDArray[np.int32]) -> Floats:
    """What is seen of each of k replies in each of n rows, shape (n, k, 10).

    All of shape (n, k). `prior`: quality foretold for the prompt; `mean`: mean quality of the model; `length`: in
    standard deviations; `answers`: equal numbers within a row are equal answers, −1 is none.
    """
    k = answers.shape[1]
    apart = ~np.eye(k, dtype=bool)
    told = answers >= 0
    same = (answers[:, :, None] == answers[:, None, :]) & told[:, :, None] & apart
    differs = ~same & told[:, None, :] & apart
    trust = np.clip(prior, 0.02, 0.98)
    group = trust + (same * trust[:, None, :]).sum(axis=2)
    length = np.clip(length, -_FARTHEST, _FARTHEST)
    seen = [
        np.log(trust / (1 - trust)),
        mean,
        length,
        length**2,
        ~told,
        same.sum(axis=2),
        (same * trust[:, None, :]).sum(axis=2),
        (differs * trust[:, None, :]).sum(axis=2),
        (differs * group[:, None, :]).max(axis=2),
        (~told[:, None, :] & apart).sum(axis=2),
    ]
    return np.stack([np.broadcast_to(look, answers.shape).astype(np.float64) for look in seen], axis=2)


@dataclass(frozen=True)
class Acceptance:
    """One logistic regression for each number of replies that there may be, from 1 up."""

    lines: tuple[Line, ...]

    @classmethod
    def fit(
        cls,
        prior: Floats,
        mean: Floats,
        length: Floats,
        answers: NDArray[np.int32],
        quality: Floats,
        *,
        most: int,
        seed: int,
    ) -> Acceptance:
        """Learn from m replies to each of n prompts, all of shape (n, m) but `mean`, (m,); arguments as in `looks`.

        `quality`: NaN where there is no reply to learn from; `most`: replies there may be at once. Each reply is seen
        once among each number of replies, with the others drawn at random. Call within `features.one_thread`.
        """
        n, m = quality.shape
        rng = np.random.default_rng(seed)
        known = ~np.isnan(quality)
        lines = []
        for k in range(1, min(most, m) + 1):
            rows, columns = [], []
            for model in range(m):
                # Others in random order, those without a reply last: the first k − 1 are who else has replied.
                order = np.argsort(rng.random((n, m)) + 2.0 * ~known + 4.0 * (np.arange(m) == model), axis=1)
                others = order[:, : k - 1]
                whole = known[:, model] & np.take_along_axis(known, others, axis=1).all(axis=1)
                rows.append(np.flatnonzero(whole))
                columns.append(np.hstack([np.full((n, 1), model), others])[whole])
            row, column = np.concatenate(rows), np.vstack(columns)
            if not len(row):
                break
            at = (row[:, None], column)
            seen = looks(prior[at], mean[column], length[at], answers[at])[:, 0]
            lines.append(fit_logistic(seen, quality[row, column[:, 0]], _ALPHA))
        return cls(tuple(lines))

    @classmethod
    def read(cls, artifact: Artifact) -> Acceptance:
        """The regressions that `arrays` was written from; raises `ArtifactError`."""
        weights = artifact.array("acceptance", "f", None, len(LOOKS) + 1)
        return cls(tuple(Line(row[:-1, None], row[-1:]) for row in weights))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights as an artifact keeps them, each row with its offset at the end."""
        rows = [np.append(line.weights[:, 0], line.offsets) for line in self.lines]
        return {"acceptance": np.array(rows, dtype=np.float64).reshape(-1, len(LOOKS) + 1)}

    def chances(self, prior: Floats, mean: Floats, length: Floats, answers: NDArray[np.int32]) -> Floats:
        """How likely each of k replies in each of n rows is right, shape (n, k); arguments as in `looks`."""
        line = self.lines[min(answers.shape[1], len(self.lines)) - 1]
        return probability(line.at_many(looks(prior, mean, length, answers))[:, :, 0])


def numbered(answers: Sequence[str | None]) -> NDArray[np.int32]:
    """Answers as numbers, equal ones alike, −1 for none, shape (1, k)."""
    numbers: dict[str, int] = {}
    found = [-1 if answer is None else numbers.setdefault(answer, len(numbers)) for answer in answers]
    return np.array([found], dtype=np.int32)
