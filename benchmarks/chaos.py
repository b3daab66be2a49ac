"""Calls of which each goes wrong in some way: `python -m benchmarks.chaos [--calls 10000] [--seed 0]`.

A Hullspeed in a process of its own, with a real Postgres, serves clients of whom some leave early and some read
slowly. Behind it is the mock, each of whose replies bears a fault or an oddity, by chance with a seed. Models are
called directly (OpenAI's dialect) and through litellm (Anthropic's); by name, by a router, and by a router that
compares replies; streamed and whole; with retries and fallbacks.

Held against each call: its client gets one well-formed reply, an answer or an error in OpenAI's envelope, a stream
ends with `[DONE]` or with one error, never with both or neither; one row in the ledger; for each call and model as
many attempts with `sent` in it as the mock saw requests. At the end: nothing in flight anywhere, and memory and open
files as they were after the first fifth. Prints a table, and exits with 1 where anything does not hold. Needs Linux
(/proc).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, get_args

import psycopg

from app.conform.check import Broken
from app.conform.client import Base, Connection, Reply
from app.core.burst import burst_of
from app.core.config import load_config
from app.core.settings import Settings
from app.gateway.direct import DirectUpstream
from app.gateway.litellm import LitellmUpstream
from app.main import Proxy
from app.mock.plan import Chaos, Dice
from app.mock.replies import FaultKind
from app.mock.server import Mock
from app.serving import bind, serving
from app.store import migrate
from app.store.database import Database
from app.store.embedded import EmbeddedServer
from routers import Choice, Decision, Query, Router
from routers import Reply as Heard
from routers.fixed import FixedRouter

DIRECT = ("a", "b", "c")
THROUGH_LITELLM = ("x", "y")
ASKED = ("a", "b", "x", "auto/plain", "auto/pair", "auto/pair", "auto/far")
"""What clients ask for."""
CLIENTS = 96
"""At once."""
PATIENCE = 30.0
"""Seconds after which a reply that has not ended is one that never will."""
MORE_BYTES, MORE_FILES = 24 << 20, 24
"""Growth after the first fifth that is no leak: what allocators and pools keep."""

ROUTING = {
    "timeout": 1.0, "first_token_timeout": 0.6, "idle_timeout": 0.4, "stream_timeout": 2.0, "keep_alive": 0.2,
    "retries": 1, "retry_seconds": 4.0, "retry_budget": 1.0, "longest_pause": 0.6, "cooldown": 0.2,
    "allowed_fails": 8,
    "fallback": ["b", "c"],
}  # fmt: skip


def faults() -> list[Any]:
    """What the mock draws from, as it stands in its plans: all kinds of faults, errors, and good replies that come
    oddly."""
    words = {"text": "one two three four five six"}
    broken: list[Any] = [
        {"fault": {"kind": kind, "after": after, "answer": {**words, "gap": 0.01 if kind == "endless" else 0.0}}}
        for kind in get_args(FaultKind)
        if kind != "drip"
        for after in (0, 2)
    ]
    broken += [{"error": {"status": status}} for status in (400, 401, 403, 404, 408, 409, 429, 500, 502, 503, 529)]
    broken += ["mock-too-long", "mock-429", "mock-429-quota", "mock-no-stream-options"]
    odd: list[Any] = [
        {"answer": answer}
        for answer in (
            {"delay": 0.1}, {"first_delay": 0.2}, {**words, "gap": 0.05}, {**words, "gap": 0.3}, {"text": ""},
            {"text": "x" * 300_000, "chunks": 60}, {"refusal": "No."}, {"reasoning": "Because."}, {"text": "Zürich 😀"},
            {"wire": {"crlf": True}}, {"wire": {"comments": True}}, {"wire": {"multiline": True}},
            {"wire": {"split": 7}}, {"wire": {"space": False}}, {"usage_at": "none"}, {"usage_at": "several"},
            {"usage_at": "always"}, {"usage_at": "with_choices"}, {"tool_calls": [{"name": "f"}]},
        )
    ]  # fmt: skip
    odd.append({"fault": {"kind": "drip", "answer": {"text": "slow", "gap": 0.0002}}})
    return broken + 2 * odd


# ------------------------------------------------------------------ the proxy, in its own process


class Pair(Router):
    """Asks two, then the third; two replies of one kind (long or short) agree."""

    name = "pair"
    fast = True

    def __init__(self, *models: str) -> None:
        self.models = models

    def route(self, query: Query) -> Decision:
        # Without those that are set aside just now.
        models = [candidate.model for candidate in query.candidates if candidate.model in self.models]
        if len(models) < 2:
            return Decision(tuple(map(Choice, models)), "alone")
        return Decision(tuple(map(Choice, models)), "pair", ask=2, review=partial(self._judge, models))

    def _judge(self, models: Sequence[str], replies: Sequence[Heard]) -> Decision:
        seen: set[int] = set()
        for reply in replies:
            kind = len(reply.text or "") // 20
            if reply.text is not None and kind in seen:
                return Decision((), "agree", reply=reply.model)
            seen.add(kind)
        waiting = models[len(replies) :]
        if waiting:
            return Decision(tuple(map(Choice, waiting)), "third", review=partial(self._judge, models))
        return Decision((), "last", reply=models[-1])


@dataclass(frozen=True)
class State:
    """What the proxy's process holds."""

    rss: int
    """Bytes in memory."""
    files: int
    """Open files and sockets."""
    inflight: int
    """Calls that have a place."""
    asking: int
    """Requests to models under way, by the deployments' own counts."""
    due: int
    """Steps that what is sent waits for."""
    tasks: int
    flushed: bool
    """All rows are in Postgres."""


