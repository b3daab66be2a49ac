"""A proxy as a test starts it: the real application on a real port, with a real ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import yaml
from openai import AsyncOpenAI, OpenAI

from app.core.config import Config, load_config
from app.core.settings import Settings
from app.gateway.catalog import Catalog
from app.gateway.embedders import Cache
from app.gateway.upstream import Upstream
from app.main import Proxy
from app.serving import bind, serving
from app.store.database import Database
from app.store.queries.calls import CallFilter, LoggedCall, get_call, list_calls
from routers import Router


@dataclass
class Running:
    """A proxy that serves, and ways to look at what it did."""

    url: str
    proxy: Proxy
    http: httpx.AsyncClient
    sdk: AsyncOpenAI

    async def chat(self, model: str = "auto", text: str = "hello", **fields: Any) -> httpx.Response:
        """One chat request, not streamed unless `stream` says so."""
        headers = fields.pop("headers", {})
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return await self.http.post("/v1/chat/completions", json=body, headers=headers)

    async def calls(self, wanted: CallFilter | None = None) -> list[LoggedCall]:
        """What stands in Postgres, newest first, once everything recorded has arrived there."""
        assert await self.proxy.ledger.flush(10)
        rows = (await list_calls(self.proxy.database, wanted or CallFilter(), limit=1000)).rows
        found = [await get_call(self.proxy.database, row.id) for row in rows]
        return [call for call in found if call is not None]

    async def call(self) -> LoggedCall:
        """The only call there is: exactly one row, whatever happened."""
        calls = await self.calls()
        assert len(calls) == 1, [call.call for call in calls]
        return calls[0]

    async def call_once_idle(self) -> LoggedCall:
        """`call`, when the proxy is done with it; its client may have gone before."""
        while self.proxy.admission.inflight:
            await asyncio.sleep(0.01)
        return await self.call()

    def blocking_sdk(self) -> OpenAI:
        """The synchronous client; use it in a thread."""
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)


class StartProxy(Protocol):
    """The fixture `start_proxy`."""

    async def __call__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        catalog: Catalog | None = None,
        upstreams: Mapping[str, Upstream] | None = None,
        routers: Mapping[str, Router] | None = None,
        embedder: Cache | None = None,
        **settings: Any,
    ) -> Running: ...


@asynccontextmanager
async def proxies(database: Database, folder: Path) -> AsyncIterator[StartProxy]:
    """Starts proxies on free ports; all are stopped at the end."""
    async with AsyncExitStack() as stack:

        async def start(
            config: Mapping[str, Any] | None = None,
            *,
            catalog: Catalog | None = None,
            upstreams: Mapping[str, Upstream] | None = None,
            routers: Mapping[str, Router] | None = None,
            embedder: Cache | None = None,
            **settings: Any,
        ) -> Running:
            proxy = Proxy(
                Settings(data_dir=folder / "data", **settings),
                read_config(folder, config or {}),
                catalog=catalog,
                upstreams=upstreams,
                routers=routers,
                database=database,
                embedder=embedder,
            )
            sock = bind("127.0.0.1", 0)
            stack.callback(sock.close)
            url = await stack.enter_async_context(serving(proxy, sock))
            http = httpx.AsyncClient(base_url=url, timeout=30, trust_env=False)
            await stack.enter_async_context(http)
            sdk = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
            stack.push_async_callback(sdk.close)
            return Running(url, proxy, http, sdk)

        yield start


def read_config(folder: Path, config: Mapping[str, Any]) -> Config:
    """A config as it would be read from a file. Unless it says so nothing is retried, for tests look at each failure,
    and a router has all the time that a busy machine takes."""
    path = folder / "hullspeed.yaml"
    routing = {"retries": 0, "deadline": 30.0, **config.get("routing", {})}
    path.write_text(yaml.dump({**config, "routing": routing}, Dumper=yaml.CSafeDumper, sort_keys=False))
    return load_config(path)


def models(fake_url: str, *names: str, **params: Any) -> list[dict[str, Any]]:
    """A `model_list` of models on a fake OpenAI server, the first the cheapest, each ten times dearer than the last."""
    return [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}-target",
                "api_base": fake_url,
                "api_key": "sk-planted-secret-1234567890",
                "input_cost_per_token": 1e-6 * 10**place,
                "output_cost_per_token": 2e-6 * 10**place,
                **params,
            },
        }
        for place, name in enumerate(names)
    ]
