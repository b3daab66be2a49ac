"""The composition root: the only place that names concrete classes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import urlsplit

import msgspec
import uvicorn
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
from app.api.server import CallProtocol, State
from app.api.tokens import tokens_routes
from app.core.config import Config, load_config
from app.core.errors import ConfigError, HullspeedError
from app.core.metrics import Metrics
from app.core.settings import Settings
from app.core.shared import Shared
from app.core.telemetry import Reached, open_telemetry
from app.core.types import Call
from app.core.watch import stamp
from app.core.workers import BACKLOG, METRICS, Line
from app.gateway.admission import Admission
from app.gateway.attempts import ABANDONED
from app.gateway.catalog import ENDPOINTS, Catalog, catalog_from_config, catalog_from_environment
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
from app.store.retention import retain_hourly
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
KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers and clients keep a connection unused: who is about to send must not find it closed."""
CUT_OFF_SECONDS = 5.0
FLUSH_AT_END_SECONDS, HURRY_SECONDS = 5.0, 0.5
"""For rows to reach Postgres at the end; what has not is in the journal."""
LOOK_SECONDS = 0.05
"""How often a server that drains looks whether it is to stop at once."""
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

    async def join(self, server: Server, line: Line) -> None:
        """Be one of several workers from now on."""

        async def metrics() -> bytes:
            return await asyncio.to_thread(self.metrics.snapshot)

        async def flush() -> bytes:
            await self.ledger.flush(FLUSH_SECONDS)
            return b""

        await line.open(server.stop, server.reload, {METRICS: metrics, FLUSH: flush})

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


class Server(uvicorn.Server):
    """uvicorn whose signals tell the proxy at once that it is to drain, and end in exit code 0."""

    def __init__(self, proxy: Proxy, *, signals: bool) -> None:
        """`signals`: stop on SIGTERM and SIGINT, reload on SIGHUP; otherwise they stay the caller's. A worker stops on
        SIGTERM; the rest its supervisor tells it."""
        super().__init__(
            uvicorn.Config(
                proxy,
                loop="none",
                # uvicorn takes whatever makes a protocol.
                http=cast("type[asyncio.Protocol]", partial(CallProtocol, proxy.endpoint)),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                backlog=BACKLOG,
                timeout_graceful_shutdown=round(proxy.settings.drain_seconds),
            )
        )
        self.listening = asyncio.Event()
        self.server_state = self._state = State()
        self._proxy = proxy
        self._tasks: set[asyncio.Task[bool]] = set()
        self._handlers: dict[signal.Signals, Callable[[], None]] = {}
        if signals and proxy.line is not None:
            self._handlers = {signal.SIGTERM: self.stop}
        elif signals:
            self._handlers = {signal.SIGTERM: self._told, signal.SIGINT: self._told, signal.SIGHUP: self.reload}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        end = asyncio.get_running_loop().time() + self._proxy.settings.drain_seconds
        await self._drain(end)
        # Calls that cannot be waited for any longer say so to their clients, and are recorded while there is a ledger.
        if cut_off := list(self._state.tasks):
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            for task in cut_off:
                task.cancel(ABANDONED)
            await asyncio.wait(cut_off, timeout=CUT_OFF_SECONDS)
        left = max(end - asyncio.get_running_loop().time(), 0.0)
        self.config.timeout_graceful_shutdown = math.ceil(left)
        await super().shutdown(sockets)

    async def _drain(self, end: float) -> None:
        """Wait for what is in flight, until `end` on the loop's clock. The port stays open meanwhile: who asks hears
        503, from `/readyz` too, where a closed port would tell a platform nothing."""
        self._state.draining = True
        for connection in list(self._state.connections):
            connection.shutdown()
        while self._state.tasks and not self.force_exit:
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await asyncio.wait(list(self._state.tasks), timeout=min(left, LOOK_SECONDS))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own version raises the signal again when it is done, which would end in exit code 143.
        loop = asyncio.get_running_loop()
        for number, handler in self._handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in self._handlers:
                loop.remove_signal_handler(number)

    def reload(self) -> None:
        """Read the config again."""
        task = asyncio.ensure_future(self._proxy.reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _told(self) -> None:
        """By a signal: asked a second time, exit without waiting."""
        self.stop(at_once=self.should_exit)

    def stop(self, at_once: bool = False) -> None:
        """Drain and exit; `at_once`: without waiting for calls in flight."""
        self.force_exit = self._proxy.hurry = self.force_exit or at_once
        self.should_exit = True
        self._proxy.drain()


def spare_the_collector() -> None:
    """Have the cyclic garbage collector look seldom, and not at what was there from the start.

    A call leaves next to no cycles behind, but makes some hundred objects: by default it would be looked for garbage
    at every few calls, which took a fifth of their time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 5, 5)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigError` naming host or port."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except socket.gaierror:
        raise ConfigError(f"HULLSPEED_HOST: {host} is not an address of this machine", param="host") from None
    except OSError as error:
        if error.errno in (98, 48, 10048):
            message = f"port {port} on {host} is taken; stop what uses it, or choose another with --port (0: any free)"
        else:
            message = f"{host}:{port} cannot be bound: {error.strerror}; check --host and --port"
        raise ConfigError(f"HULLSPEED_PORT: {message}", param="port") from None


def url_of(sock: socket.socket) -> str:
    """The base URL of a listening socket, as a client would type it."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def bind_all(host: str, port: int, count: int) -> list[socket.socket]:
    """Listening sockets on one port, one for each worker; where the system does not spread connections over several,
    the same one. Raises `ConfigError` as `bind` does."""
    sock = bind(host, port)
    if count == 1 or sys.platform != "linux":
        return [sock] * count
    # The first one made sure that nobody else has the port; now it is had in common.
    family, address = sock.family, sock.getsockname()[:2]
    sock.close()
    return [socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=True) for _ in range(count)]


async def serve(proxy: Proxy, sock: socket.socket, *, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; reload on SIGHUP and when the config has changed. `on_ready` is told
    the base URL."""
    server = Server(proxy, signals=True)
    url, line = url_of(sock), proxy.line
    spare_the_collector()
    async with proxy:
        if line is not None:
            await proxy.join(server, line)
        task = asyncio.create_task(server.serve([sock]))
        await server.listening.wait()
        on_ready(url)
        watch = asyncio.create_task(proxy.watch())
        retain = asyncio.create_task(retain_hourly(proxy.database, lambda: proxy.config.ledger))
        try:
            await task
        finally:
            watch.cancel()
            retain.cancel()
    if line is not None:
        await line.close(proxy.metrics.snapshot())


@contextlib.asynccontextmanager
async def serving(proxy: Proxy, sock: socket.socket) -> AsyncIterator[str]:
    """Serve in the running event loop while the block runs; gives the base URL."""
    server = Server(proxy, signals=False)
    async with proxy:
        task = asyncio.create_task(server.serve([sock]))
        try:
            await server.listening.wait()
            yield url_of(sock)
        finally:
            server.stop()
            await task