def serve_in_child(pipe: Pipe, config: Path, url: str) -> None:
    """Serve until told to stop; gives the base URL, then its `State` whenever it is asked."""

    async def run() -> None:
        direct = DirectUpstream()
        litellm = LitellmUpstream(direct)
        # Its import takes seconds, in which calls with timeouts as short as these would never go out.
        await litellm.warm()
        proxy = Proxy(
            Settings(data_dir=config.parent / "data", DATABASE_URL=url),
            load_config(config),
            upstreams={"direct": direct, "litellm": litellm},
            routers={"plain": FixedRouter("a"), "pair": Pair(*DIRECT), "far": Pair("x", "y", "a")},
        )
        sock = bind("127.0.0.1", 0)
        async with serving(proxy, sock) as served:
            pipe.send(served)
            while await asyncio.to_thread(pipe.recv) != "stop":
                flushed = await proxy.ledger.flush(30)
                pipe.send(_state(proxy, flushed))
        sock.close()

    asyncio.run(run())


def _state(proxy: Proxy, flushed: bool) -> State:
    # What is free must not count because the allocator keeps it for later.
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    asking = sum(health.inflight for name in proxy.catalog for health in proxy.fleet.order(name))
    files = sum(1 for _ in Path("/proc/self/fd").iterdir())
    tasks = len(asyncio.all_tasks())
    due = burst_of(asyncio.get_running_loop()).due
    return State(pages * os.sysconf("SC_PAGE_SIZE"), files, proxy.admission.inflight, asking, due, tasks, flushed)


@dataclass(frozen=True)
class Served:
    """The proxy as its clients know it, and a way to look into it."""

    base: Base
    pipe: Pipe

    async def state(self) -> State:
        self.pipe.send("look")
        found = await asyncio.to_thread(self.pipe.recv)
        assert isinstance(found, State)
        return found


@asynccontextmanager
async def proxy_process(folder: Path, mock: str, url: str) -> AsyncIterator[Served]:
    """`mock`: HOST:PORT of the provider; `url`: of an empty database."""
    database = Database(url, folder)
    await database.open()
    await migrate.upgrade(database)
    await database.close()
    config = folder / "hullspeed.yaml"
    config.write_text(json.dumps(_config(mock)))  # YAML too
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve_in_child, args=(theirs, config, url), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Served(Base.parse(await asyncio.to_thread(ours.recv)), ours)
        ours.send("stop")
        await asyncio.to_thread(process.join, 60)
    finally:
        process.kill()
        process.join()


def _config(mock: str) -> dict[str, Any]:
    def entry(name: str, provider: str, base: str) -> dict[str, Any]:
        price = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
        params = {"model": f"{provider}/{name}", "api_base": base, "api_key": "sk-chaos", **price}
        return {"model_name": name, "litellm_params": params}

    listed = [entry(name, "openai", f"http://{mock}/v1") for name in DIRECT]
    listed += [entry(name, "anthropic", f"http://{mock}") for name in THROUGH_LITELLM]
    fallbacks = [{"a": ["b", "x"]}, {"x": ["y", "c"]}]
    return {"model_list": listed, "routing": ROUTING, "router_settings": {"fallbacks": fallbacks}}


# ------------------------------------------------------------------ the clients


@dataclass
class Asked:
    """One call as its client saw it."""

    number: int
    left: bool = False
    """The client went away before the end."""
    id: str | None = None
    outcome: str = "left"
    problem: str | None = None

    @property
    def session(self) -> str:
        return f"chaos-{self.number}"


