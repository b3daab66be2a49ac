"""`--embedding`: the sentence embeddings that a command's routers are fitted to and asked with."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import run_async

if TYPE_CHECKING:
    from app.bench.suite import Suite
    from app.core.config import EmbeddingConfig
    from app.core.settings import Settings
    from app.gateway.embedders import Cache
    from app.gateway.upstream import Upstream

EmbeddingOption = Annotated[
    str | None,
    typer.Option(
        "--embedding",
        help="Have routers learn from sentence embeddings: onnx:FOLDER (with model.onnx and tokenizer.json) or "
        "model:NAME (an embedding model of the config, which costs what it costs); @TOKENS behind it: a budget other "
        "than 256.",
    ),
]


def as_yaml(text: str) -> str:
    """The option as `routing.embedding` says it."""
    asked = parse(text, 1)
    tokens = f", tokens: {asked.tokens}" if asked.tokens != type(asked).model_fields["tokens"].default else ""
    return f"{{onnx: {asked.onnx}{tokens}}}" if asked.onnx is not None else f"{{model: {asked.model}{tokens}}}"


def parse(text: str, items: int) -> EmbeddingConfig:
    """`onnx:FOLDER` or `model:NAME`, with `@TOKENS`, for so many items; raises `ConfigError` that says how."""
    from pydantic import ValidationError

    from app.core.config import EmbeddingConfig
    from app.core.errors import ConfigError

    found = re.fullmatch(r"(onnx|model):(.+?)(?:@(\d+))?", text)
    if found is None:
        raise ConfigError(f"--embedding {text}: write onnx:FOLDER or model:NAME", param="embedding")
    kind, what, tokens = found.groups()
    given = {kind: what, "cache": max(items, 1)} | ({"tokens": int(tokens)} if tokens else {})
    try:
        return EmbeddingConfig.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"--embedding {text}: {error.errors()[0]['msg']}", param="embedding") from None


def embedded(suite: Suite, text: str | None, settings: Settings) -> tuple[Suite, Cache | None]:
    """The suite with the embeddings of its prompts, and the embedder that knows them; as it is where `text` is None.

    Shows progress on standard error. Raises `ConfigError`.
    """
    if text is None:
        return suite, None
    from rich.console import Console
    from rich.progress import Progress

    from app.core.config import Config, load_config
    from app.core.errors import ConfigError, HullspeedError
    from app.gateway.configured import catalog_from_config, catalog_from_environment
    from app.gateway.direct import DirectUpstream
    from app.gateway.entries import build_embedder
    from app.gateway.health import Fleet, HealthRules
    from app.gateway.litellm import LitellmUpstream

    config = load_config(settings.config) if settings.config else Config()
    catalog = catalog_from_config(config) if config.model_list else catalog_from_environment()
    direct = DirectUpstream()
    upstreams: dict[str, Upstream] = {"direct": direct, "litellm": LitellmUpstream(direct)}
    routing = config.routing.model_copy(update={"embedding": parse(text, len(suite.items))})
    fleet = Fleet(catalog, HealthRules(routing.allowed_fails, routing.cooldown))
    embedder = build_embedder(routing, catalog, upstreams, fleet, Path.cwd() / "here")
    assert embedder is not None
    console = Console(stderr=True)
    prompts = [item.as_query().text for item in suite.items]

    async def work() -> Suite:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("embedding", total=len(prompts))
            try:
                vectors = await embedder.embed_all(prompts, lambda done: bar.update(task, completed=done))
            except HullspeedError as error:
                raise ConfigError(f"--embedding {text}: {error.message}", param="embedding") from None
            finally:
                for upstream in upstreams.values():
                    await upstream.close()
        return replace(suite, embeddings=vectors, embedder=embedder.name)

    return run_async(work()), embedder
