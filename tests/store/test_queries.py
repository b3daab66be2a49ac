import random
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from app.core.errors import InvalidRequest
from app.core.metrics import Metrics
from app.core.types import Attempt, Call, DecisionRecord, Price, Usage
from app.store import runs, suites
from app.store.database import Database
from app.store.journal import Journal
from app.store.partitions import bounds, days
from app.store.queries.calls import (
    CallFilter,
    LoggedCall,
    call_exists,
    calls_beside,
    count_calls,
    get_call,
    list_calls,
)
from app.store.queries.decided import stream_texts
from app.store.queries.items import items_by_key
from app.store.queries.runs import run_predictions, run_prices, scores_of
from app.store.runs import ResultRow
from app.store.writer import Ledger
from tests.store.samples import NOW, full_call, new_id, score, small_call
from tests.store.test_suites import make_suite


@pytest.fixture
async def store(database: Database, tmp_path: Path):
    """Records calls and scores and returns once they can be read."""
    ledger = Ledger(database, Journal(tmp_path / "journal", max_bytes=1 << 24), Metrics())
    await ledger.start()

    async def run(*rows) -> None:
        for row in rows:
            (ledger.record if isinstance(row, Call) else ledger.record_score)(row)
        assert await ledger.flush(30)

    yield run
    await ledger.close()


async def test_a_call_comes_back_as_it_was_recorded(database: Database, store) -> None:
    full, small = full_call(), small_call()
    judged = [score(full.id), score(full.id, value=2 / 3, comment=None, created_at=NOW + timedelta(seconds=1))]
    await store(full, small, *judged)
    assert await get_call(database, full.id) == LoggedCall(full, tuple(judged))
    assert await get_call(database, small.id) == LoggedCall(small, ())


@pytest.mark.parametrize("cost", ["0", "1E-30", "0.100", "123456789012345678901234567890.123456789", "1E+3"])
async def test_money_is_exact(database: Database, store, cost: str) -> None:
    attempt = Attempt(
        model="m",
        upstream="direct",
        outcome="ok",
        offset=0.1,
        latency=0.2,
        cost_usd=Decimal(cost),
        price=Price(Decimal(cost), Decimal("3.00")),
    )
    call = full_call(cost_usd=Decimal(cost), attempts=(attempt,))
    await store(call)
    found = await get_call(database, call.id)
    assert found is not None
    assert found.call.cost_usd == found.call.attempts[0].cost_usd == Decimal(cost)
    assert found.call.attempts[0].price == attempt.price
    (row,) = (await list_calls(database)).rows
    assert row.cost_usd == Decimal(cost)


async def test_no_usage_is_not_no_tokens(database: Database, store) -> None:
    unknown, none = full_call(usage=None), full_call(usage=Usage())
    await store(unknown, none)
    for call in (unknown, none):
        found = await get_call(database, call.id)
        assert found is not None
        assert found.call.usage == call.usage


async def test_signs_that_postgres_refuses_are_replaced(database: Database, store) -> None:
    decision = DecisionRecord(router="r\x00", version="1", reason="\ud800", tradeoff=0.5, ranking=())
    call = full_call(
        reply_text="a\x00b\\u0000c", request_text="\udfffx", session="\x00", decision=decision, error_code="\\\x00"
    )
    judged = score(call.id, comment="\x00\ud83d")
    await store(call, judged)
    found = await get_call(database, call.id)
    assert found is not None
    assert (found.call.reply_text, found.call.request_text) == ("a\ufffdb\\u0000c", "\ufffdx")
    assert (found.call.session, found.call.error_code) == ("\ufffd", "\\\ufffd")
    assert found.call.decision is not None
    assert (found.call.decision.router, found.call.decision.reason) == ("r\ufffd", "\ufffd")
    assert found.scores[0].comment == "\ufffd\ufffd"