async def ask(served: Served, number: int, seed: int) -> Asked:
    """One call. What kind of client makes it depends on number and seed alone."""
    dice = random.Random(f"{seed}/{number}")
    asked = Asked(number)
    streamed, kind = dice.random() < 0.6, dice.random()
    body: dict[str, Any] = {
        "model": dice.choice(ASKED),
        "messages": [{"role": "user", "content": f"Say it ({asked.session})."}],
        "stream": streamed,
        "max_tokens": 100,
    }
    if streamed and dice.random() < 0.5:
        body["stream_options"] = {"include_usage": True}
    headers = {"content-type": "application/json", "x-hullspeed-session": asked.session}
    leaves, slow = kind < 0.12, 0.12 <= kind < 0.24
    try:
        async with await Connection.open(served.base, receive_buffer=4096 if slow else None) as connection:
            await connection.send("POST", "/v1/chat/completions", headers, json.dumps(body).encode())
            if leaves:
                asked.left = True
                # Some go at once, some after a while, some within the reply.
                async with asyncio.timeout(dice.choice((0.0, 0.02, 0.2, 0.5))):
                    await _part(connection, asked, dice)
            else:
                async with asyncio.timeout(PATIENCE):
                    reply = await connection.head()
                    asked.id = reply.headers.get("x-hullspeed-call-id")
                    await (_slowly(connection, reply) if slow else connection.read(reply))
                asked.outcome = judge(reply, streamed)
    except Broken as broken:
        asked.problem = None if asked.left else str(broken)
    except TimeoutError:
        asked.problem = None if asked.left else f"no end within {PATIENCE:g} s"
    return asked


async def _part(connection: Connection, asked: Asked, dice: random.Random) -> None:
    """Read no more than a few pieces."""
    reply = await connection.head()
    asked.id = reply.headers.get("x-hullspeed-call-id")
    pieces = dice.randrange(4)
    try:
        async for _ in connection.pieces(reply):
            if not pieces:
                break
            pieces -= 1
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        raise Broken("the reply broke off") from None


async def _slowly(connection: Connection, reply: Reply) -> None:
    parts: list[bytes] = []
    try:
        async for piece in connection.pieces(reply):
            parts.append(piece)
            await asyncio.sleep(0.004)
        reply.complete = True
    except (asyncio.IncompleteReadError, ConnectionError, ValueError, asyncio.LimitOverrunError):
        pass
    reply.body = b"".join(parts)


def judge(reply: Reply, streamed: bool) -> str:
    """How a call ended for its client, in one or two words. Raises `Broken` for what is no well-formed reply."""
    if not reply.complete:
        raise Broken(f"status {reply.status}, and the body broke off: {reply.body[-120:]!r}")
    if "x-hullspeed-call-id" not in reply.headers:
        raise Broken("the reply has no x-hullspeed-call-id")
    if reply.status == 200 and streamed:
        errors = [chunk["error"] for chunk in reply.chunks if "error" in chunk]
        done = reply.events.count("[DONE]")
        if done + len(errors) != 1 or not (reply.done or "error" in reply.chunks[-1]):
            raise Broken(f"{done} times [DONE] and {len(errors)} errors: {reply.body[-200:]!r}")
        for error in errors:
            _check_envelope(error)
        return "stream cut" if errors else "answered"
    if reply.is_stream:
        raise Broken(f"status {reply.status} with an event stream, streamed={streamed}")
    if reply.status == 200:
        if not reply.json.get("choices") or "error" in reply.json:
            raise Broken(f"an answer without choices: {reply.body[:120]!r}")
        return "answered"
    if reply.status < 400:
        raise Broken(f"status {reply.status}")
    _check_envelope(reply.json.get("error"))
    return f"error {reply.status}"


def _check_envelope(error: Any) -> None:
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"} or not error["message"]:
        raise Broken(f"no error of OpenAI's form: {error!r}")


# ------------------------------------------------------------------ what came of it


@dataclass
class Findings:
    """What was counted, and what does not hold."""

    calls: list[Asked] = field(default_factory=list)
    seconds: float = 0.0
    rows: int = 0
    unrowed: int = 0
    """Calls without a row whose client had left before it heard anything: their request may never have been read."""
    sent: Counter[str] = field(default_factory=Counter)
    """Attempts by model whose request went out, by the ledger."""
    seen: Counter[str] = field(default_factory=Counter)
    """Requests at the mock by model."""
    unsent: Counter[str] = field(default_factory=Counter)
    """Attempts that ended before their request was out, by outcome."""
    early: State | None = None
    late: State | None = None
    problems: list[str] = field(default_factory=list)


