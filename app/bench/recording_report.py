"""What a run of `bench record` is: how much of each model it holds, and what that cost.

A recording scores no router, so it has no report like a replay's; what it leaves behind is a suite's outcomes, on
which routers are scored.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.bench import wording
from app.bench.record import LABEL
from app.store.database import Database
from app.store.runs import ResultRow, RunRow, RunStatus, load_results
from app.store.suites import SuiteRow, list_suites

UNKNOWN = "–"


class RecordedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded of one model."""

    model: str
    answered: int
    """Items with an outcome; the others are missing and will be asked again."""
    coverage: float
    """Share of the suite's items, in [0, 1]."""
    quality: float | None
    """Mean over the answered items; None where none is."""
    cost_per_1k: float | None
    """USD per 1,000 answered items."""
    cost_usd: Decimal
    """USD of all of them."""
    prompt_tokens: float | None
    """Mean of an answered item."""
    completion_tokens: float | None


class RecordingReport(msgspec.Struct, frozen=True, kw_only=True):
    """A recording as `bench report` shows it."""

    run: str
    suite: str
    """Name of the suite that was asked."""
    suite_digest: str
    status: RunStatus
    """`done` where no cell is missing."""
    created_at: datetime
    upstream: str
    quality_source: str
    items: int
    cost_usd: Decimal
    models: tuple[RecordedModel, ...]
    saved_in: tuple[str, ...]
    """Suites of these items that hold outcomes of all models that answered."""
    kind: Literal["record"] = "record"

    def to_csv(self) -> str:
        """A row a model: run, suite, and the fields of `RecordedModel`."""
        out = io.StringIO(newline="")
        table = csv.writer(out, lineterminator="\n")
        names = RecordedModel.__struct_fields__
        table.writerow(["run", "suite", *names])
        for model in self.models:
            values = [getattr(model, name) for name in names]
            table.writerow([self.run, self.suite, *("" if value is None else value for value in values)])
        return out.getvalue()


async def recording_report(database: Database, run: RunRow) -> RecordingReport:
    """The report of `run`, which `bench record` made, finished or not. Raises `StoreUnavailable`."""
    rows = [row for row in await load_results(database, run.id) if row.answered]
    same = [suite for suite in await list_suites(database) if suite.digest == run.suite_digest]
    items = same[0].items if same else len({row.item for row in rows})
    asked = [name.removeprefix(LABEL) for name in run.spec.get("routers", ())]
    models = tuple(_model(name, [row for row in rows if row.router == LABEL + name], items) for name in asked)
    return RecordingReport(
        run=run.id,
        suite=run.suite,
        suite_digest=run.suite_digest,
        status=run.status,
        created_at=run.created_at,
        upstream=str(run.spec.get("upstream", "")),
        quality_source=str(run.spec.get("quality", "")),
        items=items,
        cost_usd=sum((model.cost_usd for model in models), Decimal(0)),
        models=models,
        saved_in=_saved_in(same, {model.model for model in models if model.answered}),
    )


def _saved_in(suites: Sequence[SuiteRow], models: set[str]) -> tuple[str, ...]:
    return tuple(suite.name for suite in suites if models and models <= set(suite.models or ()))


def _model(name: str, rows: Sequence[ResultRow], items: int) -> RecordedModel:
    n = len(rows)
    cost = sum((row.cost_usd or Decimal(0) for row in rows), Decimal(0))
    return RecordedModel(
        model=name,
        answered=n,
        coverage=n / items if items else 0.0,
        quality=sum(row.quality or 0.0 for row in rows) / n if n else None,
        cost_per_1k=1000 * float(cost) / n if n else None,
        cost_usd=cost,
        prompt_tokens=sum(row.prompt_tokens or 0 for row in rows) / n if n else None,
        completion_tokens=sum(row.completion_tokens or 0 for row in rows) / n if n else None,
    )


def render_recording(report: RecordingReport, console: Console) -> None:
    """Print what was recorded, and which command goes on from here."""
    filled, wanted = sum(model.answered for model in report.models), report.items * len(report.models)
    console.print(Text(f"Recording of {report.suite}", style="bold"))
    facts = f"run {report.run} · upstream {report.upstream} · quality {report.quality_source} · ${report.cost_usd:.4f}"
    console.print(Text(f"{filled:,} of {wanted:,} cells · {facts}", style="dim"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("model", overflow="fold")
    for heading in ("items", "coverage", "quality", "$/1k", "$", "tokens in", "tokens out"):
        table.add_column(heading, justify="right")
    for model in report.models:
        table.add_row(*_cells(model))
    console.print(table)
    console.print(Text(_next(report)))


def _cells(model: RecordedModel) -> tuple[Text, ...]:
    tokens = (model.prompt_tokens, model.completion_tokens)
    return (
        Text(model.model),
        Text(f"{model.answered:,}"),
        Text(f"{model.coverage:.1%}"),
        Text(UNKNOWN if model.quality is None else f"{model.quality:.3f}"),
        Text(UNKNOWN if model.cost_per_1k is None else wording.money(model.cost_per_1k)),
        Text(f"{model.cost_usd:.4f}"),
        *(Text(UNKNOWN if count is None else f"{count:,.0f}") for count in tokens),
    )


def _next(report: RecordingReport) -> str:
    """Which command goes on."""
    if report.status != "done":
        return f"Not finished ({report.status}): the same `bench record` command asks for what is missing."
    if not report.saved_in:
        return "No suite holds these outcomes any more."
    return f"A recording scores no router: `hullspeed bench score {report.saved_in[0]} -r knn` does."
