"""What an import found: how complete the data is, and what in it would flatter a router."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from app.bench.importers.complaints import SHOWN
from app.bench.suite import Recorded, Suite
from app.bench.twins import NEAR, exact_groups, near_groups


@dataclass(frozen=True)
class Findings:
    """About one imported suite of n items and m models."""

    items: int
    """n."""
    models: int | None
    """m; None where nothing is recorded."""
    missing: int
    """Cells without an outcome."""
    missing_by_model: tuple[tuple[str, int], ...]
    """Models with missing cells and how many, most first."""
    duplicates: int
    """Items whose text an earlier item has already, case, spaces and punctuation aside."""
    duplicate_ids: tuple[str, ...]
    """The first of them."""
    near_duplicates: int
    """Items in a group of near-duplicates, exact ones included; see `app.bench.twins`."""
    near_groups: int
    """How many such groups there are."""
    across: int
    """Test items of the stratified split which have a near-duplicate among its train items."""
    test_items: int
    """Test items of that split."""
    seed: int
    """Seed of that split."""
    left_out: tuple[str, ...] = ()
    """Columns of the file that were not taken."""
    notes: tuple[str, ...] = ()
    """What the format's importer has to say, each a sentence."""
    free_models: tuple[str, ...] = field(default=())
    """Models whose every recorded cell costs 0 USD."""

    @property
    def coverage(self) -> float:
        """Share of the n · m cells that are recorded, in [0, 1]; NaN where nothing is recorded."""
        cells = self.items * (self.models or 0)
        return 1 - self.missing / cells if cells else float("nan")

    def lines(self) -> list[str]:
        """For a terminal, one finding a line."""
        said = [self._complete()]
        if self.duplicates:
            first = _and_more(self.duplicate_ids, self.duplicates)
            said.append(f"{self.duplicates:,} items repeat the text of an earlier one: {first}")
        else:
            said.append("no two items have the same text")
        said.append(self._near())
        if self.free_models:
            named = _and_more(self.free_models[:SHOWN], len(self.free_models))
            said.append(f"{len(self.free_models)} models cost nothing on every item: {named}")
        if self.left_out:
            said.append(f"columns left out: {', '.join(self.left_out)}")
        return said + list(self.notes)

    def _complete(self) -> str:
        if self.models is None:
            return f"{self.items:,} items, nothing recorded"
        cells = self.items * self.models
        if not self.missing:
            return f"complete: {cells:,} outcomes of {self.models} models on {self.items:,} items"
        worst = ", ".join(f"{model} {count:,}" for model, count in self.missing_by_model[:SHOWN])
        return f"{self.missing:,} of {cells:,} cells are missing (coverage {self.coverage:.2%}), most of {worst}"

    def _near(self) -> str:
        if not self.near_groups:
            return f"no near-duplicates (cosine above {NEAR:g})"
        found = (
            f"{self.near_duplicates:,} items in {self.near_groups:,} groups of near-duplicates (cosine above {NEAR:g})"
        )
        if not self.across:
            return f"{found}, none of them across the train/test split (seed {self.seed})"
        share = self.across / self.test_items
        return (
            f"{found}; {self.across:,} of {self.test_items:,} test items ({share:.1%}) have one in train "
            f"(seed {self.seed}): --split-by grouped keeps them on one side"
        )


def find(suite: Suite, *, left_out: Sequence[str] = (), notes: Sequence[str] = (), seed: int = 0) -> Findings:
    """Look a suite through. `seed`: of the stratified split whose two sides are compared."""
    exact, near = exact_groups(suite.items), near_groups(suite)
    _, first = np.unique(exact, return_index=True)
    repeated = np.setdiff1d(np.arange(len(suite.items)), first)
    sizes = np.bincount(near, minlength=1)
    test = suite.rows("test", seed)
    across = np.isin(near[test], near[suite.rows("train", seed)])
    recorded = suite.recorded
    missing: dict[str, int] = {}
    free: tuple[str, ...] = ()
    if recorded is not None:
        gone = np.isnan(recorded.quality)
        missing = {model: int(count) for model, count in zip(recorded.models, gone.sum(axis=0), strict=True) if count}
        nothing = ((recorded.cost == 0) | np.isnan(recorded.cost)).all(axis=0) & (recorded.cost == 0).any(axis=0)
        free = tuple(model for model, is_free in zip(recorded.models, nothing, strict=True) if is_free)
    return Findings(
        items=len(suite.items),
        models=None if recorded is None else len(recorded.models),
        missing=sum(missing.values()),
        missing_by_model=tuple(sorted(missing.items(), key=lambda pair: (-pair[1], pair[0]))),
        duplicates=len(repeated),
        duplicate_ids=tuple(suite.items[row].id for row in repeated[:SHOWN]),
        near_duplicates=int(sizes[sizes > 1].sum()),
        near_groups=int((sizes > 1).sum()),
        across=int(across.sum()),
        test_items=len(test),
        seed=seed,
        left_out=tuple(left_out),
        notes=tuple(notes),
        free_models=free,
    )


def describe(source: str, recorded: Recorded | None, left_out: Sequence[str] = (), *more: str) -> str:
    """What a suite says of itself: `source` and, where they are, gaps, columns left out, and `more` sentences."""
    said = [source]
    if recorded is not None and (missing := int(np.isnan(recorded.quality).sum())):
        said.append(f"{missing} of {recorded.quality.size} cells are missing.")
    if left_out:
        said.append(f"Columns left out: {', '.join(left_out)}.")
    return " ".join([*said, *more])


def _and_more(shown: Sequence[str], count: int) -> str:
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


@dataclass(frozen=True)
class Imported:
    """A suite fresh from a file, and what there is to say about it."""

    suite: Suite
    left_out: tuple[str, ...] = ()
    """Columns of the file that were not taken."""
    notes: tuple[str, ...] = ()
    """What else was changed or guessed on the way, each a sentence."""

    def findings(self, seed: int = 0) -> Findings:
        """The suite looked through; seconds where it holds tens of thousands of items."""
        return find(self.suite, left_out=self.left_out, notes=self.notes, seed=seed)