def check_books(found: Findings, mock: Mock, url: str) -> None:
    """Hold the ledger against what clients and mock saw."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT id::text, session FROM calls").fetchall()
        tried = connection.execute(
            "SELECT session, attempts.model, attempts.outcome, sent FROM attempts JOIN calls ON calls.id = call_id"
        ).fetchall()
    found.rows = len(rows)
    ids: dict[str, list[str]] = {}
    for id_, session in rows:
        ids.setdefault(session, []).append(id_)
    for call in found.calls:
        kept = ids.pop(call.session, [])
        if not kept and call.left and call.id is None:
            found.unrowed += 1
        elif len(kept) != 1 or call.id not in (None, kept[0]):
            found.problems.append(f"{call.session}: {len(kept)} rows in the ledger ({kept}), the reply had {call.id}")
    found.problems += [f"rows of a call nobody made: {session}" for session in ids]
    sent = Counter((session, model) for session, model, _, went in tried if went)
    found.unsent.update(outcome for _, _, outcome, went in tried if not went)
    asked = Counter((_session(seen.raw), seen.model or "") for seen in mock.chats)
    for key in sent.keys() | asked.keys():
        if sent[key] != asked[key]:
            ends = [outcome for session, model, outcome, _ in tried if (session, model) == key]
            found.problems.append(f"{key}: {sent[key]} attempts sent, {asked[key]} requests at the mock ({ends})")
        found.sent[key[1]] += sent[key]
        found.seen[key[1]] += asked[key]


def _session(body: bytes) -> str:
    at = body.index(b"chaos-")
    return body[at : body.index(b")", at)].decode()


def check_state(found: Findings, mock: Mock) -> None:
    """Hold the end against the state after the first fifth."""
    early, late, problems = found.early, found.late, found.problems
    assert early is not None
    assert late is not None
    open_ = sum(not seen.is_over for seen in mock.requests)
    for what, left in (("calls", late.inflight), ("attempts", late.asking), ("requests at the mock", open_)):
        if left:
            problems.append(f"{left} {what} still in flight")
    if late.due:
        problems.append(f"what is sent waits for {late.due} steps that will not come")
    if not late.flushed:
        problems.append("the ledger's rows did not all reach Postgres")
    if late.rss - early.rss > MORE_BYTES:
        problems.append(f"memory grew by {(late.rss - early.rss) / 2**20:.0f} MiB after the first fifth")
    if late.files - early.files > MORE_FILES:
        problems.append(f"{late.files - early.files} more files open than after the first fifth")


async def settled(served: Served, mock: Mock) -> State:
    """The proxy's state once nothing is under way any more, or after a few seconds in which something still was."""
    for _ in range(50):
        state = await served.state()
        if not state.inflight and not state.asking and all(seen.is_over for seen in mock.requests):
            break
        await asyncio.sleep(0.1)
    return state


async def run(url: str, folder: Path, calls: int, seed: int) -> Findings:
    """All calls, against a proxy whose ledger is the empty database at `url`."""
    found = Findings()
    numbers = iter(range(calls))

    async def client(served: Served, until: int) -> None:
        while len(found.calls) < until and (number := next(numbers, None)) is not None:
            found.calls.append(await ask(served, number, seed))

    async with Mock() as mock:
        mock.dice = Dice(Chaos(seed, 1.0, faults()))
        address = f"127.0.0.1:{await mock.listen()}"
        async with proxy_process(folder, address, url) as served:
            started = time.perf_counter()
            for until in (calls // 5, calls):
                await asyncio.gather(*(client(served, until) for _ in range(CLIENTS)))
                found.early, found.late = found.late, await settled(served, mock)
            found.seconds = time.perf_counter() - started
        found.problems += [f"{call.session}: {call.problem}" for call in found.calls if call.problem]
        check_state(found, mock)
        check_books(found, mock, url)
    return found


def show(found: Findings) -> None:
    """The table."""
    early, late = found.early, found.late
    assert early is not None
    assert late is not None
    print(f"{len(found.calls):,} calls in {found.seconds:.0f} s ({len(found.calls) / found.seconds:.0f} a second)")
    for outcome, count in Counter(call.outcome for call in found.calls).most_common():
        print(f"  {outcome:24}{count:9,}")
    print(f"rows in the ledger        {found.rows:9,}   ({found.unrowed} clients left before their request was read)")
    print("attempts     sent     mock")
    for model in (*DIRECT, *THROUGH_LITELLM):
        print(f"  {model:6}{found.sent[model]:9,}{found.seen[model]:9,}")
    print("  ended before the request was out:", ", ".join(f"{n} {end}" for end, n in found.unsent.items()) or 0)
    print("at           memory MiB    files    calls    asking    tasks")
    for title, at in (("20 %", early), ("100 %", late)):
        print(f"  {title:6}{at.rss / 2**20:15.1f}{at.files:9}{at.inflight:9}{at.asking:10}{at.tasks:9}")
    for problem in found.problems[:20]:
        print(f"WRONG: {problem}")
    print(f"{len(found.problems)} violations")


def main(folder: Path, calls: int, seed: int) -> bool:
    """Start a Postgres, run, print; whether everything held."""
    server = EmbeddedServer(folder / "postgres")
    try:
        found = asyncio.run(run(server.start(), folder, calls, seed))
    finally:
        server.stop()
    show(found)
    return not found.problems


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hs-") as name:
        sys.exit(0 if main(Path(name), given.calls, given.seed) else 1)
