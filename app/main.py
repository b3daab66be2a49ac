"""The composition root: the only place that names concrete classes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import msgspec
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.body_limit import BodyLimit
from app.api.chat import CallEndpoint
from app.api.decisions import decisions_routes
from app.api.errors import install_error_handlers
from app.api.guard import ADMIN_KEY, Checks, Guard
from app.api.lazy import LazyApp
from app.api.models import models_routes
from app.api.ops import ops_routes
from app.api.pages.access import Access
from app.api.pages.shown import Shown
from app.api.request_ids import RequestIds
from app.api.routes import DESCRIPTION, get_made
from app.api.tokens import tokens_routes
from app.core.config import Config, load_config
from app.core.errors import ConfigError, HullspeedError
from app.core.metrics import Metrics
from app.core.settings import Settings
from app.core.shared import Shared
from app.core.telemetry import Reached, open_telemetry
from app.core.types import Call
from app.core.watch import stamp
from app.core.workers import METRICS, Line
from app.gateway.admission import Admission
from app.gateway.catalog import ENDPOINTS, Catalog
from app.gateway.configured import catalog_from_config, catalog_from_environment
from app.gateway.decide import Decider, RouterEntry
from app.gateway.dialects.base import Dialect
from app.gateway.dialects.chat import Chat
from app.gateway.dialects.completions import Completions
from app.gateway.dialects.embeddings import Embeddings
from app.gateway.dialects.messages import Messages
from app.gateway.dialects.responses import Responses
from app.gateway.direct import DirectUpstream
from app.gateway.embedders import Cache, check_needs
from app.gateway.entries import artifact_folder, build_attempts, build_embedder, build_entries, build_rules
from app.gateway.flow import Gateway, Sink
from app.gateway.health import Fleet, HealthRules
from app.gateway.idempotency import Idempotency
from app.gateway.learning import Learning
from app.gateway.litellm import LitellmUpstream
from app.gateway.pricing import forget_price_map
from app.gateway.upstream import Upstream
from app.store.database import Database
from app.store.journal import Journal
from app.store.kept import KeptReplies
from app.store.writer import FLUSH_SECONDS, Ledger
from routers import Router
from routers.artifacts import MANIFEST

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger("hullspeed")

NOTHING_TO_SERVE = (
    "There is no model to serve. Set a provider's key (OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY …), "
    "or write a config file with a model_list and name it with --config (HULLSPEED_CONFIG), "
    "or see it work without keys: hullspeed demo."
)


CATCH_UP_SECONDS = 10.0
FLUSH_AT_END_SECONDS, HURRY_SECONDS = 5.0, 0.5
"""For rows to reach Postgres at the end; what has not is in the journal."""
FLUSH = "flush"
"""The question to all workers whether what they have recorded is in Postgres."""


@dataclass(frozen=True)
class Setup:
    """Everything that is made of one config. Replaced as a whole when the config is read again."""

    config: Config
    api_key: str | None
    catalog: Catalog
    fleet: Fleet
    decider: Decider
    gateway: Gateway
    learning: Learning
    endpoints: Mapping[bytes, CallEndpoint]
    """Those that ask models, by path."""
    app: Starlette

    def files(self) -> list[Path]:
        """The files it was made from that may change: the config, what it includes, the manifests of artifacts."""
        wanted = self.config.routing.routers.values()
        folders = [artifact_folder(router, self.config.source) for router in wanted]
        return [*self.config.files, *(folder / MANIFEST for folder in folders if folder is not None)]


@dataclass(frozen=True)
class Guards:
    """Who may do what."""

    calls: Guard
    """Ask models, and judge calls."""
    reads: Guard
    """Read calls over the API."""
    pages: Access
    """See the pages."""

    @classmethod
    def of(cls, api_key: str | None, admin: SecretStr | None) -> Self:
        """From the two keys; without an admin key, the other opens everything."""
        if admin is None:
            return cls(Guard(api_key), Guard(api_key), Access(api_key))
        admin_key = admin.get_secret_value()
        return cls(Guard(api_key), Guard(admin_key, ADMIN_KEY), Access(admin_key))


class Proxy:
    """Everything one serving process holds. Use as an async context manager around serving."""

    def __init__(
        self,
        settings: Settings,
        config: Config,
        *,
        catalog: Catalog | None = None,
        upstreams: Mapping[str, Upstream] | None = None,
        routers: Mapping[str, Router] | None = None,
        database: Database | None = None,
        embedder: Cache | None = None,
        environ: Mapping[str, str] = os.environ,
        shared: Shared | None = None,
        line: Line | None = None,
    ) -> None:
        """`catalog`, `upstreams`, `routers`, `database` and `embedder` are given by a bench run or the demo; otherwise
        they are made from settings and config. One of several workers has `shared`, what all of them know, and `line`
        to the others. Raises `ConfigError`."""
        self.settings = settings
        self.line = line
        self._shared = shared or Shared()
        self._given, self._environ = (catalog, routers, embedder), environ
        self.metrics = Metrics()
        self.upstreams = upstreams or upstreams_by_kind()
        self._own_database = database is None
        url = settings.database_url.get_secret_value() if settings.database_url else None
        self.database = database or Database(url, settings.data_dir)
        journal = Journal(
            settings.data_dir / "journal", max_bytes=config.ledger.journal_max_bytes, fsync=config.ledger.fsync
        )
        self.ledger = Ledger(self.database, journal, self.metrics)
        self.telemetry = open_telemetry(environ)
        self.admission = Admission(config.routing.max_inflight, config.routing.queue_seconds, self._shared)
        self.draining = False
        self.hurry = False
        """Whether somebody has asked twice that it stops."""
        self._warming: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        with config.locating():
            self._setup = self._set_up(config)
        self._use(self._setup)

    @property
    def config(self) -> Config:
        return self._setup.config

    @property
    def catalog(self) -> Catalog:
        return self._setup.catalog

    @property
    def api_key(self) -> str | None:
        return self._setup.api_key

    @property
    def fleet(self) -> Fleet:
        return self._setup.fleet

    @property
    def decider(self) -> Decider:
        return self._setup.decider

    @property
    def gateway(self) -> Gateway:
        return self._setup.gateway

    @property
    def learning(self) -> Learning:
        return self._setup.learning

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: a request stays to its end with the setup that it began with."""
        await self._setup.app(scope, receive, send)

    def endpoint(self, path: bytes) -> CallEndpoint | None:
        """The endpoint that asks models at a path, if there is one."""
        return self._setup.endpoints.get(path)

    def _set_up(self, config: Config, known: Mapping[str, RouterEntry] | None = None) -> Setup:
        """All that is made of a config; changes nothing that serves. Raises `ConfigError`."""
        settings, (catalog, routers, embedder) = self.settings, self._given
        if catalog is None:
            make = catalog_from_config if config.model_list else _catalog_without_config
            catalog = make(config, self._environ)
        if not catalog.wildcards.names:
            forget_price_map()
        if not catalog and not catalog.wildcards.names:
            raise ConfigError(NOTHING_TO_SERVE)
        key = settings.api_key or config.general_settings.master_key
        api_key = None if key is None else key.get_secret_value()
        if api_key is None and not settings.is_loopback:
            raise ConfigError(
                f"HULLSPEED_HOST is {settings.host}, which others can reach: set HULLSPEED_API_KEY first "
                "(or general_settings.master_key in the config), or bind 127.0.0.1."
            )
        entries = build_entries(config, routers, known)
        rules = HealthRules(config.routing.allowed_fails, config.routing.cooldown)
        fleet = Fleet(catalog, rules, shared=self._shared)

        def made() -> dict[str, Router]:
            return {name: entry.made for name, entry in entries.items() if entry.made is not None}

        embedder = embedder or build_embedder(config.routing, catalog, self.upstreams, fleet, config.source)
        check_needs(made(), embedder.name if embedder else None)
        decider = Decider(fleet, entries, build_rules(config, catalog, entries), embedder)
        gateway = Gateway(
            decider=decider,
            attempts=build_attempts(config.routing, catalog, self.upstreams, fleet),
            admission=self.admission,
            sink=self.ledger if self.telemetry is None else Sinks(self.ledger, self.telemetry),
            metrics=self.metrics,
            store_text=config.ledger.store_text,
            keep_alive=config.routing.keep_alive,
            read_on=config.routing.read_on_seconds,
        )
        learning = Learning(self.database, made)
        seconds = config.ledger.idempotency_seconds
        idempotency = Idempotency(KeptReplies(self.database, seconds), enabled=seconds > 0)
        guards = Guards.of(api_key, settings.admin_key)

        def endpoint(dialect: Dialect, guard: Checks) -> CallEndpoint:
            return CallEndpoint(dialect, gateway, guard, idempotency, settings.max_body_bytes)

        endpoints = {
            dialect.endpoint.encode(): endpoint(dialect, guards.calls)
            for dialect in (Chat(), Messages(), Responses(), Completions(), Embeddings())
        }
        app = self._build_app(gateway, guards, endpoints.values())
        shown = partial(self._shown, config, decider, endpoint(Chat(), guards.pages), guards.pages)
        app.router.routes.append(Mount("/ui", LazyApp(partial(_pages, shown))))
        return Setup(config, api_key, catalog, fleet, decider, gateway, learning, endpoints, app)

    def _shown(self, config: Config, decider: Decider, chat: CallEndpoint, access: Access) -> Shown:
        return Shown(
            settings=self.settings,
            config=config,
            database=self.database,
            ledger=self.ledger,
            flush=self.flush,
            decider=decider,
            admission=self.admission,
            readiness=self.readiness,
            chat=chat,
            access=access,
        )

    def _build_app(self, gateway: Gateway, guards: Guards, endpoints: Iterable[CallEndpoint]) -> Starlette:
        make = partial(self._calls, guards)
        calls = LazyApp(make)
        app = Starlette(
            routes=[
                *(Route(endpoint.dialect.endpoint, endpoint, methods=["POST"]) for endpoint in endpoints),
                *tokens_routes(guards.calls),
                *models_routes(gateway.decider, guards.calls),
                *decisions_routes(gateway.decider, guards.calls),
                Route("/v1/calls", calls),
                Route("/v1/calls/{rest:path}", calls),
                *ops_routes(self.scrape, self.readiness),
                get_made(DESCRIPTION, partial(_description, make, guards.calls.has_key), guards.calls),
            ]
        )
        app.router.redirect_slashes = False
        install_error_handlers(app)
        app.add_middleware(BodyLimit, most=self.settings.max_body_bytes)
        app.add_middleware(RequestIds)
        return app

    def _calls(self, guards: Guards) -> FastAPI:
        from app.api.calls import calls_app
        from app.api.logged import LoggedCalls

        logged = LoggedCalls(self.database, self.ledger, self.flush)
        return calls_app(logged, reads=guards.reads, scores=guards.calls)

    def _use(self, setup: Setup) -> None:
        """Serve with `setup` from the next request on."""
        for name in self.catalog.keys() - setup.catalog.keys():
            self.metrics.model_available.remove(name)
        for name in setup.catalog:
            self.metrics.model_available.labels(name).set_function(partial(_availability, setup.fleet, name))
        self.metrics.label = setup.catalog.label
        if self.telemetry is not None:
            self.telemetry.reached = partial(_reached, setup.catalog)
        self.admission.limit = setup.config.routing.max_inflight
        self.admission.patience = setup.config.routing.queue_seconds
        self._setup = setup
        self._stamp = stamp(setup.files())

    async def reload(self) -> bool:
        """Read the config file again and serve by it, as a whole or, where anything in it is wrong, not at all.

        Requests in flight finish with what they began with. What is in both configurations keeps its state: the
        health of deployments, the routers that would be made the same. Says what came of it in the log and in
        `hullspeed_config_reloads_total`; True where the new configuration serves.
        """
        source = self.config.source
        if source is None:
            log.warning("There is no config file to read again: this proxy was started without one")
            return False
        async with self._reloading:
            before, self._stamp = self._setup, await asyncio.to_thread(stamp, self._setup.files())
            try:
                setup = await asyncio.to_thread(self._read_again, source)
                await _catch_up(setup.learning)
            except ConfigError as error:
                log.error("The config is not used, the one before goes on serving: %s", error.message)
            except Exception:
                log.exception("The config could not be read again, the one before goes on serving")
            else:
                setup.fleet.inherit(before.fleet)
                self._use(setup)
                await before.learning.close()
                setup.learning.start()
                self._warm()
                self.metrics.config_reloads.labels("ok").inc()
                self._tell(before.config)
                return True
        self.metrics.config_reloads.labels("failed").inc()
        return False

    def _read_again(self, source: Path) -> Setup:
        config = load_config(source, self._environ)
        with config.locating():
            return self._set_up(config, self.decider.entries)

    def _tell(self, before: Config) -> None:
        """Say in the log what the new configuration is, and what of it waits for a restart."""
        config = self.config
        log.info("Serving by %s as it is now: %d models", config.source, len(self.catalog))
        for warning in config.warnings:
            log.warning("%s", warning)
        for name in ("fsync", "journal_max_bytes"):
            if getattr(config.ledger, name) != getattr(before.ledger, name):
                log.warning("ledger.%s has changed; that takes a restart", name)

    async def watch(self) -> None:
        """Reload whenever the config file, a file it includes or an artifact has changed, until cancelled."""
        seconds = self.settings.reload_seconds
        seen = self._stamp
        while seconds and self.config.source is not None:
            await asyncio.sleep(seconds)
            now = await asyncio.to_thread(stamp, self._setup.files())
            # Seen twice alike: nobody is in the middle of writing it.
            if now == seen and now != self._stamp:
                await self.reload()
            seen = now

    async def scrape(self) -> bytes:
        """The metrics of all workers as Prometheus reads them. Raises `NoAnswer`."""
        if self.line is not None:
            return await self.line.ask(METRICS)
        # Not in the loop's own thread: a large page takes many milliseconds.
        return await asyncio.to_thread(self.metrics.render)

    async def flush(self) -> None:
        """Wait a little until what all workers have recorded is in Postgres."""
        if self.line is not None:
            await self.line.ask(FLUSH)
        else:
            await self.ledger.flush(FLUSH_SECONDS)

    async def join(self, line: Line, *, stop: Callable[..., None], reload: Callable[[], None]) -> None:
        """Be one of several workers from now on; `stop` and `reload` are what the supervisor may tell it to do."""

        async def metrics() -> bytes:
            return await asyncio.to_thread(self.metrics.snapshot)

        async def flush() -> bytes:
            await self.ledger.flush(FLUSH_SECONDS)
            return b""

        await line.open(stop, reload, {METRICS: metrics, FLUSH: flush})

    def drain(self) -> None:
        """Take no new calls from now on; `/readyz` says so."""
        self.draining = self.admission.closed = True

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests can be served, and what `/readyz` says."""
        down = self.fleet.down
        found = {
            "models": len(self.catalog),
            "down": down,
            "draining": self.draining,
            "ledger": self.ledger.trouble or "ok",
        }
        usable = len(down) < len(self.catalog) or bool(self.catalog.wildcards.names)
        return not self.draining and usable, found

    async def __aenter__(self) -> Self:
        # Not a failure when an external Postgres is away: calls are journalled until it answers.
        if self._own_database:
            self.database.open_soon()
        await self.ledger.start()
        if self.telemetry is not None:
            await asyncio.to_thread(self.telemetry.start)
        self.learning.start()
        self._warm()
        return self

    def _warm(self) -> None:
        """Have litellm imported where a model needs it."""
        for upstream in self.upstreams.values():
            if isinstance(upstream, LitellmUpstream) and any(m.upstream == "litellm" for m in self.catalog.values()):
                self._warming = asyncio.create_task(upstream.warm())

    async def __aexit__(self, *_: object) -> None:
        await self.learning.close()
        await self.ledger.close(HURRY_SECONDS if self.hurry else FLUSH_AT_END_SECONDS)
        if self.telemetry is not None:
            await asyncio.to_thread(self.telemetry.close)
        if self._warming is not None:
            await self._warming
        for upstream in self.upstreams.values():
            await upstream.close()
        self.decider.close()
        if self._own_database:
            await self.database.close()


def _description(calls: Callable[[], FastAPI], has_key: bool) -> bytes:
    from app.api.openapi import describe

    return msgspec.json.encode(describe(calls(), has_key=has_key))


def _pages(make: Callable[[], Shown]) -> ASGIApp:
    from app.api.pages.app import pages_app

    return pages_app(make())


def upstreams_by_kind() -> dict[str, Upstream]:
    """How models are reached that are neither recorded nor simulated."""
    direct = DirectUpstream()
    return {"direct": direct, "litellm": LitellmUpstream(direct)}


def _catalog_without_config(_: Config, environ: Mapping[str, str]) -> Catalog:
    return catalog_from_environment(environ)


async def _catch_up(learning: Learning) -> None:
    """Let routers that learn begin with what is known; later, where the ledger does not answer now."""
    if learning.has_learners:
        with contextlib.suppress(HullspeedError, TimeoutError):
            await asyncio.wait_for(learning.catch_up(), CATCH_UP_SECONDS)


class Sinks:
    """Several sinks as one."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def record(self, call: Call) -> None:
        for sink in self._sinks:
            sink.record(call)


def _reached(catalog: Catalog, name: str) -> Reached:
    """How a model is reached, in names that come from the configuration; no address where its deployments have
    several."""
    model = catalog.get(name) if catalog.lists(name) else None
    if model is None:
        return Reached("", catalog.label(name))
    urls = {deployment.base_url for deployment in catalog.deployments(model.name)}
    url = urlsplit(model.base_url or "") if len(urls) == 1 else None
    address, port = (None, None) if url is None else (url.hostname, url.port or (443 if url.scheme == "https" else 80))
    embeds = model.endpoints == frozenset({ENDPOINTS["embedding"]})
    return Reached(model.provider, model.target.removeprefix(f"{model.provider}/"), address, port, embeds)


def _availability(fleet: Fleet, name: str) -> float:
    return 0.0 if fleet.is_out(name) else 1.0
