"""What a run is about: which items, which routers at which tradeoffs, judged how.

Replay and pure scoring start from the same plan, so that they can only differ in the way the question is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.bench.graders import (
    GraderContext,
    asks,
    check_grader,
    grade_recorded,
    grader_for,
    names,
    needs_target,
    reader,
)
from app.bench.splits import STRATIFIED, SplitBy, leakage
from app.bench.splits import rows as split_rows
from app.bench.suite import Item, Split, Suite
from app.core.errors import ConfigError
from app.gateway.embedders import check_needs
from routers import Outcomes, Router, registry
from routers.artifacts import MANIFEST, load

RECORDED = "recorded"


@dataclass(frozen=True)
class RouterSpec:
    """A router as somebody named it: `knn`, `knn:k=50`, the folder of an artifact, or `./my_router.py:MyRouter`."""

    text: str
    """What it is called in a run: for a file, the class and its parameters."""
    router: str | None
    """Name of an installed router, or of the class in `file`; None for an artifact."""
    params: dict[str, Any]
    artifact: Path | None = None
    file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> RouterSpec:
        """Raises `ConfigError` that says how to write one."""
        if (Path(text) / MANIFEST).is_file():
            return cls(Path(text).name, None, {}, Path(text))
        path, in_file, named = text.partition(".py:")
        name, _, rest = (named if in_file else text).partition(":")
        params = parse_params(rest.split(",") if rest else [])
        return cls(named, name, params, file=Path(f"{path}.py")) if in_file else cls(text, name, params)

    def find(self) -> type[Router] | None:
        """The router's class; None for an artifact. Raises `ValueError` where there is no such router."""
        if self.router is None:
            return None
        return registry.find(self.router) if self.file is None else registry.from_file(self.file, self.router)

    def check(self) -> None:
        """Raise `ConfigError` where there is no such router: cheap, before anything is fitted or sent."""
        try:
            self.find()
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
    allow_code: bool = False
    """Whether code that a suite or a reply brings may be run."""

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
    def grader_names(self) -> tuple[str, ...]:
        """The graders of the run's items, sorted; none where nothing is graded."""
        found = {self.grader_of(item) for item in self.items} if self.graded else set()
        return tuple(sorted(name for name in found if name is not None))

    @property
    def context(self) -> GraderContext:
        """What graders are told of the plan."""
        return GraderContext(allow_code=self.allow_code, named=self.grader)

    @cached_property
    def asks(self) -> bool:
        """True where a model judges replies."""
        return self.graded and any(asks(self.grader_of(item) or "") for item in self.suite.items)

    @cached_property
    def outcomes(self) -> Outcomes | None:
        """Recorded outcomes of all items with the quality in use; None where nothing is recorded.

        Where a model judges replies they have the recorded quality: to have it judge every recorded reply would cost
        far more than the run.
        """
        if self.suite.recorded is None:
            return None
        quality = None
        if self.graded and not self.asks:
            named = None if self.grader in (None, RECORDED) else self.grader
            quality = grade_recorded(self.suite, named, self.context)
        return self.suite.outcomes(quality)

    def check_grading(self, *, recorded_models: bool) -> None:
        """Raise `ConfigError` where a reply could not be judged, which must not turn up after it was paid for.

        `recorded_models`: the replies come from the suite's own outcomes.
        """
        if not self.graded:
            if self.outcomes is None or not recorded_models:
                raise ConfigError(
                    f"suite `{self.suite.name}` has no grader, and live replies have no recorded quality; "
                    f"name one with --grader ({', '.join(names())})"
                )
            return
        for item in self.items:
            name = self.grader_of(item)
            if name is None or (item.target is None and needs_target(name)):
                lacks = "grader" if name is None else f"target, which grader {name!r} needs"
                raise ConfigError(
                    f"item `{item.id}` of suite `{self.suite.name}` has no {lacks}: its replies could not be judged"
                )
        for name in self.grader_names:
            grader_for(name, self.context)

    def grade(self, *, recorded_models: bool) -> Callable[[Item, str, str], float]:
        """Quality of a reply (item, model that answered, text), by graders that ask nobody; `grading` has the others.

        Raises what `check_grading` raises, and `ConfigError` where a grader has to ask.
        """
        self.check_grading(recorded_models=recorded_models)
        if self.graded:
            readers = {name: reader(name, self.context) for name in self.grader_names}
            return lambda item, _model, reply: readers[self.grader_of(item) or ""].grade(item, reply).value
        outcomes = self.outcomes
        assert outcomes is not None
        row = {item: place for place, item in enumerate(outcomes.items)}
        column = {model: place for place, model in enumerate(outcomes.models)}
        return lambda item, model, _reply: float(outcomes.quality[row[item.id], column[model]])

    def build(self) -> dict[str, Router]:
        """The routers by the name they are asked for, fitted where that is needed.

        A trainable router with no artifact is fitted to the train part, the oracle to the scored items themselves.
        Raises `ConfigError` naming the router.
        """
        built = {spec.text: self._build(spec) for spec in self.routers}
        check_needs(built, self.suite.embedder or None, key="--embedding")
        return built

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
            cls = spec.find()
            assert cls is not None
            if not registry.is_trainable(cls):
                return registry.make(cls, spec.params)
            if self.outcomes is None:
                if not cls.needs_training:
                    return registry.make(cls, spec.params)
                raise ValueError(f"suite `{self.suite.name}` has no recorded outcomes to fit it to; give an artifact")
            rows = self.rows if cls.bench_only else self.train
            return cls.fit(self.outcomes.take(rows), **spec.params)
        except ValueError as error:
            raise ConfigError(f"router `{spec.text}`: {error}", param="router") from None

    def spec(self, upstream: str) -> dict[str, Any]:
        """What makes two runs the same run, as it is stored; and how many items that comes to, for whoever watches."""
        # Only where there are some: runs of before are found by their spec as it was.
        embedding = {"embedding": self.suite.embedder} if self.suite.embedder else {}
        return embedding | {
            "split": self.split,
            "seed": self.seed,
            "limit": self.limit,
            "routers": [spec.text for spec in self.routers],
            "tradeoffs": list(self.tradeoffs),
            "quality": self.quality_source,
            "upstream": upstream,
            "split_by": str(self.split_by),
            "items": len(self.rows),
        }
