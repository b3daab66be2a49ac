"""What there is to route with: the routers that can be asked, those that are installed, and the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.core.config import Config
from app.core.errors import ModelNotFound
from app.gateway.catalog import Catalog, Model
from app.gateway.decide import AUTO, Decider, RouterEntry
from app.gateway.entries import artifact_folder
from app.gateway.keys import Key, key_state
from app.gateway.standing import ModelStanding, standings
from routers import Router, registry
from routers.artifacts import TrainedOn
from routers.base import TrainableRouter
from routers.card import Card

State = Literal["serves", "needs training", "needs parameters", "bench only", "broken"]


@dataclass(frozen=True)
class RouterFacts:
    """A router that `auto/<name>` reaches."""

    name: str
    """Of the entry."""
    router: str
    version: str
    summary: str
    """What it does, in a line."""
    tradeoff: float
    max_calls: int
    max_latency: float | None
    """Seconds, likewise of this entry or of all."""
    is_default: bool
    is_configured: bool
    """False for an installed router that the config does not name, or one that the program was started with."""
    artifact: Path | None
    trained_on: TrainedOn | None
    can_be_trained: bool
    card: Card | None
    embedding: str | None
    """The embedder that it needs."""
    learns: bool
    """Learns from scores while it serves."""
    models: tuple[str, ...]
    """Models that it was trained on or that its parameters name; none where it takes all alike."""
    problems: tuple[str, ...]
    """What of it does not fit what is served."""

    @property
    def is_own(self) -> bool:
        """Whether somebody chose to have it, other than by installing Hullspeed."""
        return self.is_configured or self.trained_on is not None or self.is_default


@dataclass(frozen=True)
class InstalledRouter:
    """A router that is installed, and how an entry of it is made."""

    name: str
    summary: str
    state: State
    problem: str | None
    """Why it cannot be had, where it is broken."""
    yaml: str
    """What to add to the config; empty where nothing would help."""
    command: str | None
    """What to run before that."""


@dataclass(frozen=True)
class ModelFacts:
    """A model of the catalog, by its first deployment."""

    model: Model
    key: Key
    is_routed: bool
    """Whether routers may choose it."""
    standing: ModelStanding


def summary_of(cls: type[Router]) -> str:
    """The first sentence of its docstring that stands on the first line."""
    lines = (cls.__doc__ or "").strip().splitlines()
    return lines[0].strip() if lines else ""


def router_facts(decider: Decider, config: Config) -> list[RouterFacts]:
    """All routers that can be asked, the default first, then in the order of the config."""
    found = [_facts(decider, config, entry) for entry in decider.entries.values()]
    return sorted(found, key=lambda facts: (not facts.is_default, not facts.is_own))


def facts_of(decider: Decider, config: Config, name: str) -> RouterFacts:
    """One of them. Raises `ModelNotFound`."""
    entry = decider.entries.get(name)
    if entry is None:
        known = ", ".join(decider.entries)
        raise ModelNotFound(f"There is no router {name[:100]!r} to ask here; there are: {known}.", param="name")
    return _facts(decider, config, entry)


def _facts(decider: Decider, config: Config, entry: RouterEntry) -> RouterFacts:
    router, rules = entry.router(), decider.rules
    wanted = config.routing.routers.get(entry.name)
    trained = getattr(router, "trained_on", None)
    # A router that can do without training says that it has seen nothing.
    trained = trained if isinstance(trained, TrainedOn) and trained.models else None
    card = router.card if isinstance(router, TrainableRouter) else None
    return RouterFacts(
        name=entry.name,
        router=router.name,
        version=router.version,
        summary=summary_of(type(router)),
        tradeoff=entry.tradeoff,
        max_calls=entry.max_calls or rules.max_calls,
        max_latency=entry.max_latency or rules.max_latency,
        is_default=entry.name == rules.default,
        is_configured=wanted is not None,
        artifact=None if wanted is None else artifact_folder(wanted, config.source),
        trained_on=trained,
        can_be_trained=registry.is_trainable(type(router)),
        card=card,
        embedding=router.needs_embedding,
        learns=router.learner() is not None,
        models=tuple(router.named_models()) or (() if trained is None else trained.models),
        problems=tuple(_problems(decider, entry.name == rules.default, trained, card)),
    )


def _problems(decider: Decider, is_default: bool, trained: TrainedOn | None, card: Card | None) -> list[str]:
    found = []
    if trained is not None:
        served = [name for name in decider.catalog if name in decider.rules.models]
        gone = [name for name in trained.models if name not in served]
        new = [name for name in served if name not in trained.models]
        if gone:
            found.append(f"trained on models that are not served here: {', '.join(gone)}")
        if new:
            found.append(f"knows nothing of {', '.join(new)}, which it was not trained on: train it again")
        if card is None:
            found.append("was not validated when it was trained, so `target_cost` and `target_quality` do not work")
    elif is_default and decider.entries[decider.rules.default].origin is None:
        found.append("serves `auto` untrained, by price alone: `hullspeed tune` makes one that knows your models")
    return found


def default_reason(config: Config) -> str:
    """Why the default router is the one that it is."""
    if config.routing.default is not None:
        return "as `routing.default` says"
    if config.routing.routers:
        return "the first of `routing.routers`, since `routing.default` is not set"
    return "since `routing:` names no router, and this one needs no training"


def installed_routers(decider: Decider, config: Config) -> list[InstalledRouter]:
    """Every installed router that the config does not name. Imports them: run it in a thread."""
    used = {wanted.router for wanted in config.routing.routers.values()}
    names = [name for name in registry.names() if name not in used and name not in config.routing.routers]
    return [_installed(name, decider) for name in names]


def _installed(name: str, decider: Decider) -> InstalledRouter:
    try:
        cls = registry.find(name)
    except ValueError as error:
        return InstalledRouter(name, "", "broken", str(error), "", None)
    summary = summary_of(cls)
    if cls.bench_only:
        return InstalledRouter(name, summary, "bench only", None, "", None)
    if registry.is_trainable(cls) and cls.needs_training:
        folder = f"artifacts/{name}"
        command = f"hullspeed train {name} --suite SUITE -o {folder}"
        return InstalledRouter(name, summary, "needs training", None, _yaml(name, {"artifact": folder}), command)
    params = example_params(name, decider.catalog)
    state: State = "serves" if name in decider.entries else "needs parameters"
    entry: dict[str, Any] = {"router": name} | ({"params": params} if params else {})
    return InstalledRouter(name, summary, state, None, _yaml(name, entry), None)


def example_params(name: str, catalog: Catalog) -> Mapping[str, Any]:
    """Parameters that make a router of this name; for one that is not of this project, dots to be replaced."""
    models = list(catalog) or ["MODEL"]
    known: dict[str, Mapping[str, Any]] = {
        "fixed": {"model": models[-1]},
        "rules": {"rules": [{"when": {"min_characters": 2000}, "models": [models[-1]]}, {"else": [models[0]]}]},
        "explore": {"router": "length", "epsilon": 0.05},
    }
    return known.get(name) or dict.fromkeys(registry.required(registry.find(name)), "…")


def _yaml(name: str, entry: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump({"routing": {"routers": {name: dict(entry)}}}, sort_keys=False, allow_unicode=True)


def model_facts(decider: Decider) -> list[ModelFacts]:
    """All models of the catalog, in its order."""
    standing = {one.name: one for one in standings(decider.fleet)}
    return [
        ModelFacts(model=model, key=key_state(model), is_routed=name in decider.rules.models, standing=standing[name])
        for name, model in decider.catalog.items()
    ]


def ways_to_ask(decider: Decider) -> list[str]:
    """Every name that a request's `model` may take to be routed: `auto`, then `auto/<router>`."""
    return [AUTO, *(f"{AUTO}/{name}" for name in decider.entries)]
