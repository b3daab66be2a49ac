"""What a run is about: which items, which routers at which tradeoffs, judged how.

Replay and pure scoring start from the same plan, so that they can only differ in the way the question is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.bench.graders import check_grader, grade, grade_recorded
from app.bench.replay import Grade
from app.bench.splits import STRATIFIED, SplitBy, leakage
from app.bench.splits import rows as split_rows
from app.bench.suite import Item, Split, Suite
from app.core.errors import ConfigError
from routers import Outcomes, Router, registry
from routers.artifacts import MANIFEST, load

RECORDED = "recorded"


@dataclass(frozen=True)
class RouterSpec:
    """A router as somebody named it: `knn`, `knn:k=50`, or the folder of an artifact."""

    text: str
    router: str | None
    params: dict[str, Any]
    artifact: Path | None = None

    @classmethod
    def parse(cls, text: str) -> RouterSpec:
        """Raises `ConfigError` that says how to write one."""
        if (Path(text) / MANIFEST).is_file():
            return cls(Path(text).name, None, {}, Path(text))
        name, _, rest = text.partition(":")
        return cls(text, name, parse_params(rest.split(",") if rest else []))

    def check(self) -> None:
        """Raise `ConfigError` where no such router is installed: cheap, before anything is fitted or sent."""
        if self.router is not None:
            try:
                registry.find(self.router)
            except ValueError as error:
                raise ConfigError(str(error), param="router") from None


def parse_params(pairs: Sequence[str]) -> dict[str, Any]:
    """`k=v` pairs; a value is JSON where it can be read as such, else text. Raises `ConfigError`."""
    params: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"parameter `{pair}` is not of the form name=value, e.g. k=50")
        try:
            params[name.strip()] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            params[name.strip()] = value
    return params


@dataclass(frozen=True)
class Plan:
    """Everything that the figures of a run depend on."""

    suite: Suite
    routers: tuple[RouterSpec, ...]
    tradeoffs: tuple[float, ...] = ()
    """Each in [0, 1]; none where the plan only serves to fit."""
    split: Split = "test"
    seed: int = 0
    limit: int | None = None
    """Most items; a seeded sample of the split where it holds more."""
    grader: str | None = None
    """In place of the suite's grader; an item's own stays. `recorded`: use recorded quality although there is one."""

    split_by: SplitBy = STRATIFIED
    """How the suite is divided."""
    remote: bool = False
    """True where the routers live in a proxy somebody else runs: their names mean nothing here."""

    def __post_init__(self) -> None:
        if not self.routers:
            raise ConfigError("name at least one router, e.g. -r cheapest -r knn")
        if not self.remote:
            for spec in self.routers:
                spec.check()
        texts = [spec.text for spec in self.routers]
        for text in texts:
            if texts.count(text) > 1:
                raise ConfigError(f"router `{text}` is named twice")
        for tradeoff in self.tradeoffs:
            if not 0 <= tradeoff <= 1:
                raise ConfigError(f"tradeoff {tradeoff:g} is outside [0, 1] (0 = quality only, 1 = cost only)")
        if self.grader is not None and self.grader != RECORDED:
            check_grader(self.grader)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Positions of the items, ascending."""
        rows = split_rows(self.suite, self.split, self.seed, self.split_by)
        if self.limit is not None and self.limit < len(rows):
            picked = np.random.default_rng([self.seed, self.limit]).choice(rows, self.limit, replace=False)
            rows = np.sort(picked)
        if not len(rows):
            raise ConfigError(f"the {self.split} part of suite `{self.suite.name}` holds no items")
        return rows

    @cached_property
    def train(self) -> NDArray[np.int64]:
        """Positions of the items that routers and baselines are fitted to, ascending."""
        return split_rows(self.suite, "train", self.seed, self.split_by)

    def leaks(self, built: Mapping[str, Router]) -> list[str]:
        """One sentence for each router that was fitted to items which are scored here."""
        said = []
        for name, router in built.items():
            found = None if router.bench_only else leakage(router, self.suite, self.rows)
            if found is not None and found.count:
                said.append(
                    f"{name} was fitted to {found.count:,} of the {found.items:,} scored items ({found.share:.1%}): "
                    "its figures flatter it."
                )
        return said

    @property
    def items(self) -> list[Item]:
        """The items of the run, in the suite's order."""
        return [self.suite.items[row] for row in self.rows]

    @cached_property
    def graded(self) -> bool:
        """True where replies are graded, False where recorded quality is looked up."""
        if self.grader is not None:
            return self.grader != RECORDED
        return self.suite.grader is not None or all(item.grader is not None for item in self.suite.items)

    @property
    def quality_source(self) -> str:
        """`recorded`, or `grader:` and its name."""
        if not self.graded:
            return RECORDED
        names = {self.grader_of(item) for item in self.suite.items}
        return f"grader:{names.pop()}" if len(names) == 1 else "grader:per item"

    def grader_of(self, item: Item) -> str | None:
        """The grader of one item: its own, else the run's, else the suite's; as `grade_recorded` has it."""
        named = None if self.grader == RECORDED else self.grader
        return item.grader or named or self.suite.grader

    @cached_property
    def outcomes(self) -> Outcomes | None:
        """Recorded outcomes of all items with the quality in use; None where nothing is recorded."""
        if self.suite.recorded is None:
            return None
        quality = None
        if self.graded:
            quality = grade_recorded(self.suite, None if self.grader in (None, RECORDED) else self.grader)
        return self.suite.outcomes(quality)

    def grade(self, *, recorded_models: bool) -> Grade:
        """How replies are judged. `recorded_models`: they come from the suite's own outcomes.

        Raises `ConfigError` where neither a grader nor recorded quality can judge.
        """
        if self.graded:
            return self._grade_reply
        outcomes = self.outcomes
        if outcomes is None or not recorded_models:
            raise ConfigError(
                f"suite `{self.suite.name}` has no grader, and live replies have no recorded quality; "
                "name one with --grader (answer, number, choice, exact, contains, regex, json)"
            )
        row = {item: place for place, item in enumerate(outcomes.items)}
        column = {model: place for place, model in enumerate(outcomes.models)}

        def look_up(item: Item, model: str, _reply: str) -> float:
            return float(outcomes.quality[row[item.id], column[model]])

        return look_up

    def _grade_reply(self, item: Item, _model: str, reply: str) -> float:
        grader = self.grader_of(item)
        if grader is None or item.target is None:
            raise ConfigError(f"item `{item.id}` of suite `{self.suite.name}` has no target or no grader")
        return grade(grader, reply, item.target)

    def build(self) -> dict[str, Router]:
        """The routers by the name they are asked for, fitted where that is needed.

        A trainable router with no artifact is fitted to the train part, the oracle to the scored items themselves.
        Raises `ConfigError` naming the router.
        """
        return {spec.text: self._build(spec) for spec in self.routers}

    def _build(self, spec: RouterSpec) -> Router:
        router = self._make(spec)
        known = self.outcomes.models if self.outcomes is not None else router.named_models()
        for model in router.named_models():
            if model not in known:
                raise ConfigError(
                    f"router `{spec.text}` names model `{model}`, which suite `{self.suite.name}` has no outcomes of; "
                    f"it has {', '.join(known)}",
                    param="router",
                )
        return router

    def _make(self, spec: RouterSpec) -> Router:
        try:
            if spec.artifact is not None:
                return load(spec.artifact)
            assert spec.router is not None
            cls = registry.find(spec.router)
            if not registry.is_trainable(cls):
                return registry.build(spec.router, spec.params)
            if self.outcomes is None:
                if not cls.needs_training:
                    return registry.build(spec.router, spec.params)
                raise ValueError(f"suite `{self.suite.name}` has no recorded outcomes to fit it to; give an artifact")
            rows = self.rows if cls.bench_only else self.train
            return cls.fit(self.outcomes.take(rows), **spec.params)
        except ValueError as error:
            raise ConfigError(f"router `{spec.text}`: {error}", param="router") from None

    def spec(self, upstream: str) -> dict[str, Any]:
        """What makes two runs the same run, as it is stored."""
        return {
            "split": self.split,
            "seed": self.seed,
            "limit": self.limit,
            "routers": [spec.text for spec in self.routers],
            "tradeoffs": list(self.tradeoffs),
            "quality": self.quality_source,
            "upstream": upstream,
            "split_by": str(self.split_by),
        }
