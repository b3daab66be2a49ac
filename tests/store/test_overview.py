import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from app.core.types import Attempt, Call, DecisionRecord, Price, RankedModel, Usage
from app.store.database import Database
from app.store.queries.choices import choices, expected_qualities
from app.store.queries.overview import baselines, is_empty, last_called, overview
from app.store.queries.periods import StatsFilter
from app.store.shipping import ship
from app.store.text import encode
from tests.store.samples import NOW, full_call, score, small_call

BEGIN = datetime(2026, 3, 4, tzinfo=UTC)


def drawn(rng: random.Random) -> Call:
    """A call of one attempt at any time of ten days."""
    outcome = rng.choice(["ok", "ok", "ok", "error", "client_cancelled"])
    usage = Usage(rng.randrange(1000), rng.randrange(1000), rng.randrange(10)) if outcome == "ok" else None
    decision = DecisionRecord(router=rng.choice(["knn", "ridge"]), version="1", reason="", tradeoff=0.5, ranking=())
    model = rng.choice(["small", "large"]) if usage else None
    cost = Decimal(rng.randrange(1, 10**6)) / 10**9 if usage and rng.random() < 0.9 else None
    return full_call(
        started_at=BEGIN + timedelta(seconds=rng.random() * 864_000),
        outcome=outcome,
        decision=decision if rng.random() < 0.9 else None,
        model=model,
        usage=usage,
        cost_usd=cost,
        latency=rng.lognormvariate(0, 1),
        overhead=rng.choice([None, rng.random() / 100]),
        attempts=(Attempt(model=model or "small", upstream="direct", outcome="ok", offset=0.0, latency=1.0),),
        source=rng.choice(["live", "replay"]),
        run=rng.choice([None, "run-1"]),
    )


async def ship_calls(database: Database, calls: list[Call]) -> None:
    async with database.statements() as connection:
        await ship(connection, "call", [encode(call) for call in calls])


