"""From the configuration's `routing:` to routers that can be asked, and what they need."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import msgspec

from app.core.config import Config, RouterConfig, RoutingConfig
from app.core.errors import ConfigError, ModelNotFound
from app.gateway.attempts import Attempts, Limits
from app.gateway.catalog import Catalog, Model
from app.gateway.decide import RouterEntry, RoutingRules
from app.gateway.dialects.embeddings import Embeddings
from app.gateway.embedders import Cache, ModelEmbedder, OnnxEmbedder
from app.gateway.health import Fleet
from app.gateway.retries import RetryRules
from app.gateway.upstream import Upstream
from routers import Router, registry
from routers.artifacts import MANIFEST, ArtifactError, load

UNTRAINED_DEFAULT = "length"
"""Serves `auto` where nothing is configured: it needs no training and costs nothing to ask."""
EMBEDDING_SECONDS = 30.0
"""For one call of an embedding model that sets no `timeout`: how long a late one may go on for the cache."""


def build_entries(
    config: Config, given: Mapping[str, Router] | None = None, known: Mapping[str, RouterEntry] | None = None
) -> dict[str, RouterEntry]:
    """All routers that can be asked for by `auto/<name>`.

    First those of the configuration, then `given` ones (already made, as a bench run has them), then every installed
    router that needs neither training nor parameters; where its package says so, it is made when somebody asks it.
    Routers of `known` entries are not made again where that would give the same. Raises `ConfigError` naming the entry.
    """
    known = known or {}
    tradeoff = config.routing.tradeoff
    entries: dict[str, RouterEntry] = {}
    for name, wanted in config.routing.routers.items():
        try:
            origin = _origin(wanted, config.source)
            router = _kept(known.get(name), origin) or _build(wanted, config.source)
        except (ValueError, ArtifactError) as error:
            raise ConfigError(f"routing.routers.{name}: {error}", param=f"routing.routers.{name}") from None
        if router.bench_only:
            raise ConfigError(f"routing.routers.{name}: `{router.name}` works in a bench only, not when serving")
        own = tradeoff if wanted.tradeoff is None else wanted.tradeoff
        entries[name] = RouterEntry(name, router, own, wanted.max_calls, wanted.max_latency_seconds, origin)
    for name, router in (given or {}).items():
        entries[name] = RouterEntry(name, router, tradeoff)
    for name in registry.names():
        if name in entries or registry.is_ready(name) is False:
            continue
        entry = RouterEntry(name, None, tradeoff, make=partial(registry.build, name, {}))
        was_made = name in known and known[name].made is not None
        if was_made or not registry.is_ready(name):
            try:
                if entry.router().bench_only:
                    continue
            except ValueError:
                continue
        entries[name] = entry
    return entries


def _build(wanted: RouterConfig, source: Path | None) -> Router:
    folder = artifact_folder(wanted, source)
    if folder is None:
        assert wanted.router is not None
        return registry.build(wanted.router, wanted.params)
    router = load(folder)
    if wanted.router is not None and wanted.router != router.name:
        raise ValueError(f"the artifact in {folder} is of router `{router.name}`, not `{wanted.router}`")
    return router


def artifact_folder(wanted: RouterConfig, source: Path | None) -> Path | None:
    """Where an entry's artifact is; None where it has none. A relative path begins at the config file `source`."""
    if wanted.artifact is None:
        return None
    folder = wanted.artifact.expanduser()
    return folder if folder.is_absolute() or source is None else source.parent / folder


def _origin(wanted: RouterConfig, source: Path | None) -> object:
    """See `RouterEntry.origin`. A manifest holds the hashes of all files of its artifact."""
    folder = artifact_folder(wanted, source)
    try:
        manifest = None if folder is None else (folder / MANIFEST).read_bytes()
    except OSError:
        manifest = None  # Loading it says what is wrong.
    return wanted.router, folder, wanted.params, manifest