async def test_a_header_too_long_for_an_index_is_cut_short(database: Database, store) -> None:
    import random

    long = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyzäöü€𝄞", k=100_000))
    call = full_call(session=long, run=long, model=long)
    await store(call)
    rows = (await list_calls(database, CallFilter(session=long[:512]))).rows
    assert [row.id for row in rows] == [call.id]


async def test_pages_are_complete_while_calls_arrive(database: Database, store) -> None:
    # Many share a time, so that the id has to decide.
    recorded = [full_call(started_at=NOW + timedelta(seconds=index // 7)) for index in range(50)]
    await store(*recorded)
    expected = [call.id for call in sorted(recorded, key=lambda call: (call.started_at, call.id), reverse=True)]
    seen: list[str] = []
    cursor = None
    while True:
        page = await list_calls(database, limit=8, cursor=cursor)
        seen += [row.id for row in page.rows]
        cursor = page.older
        if cursor is None:
            break
        await store(full_call(started_at=NOW + timedelta(days=1)))
    assert seen == expected


@pytest.mark.parametrize(
    "wanted",
    [
        CallFilter(),
        CallFilter(model="small"),
        CallFilter(model="small", router="knn", source="live"),
        CallFilter(min_latency=2.0, max_cost_usd=0.5),
        CallFilter(text="NEEDLE 100%"),
        CallFilter(min_attempts=2, since=NOW + timedelta(days=3), until=NOW + timedelta(days=17)),
    ],
)
async def test_there_and_back_through_many_days(
    database: Database, store, wanted: CallFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small blocks, so that a page takes several and a search stops within a day, between days and at the end.
    for name, value in {"_BLOCK": 3, "_TEXT_BLOCK": 1, "_LARGEST_BLOCK": 5, "_DAYS_AT_ONCE": 2}.items():
        monkeypatch.setattr(f"app.store.queries.calls.{name}", value)
    rng = random.Random(1)
    recorded = [
        full_call(
            started_at=NOW + timedelta(hours=rng.randrange(20 * 24)),
            model=rng.choice(["small", "large"]),
            source=rng.choice(["live", "replay"]),
            latency=rng.choice([1.0, 2.0, 3.0]),
            cost_usd=rng.choice([None, Decimal("0.1"), Decimal("0.6")]),
            reply_text=rng.choice(["a needle 100% sharp", "a needle 100 times", None]),
            attempts=full_call().attempts[: rng.randrange(3)],
        )
        for _ in range(120)
    ]
    await store(*recorded)
    expected = [
        call.id
        for call in sorted(recorded, key=lambda call: (call.started_at, call.id), reverse=True)
        if wanted.model in (None, call.model)
        and wanted.source in (None, call.source)
        and call.latency >= (wanted.min_latency or 0)
        and (wanted.max_cost_usd is None or (call.cost_usd is not None and call.cost_usd <= wanted.max_cost_usd))
        and (wanted.text is None or "needle 100%" in (call.reply_text or ""))
        and len(call.attempts) >= (wanted.min_attempts or 0)
        and (wanted.since is None or call.started_at >= wanted.since)
        and (wanted.until is None or call.started_at < wanted.until)
    ]
    assert expected
    for seconds in (60.0, 0.0):  # in time, and stopped after every block
        monkeypatch.setattr("app.store.queries.calls.SEARCH_SECONDS", seconds)
        page = await list_calls(database, wanted, limit=7)
        seen = [row.id for row in page.rows]
        while page.older is not None:
            page = await list_calls(database, wanted, limit=7, cursor=page.older)
            assert seconds == 0.0 or (page.searched_to is None and (len(page.rows) == 7 or page.older is None))
            seen += [row.id for row in page.rows]
        assert seen == expected
        back = [row.id for row in page.rows]
        for _ in range(1000):
            assert page.newer is not None
            page = await list_calls(database, wanted, limit=7, cursor=page.newer)
            back = [row.id for row in page.rows] + back
            if not page.rows and page.searched_to is None:
                break
        assert back == expected
    if wanted == CallFilter():
        # After the days of other tests: to their end the search in no time has come, and its cursor with it.
        async with database.session() as connection:
            (latest, *_) = await days(connection)
        late = full_call(started_at=bounds(latest)[1])
        await store(late)
        # A day without calls is one at which a search in no time would stop.
        monkeypatch.setattr("app.store.queries.calls.SEARCH_SECONDS", 60.0)
        assert [row.id for row in (await list_calls(database, cursor=page.newer)).rows] == [late.id]


async def test_filters(database: Database, store) -> None:
    late = full_call(started_at=NOW + timedelta(hours=1), run="other", model="large", session="s", outcome="error")
    early = full_call()
    await store(late, early)
    for wanted, expected in [
        (CallFilter(), [late, early]),
        (CallFilter(run="other"), [late]),
        (CallFilter(model="small"), [early]),
        (CallFilter(router="knn"), [late, early]),
        (CallFilter(router="ridge"), []),
        (CallFilter(outcome="error", session="s"), [late]),
        (CallFilter(since=late.started_at), [late]),
        (CallFilter(until=late.started_at), [early]),
    ]:
        page = await list_calls(database, wanted)
        assert ([row.id for row in page.rows], page.older) == ([call.id for call in expected], None)
        assert await count_calls(database, wanted) == len(expected)


@pytest.mark.parametrize(
    "wanted",
    [
        CallFilter(text="50% OF :name_/"),
        CallFilter(text="%(name)s"),
        CallFilter(session="a:b%c", min_cost_usd=Decimal("0.1"), max_latency=5, min_attempts=1),
        CallFilter(since=NOW, until=NOW + timedelta(hours=1), model="small", router="knn", outcome="ok", source="live"),
    ],
)
async def test_a_list_and_a_stream_take_a_filter_alike(database: Database, store, wanted: CallFilter) -> None:
    """One puts the condition to the driver, the other to SQLAlchemy, which mark parameters differently."""
    texts = ["take 50% of :name_/ now", "take 50 % of :name_/", "50% of :nameX/", "say %(name)s", None]
    recorded = [
        full_call(
            request_text=text,
            session=session,
            started_at=NOW,
            model="small",
            source="live",
            outcome="ok",
            cost_usd=Decimal("0.5"),
            latency=1.0,
        )
        for text in texts
        for session in ("a:b%c", None)
    ]
    await store(*recorded, full_call(started_at=NOW + timedelta(days=1), request_text="else", source="live"))
    listed = {row.id for row in (await list_calls(database, wanted, limit=1000)).rows}
    streamed = {call.id async for call in stream_texts(database, wanted)}
    mine = {call.id for call in recorded}
    assert streamed & mine == listed & mine != set()
    assert len(listed & mine) == {"50% OF :name_/": 2, "%(name)s": 2, None: 5 if wanted.session else 10}[wanted.text]


async def test_what_is_not_there(database: Database, store) -> None:
    call = small_call()
    await store(call)
    assert await call_exists(database, call.id)
    for unknown in (new_id(), "no id", ""):
        assert not await call_exists(database, unknown)
        assert await get_call(database, unknown) is None


async def test_bad_pages_are_refused(database: Database) -> None:
    with pytest.raises(InvalidRequest, match="limit"):
        await list_calls(database, limit=0)
    for cursor in ("x", "AAAA", "bm90IGEgdGltZSB4"):
        with pytest.raises(InvalidRequest, match="cursor"):
            await list_calls(database, cursor=cursor)


async def test_scores_of_several_calls(database: Database, store) -> None:
    first, second, third = (score(call_id) for call_id in ("00000000-0000-0000-0000-000000000001", new_id(), new_id()))
    await store(first, second, third)  # their calls may come later
    found = await scores_of(database, [first.call_id, second.call_id, "no id"])
    assert found == {first.call_id: [first], second.call_id: [second]}


async def test_what_a_runs_decisions_foretold_of_the_models_that_answered(database: Database, store) -> None:
    await suites.save_suite(database, make_suite())
    suite_run = await runs.create_run(database, suite="small", suite_digest="d" * 64, spec={})
    call, unknown = full_call(run=suite_run.id), full_call(run=suite_run.id)
    assert call.decision is not None
    await store(call, unknown)
    await runs.add_results(
        database,
        suite_run.id,
        [
            ResultRow(router="knn", tradeoff=0.5, item="i", answered=True, call_id=call.id, model="small"),
            ResultRow(router="knn", tradeoff=0.5, item="j", answered=True, call_id=unknown.id, model="stranger"),
            ResultRow(router="knn", tradeoff=0.5, item="k", answered=False, call_id=call.id, model="small"),
            ResultRow(router="knn", tradeoff=0.5, item="l", answered=True, call_id=new_id(), model="small"),
        ],
    )
    picked = next(ranked for ranked in call.decision.ranking if ranked.model == "small")
    found = {one.item: (one.quality, one.cost) for one in await run_predictions(database, suite_run.id)}
    assert found == {"i": (picked.quality, picked.cost), "j": (None, None)}


async def test_prices_of_a_run_are_the_latest_it_was_billed_at(database: Database, store) -> None:
    price = full_call().attempts[1].price
    assert price is not None
    dearer = msgspec.structs.replace(price, input=price.input * 2)
    late = full_call(run="r", started_at=NOW + timedelta(hours=1))
    attempt = msgspec.structs.replace(late.attempts[1], price=dearer)
    await store(full_call(run="r"), msgspec.structs.replace(late, attempts=(late.attempts[0], attempt)))
    assert await run_prices(database, "r") == {"small": dearer}  # large failed, and was not billed
    assert await run_prices(database, "other") == {}


async def test_a_list_says_how_requests_begin_and_how_often_models_were_called(database: Database, store) -> None:
    told, silent = full_call(request_text="Ünder the wide sky" * 1000), small_call(session="silent")
    await store(told, silent)
    page = await list_calls(database, letters=5)
    assert page.beginnings == {told.id: "Ünder"}
    assert {row.id: row.attempt_count for row in page.rows} == {told.id: 2, silent.id: 0}
    # Also where rows are looked at one by one.
    assert (await list_calls(database, CallFilter(text="wide sky"), letters=3)).beginnings == {told.id: "Ünd"}
    assert (await list_calls(database)).beginnings == {}


async def test_the_calls_beside_one(database: Database, store) -> None:
    rows = [small_call(started_at=NOW + timedelta(seconds=n), session="a" if n % 2 else "b") for n in range(4)]
    await store(*rows)
    ids = [row.id for row in rows]
    assert await calls_beside(database, rows[1]) == (ids[2], ids[0])
    assert await calls_beside(database, rows[0]) == (ids[1], None)
    assert await calls_beside(database, rows[3], CallFilter(session="a")) == (None, ids[1])
    # One that the filter leaves out has neighbours among the others all the same.
    assert await calls_beside(database, rows[2], CallFilter(session="a")) == (ids[3], ids[1])


async def test_items_are_found_by_a_key_of_their_id(database: Database) -> None:
    suite = make_suite()
    assert suite.outcomes is not None
    await suites.save_suite(database, suite)
    found = await items_by_key(database, "small", str.upper, {"ITEM-0", "ITEM-1", "ITEM-9"})
    assert set(found) == {"ITEM-0", "ITEM-1"}
    item = found["ITEM-0"]
    assert (item.id, item.category, item.messages) == ("item-0", "even", list(suite.items[0].messages))
    assert item.qualities == dict(zip(suite.outcomes.models, suite.outcomes.quality[0].tolist(), strict=True))
    assert found["ITEM-1"].qualities == {}
    assert await items_by_key(database, "no such suite", str, {"item-0"}) == {}
    assert await items_by_key(database, "small", str, set()) == {}
