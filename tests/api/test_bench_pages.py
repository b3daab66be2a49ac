"""The bench's pages where there is nothing yet, and while Postgres is away."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from app.store.database import Database
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import StartProxy, models, proxies
from tests.store.samples import new_id

RUN = f"/ui/bench/runs/{new_id()}"


async def test_a_ledger_without_suites_and_runs(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})

    async def read(path: str, status: int = 200) -> str:
        reply = await proxy.http.get(path)
        assert reply.status_code == status, reply.text
        return html.unescape(reply.text)

    lists = await read("/ui/bench")
    assert "There is none yet: <a" in lists
    assert 'href="/ui/bench/new?suite=basics"' in lists
    assert "Load basics" in lists
    assert "<details open>" in lists, "how a suite is imported"
    assert "Compare runs" not in lists
    assert "There is none yet" in await read("/ui/bench/compare")
    form = await read("/ui/bench/new")
    assert '<option value="basics" selected>' in form
    assert "load it on the bench's page" in await read("/ui/bench/suites/basics", 404)
    for path in (RUN, f"{RUN}/items", f"{RUN}/report", f"/ui/bench/compare?a={new_id()}&b={new_id()}"):
        assert "run" in await read(path, 404)


@pytest.mark.parametrize(
    "path",
    ["", "/new", "/compare", "/suites/basics", "/suites/basics/items/0", "/compare?a=x&b=y"],
)
async def test_while_postgres_is_away(tmp_path: Path, openai_server: FakeOpenAI, path: str) -> None:
    away = Database("postgresql://nobody@127.0.0.1:9/nowhere", tmp_path, connect_timeout=1)
    await away.open()
    try:
        async with proxies(away, tmp_path) as start:
            proxy = await start({"model_list": models(openai_server.url, "small")})
            whole = await proxy.http.get(f"/ui/bench{path}")
            assert whole.status_code == 503
            assert "Try again" in whole.text
            assert 'aria-current="page"' in whole.text, "the way to the other pages"
            part = await proxy.http.get(f"/ui/bench{path}", headers={"hx-request": "true", "hx-target": "items"})
            assert (part.status_code, part.headers["hx-retarget"]) == (503, "#notice")
            assert "<html" not in part.text
    finally:
        await away.close()
