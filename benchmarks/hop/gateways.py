"""The gateways that are compared: how each is started in front of the upstream, and how it is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks import installed
from benchmarks.hop import nginx
from benchmarks.hop.ledger import Postgres
from benchmarks.hop.processes import environment

ROOT = Path(__file__).parents[2]
CHAT = "/v1/chat/completions"
HOST = Path(__file__).with_name("host.py")
KEY = "sk-upstream-4f1c9a7e2b5d"
CLAUDE = "claude-3-5-haiku-20241022"
Kind = Literal["whole", "stream", "anthropic"]
"""What is measured: whole replies, streams, whole replies of a provider that speaks Anthropic's dialect."""
DIRECT: tuple[Kind, ...] = ("whole", "stream")
BOTH: tuple[Kind, ...] = ("whole", "stream", "anthropic")


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
    announced: Path | None = None
    """File it writes its port to, where it cannot be told which to take."""


@dataclass(frozen=True)
class Gateway:
    """One column of the table."""

    name: str
    launch: Callable[[Place], Launch]
    kinds: tuple[Kind, ...] = DIRECT
    journal: bool = False
    """Whether it keeps a journal, which is empty before its CPU is read."""
    prepare: Callable[[], object] = lambda: None
    """Install and compile it. Raises `NotInstalled`."""


def _nginx(place: Place) -> Launch:
    command = nginx.proxy(place.folder, place.port, f"127.0.0.1:{place.upstream}", streams=place.kind == "stream")
    return Launch(command, "gpt-4o-mini")


def _forwarder(place: Place) -> Launch:
    command = [sys.executable, "-m", "benchmarks.hop.forwarder", str(place.port), f"{_host(place)}/v1"]
    return Launch(command, "gpt-4o-mini", cwd=ROOT)


def hullspeed(name: str, tree: Path, postgres: Postgres) -> Gateway:
    """Hullspeed from a checkout, with everything on: the default router, prices, metrics, the ledger."""

    def prepare() -> None:
        # What is imported is compiled too, so that no start is slower for being the first.
        environ = environment({"PYTHONPATH": str(tree)})
        for command in (("-m", "compileall", "-q", "app", "routers"), ("-c", "import app.serving, app.cli.serve")):
            subprocess.run((sys.executable, *command), cwd=tree, env=environ, check=True)

    def launch(place: Place) -> Launch:
        config = _write(place, "config.yaml", yaml.safe_dump({"model_list": _models(place)}))
        command = [sys.executable, "-m", "app", "serve", "--config", config, "--port", str(place.port)]
        environ = {
            "HULLSPEED_DATA_DIR": str(place.folder / "data"),
            "DATABASE_URL": postgres.create(f"hop_{place.port}"),
            "PYTHONPATH": str(tree),
        }
        model = "claude" if place.kind == "anthropic" else "auto"
        return Launch(command, model, environ=environ, cwd=tree)

    return Gateway(name, launch, BOTH, journal=True, prepare=prepare)


def _litellm(place: Place) -> Launch:
    config = _write(place, "config.yaml", yaml.safe_dump({"model_list": _models(place)}))
    program = str(installed.litellm_proxy())
    command = [program, "--config", config, "--port", str(place.port), "--host", "127.0.0.1", "--num_workers", "1"]
    environ = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOG": "ERROR",
        # No gateway asks for a key here, so that none pays for checking it.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    return Launch(command, "claude" if place.kind == "anthropic" else "small", environ=environ)


def _portkey(place: Place) -> Launch:
    command = ["node", str(installed.portkey()), f"--port={place.port}", "--headless"]
    provider = "anthropic" if place.kind == "anthropic" else "openai"
    headers = {
        "x-portkey-provider": provider,
        "x-portkey-custom-host": f"{_host(place)}/v1",
        "authorization": f"Bearer {KEY}",
    }
    model = CLAUDE if place.kind == "anthropic" else "gpt-4o-mini"
    return Launch(command, model, headers=headers, environ={"NODE_ENV": "production"})


def _tensorzero(place: Place) -> Launch:
    fields = (
        f'type = "anthropic"\napi_base = "{_host(place)}/v1/"\nmodel_name = "{CLAUDE}"'
        if place.kind == "anthropic"
        else f'type = "openai"\napi_base = "{_host(place)}/v1"\nmodel_name = "gpt-4o-mini"'
    )
    config = _write(
        place,
        "tensorzero.toml",
        f"""\
[models.small]
routing = ["provider"]
[models.small.providers.provider]
{fields}
api_key_location = "env::UPSTREAM_KEY"
""",
    )
    announced = place.folder / "port"
    command = [str(installed.tensorzero()), str(HOST), "tensorzero", config, str(announced)]
    return Launch(
        command,
        "tensorzero::model_name::small",
        path="/openai/v1/chat/completions",
        environ={"UPSTREAM_KEY": KEY},
        announced=announced,
    )


def _switchyard(place: Place) -> Launch:
    config = _write(
        place,
        "routes.toml",
        f"""\
schema_version = 1
[llm_clients.provider]
format = "openai_chat"
base_url = "{_host(place)}/v1"
api_key_env = "UPSTREAM_KEY"
[targets.small]
id = "gpt-4o-mini"
llm_client = "provider"
[targets.large]
id = "gpt-4o"
llm_client = "provider"
[routes.auto]
id = "auto"
type = "stage_router"
capable_target = "large"
efficient_target = "small"
picker = "efficient_first"
confidence_threshold = 0.5
""",
    )
    announced = place.folder / "port"
    command = [str(installed.switchyard()), str(HOST), "switchyard", config, str(announced)]
    return Launch(command, "auto", environ={"UPSTREAM_KEY": KEY}, announced=announced)


def gateways(postgres: Postgres, trees: Mapping[str, Path], *, hullspeed_only: bool) -> list[Gateway]:
    """All of them, nginx first: it is what the others are measured by."""
    ours = [hullspeed(name, tree, postgres) for name, tree in trees.items()]
    first = [Gateway("nginx", _nginx), *ours]
    if hullspeed_only:
        return first
    return [
        *first,
        Gateway("TensorZero", _tensorzero, BOTH, prepare=installed.tensorzero),
        Gateway("Switchyard", _switchyard, prepare=installed.switchyard),
        Gateway("Portkey", _portkey, BOTH, prepare=installed.portkey),
        Gateway("litellm's proxy", _litellm, BOTH, prepare=installed.litellm_proxy),
        Gateway("FastAPI + httpx", _forwarder),
    ]


def _models(place: Place) -> list[dict[str, Any]]:
    """litellm's `model_list`: two models of OpenAI's to choose from, or one of Anthropic's."""
    if place.kind == "anthropic":
        reached = {"model": f"anthropic/{CLAUDE}", "api_base": _host(place), "api_key": KEY}
        return [{"model_name": "claude", "litellm_params": reached}]
    return [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{target}", "api_base": f"{_host(place)}/v1", "api_key": KEY},
        }
        for name, target in (("small", "gpt-4o-mini"), ("large", "gpt-4o"))
    ]


def _host(place: Place) -> str:
    return f"http://127.0.0.1:{place.upstream}"


def _write(place: Place, name: str, text: str) -> str:
    place.folder.mkdir(parents=True, exist_ok=True)
    (place.folder / name).write_text(text)
    return str(place.folder / name)
