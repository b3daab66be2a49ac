"""Finding out what would serve, and what would keep it from serving."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from app.gateway.keys import Key, key_state

if TYPE_CHECKING:
    from app.core.settings import Settings
    from app.gateway.catalog import Model
    from app.gateway.decide import RouterEntry
    from app.main import Proxy


class CheckedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment of the catalog."""

    name: str
    target: str
    """What its provider calls it."""
    upstream: str
    provider: str
    key: Key
    key_name: str | None
    """Where the key is taken from; never the key."""
    input_usd_per_million: float | None
    output_usd_per_million: float | None
    context_window: int | None
    capabilities: list[str] | None
    """None where nothing is known."""
    routed: bool
    """Whether routers may choose it."""


class CheckedRouter(msgspec.Struct, frozen=True, kw_only=True):
    """One entry that `auto/<name>` reaches."""

    name: str
    router: str
    version: str
    default: bool
    configured: bool
    """False for an installed router that the config does not name."""
    artifact: str | None
    embedding: str | None
    """The embedder that it needs."""
    learns: bool
    """Learns from scores while it serves."""
    models: list[str]
    """Models that its parameters name."""


class CheckedLedger(msgspec.Struct, frozen=True, kw_only=True):
    """Where calls go."""

    where: str
    state: Literal["ok", "not made yet", "unreachable", "older schema", "newer schema"]
    revision: str | None
    """Of the schema, as it is there."""
    newest: str
    """The one that this Hullspeed works with."""
    journal: str
    journal_rows: int
    """Waiting on disk."""
    journal_bytes: int


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found."""

    address: str
    address_state: Literal["free", "a proxy serves here", "taken", "not bindable"]
    needs_key: bool
    config: str | None
    models: list[CheckedModel]
    routers: list[CheckedRouter]
    ledger: CheckedLedger
    warnings: list[str]
    problems: list[str]
    """What would keep it from serving."""


async def look(settings: Settings) -> Checked:
    """Look at everything; nothing is called, bound for longer than a moment, or made."""
    from app.core.config import Config, load_config
    from app.core.errors import ConfigError
    from app.core.settings import unknown_variables
    from app.main import Proxy

    problems: list[str] = []
    warnings = unknown_variables()
    file, proxy = Config(), None
    try:
        file = load_config(settings.config) if settings.config else file
        warnings += file.warnings
        proxy = Proxy(settings, file)
    except ConfigError as error:
        problems.append(error.message)
    state = await _address(settings)
    if state == "taken":
        problems.append(f"port {settings.port} on {settings.host} is taken by something else: choose another --port")
    elif state == "not bindable":
        problems.append(f"{settings.host}:{settings.port} cannot be bound: check --host and --port")
    ledger, about = await _ledger(settings)
    warnings += about
    if (trouble := _journal_trouble(settings.data_dir)) is not None:
        problems.append(trouble)
    models = [] if proxy is None else _models(proxy)
    routers = [] if proxy is None else [_router(proxy, entry) for entry in proxy.decider.entries.values()]
    warnings += _warnings(models, routers)
    if proxy is not None:
        proxy.decider.close()
        for upstream in proxy.upstreams.values():
            await upstream.close()
    key = settings.api_key or file.general_settings.master_key
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    return Checked(
        address=f"http://{shown}:{settings.port}/v1",
        address_state=state,
        needs_key=key is not None,
        config=None if settings.config is None else str(settings.config),
        models=models,
        routers=routers,
        ledger=ledger,
        warnings=warnings,
        problems=problems,
    )


async def _address(settings: Settings) -> Literal["free", "a proxy serves here", "taken", "not bindable"]:
    import httpx

    from app.core.errors import ConfigError
    from app.serving import bind

    try:
        bind(settings.host, settings.port).close()
    except ConfigError as error:
        cause = error.__cause__ or error.__context__
        if not isinstance(cause, OSError) or cause.errno != errno.EADDRINUSE:
            return "not bindable"
    else:
        return "free"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    host = f"[{host}]" if ":" in host else host
    with contextlib.suppress(httpx.HTTPError, ValueError, TypeError):
        async with httpx.AsyncClient(timeout=3, trust_env=False) as client:
            reply = await client.get(f"http://{host}:{settings.port}/readyz")
        if "ledger" in reply.json():
            return "a proxy serves here"
    return "taken"


def _models(proxy: Proxy) -> list[CheckedModel]:
    catalog, routed = proxy.catalog, proxy.decider.rules.models
    return [_model(model, name in routed) for name in catalog for model in catalog.deployments(name)]


def _model(model: Model, routed: bool) -> CheckedModel:
    price, million = model.price, 1_000_000
    return CheckedModel(
        name=model.name,
        target=model.target,
        upstream=model.upstream,
        provider=model.provider,
        key=key_state(model),
        key_name=model.key_name,
        input_usd_per_million=None if price is None else float(price.input * million),
        output_usd_per_million=None if price is None else float(price.output * million),
        context_window=model.context_window,
        capabilities=None if model.capabilities is None else sorted(model.capabilities),
        routed=routed,
    )


def _router(proxy: Proxy, entry: RouterEntry) -> CheckedRouter:
    from app.gateway.entries import artifact_folder

    router, wanted = entry.router(), proxy.config.routing.routers.get(entry.name)
    folder = None if wanted is None else artifact_folder(wanted, proxy.config.source)
    return CheckedRouter(
        name=entry.name,
        router=router.name,
        version=router.version,
        default=entry.name == proxy.decider.rules.default,
        configured=wanted is not None,
        artifact=None if folder is None else str(folder),
        embedding=router.needs_embedding,
        learns=router.learner() is not None,
        models=list(router.named_models()),
    )


async def _ledger(settings: Settings) -> tuple[CheckedLedger, list[str]]:
    """What there is, and what to warn of: calls are served and journalled without Postgres too."""
    from app.core.errors import HullspeedError
    from app.store import migrate
    from app.store.database import Database
    from app.store.journal import count

    url = settings.database_url.get_secret_value() if settings.database_url else None
    folder = settings.data_dir / "journal"
    rows, size = count(folder) if folder.is_dir() else (0, 0)
    newest, revision = migrate.head(), None
    warnings: list[str] = []
    state: Literal["ok", "not made yet", "unreachable", "older schema", "newer schema"] = "ok"
    where = f"embedded Postgres in {settings.data_dir / 'postgres'}"
    try:
        database = Database(url, settings.data_dir)
        where = database.describe()
        # An embedded server is not made by looking whether it is there.
        if url is None and not (settings.data_dir / "postgres" / "PG_VERSION").exists():
            state = "not made yet"
        else:
            await database.open()
            try:
                revision = await migrate.current(database)
            finally:
                await database.close()
            if revision is None:
                state = "not made yet"
            elif revision != newest:
                state = "older schema" if migrate.knows(revision) else "newer schema"
    except HullspeedError as error:
        state = "unreachable"
        warnings.append(f"{error.message} Calls are served all the same and wait in the journal.")
    if state == "newer schema":
        warnings.append(
            f"the ledger has schema {revision}, made by a newer Hullspeed; this one knows up to {newest}: upgrade it, "
            "or calls wait in the journal"
        )
    ledger = CheckedLedger(
        where=where,
        state=state,
        revision=revision,
        newest=newest,
        journal=str(folder),
        journal_rows=rows,
        journal_bytes=size,
    )
    return ledger, warnings


def _journal_trouble(data_dir: Path) -> str | None:
    there = next(folder for folder in (data_dir / "journal", *(data_dir / "journal").parents) if folder.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return None
    return f"{there} cannot be written to, where the journal goes: make it writable, or set HULLSPEED_DATA_DIR"


def _warnings(models: list[CheckedModel], routers: list[CheckedRouter]) -> list[str]:
    lines = []
    for model in models:
        if model.key == "missing":
            lines.append(f"`{model.name}` has no key; set {model.key_name}")
        if model.input_usd_per_million is None and model.upstream in ("direct", "litellm"):
            lines.append(
                f"the price of `{model.name}` is not known; its cost is logged as NULL: set input_cost_per_token and "
                "output_cost_per_token"
            )
    default = next((router for router in routers if router.default), None)
    if default is not None and not default.configured:
        lines.append(f"`auto` is the router `{default.name}`, untrained: `hullspeed tune` or `hullspeed train` help")
    return lines
