"""Replay: ask a running proxy every item of a suite, grade what comes back, and keep a result of each call.

A client of the HTTP endpoint and nothing more, so what is scored is what serves: its decisions, overhead, errors and
fallbacks. Calls are tagged with run and item; each is seeded by the run's seed and the item's id, so that pure scoring
of the same outcomes gives the same decisions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from time import perf_counter
from typing import Any

import aiohttp
import msgspec

from app.bench.suite import Item
from app.core.errors import HullspeedError
from routers.base import seed_for

FLUSH_SECONDS = 1.0
FLUSH_ROWS = 500


class ReplayFailed(HullspeedError):
    """The proxy cannot be reached or refuses the replay as such; what was done is kept."""

    code = "replay_failed"


@dataclass(frozen=True)
class Task:
    """One call to make."""

    router: str
    """Name of the router's entry: asked for as `auto/<router>`."""
    tradeoff: float
    item: Item


@dataclass(frozen=True)
class Result:
    """What came of one call."""

    router: str
    tradeoff: float
    item: str
    call_id: str | None
    model: str | None
    quality: float
    """In [0, 1]; 0 where the call failed."""
    cost_usd: Decimal | None
    """Billed; None where the proxy does not know the price."""
    answered: bool
    latency: float
    """Seconds from sending the request to having read the reply."""
    overhead: float | None
    """Seconds of it that were the proxy's own, as it states them."""
    error: str | None = None


Grade = Callable[[Item, str, str], float]
"""Quality of a reply: (item, model that answered, text of the reply)."""


@dataclass
class Progress:
    """How far a replay has come."""

    total: int
    done: int = 0
    failed: int = 0
    cost: Decimal = Decimal(0)
    quality: float = 0.0
    """Sum over the calls done."""
    started: float = field(default_factory=perf_counter)

    @property
    def rate(self) -> float:
        """Calls per second so far."""
        return self.done / max(perf_counter() - self.started, 1e-9)


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Reply(msgspec.Struct):
    model: str
    choices: list[_Choice]


class _ErrorBody(msgspec.Struct):
    error: dict[str, Any]


_decode_reply = msgspec.json.Decoder(_Reply).decode
_decode_error = msgspec.json.Decoder(_ErrorBody).decode


class Replay:
    """Sends tasks to a proxy with a fixed number of calls in flight."""

    def __init__(
        self,
        url: str,
        *,
        run: str,
        seed: int,
        grade: Grade,
        save: Callable[[Sequence[Result]], Awaitable[None]],
        api_key: str | None = None,
        concurrency: int = 32,
        max_cost: Decimal | None = None,
        on_progress: Callable[[Progress], None] = lambda _progress: None,
    ) -> None:
        """`save` keeps a batch of results for good; `max_cost`, USD, stops the replay once that much is spent."""
        self.endpoint = f"{url.rstrip('/')}/v1/chat/completions"
        self.run = run
        self.seed = seed
        self.grade = grade
        self.save = save
        self.concurrency = concurrency
        self.max_cost = max_cost
        self.on_progress = on_progress
        self._headers = {"x-hullspeed-run": run, "content-type": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._unsaved: list[Result] = []
        self._saved_at = perf_counter()
        self._saving = asyncio.Lock()

    async def send(self, tasks: Sequence[Task], *, spent: Decimal = Decimal(0)) -> Progress:
        """Make all calls; `spent` is what earlier parts of the run cost already.

        Returns early, with what is done kept, once `max_cost` is reached. Raises `ReplayFailed` when the proxy is gone.
        """
        progress = Progress(len(tasks), cost=spent)
        pending = iter(tasks)
        connector = aiohttp.TCPConnector(limit=self.concurrency)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(None)) as session:
            workers = [asyncio.create_task(self._work(session, pending, progress)) for _ in range(self.concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
                await self._flush()
        return progress

    async def _work(self, session: aiohttp.ClientSession, pending: Iterator[Task], progress: Progress) -> None:
        for task in pending:
            if self.max_cost is not None and progress.cost >= self.max_cost:
                return
            result = await self._call(session, task)
            progress.done += 1
            progress.failed += not result.answered
            progress.cost += result.cost_usd or 0
            progress.quality += result.quality
            self.on_progress(progress)
            self._unsaved.append(result)
            if len(self._unsaved) >= FLUSH_ROWS or perf_counter() - self._saved_at >= FLUSH_SECONDS:
                await self._flush()

    async def _flush(self) -> None:
        async with self._saving:
            batch, self._unsaved = self._unsaved, []
            self._saved_at = perf_counter()
            if batch:
                await self.save(batch)

    async def _call(self, session: aiohttp.ClientSession, task: Task) -> Result:
        item = task.item
        routing = {"tradeoff": task.tradeoff, "seed": seed_for(self.seed, item.id)}
        body = {"model": f"auto/{task.router}", "messages": item.messages, "routing": routing}
        started = perf_counter()
        try:
            async with session.post(
                self.endpoint,
                data=msgspec.json.encode(body),
                headers={**self._headers, "x-hullspeed-item": header_value(item.id)},
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise ReplayFailed(
                f"the proxy at {self.endpoint} is gone ({type(error).__name__}); "
                "what was done is kept: run the same command again to resume"
            ) from None
        latency = perf_counter() - started
        if response.status in (401, 403) and "x-hullspeed-attempts" not in response.headers:
            raise ReplayFailed(f"the proxy at {self.endpoint} refuses the key; give its key as HULLSPEED_API_KEY")
        return self._result(task, response.status, response.headers, raw, latency)

    def _result(self, task: Task, status: int, headers: Any, raw: bytes, latency: float) -> Result:
        overhead = headers.get("x-hullspeed-overhead-ms")
        model, quality, error = headers.get("x-hullspeed-model"), 0.0, None
        try:
            if status == 200:
                reply = _decode_reply(raw)
                model = reply.model
                quality = self.grade(task.item, model, reply.choices[0].message.content or "")
            else:
                error = f"{status}: {_decode_error(raw).error.get('message')}"
        except (msgspec.DecodeError, IndexError) as problem:
            error = f"{status}: not a chat completion ({problem})"
        return Result(
            router=task.router,
            tradeoff=task.tradeoff,
            item=task.item.id,
            call_id=headers.get("x-hullspeed-call-id"),
            model=model,
            quality=quality,
            cost_usd=_decimal(headers.get("x-hullspeed-cost-usd")),
            answered=error is None,
            latency=latency,
            overhead=None if overhead is None else float(overhead) / 1000,
            error=error,
        )


def header_value(text: str) -> str:
    """An id as a header value: percent-encoded outside printable ASCII, since headers carry no other text."""
    return "".join(
        sign if " " <= sign <= "~" and sign != "%" else "".join(f"%{byte:02X}" for byte in sign.encode())
        for sign in text
    )


def _decimal(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        return None
