"""The composition root: the only place that names concrete classes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Self

import uvicorn
from fastapi import Depends, FastAPI
from starlette.routing import Route

from app.api.calls import calls_api
from app.api.chat import ENDPOINT, ChatEndpoint
from app.api.decisions import decisions_api
from app.api.errors import install_error_handlers
from app.api.guard import Guard
from app.api.models import models_api
from app.api.ops import ops_api
from app.api.request_ids import RequestIds
from app.core.config import Config
from app.core.errors import ConfigError
from app.core.metrics import Metrics
from app.core.settings import Settings
from app.gateway.admission import Admission
from app.gateway.catalog import Catalog, catalog_from_config, catalog_from_environment
from app.gateway.decide import Decider
from app.gateway.direct import DirectUpstream
from app.gateway.entries import build_attempts, build_entries, build_rules
from app.gateway.flow import Gateway
from app.gateway.health import Fleet, HealthRules
from app.gateway.learning import Learning
from app.gateway.litellm import LitellmUpstream
from app.gateway.upstream import Upstream
from app.store.database import Database
from app.store.journal import Journal
from app.store.writer import Ledger
from routers import Router

log = logging.getLogger("hullspeed")

NOTHING_TO_SERVE = (
    "There is no model to serve. Set a provider's key (OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY …), "
    "or write a config file with a model_list and name it with --config (HULLSPEED_CONFIG), "
    "or see it work without keys: hullspeed demo."
)


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
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`catalog`, `upstreams`, `routers` and `database` are given by a bench run or the demo; otherwise they are
        made from settings and config. Raises `ConfigError`."""
        if catalog is None:
            catalog = catalog_from_config(config, environ) if config.model_list else catalog_from_environment(environ)
        if not catalog:
            raise ConfigError(NOTHING_TO_SERVE)
        self.settings, self.config, self.catalog = settings, config, catalog
        key = settings.api_key or config.general_settings.master_key
        self.api_key = None if key is None else key.get_secret_value()
        if self.api_key is None and not settings.is_loopback:
            raise ConfigError(
                f"HULLSPEED_HOST is {settings.host}, which others can reach: set HULLSPEED_API_KEY first "
                "(or general_settings.master_key in the config), or bind 127.0.0.1."
            )
        self.metrics = Metrics()
        self.upstreams = upstreams or {"direct": DirectUpstream(), "litellm": LitellmUpstream()}
        entries = build_entries(config, routers)
        self.fleet = Fleet(catalog, HealthRules(config.routing.allowed_fails, config.routing.cooldown))
        self.decider = Decider(self.fleet, entries, build_rules(config, catalog, entries))
        self._own_database = database is None
        url = settings.database_url.get_secret_value() if settings.database_url else None
        self.database = database or Database(url, settings.data_dir)
        journal = Journal(
            settings.data_dir / "journal", max_bytes=config.ledger.journal_max_bytes, fsync=config.ledger.fsync
        )
        self.ledger = Ledger(self.database, journal, self.metrics)
        self.gateway = Gateway(
            decider=self.decider,
            attempts=build_attempts(config.routing, catalog, self.upstreams, self.fleet),
            admission=Admission(config.routing.max_inflight, config.routing.queue_seconds),
            sink=self.ledger,
            metrics=self.metrics,
            store_text=config.ledger.store_text,
            keep_alive=config.routing.keep_alive,
        )
        for name in catalog:
            self.metrics.model_available.labels(name).set_function(partial(_availability, self.fleet, name))
        self.learning = Learning(self.database, {name: entry.router for name, entry in entries.items()})
        self.draining = False
        self._warming: asyncio.Task[None] | None = None
        self.app = self._build_app()

    def _build_app(self) -> FastAPI:
        app = FastAPI(title="Hullspeed", docs_url=None, redoc_url=None, openapi_url=None)
        install_error_handlers(app)
        guard = Guard(self.api_key)
        chat = ChatEndpoint(self.gateway, guard, self.settings.max_body_bytes)
        app.router.routes.append(Route(ENDPOINT, chat, methods=["POST"]))
        guarded = [Depends(guard)]
        app.include_router(models_api(self.decider), dependencies=guarded)
        app.include_router(decisions_api(self.decider), dependencies=guarded)
        app.include_router(calls_api(self.database, self.ledger), dependencies=guarded)
        app.include_router(ops_api(self.metrics, self.readiness))
        app.add_middleware(RequestIds)
        return app

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests can be served, and what `/readyz` says."""
        down = self.fleet.down
        found = {
            "models": len(self.catalog),
            "down": down,
            "draining": self.draining,
            "ledger": self.ledger.trouble or "ok",
        }
        return not self.draining and len(down) < len(self.catalog), found

    async def __aenter__(self) -> Self:
        # Not a failure when an external Postgres is away: calls are journalled until it answers.
        if self._own_database:
            await self.database.open()
        await self.ledger.start()
        self.learning.start()
        for upstream in self.upstreams.values():
            if isinstance(upstream, LitellmUpstream) and any(m.upstream == "litellm" for m in self.catalog.values()):
                self._warming = asyncio.create_task(upstream.warm())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.learning.close()
        await self.ledger.close()
        if self._warming is not None:
            await self._warming
        for upstream in self.upstreams.values():
            await upstream.close()
        self.decider.close()
        if self._own_database:
            await self.database.close()


def _availability(fleet: Fleet, name: str) -> float:
    return 0.0 if fleet.is_out(name) else 1.0


class Server(uvicorn.Server):
    """uvicorn whose signals tell the proxy at once that it is to drain, and end in exit code 0."""

    def __init__(self, proxy: Proxy, *, signals: bool) -> None:
        """`signals`: stop on SIGTERM and SIGINT; otherwise they stay the caller's."""
        super().__init__(
            uvicorn.Config(
                proxy.app,
                loop="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=round(proxy.settings.drain_seconds),
            )
        )
        self.listening = asyncio.Event()
        self._proxy = proxy
        self._signals = signals

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own version raises the signal again when it is done, which would end in exit code 143.
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT) if self._signals else ()
        for number in numbers:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Drain and exit; asked a second time, exit without waiting."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._proxy.draining = True


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigError` naming host or port."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
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


async def serve(proxy: Proxy, sock: socket.socket, *, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain. `on_ready` is told the base URL."""
    server = Server(proxy, signals=True)
    url = url_of(sock)
    async with proxy:
        task = asyncio.create_task(server.serve([sock]))
        await server.listening.wait()
        on_ready(url)
        await task


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
