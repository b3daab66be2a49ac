"""The gateways that are compared: how each is started in front of the upstream, and how it is asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks.hop import nginx
from benchmarks.hop.ledger import Postgres

ROOT = Path(__file__).parents[2]
CHAT = "/v1/chat/completions"
Kind = Literal["whole", "stream", "anthropic"]
"""What is measured: whole replies, streams, whole replies of a provider that speaks Anthropic's dialect."""
DIRECT: tuple[Kind, ...] = ("whole", "stream")
BOTH: tuple[Kind, ...] = ("whole", "stream", "anthropic")


class NotRun(Exception):
    """A gateway cannot be had here; says why."""


@dataclass(frozen=True)
class Place:
    """Where one gateway runs, and what is behind it."""

    kind: Kind
    port: int
    upstream: int
    """Port of the provider."""
    folder: Path
    """Its own."""


@dataclass(frozen=True)
class Launch:
    """How one gateway is started and asked."""

    command: list[str]
    model: str
    path: str = CHAT
    headers: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True)
class Gateway:
    """One column of the table."""

    name: str
    launch: Callable[[Place], Launch]
    kinds: tuple[Kind, ...] = DIRECT
    journal: bool = False
    """Whether it keeps a journal, which is empty before its CPU is read."""
    prepare: Callable[[], None] = lambda: None
    """Install and compile it. Raises `NotRun`."""


def _nginx(place: Place) -> Launch:
    command = nginx.proxy(place.folder, place.port, f"127.0.0.1:{place.upstream}", streams=place.kind == "stream")
    return Launch(command, "gpt-4o-mini")


def _forwarder(place: Place) -> Launch:
    url = f"http://127.0.0.1:{place.upstream}/v1"
    return Launch(
        [sys.executable, "-m", "benchmarks.hop.forwarder", str(place.port), url], "gpt-4o-mini", cwd=ROOT
    )  # fmt: skip


def hullspeed(name: str, tree: Path, postgres: Postgres) -> Gateway:
    """Hullspeed from a checkout, with everything on: the default router, prices, metrics, the ledger."""

    def launch(place: Place) -> Launch:
        place.folder.mkdir(parents=True, exist_ok=True)
        config = place.folder / "config.yaml"
        config.write_text(yaml.safe_dump({"model_list": models(place)}))
        command = [sys.executable, "-m", "app", "serve", "--config", str(config), "--port", str(place.port)]
        environ = {
            "HULLSPEED_DATA_DIR": str(place.folder / "data"),
            "DATABASE_URL": postgres.create(f"hop_{place.port}"),
            "PYTHONPATH": str(tree),
        }
        model = "claude" if place.kind == "anthropic" else "auto"
        return Launch(command, model, environ=environ, cwd=tree)

    return Gateway(name, launch, BOTH, journal=True)


def models(place: Place) -> list[dict[str, Any]]:
    """litellm's `model_list`: two models of OpenAI's to choose from, or one of Anthropic's."""
    host = f"http://127.0.0.1:{place.upstream}"
    if place.kind == "anthropic":
        reached = {"model": "anthropic/claude-3-5-haiku-20241022", "api_base": host, "api_key": "k"}
        return [{"model_name": "claude", "litellm_params": reached}]
    return [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{target}", "api_base": f"{host}/v1", "api_key": "k"},
        }
        for name, target in (("small", "gpt-4o-mini"), ("large", "gpt-4o"))
    ]


def gateways(postgres: Postgres, trees: Mapping[str, Path], *, hullspeed_only: bool) -> list[Gateway]:
    """All of them, nginx first: it is what the others are measured by."""
    ours = [hullspeed(name, tree, postgres) for name, tree in trees.items()]
    first = [Gateway("nginx", _nginx), *ours]
    if hullspeed_only:
        return first
    return [*first, Gateway("FastAPI + httpx", _forwarder)]
