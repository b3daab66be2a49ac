"""A ledger of many calls: thirty days of them with their attempts, by COPY, added up as the ledger does."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import psycopg

from app.core.types import DecisionRecord, Price, RankedModel
from app.store import partitions
from app.store.database import Database
from app.store.rollup import DAY, HOUR, MINUTE, rolled_up

DAYS = 30
LOADERS = 3
MODELS = ("small", "medium", "large", "fast", "thinking", "coder", "cheap", "seldom")
MODEL_SHARES = np.array([0.35, 0.22, 0.1, 0.15, 0.05, 0.08, 0.04999, 0.00001])
ROUTERS = ("knn", "ridge", "cascade", "none")
ROUTER_SHARES = np.array([0.5, 0.3, 0.1, 0.1])
OUTCOMES = ("ok", "error", "client_cancelled", "rejected", "truncated")
OUTCOME_SHARES = np.array([0.975, 0.0125, 0.008, 0.0044, 0.0001])
STATUS = dict(zip(OUTCOMES, (200, 502, 499, 400, 200), strict=True))
ERRORS = {"error": "server_error", "rejected": "invalid_request_error", "truncated": "upstream_error"}
WORDS = (
    "the", "model", "was", "asked", "to", "write", "a", "short", "answer", "about", "boats", "hulls",
    "sails", "and", "the", "wind", "and", "so", "it", "did", "at", "once",
)  # fmt: skip
PRICE = Price(Decimal("0.00000015"), Decimal("0.0000006"), source="litellm 1.106.2")
NULL = r"\N"
NO_USAGE = "\t".join([NULL] * 6)
TEXTS = 0.1
"""Share of the calls whose reply is stored."""

_CALLS = (
    "started_at, id, endpoint, requested_model, stream, outcome, status, latency, source, overhead, "
    "time_to_first_token, model, router, router_version, reason, tradeoff, decision, prompt_tokens, completion_tokens, "
    "cached_tokens, cache_write_tokens, reasoning_tokens, usage_estimated, cost_usd, run, item, session, error_type, "
    "error_code, error_message, reply_text, attempt_count"
)
_ATTEMPTS = (
    "call_started_at, call_id, number, model, upstream, outcome, start_offset, latency, status, time_to_first_token, "
    "upstream_model, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, "
    "usage_estimated, cost_usd, price, finish_reason, error"
)


def ranking(rng: random.Random, model: str) -> tuple[RankedModel, ...]:
    others = rng.sample([name for name in MODELS if name != model], 4)
    return tuple(
        RankedModel(name, rng.random(), rng.random() / 1000, 1.0 if name == model else 0.0) for name in (model, *others)
    )


def decisions(rng: random.Random) -> dict[tuple[int, int], list[str]]:
    """Decisions as they are stored, some for each router and model."""
    return {
        (router, model): [
            msgspec.json.encode(
                DecisionRecord(
                    router=name,
                    version="1",
                    reason="best utility",
                    tradeoff=0.3,
                    ranking=ranking(rng, MODELS[model]),
                    seed=rng.getrandbits(40),
                    duration=0.00012,
                )
            ).decode()
            for _ in range(20)
        ]
        for router, name in enumerate(ROUTERS)
        for model in range(len(MODELS))
    }


def day_of_calls(day: datetime, calls: int, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """A day's calls in order, each with its attempts, as lines of COPY's text format."""
    stored = decisions(random.Random(day.timestamp()))
    # More calls by day than by night.
    hours = 1 + np.cos((np.arange(24) - 14) / 24 * 2 * np.pi) * 0.8
    seconds = np.sort(rng.choice(24, calls, p=hours / hours.sum()) * 3600 + rng.random(calls) * 3600)
    keys = rng.bytes(10 * calls).hex()
    prompts, completions = rng.integers(20, 4000, calls).tolist(), rng.integers(1, 900, calls).tolist()
    price = Decimal("0.00000015"), Decimal("0.0000006")
    begin, price_text = day.timestamp(), msgspec.json.encode(PRICE).decode()
    columns = (
        seconds.tolist(),
        rng.choice(len(MODELS), calls, p=MODEL_SHARES).tolist(),
        rng.choice(len(ROUTERS), calls, p=ROUTER_SHARES).tolist(),
        rng.choice(len(OUTCOMES), calls, p=OUTCOME_SHARES).tolist(),
        rng.lognormal(0, 0.8, calls).tolist(),
        rng.lognormal(-7.4, 0.4, calls).tolist(),
        rng.random((calls, 4)).tolist(),
    )
    for place, (second, model, router, outcome_place, latency, overhead, drawn) in enumerate(
        zip(*columns, strict=True)
    ):
        outcome, name = OUTCOMES[outcome_place], MODELS[model]
        at = datetime.fromtimestamp(begin + second, UTC).isoformat()
        noise = keys[20 * place : 20 * place + 18]
        key = f"{int((begin + second) * 1000):012x}7{noise[:3]}8{noise[3:]}"
        asked, said = prompts[place], completions[place]
        failed = outcome in ("error", "rejected")
        tries = 0 if outcome == "rejected" else 1 + (drawn[0] < 0.08) + (drawn[0] < 0.02) + (drawn[0] < 0.00005)
        cost = NULL if failed else f"{price[0] * asked + price[1] * said:f}"
        usage = NO_USAGE if failed else f"{asked}\t{said}\t0\t0\t0\tf"
        in_run = drawn[1] < 0.03
        run = f"run-{day:%d}-{int(drawn[1] * 100)}\titem-{place}" if in_run else "\\N\t\\N"
        session = f"session-{int(drawn[2] * 5e6)}" if drawn[2] < 0.4 else NULL
        error = f"{ERRORS[outcome]}\tupstream\tthe upstream said no" if outcome in ERRORS else "\\N\t\\N\t\\N"
        reply = " ".join(WORDS[(place + step) % len(WORDS)] for step in range(60)) if drawn[3] < TEXTS else NULL
        if drawn[3] < 1e-6:
            reply += " narwhal"
        decided = ROUTERS[router]
        call = (
            f"{at}\t{key}\t/v1/chat/completions\tauto\tt\t{outcome}\t{STATUS[outcome]}\t{latency}\t"
            f"{'replay' if in_run else 'live'}\t{overhead}\t{latency / 3}\t{NULL if failed else name}\t{decided}\t1\t"
            f"best utility\t0.3\t{stored[router, model][place % 20]}\t{usage}\t{cost}\t{run}\t{session}\t{error}\t"
            f"{reply}\t{tries}\n"
        )
        tried = "".join(
            f"{at}\t{key}\t{number}\t{MODELS[(model + 1) % 7]}\tdirect\terror\t0.0004\t0.2\t500\t{NULL}\t{NULL}\t"
            f"{NO_USAGE}\t{NULL}\t{NULL}\t{NULL}\tit failed\n"
            for number in range(1, tries)
        )
        if tries:
            tried += (
                f"{at}\t{key}\t{tries}\t{name}\tdirect\t{'error' if failed else 'ok'}\t0.0004\t{latency}\t"
                f"{STATUS[outcome]}\t{latency / 3}\t{name}-2025\t{usage}\t{cost}\t{price_text}\tstop\t\\N\n"
            )
        yield call, tried


def load_day(
    connection: psycopg.Connection, day: datetime, calls: int, rng: np.random.Generator, *, last: bool
) -> None:
    """COPY a day's rows and add them up, in one transaction."""
    called, tried = [], []
    for call, attempts in day_of_calls(day, calls, rng):
        called.append(call)
        tried.append(attempts)
    cursor = connection.cursor()
    for table, columns, lines in (("calls", _CALLS, called), ("attempts", _ATTEMPTS, tried)):
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
            for start in range(0, len(lines), 10_000):
                copy.write("".join(lines[start : start + 10_000]))
    # Minutes are kept for two days only.
    widths = (MINUTE, HOUR, DAY) if last else (HOUR, DAY)
    answered = ", ".join(
        f"CASE WHEN model IS NOT NULL THEN {kind} END AS answered_{kind}"
        for kind in ("prompt_tokens", "cached_tokens", "completion_tokens")
    )
    that_day = f"SELECT *, {answered} FROM {partitions.partition('calls', day.date())}"
    cursor.execute(
        f"SET LOCAL work_mem = '256MB'; WITH that_day AS ({that_day}), {rolled_up('that_day', widths)}".encode()
    )
    connection.commit()


