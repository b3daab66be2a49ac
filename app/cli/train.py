"""`hullspeed train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.cli.embedding import EmbeddingOption
from app.cli.options import AllowCodeFlag, ConfigOption, DataDirOption, run_async

if TYPE_CHECKING:
    from app.bench.suite import Suite
    from app.store.database import Database
    from routers.card import Card


def train(
    router: Annotated[str, typer.Argument(help="A trainable router, e.g. knn or ridge.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the artifact; must not exist.")],
    suite: Annotated[
        str | None, typer.Option("--suite", "-s", help="Name of the suite with recorded outcomes.")
    ] = None,
    from_calls: Annotated[
        bool, typer.Option("--from-calls", help="Learn from logged calls that have scores, in place of a suite.")
    ] = False,
    since: Annotated[
        str, typer.Option(help="With --from-calls: 90m, 12h, 7d, 2w ago, or an ISO date or time (UTC).")
    ] = "30d",
    param: Annotated[list[str] | None, typer.Option("--param", help="name=value; may be repeated.")] = None,
    split: Annotated[
        Literal["train", "all"],
        typer.Option(help="train: leave the test part untouched, so that it can be scored honestly."),
    ] = "train",
    seed: Annotated[int, typer.Option(min=0, help="Seeds the split.")] = 0,
    grader: Annotated[str | None, typer.Option(help="Grade the recorded replies anew with this.")] = None,
    allow_code: AllowCodeFlag = False,
    embedding: EmbeddingOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Fit a router to a suite's outcomes and write it as an artifact that a config can name."""
    from dataclasses import replace

    from app.bench.plan import Plan, RouterSpec, parse_params
    from app.bench.training import train as carry_out
    from app.cli.embedding import as_yaml, embedded
    from app.cli.progress import steps
    from app.cli.store import open_database
    from app.core.errors import ConfigError
    from app.core.settings import load_settings
    from routers import registry

    spec = RouterSpec.parse(router)
    try:
        cls = spec.find()
    except ValueError as error:
        raise ConfigError(str(error), param="router") from None
    if cls is None or not registry.is_trainable(cls) or cls.bench_only:
        raise ConfigError(f"router `{router}` cannot be trained", param="router")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output} exists already; choose another folder or remove it", param="output")
    if (suite is None) != from_calls:
        raise ConfigError("name what to learn from: either --suite NAME or --from-calls")
    params = spec.params | parse_params(param or [])

    async def work() -> Plan:
        async with open_database(settings=settings) as database:
            found = await _scored_calls(database, since) if suite is None else await _suite(database, suite)
            return Plan(
                found,
                (spec,),
                split="all" if from_calls else split,
                seed=seed,
                grader=grader,
                allow_code=allow_code or settings.allow_code,
            )

    settings = load_settings(config=config, data_dir=data_dir)
    plan = run_async(work())
    if embedding is not None:
        found, _ = embedded(plan.suite, embedding, settings)
        plan = replace(plan, suite=found)
    if grader is not None and plan.asks:
        raise ConfigError(f"grader `{grader}` asks a model about each reply, and training asks nobody")
    try:
        with steps() as step:
            fitted = carry_out(cls, plan, params, on_step=step)
        if embedding is not None and fitted.needs_embedding is None:
            raise ValueError("it learns from the words of prompts alone; leave out --embedding")
        fitted.save(output)
    except ValueError as error:
        raise ConfigError(f"router `{router}`: {error}") from None
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
    whose = "logged prompts with scores" if from_calls else f"items of `{suite}`"
    part = "" if plan.split == "all" else " (its train part)"
    typer.echo(f"Trained `{router}` on {len(plan.rows):,} {whose}{part}: {output} ({size:.1f} MB)")
    typer.echo(_validation(fitted.card))
    embedder = "" if embedding is None else f"  embedding: {as_yaml(embedding)}\n"
    typer.echo(
        f"Serve it with:\n\nrouting:\n  default: {router}\n{embedder}  routers:\n    {router}: {{artifact: {output}}}\n"
    )


async def _suite(database: Database, name: str) -> Suite:
    from app.bench import library
    from app.core.errors import ConfigError

    suite = await library.load(database, name)
    if suite.recorded is None:
        raise ConfigError(f"suite `{name}` has no recorded outcomes to fit to", param="suite")
    return suite


async def _scored_calls(database: Database, since: str) -> Suite:
    """The prompts of logged calls with a score, each with what the models that were asked made of it."""
    from datetime import UTC, datetime

    import numpy as np

    from app.bench.capture import capture
    from app.cli.recording import parse_time
    from app.core.errors import ConfigError
    from app.store.queries.calls import CallFilter

    first = parse_time(since, datetime.now(UTC), "--since")
    captured = (await capture(database, "calls", CallFilter(since=first), redact=lambda messages: messages)).suite
    assert captured.recorded is not None
    known = ~(np.isnan(captured.recorded.quality) | np.isnan(captured.recorded.cost))
    if not known.any():
        raise ConfigError(
            f"none of the {len(captured.items):,} logged prompts since {since} has a score and a known cost: "
            "post scores to /v1/calls/{id}/scores"
        )
    suite = captured.take(np.flatnonzero(known.any(axis=1)))
    # What was asked of a model and never judged teaches nothing, and a router cannot stand on no outcome at all.
    return suite.only_models(np.flatnonzero(known.any(axis=0)))


def _validation(card: Card | None) -> str:
    """The card in a sentence or two."""
    if card is None:
        return "Not validated: too few items with an outcome of every model to hold some out."
    kept = card.tradeoff_for_quality(1.0)
    point = next(point for point in card.points if point.tradeoff == kept)
    helps = "better than the zero router" if card.delta_low > 0 else "not shown to beat the zero router"
    text = (
        f"On {card.held_out:,} items held out: AIQ {card.aiq:.4f} [{card.aiq_low:.4f}, {card.aiq_high:.4f}], "
        f"{card.delta_aiq:+.4f} [{card.delta_low:+.4f}, {card.delta_high:+.4f}] over the zero router ({helps}).\n"
    )
    if point.quality >= card.best_quality and card.best_cost > 0:
        text += (
            f"Quality of {card.best_single} ({card.best_quality:.3f}) at {point.cost / card.best_cost:.0%} of its cost "
            f"with tradeoff {kept:g}."
        )
    else:
        text += f"No setting keeps the quality of {card.best_single} ({card.best_quality:.3f}) on these items."
    return text
