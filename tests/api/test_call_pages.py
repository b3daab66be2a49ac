"""Pages of calls in ledgers of their own: empty ones, ones that take long to search, ones that are away."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from app import main
from app.api import logged
from app.api.pages import call as call_page
from app.api.pages import exported as exporting
from app.store.database import Database
from app.store.queries import calls as queries
from app.store.queries.calls import EVERYTHING, list_calls
from app.store.suites import StoredItem, StoredOutcomes, StoredSuite, delete_suite, save_suite
from routers.artifacts import item_hash
from routers.knn import KnnRouter
from tests.fakes.openai_server import FakeOpenAI
from tests.pages.planting import call
from tests.routers import toy
from tests.serving import StartProxy, models, proxies
from tests.store.samples import new_id


async def test_an_export_says_where_it_ends(
    database: Database, start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    for formula in ("=1+1", "plain", "@x"):
        proxy.proxy.ledger.record(call(session=formula))
    assert await proxy.proxy.ledger.flush(10)
    first = await list_calls(database, limit=1)
    pieces = exporting.exported(database, EVERYTHING, "jsonl", first, most=2)
    lines = [json.loads(line) for line in b"".join([piece async for piece in pieces]).splitlines()]
    assert len(lines) == 3
    assert "ends here after 2 calls" in lines[2]["incomplete"]
    rest = (await list_calls(database, cursor=lines[2]["next_cursor"])).rows
    assert len({*(line["id"] for line in lines[:2]), *(row.id for row in rest)}) == 3
    pieces = exporting.exported(database, EVERYTHING, "csv", first, seconds=0)
    table = list(csv.reader(io.StringIO(b"".join([piece async for piece in pieces]).decode())))
    assert [len(table), table[2][0][0], len(table[2])] == [3, "#", 2]
    pieces = exporting.exported(database, EVERYTHING, "csv", first)
    table = list(csv.reader(io.StringIO(b"".join([piece async for piece in pieces]).decode())))
    sessions = {line[table[0].index("session")] for line in table[1:]}
    assert sessions == {"'=1+1", "plain", "'@x"}


async def test_a_search_that_takes_long_says_how_far_it_came(
    start_proxy: StartProxy, openai_server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "SEARCH_SECONDS", -1.0)
    monkeypatch.setattr(queries, "_BLOCK", 2)
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    for place in range(5):
        proxy.proxy.ledger.record(call(ago=10 - place, latency=float(place == 0)))
    assert await proxy.proxy.ledger.flush(10)
    url, seen = "/ui/calls?min_latency=1", 0
    for _ in range(4):
        text = (await proxy.http.get(url)).text
        seen += len(re.findall('id="call-', text))
        more = re.search(r'id="go-on" href="([^"]+)"', text)
        if more is None:
            break
        assert "Searched back to" in text
        url = more[1].replace("&amp;", "&")
    assert seen == 1


async def test_an_empty_ledger_teaches(
    start_proxy: StartProxy, openai_server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "SEARCH_SECONDS", 60.0)
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    text = (await proxy.http.get("/ui/calls")).text
    assert "No call yet" in text
    assert f"curl {proxy.url}/v1/chat/completions" in text
    assert "errors only: texts are not stored" in text
    await proxy.chat("small")
    # The next page has it, without a wait.
    assert "No call yet" not in (await proxy.http.get("/ui/calls")).text
    text = (await proxy.http.get("/ui/calls?text=boat")).text
    assert "No call matches" in text
    assert "only error messages were searched" in text


async def test_a_score_while_postgres_is_away(
    tmp_path: Path, openai_server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (logged, call_page, main):
        monkeypatch.setattr(module, "FLUSH_SECONDS", 0.05)
    away = Database("postgresql://nobody@127.0.0.1:9/nowhere", tmp_path, connect_timeout=1)
    await away.open()
    try:
        async with proxies(away, tmp_path) as start:
            proxy = await start({"model_list": models(openai_server.url, "small")})
            seen = (await proxy.chat("small")).headers["x-hullspeed-call-id"]
            earlier = new_id()
            for key in (seen, earlier):
                reply = await proxy.http.post(
                    f"/ui/calls/{key}/scores", data={"verdict": "1"}, headers={"hx-request": "true"}
                )
                assert reply.status_code == 200, reply.text
                assert "The score waits in the journal" in reply.text
            assert (await proxy.http.post("/ui/calls/nonsense/scores", data={"verdict": "1"})).status_code == 404
            assert (await proxy.http.get(f"/ui/calls/{earlier}")).status_code == 503
            assert (await proxy.http.get("/ui/calls")).status_code == 503
            assert proxy.proxy.ledger.pending(seen)
    finally:
        await away.close()


async def test_neighbours_are_named_by_the_suite(
    database: Database, start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    outcomes = toy.outcomes()
    items = [
        StoredItem(id=name, category=category, messages=[{"role": "user", "content": prompt}])
        for name, category, prompt in zip(outcomes.items, outcomes.categories, outcomes.prompts, strict=True)
    ]
    tokens = np.zeros(outcomes.quality.shape, dtype=np.int64)
    recorded = StoredOutcomes(
        outcomes.models, outcomes.quality, outcomes.cost, tokens, tokens, np.full(tokens.shape, None, dtype=object)
    )
    await save_suite(database, StoredSuite("toy", outcomes.digest(), tuple(items), outcomes=recorded))
    router = KnnRouter.fit(outcomes)
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")}, routers={"near": router})
    await proxy.chat("auto/near", "moon river verse winter")
    made = (await proxy.call()).call
    assert made.decision is not None
    text = (await proxy.http.get(f"/ui/calls/{made.id}/neighbours")).text
    near = made.decision.detail["neighbours"]
    assert near["asked"] == 24
    named = {item_hash(name): name for name in outcomes.items}
    for key, likeness in near["nearest"]:
        assert named[key] in text
        assert f"{likeness:.2f}" in text
    assert "toy, poem" in text
    assert f"near picked {made.model}" in (await proxy.http.get(f"/ui/calls/{made.id}")).text
    await delete_suite(database, "toy")
    text = (await proxy.http.get(f"/ui/calls/{made.id}/neighbours")).text
    assert text.count("not in the ledger") == len(near["nearest"])


async def test_what_kept_a_model_from_being_a_candidate(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    await proxy.chat("auto/cheapest", routing={"max_cost_usd": 0.001})
    made = (await proxy.call()).call
    assert made.decision is not None
    assert made.decision.excluded == {"large": "is expected to cost $0.005140"}
    text = (await proxy.http.get(f"/ui/calls/{made.id}")).text
    assert "<strong>large</strong> is expected to cost $0.005140" in text
    assert "The request allowed $0.001000 at most" in text


async def test_a_learner_is_told_of(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    await proxy.chat("auto/bandit")
    made = (await proxy.call()).call
    assert "A score teaches bandit" in (await proxy.http.get(f"/ui/calls/{made.id}")).text
    reply = await proxy.http.post(f"/ui/calls/{made.id}/scores", data={"verdict": "0"}, headers={"hx-request": "true"})
    assert "Scored 0. bandit learns from it." in reply.text
    assert "Nobody has judged" not in reply.text
