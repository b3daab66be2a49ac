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

import msgspec

from app.bench.graders.base import GraderFailed, Judgement
from app.bench.line import Answer, Line
from app.bench.suite import Item
from app.core.errors import HullspeedError
from app.store.runs import ResultRow
from routers.base import seed_for

FLUSH_SECONDS = 1.0
FLUSH_ROWS = 500
PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same call may well be answered."""
LONGEST_WAIT = 60.0
"""Seconds between two tries at most, whatever the provider asks for."""


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
    model: str | None = None
    """A model of the catalog to be asked past all routers; `router` is then only the result's label."""

    @property
    def asked(self) -> str:
        """The `model` of the request."""
        return self.model or f"auto/{self.router}"


class Result(ResultRow, frozen=True, kw_only=True):
    """What came of one call. Its quality is 0 where the call failed; its latency is from sending the request to having
    read the reply, its overhead what the proxy says."""

    comment: str | None = None
    """The grader's, on its judgement."""


Grade = Callable[[Item, str, str], Awaitable[Judgement]]
"""Judges a reply: (item, model that answered, text of the reply). Raises `GraderFailed`."""


@dataclass
class Progress:
    """How far a replay has come."""

    total: int
    done: int = 0
    failed: int = 0
    cost: Decimal = Decimal(0)
    judge_cost: Decimal = Decimal(0)
    quality: float = 0.0
    """Sum over the calls done."""
    ungraded: int = 0
    """Calls that were answered and could not be graded."""
    started: float = field(default_factory=perf_counter)
    ended: float | None = None
    """When the last result was saved; what comes after it, such as the report, is not the replay's pace."""

    @property
    def rate(self) -> float:
        """Calls per second, so far or in all."""
        until = perf_counter() if self.ended is None else self.ended
        return self.done / max(until - self.started, 1e-9)

    @property
    def spent(self) -> Decimal:
        """USD for answers and for judging them."""
        return self.cost + self.judge_cost

    @property
    def mean_quality(self) -> float:
        """Over the calls that are judged; 0 where there are none yet."""
        return self.quality / max(self.done - self.ungraded, 1)


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Reply(msgspec.Struct):
    model: str
    choices: list[_Choice]
    usage: msgspec.Raw = msgspec.Raw()


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _ErrorBody(msgspec.Struct):
    error: dict[str, Any]