def _kept(entry: RouterEntry | None, origin: object) -> Router | None:
    """The router of an entry, if it is still the one that is wanted.

    One that learns is made again: it begins anew and learns all scores again, so none counts twice.
    """
    if entry is None or entry.made is None or entry.origin != origin or entry.made.learner() is not None:
        return None
    return entry.made


def build_rules(config: Config, catalog: Catalog, entries: Mapping[str, RouterEntry]) -> RoutingRules:
    """The rules around the routers. Raises `ConfigError` naming the key."""
    routing = config.routing
    default = routing.default or next(iter(routing.routers), UNTRAINED_DEFAULT)
    if default not in entries:
        raise _unknown("routing.default", "router", default, entries)
    try:
        # Whoever asks for `auto` is not to wait for it.
        entries[default].router()
    except ValueError as error:
        raise ConfigError(f"routing.default: {error}", param="routing.default") from None
    for name, entry in entries.items():
        # One that is not made yet has no parameters to name any.
        for model in () if entry.made is None else entry.made.named_models():
            if model not in set(catalog):
                raise _unknown(f"routing.routers.{name}", "model", model, catalog)
    for key, names in (("routing.fallback", routing.fallback), ("routing.models", routing.models)):
        for name in names:
            if name not in set(catalog):
                raise _unknown(key, "model", name, catalog)
    models = routing.models or tuple(catalog)
    fallback = (*routing.fallback, *(name for name in models if name not in routing.fallback))
    return RoutingRules(
        default, routing.deadline, fallback, frozenset(models), routing.max_calls, routing.max_latency_seconds
    )


def build_attempts(
    routing: RoutingConfig, catalog: Catalog, upstreams: Mapping[str, Upstream], fleet: Fleet
) -> Attempts:
    """How models are called, by the limits and rules of `routing:`."""
    return Attempts(
        catalog,
        upstreams,
        Limits(routing.timeout, routing.first_token_timeout, routing.idle_timeout, routing.stream_timeout),
        RetryRules(
            routing.retries, routing.longest_pause, routing.retry_seconds, routing.retry_budget, routing.queue_seconds
        ),
        fleet,
    )


def build_embedder(
    routing: RoutingConfig,
    catalog: Catalog,
    upstreams: Mapping[str, Upstream],
    fleet: Fleet,
    source: Path | None = None,
) -> Cache | None:
    """The embedder of `routing.embedding`; None where there is none. A relative folder begins at the config `source`.

    Raises `ConfigError` naming the key.
    """
    wanted = routing.embedding
    if wanted is None:
        return None
    if wanted.onnx is not None:
        folder = wanted.onnx.expanduser()
        folder = folder if folder.is_absolute() or source is None else source.parent / folder
        return Cache(OnnxEmbedder(folder, wanted.tokens), wanted.cache)
    assert wanted.model is not None
    name = _embedding_model(wanted.model, catalog).name
    sooner = routing.model_copy(update={"timeout": min(routing.timeout, EMBEDDING_SECONDS)})
    attempts = build_attempts(sooner, catalog, upstreams, fleet)
    return Cache(ModelEmbedder(name, attempts, wanted.tokens), wanted.cache)


def _embedding_model(name: str, catalog: Catalog) -> Model:
    key = "routing.embedding.model"
    try:
        model = catalog.find(name)
    except ModelNotFound as error:
        raise ConfigError(f"{key}: {error.message}", param=key) from None
    asked = Embeddings().parse(msgspec.json.encode({"model": name, "input": ""}))
    obstacle = asked.obstacle(model)
    if obstacle is not None:
        raise ConfigError(
            f"{key}: `{name}` {obstacle}; set `model_info: {{mode: embedding}}` if it is one that embeds", param=key
        )
    return model


def _unknown(key: str, what: str, name: str, known: Iterable[str]) -> ConfigError:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(names) or 'none'}"
    return ConfigError(f"{key}: there is no {what} `{name}`; {hint}", param=key)
