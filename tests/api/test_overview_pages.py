"""The overview of ledgers that hold little."""

from __future__ import annotations

import re

import pytest

from app.store.queries import calls as queries
from tests.fakes.openai_server import FakeOpenAI
from tests.pages.planting import call
from tests.serving import Running, StartProxy, models

CALLS = re.compile(r"<dt>Calls</dt>\s*<dd[^>]*>\s*<span>([\d,]+)")


async def figure(proxy: Running, query: str = "", **headers: str) -> tuple[int, str]:
    """How many calls the page shows, and all of it."""
    reply = await proxy.http.get(f"/ui/{query}", headers=headers)
    assert reply.status_code == 200, reply.text
    found = CALLS.search(reply.text)
    assert found is not None, reply.text
    return int(found[1].replace(",", "")), reply.text


async def test_replays_are_shown_where_there_is_nothing_else(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    """As after `hullspeed demo --stay`: an empty page would hide all that it did."""
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    for _ in range(3):
        proxy.proxy.ledger.record(call(source="replay", run="demo"))
    assert await proxy.proxy.ledger.flush(10)
    calls, page = await figure(proxy)
    assert calls == 3
    assert "Nobody but bench runs has called yet" in page
    assert '<option value="all" selected>' in page
    # What is asked for again, and every link, keeps to it.
    assert 'hx-get="/ui/overview/live?source=all"' in page
    assert 'data-figure="/ui/overview/charts/models?source=all"' in page
    # Whoever asks for live calls alone gets them, here and where the address is opened again.
    reply = await proxy.http.get("/ui/?source=live", headers={"hx-request": "true"})
    assert reply.headers["hx-push-url"] == "/ui/?source=live"
    calls, page = await figure(proxy, "?source=live")
    assert calls == 0
    assert "Show every call" in page
    assert "Nobody but bench runs" not in page


async def test_the_latest_calls_are_found_beneath_many_others(
    start_proxy: StartProxy, openai_server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a bench run of an hour: a search from the newest call on gives up among its calls."""
    monkeypatch.setattr(queries, "SEARCH_SECONDS", -1.0)
    monkeypatch.setattr(queries, "_BLOCK", 2)
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    live = call(ago=300)
    proxy.proxy.ledger.record(live)
    for _ in range(10):
        proxy.proxy.ledger.record(call(source="replay", run="demo"))
    assert await proxy.proxy.ledger.flush(10)
    calls, page = await figure(proxy)
    assert calls == 1
    assert f'id="call-{live.id}"' in page


async def test_one_live_call_is_enough(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    for source in ("replay", "replay", "live"):
        proxy.proxy.ledger.record(call(source=source, run="demo" if source == "replay" else None))
    assert await proxy.proxy.ledger.flush(10)
    calls, page = await figure(proxy)
    assert calls == 1
    assert '<option value="live" selected>' in page