def load_days(url: str, days: Sequence[tuple[datetime, int, bool]], seed: int) -> None:
    """What one of the loading processes does."""
    rng = np.random.default_rng(seed)
    with psycopg.connect(url) as connection:
        connection.execute("SET synchronous_commit = off")
        for day, count, last in days:
            load_day(connection, day, count, rng, last=last)


async def load(database: Database, url: str, calls: int, today: datetime, *, loaders: int = LOADERS) -> None:
    """`calls` of thirty days up to `today`. With one loader, a few calls are made here: starting processes takes longer
    than they do, and so does a vacuum that only large tables need."""
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    counts = [calls * (place + 1) // DAYS - calls * place // DAYS for place in range(DAYS)]
    async with database.session() as connection:
        await partitions.ensure(connection, [day.date() for day in days])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET max_wal_size = '8GB'")  # while it loads
        connection.execute("SELECT pg_reload_conf()")
        begun = time.perf_counter()
        some = [(day, count, place >= DAYS - 2) for place, (day, count) in enumerate(zip(days, counts, strict=True))]
        if loaders == 1:
            await asyncio.to_thread(load_days, url, some, 0)
        else:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(loaders, mp_context=context) as pool:
                for done in [pool.submit(load_days, url, some[place::loaders], place) for place in range(loaders)]:
                    await asyncio.wrap_future(done)
        seconds = time.perf_counter() - begun
        print(f"loaded {calls:,} calls in {seconds:,.0f} s: {calls / seconds:,.0f} calls/s, made and added up as well")
        connection.execute("ALTER SYSTEM RESET max_wal_size")
        connection.execute("SELECT pg_reload_conf()")
        begun = time.perf_counter()
        connection.execute("ANALYZE" if loaders == 1 else "VACUUM (ANALYZE)")
        print(f"vacuumed and analysed, as autovacuum does in time, in {time.perf_counter() - begun:,.0f} s", flush=True)