_encode = msgspec.json.Encoder().encode
_decode_reply = msgspec.json.Decoder(_Reply).decode
_decode_error = msgspec.json.Decoder(_ErrorBody).decode
_decode_usage = msgspec.json.Decoder(_Usage | None).decode


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
        keep_text: bool = False,
        flush_rows: int = FLUSH_ROWS,
        retries: int = 0,
        backoff: float = 1.0,
    ) -> None:
        """`save` keeps a batch of results for good; `max_cost`, USD, stops the replay once that much is spent.

        `keep_text`: results hold the replies. `flush_rows`: results are saved in batches of at most so many.
        `retries`: how often a call that failed for a passing reason is made again, first after about `backoff` seconds
        and each time after twice as long. A router is scored without: its proxy's own errors are part of the score.
        """
        self.endpoint = f"{url.rstrip('/')}/v1/chat/completions"
        self.run = run
        self.seed = seed
        self.grade = grade
        self.save = save
        self.concurrency = concurrency
        self.max_cost = max_cost
        self.on_progress = on_progress
        self.keep_text = keep_text
        self.flush_rows = flush_rows
        self.retries = retries
        self.backoff = backoff
        self._headers = {"x-hullspeed-run": run, "content-type": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._seeds: dict[str, int] = {}
        """By item: each is asked for every router and tradeoff."""
        self._unsaved: list[Result] = []
        self._saved_at = perf_counter()
        self._saving = asyncio.Lock()

    async def send(
        self, tasks: Sequence[Task], *, spent: Decimal = Decimal(0), judged: Decimal = Decimal(0)
    ) -> Progress:
        """Make all calls; `spent` is what earlier parts of the run cost already, `judged` what their judging did.

        Returns early, with what is done kept, once `max_cost` is reached. Raises `ReplayFailed` when the proxy is gone.
        """
        progress = Progress(len(tasks), cost=spent, judge_cost=judged)
        pending = iter(tasks)
        try:
            lines = [Line(self.endpoint, self._headers) for _ in range(self.concurrency)]
        except ValueError as error:
            raise ReplayFailed(f"the proxy at {self.endpoint} cannot be asked: {error}") from None
        workers = [asyncio.create_task(self._work(line, pending, progress)) for line in lines]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            for line in lines:
                line.close()
            await self._flush()
            progress.ended = perf_counter()
        return progress

    async def _work(self, line: Line, pending: Iterator[Task], progress: Progress) -> None:
        for task in pending:
            if self.max_cost is not None and progress.spent >= self.max_cost:
                return
            result = await self._try(line, task, progress)
            progress.done += 1
            progress.failed += not result.answered
            progress.quality += result.quality or 0
            progress.ungraded += result.quality is None
            self.on_progress(progress)
            self._unsaved.append(result)
            if len(self._unsaved) >= self.flush_rows or perf_counter() - self._saved_at >= FLUSH_SECONDS:
                await self._flush()

    async def _flush(self) -> None:
        async with self._saving:
            batch, self._unsaved = self._unsaved, []
            self._saved_at = perf_counter()
            try:
                if batch:
                    await self.save(batch)
            except asyncio.CancelledError:
                # Interrupted while saving: `send` saves what is left before it ends.
                self._unsaved[:0] = batch
                raise

    async def _try(self, line: Line, task: Task, progress: Progress) -> Result:
        """What came of the last try; what each of them cost is counted."""
        tried = 0
        while True:
            result, wait = await self._call(line, task)
            progress.cost += result.cost_usd or 0
            progress.judge_cost += result.judge_cost_usd or 0
            if wait is None or tried == self.retries:
                return result
            # Spread, so that calls that were refused together do not come back together.
            spread = 0.5 + seed_for(self.seed, task.asked, task.item.id, tried) % 1000 / 1000
            await asyncio.sleep(min(max(wait, self.backoff * 2**tried * spread), LONGEST_WAIT))
            tried += 1

    async def _call(self, line: Line, task: Task) -> tuple[Result, float | None]:
        """What came of one call, and the seconds the provider wants to be left alone, None where to ask again is
        of no use."""
        item = task.item
        seed = self._seeds.get(item.id)
        if seed is None:
            seed = self._seeds[item.id] = seed_for(self.seed, item.id)
        routing = {"tradeoff": task.tradeoff, "seed": seed}
        body = _encode({"model": task.asked, "messages": item.messages, "routing": routing})
        headers = b"x-hullspeed-item: %b\r\n" % header_value(item.id).encode()
        started = perf_counter()
        try:
            answer = await line.post(body, headers)
        except OSError as error:
            raise ReplayFailed(
                f"the proxy at {self.endpoint} is gone ({type(error).__name__}); "
                "what was done is kept: run the same command again to resume"
            ) from None
        latency = perf_counter() - started
        if answer.status in (401, 403) and "x-hullspeed-attempts" not in answer.headers:
            raise ReplayFailed(f"the proxy at {self.endpoint} refuses the key; give its key as HULLSPEED_API_KEY")
        if 300 <= answer.status < 400:
            there = answer.headers.get("location", "elsewhere")
            raise ReplayFailed(f"{self.endpoint} redirects to {there}: give the proxy's own address")
        passing = answer.status in PASSING or answer.status >= 500
        wait = _seconds(answer.headers.get("retry-after")) if passing else None
        return await self._result(task, answer, latency), wait

    async def _result(self, task: Task, answer: Answer, latency: float) -> Result:
        status, headers, raw = answer.status, answer.headers, answer.body
        overhead = headers.get("x-hullspeed-overhead-ms")
        model, error, text, usage = headers.get("x-hullspeed-model"), None, None, None
        try:
            if status == 200:
                reply = _decode_reply(raw)
                model, text = reply.model, reply.choices[0].message.content or ""
                usage = _usage(reply.usage)
            else:
                error = f"{status}: {_decode_error(raw).error.get('message')}"
        except (msgspec.DecodeError, IndexError) as problem:
            error = f"{status}: not a chat completion ({problem})"
        answered = error is None
        judgement: Judgement | None = None
        judge_cost: Decimal | None = None
        if text is not None and answered:
            try:
                judgement = await self.grade(task.item, model or "", text)
                judge_cost = judgement.cost_usd if judgement.call_id else None
            except GraderFailed as failed:
                # Not a 0: the models are not to be blamed for what the grader could not do.
                error, judge_cost = failed.message, failed.cost_usd or None
        return Result(
            router=task.router,
            tradeoff=task.tradeoff,
            item=task.item.id,
            call_id=headers.get("x-hullspeed-call-id"),
            model=model,
            quality=judgement.value if judgement is not None else None if answered else 0.0,
            cost_usd=_decimal(headers.get("x-hullspeed-cost-usd")),
            answered=answered,
            latency=latency,
            overhead=None if overhead is None else float(overhead) / 1000,
            error=error,
            reply=text if self.keep_text else None,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            judge_cost_usd=judge_cost,
            comment=judgement.comment if judgement is not None else None,
        )


def header_value(text: str) -> str:
    """An id as a header value: percent-encoded outside printable ASCII, since headers carry no other text."""
    if text.isascii() and text.isprintable() and "%" not in text:
        return text
    return "".join(
        sign if " " <= sign <= "~" and sign != "%" else "".join(f"%{byte:02X}" for byte in sign.encode())
        for sign in text
    )


def _usage(raw: msgspec.Raw) -> _Usage | None:
    """The tokens; None where the provider's own words for them cannot be read, which spoils no reply."""
    try:
        return _decode_usage(raw) if bytes(raw) else None
    except msgspec.DecodeError:
        return None


def _seconds(text: str | None) -> float:
    """What `retry-after` says in seconds; 0 where it says nothing, or names a date."""
    try:
        return max(float(text or 0), 0.0)
    except ValueError:
        return 0.0


def _decimal(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        return None