async def test_sums_are_those_of_the_calls(database: Database) -> None:
    rng = random.Random(1)
    calls = [drawn(rng) for _ in range(400)]
    for start in range(0, 400, 100):
        await ship_calls(database, calls[start : start + 100])
    await ship_calls(database, calls[50:250])  # sent again: counts no more
    for hours, wanted in [
        (24 * 10, StatsFilter()),
        (24 * 7, StatsFilter(source="live")),
        (30, StatsFilter(router="knn", tagged=True)),
        (2, StatsFilter(model="large")),
    ]:
        since = BEGIN + timedelta(hours=5, minutes=7)
        found = await overview(database, since, since + timedelta(hours=hours), wanted, now=since)
        assert found.since <= since <= since + timedelta(hours=hours) <= found.until
        among = [
            call
            for call in calls
            if found.since <= call.started_at < found.until
            and wanted.source in (None, call.source)
            and wanted.router in (None, call.decision and call.decision.router)
            and wanted.model in (None, call.model)
            and wanted.tagged in (None, call.run is not None)
        ]
        total = found.total
        assert (total.calls, total.attempts) == (len(among), len(among))
        assert total.failed == sum(call.outcome == "error" for call in among)
        assert total.prompt_tokens == sum(call.usage.prompt_tokens for call in among if call.usage)
        assert total.cached_tokens == sum(call.usage.cached_tokens for call in among if call.usage)
        assert total.cost_usd == sum((call.cost_usd for call in among if call.cost_usd), Decimal())
        assert total.unpriced == sum(call.usage is not None and call.cost_usd is None for call in among)
        assert found.outcomes == {
            outcome: sum(call.outcome == outcome for call in among) for outcome in {call.outcome for call in among}
        }
        assert {model: sums.calls for model, sums in found.models.items()} == {
            model: sum(call.model == model for call in among) for model in {call.model for call in among} - {None}
        }
        compared = [call for call in among if call.usage and call.cost_usd]
        assert found.compared.calls == len(compared)
        assert found.compared.completion_tokens == sum(c.usage.completion_tokens for c in compared if c.usage)
        if among:
            assert total.latency is not None
            assert total.latency.mean == pytest.approx(sum(call.latency for call in among) / len(among))
            exact = sorted(call.latency for call in among)[len(among) // 2]
            assert exact / 1.7 <= total.latency.p50 <= exact * 1.7


async def test_a_period_without_calls(database: Database) -> None:
    found = await overview(database, now=NOW)
    assert (found.total.calls, found.total.latency, found.models, found.outcomes) == (0, None, {}, {})
    assert await is_empty(database)


async def test_an_answer_is_compared_by_its_own_tokens(database: Database) -> None:
    """A cascade asks two models: both are paid for, and one of them is what a single model would have been asked."""
    first, second = Usage(100, 10), Usage(100, 50, 40)
    tried = [
        Attempt(model="small", upstream="direct", outcome="ok", offset=0.0, latency=1.0, usage=first),
        Attempt(model="large", upstream="direct", outcome="ok", offset=1.0, latency=1.0, usage=second),
    ]
    both = Usage(200, 60, 40)
    call = full_call(attempts=tuple(tried), model="large", usage=both, cost_usd=Decimal("0.5"))
    unanswered = msgspec.structs.replace(full_call(), model=None)
    await ship_calls(database, [call, unanswered])
    found = (await overview(database, NOW, NOW + timedelta(hours=1), now=NOW)).compared
    assert (found.calls, found.prompt_tokens, found.cached_tokens, found.completion_tokens) == (1, 100, 40, 50)
    price = Price(Decimal("0.01"), Decimal("0.02"), cached_input=Decimal("0.001"))
    dear = Price(Decimal("0.1"), Decimal("0.2"))
    dearest, cheaper = baselines(found, {"one": price, "two": dear})
    assert (dearest.model, dearest.cost_usd, dearest.saved_usd) == ("two", Decimal(20), Decimal("19.5"))
    assert (cheaper.cost_usd, cheaper.saved_usd) == (Decimal("1.64"), Decimal("1.14"))


async def test_writers_at_once_count_each_call_once(database: Database) -> None:
    rng = random.Random(2)
    calls = [drawn(rng) for _ in range(200)]
    batches = [calls[:120], calls[80:], calls[50:150], list(reversed(calls))[:100]]
    await asyncio.gather(*(ship_calls(database, batch) for batch in batches[:3]))
    await ship_calls(database, batches[3])
    assert (await overview(database, now=BEGIN)).total.calls == 0  # nothing before
    assert (await overview(database, now=BEGIN + timedelta(days=11))).total.calls == 200


async def test_what_a_filter_may_be_set_to(database: Database) -> None:
    calls = [
        full_call(session="b", run="r2", model="large"),
        full_call(session="a", run="r1", started_at=NOW + timedelta(seconds=1)),
        full_call(session="b", run="r2", error_type="timeout"),
        small_call(started_at=NOW),
    ]
    await ship_calls(database, calls)
    found = await choices(database)
    assert (found.models, found.routers) == (["large", "small"], ["knn"])
    assert (found.outcomes, found.sources) == (["ok", "rejected"], ["live", "replay"])
    assert (found.error_types, found.runs) == (["server_error", "timeout"], ["r1", "r2"])
    assert found.sessions == ["a", "b"]


async def test_choices_of_an_empty_ledger(database: Database) -> None:
    found = msgspec.structs.asdict(await choices(database))
    assert {name: values for name, values in found.items() if values} == {}


async def test_when_somebody_called_last(database: Database) -> None:
    assert await last_called(database) is None
    now = datetime.now(UTC)
    for ago, source, router in ((timedelta(minutes=10), "live", "knn"), (timedelta(minutes=1), "replay", "ridge")):
        decision = DecisionRecord(router=router, version="1", reason="", tradeoff=0.5, ranking=())
        await ship_calls(database, [full_call(source=source, decision=decision, started_at=now - ago)])
    live = await last_called(database, StatsFilter(source="live"))
    assert live is not None
    assert now - timedelta(minutes=10) < live <= now - timedelta(minutes=9)
    newest = await last_called(database)
    assert newest is not None
    assert newest > now - timedelta(minutes=1)
    assert await last_called(database, StatsFilter(router="knn")) == live
    assert await last_called(database, StatsFilter(router="none")) is None


async def test_expected_qualities(database: Database) -> None:
    ranking = (RankedModel("small", 0.5), RankedModel("large", 0.75))
    decision = DecisionRecord(router="knn", version="1", reason="", tradeoff=0.5, ranking=ranking)
    call = full_call(source="live", decision=decision)
    await ship_calls(database, [call, full_call(source="live", decision=decision), full_call()])
    async with database.statements() as connection:
        await ship(connection, "score", [encode(score(call.id, name="quality", value=0.25))])
    large, small = await expected_qualities(database)
    assert (large.model, large.predicted, large.predictions, large.scored, large.scores) == ("large", 0.75, 2, None, 0)
    assert (small.model, small.predicted, small.predictions, small.scored, small.scores) == ("small", 0.5, 2, 0.25, 1)
    replay = msgspec.structs.replace(decision, ranking=(RankedModel("small", 0.25), RankedModel("cheap", None)))
    await ship_calls(database, [full_call(decision=replay)])
    cheap, small = [one for one in await expected_qualities(database, "replay") if one.model != "large"]
    assert (cheap.predicted, cheap.predictions, small.predictions) == (None, 0, 2)
    assert {one.model: one.predictions for one in await expected_qualities(database, None)}["small"] == 4
