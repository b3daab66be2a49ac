"""Not a row lost: `python -m benchmarks.durability [--repeat 20] [--only worker,postgres,stopped,disk]`.

A real `hullspeed serve` with its embedded Postgres under full load from connections that note the call id of every
reply they have received whole, streamed ones among them. Then, each so many times:

- `worker`: `kill -9` of the serving process; what it left is shipped by `hullspeed ledger drain` and by the next
  start, in turns;
- `postgres`: `kill -9` of Postgres with all its processes;
- `stopped`: `kill -STOP` of Postgres for some seconds, and the latency of calls meanwhile against before and after;
- `disk`: no room on the journal's disk, a small tmpfs (needs root, and is left out without): filled from outside
  while Postgres runs, and by the journal itself while Postgres is stopped, in turns.

Afterwards each reply received whole must have exactly one row, `hullspeed ledger verify` must find nothing missing,
and where the serving process lived no call may have failed. Prints a table; exits with 1 on any violation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import sqlalchemy as sa

from app.cli.options import run_async
from app.core.errors import StoreUnavailable
from app.store.database import Database
from app.store.embedded import EmbeddedServer
from app.store.verify import Books, verify

CONNECTIONS = 32
DISK_BYTES = 1 << 20
SETTLE_SECONDS = 120.0
_HEAD = re.compile(rb"x-hullspeed-call-id: ([0-9a-f-]{36})")
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)

WORDS = "Reliable ledgers keep every row until the database has it, whatever fails in between. " * 8


async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A provider that answers at once, with 600 characters or as many in ten chunks."""
    usage = {"prompt_tokens": 120, "completion_tokens": 130, "total_tokens": 250}
    base = {"id": "c", "created": 1, "model": "fast"}

    def choice(**fields: object) -> dict[str, object]:
        return {"index": 0, "finish_reason": None, **fields}

    message = {"role": "assistant", "content": WORDS}
    whole = {
        **base,
        "object": "chat.completion",
        "choices": [choice(message=message, finish_reason="stop")],
        "usage": usage,
    }
    body = json.dumps(whole).encode()
    step = len(WORDS) // 10
    deltas = [choice(delta={"content": WORDS[start : start + step]}) for start in range(0, len(WORDS), step)]
    deltas.append(choice(delta={}, finish_reason="stop"))
    chunks = [{**base, "object": "chat.completion.chunk", "choices": [delta]} for delta in deltas]
    chunks.append({**base, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    events = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    stream = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(events), events)
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            asked = await reader.readexactly(int(length[1])) if length else b""
            writer.write(stream if b'"stream":true' in asked.replace(b" ", b"") else reply)
            await writer.drain()
    writer.close()


async def serve_upstream() -> None:
    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@dataclass
class Tally:
    """What the clients have seen."""

    whole: set[str] = field(default_factory=set)
    """Call ids of the replies that were received to their last byte."""
    failed: int = 0
    """Replies with another status than 200."""
    cut: int = 0
    """Connections that broke while a reply was due."""
    times: list[tuple[float, float]] = field(default_factory=list)
    """When a reply was whole, and how long it had taken; seconds of the monotonic clock."""

    def p99(self, start: float, end: float) -> float:
        """Of the replies between two moments, in milliseconds."""
        took = sorted(seconds for at, seconds in self.times if start <= at < end)
        return took[int(len(took) * 0.99)] * 1e3 if took else float("nan")


class Load:
    """Connections that ask without a pause until told to stop."""

    def __init__(self, port: int, tally: Tally) -> None:
        self._tally = tally
        self._port = port
        self._going = True
        self._tasks = [asyncio.create_task(self._ask(number % 4 == 0)) for number in range(CONNECTIONS)]

    async def stop(self) -> None:
        """Let what is under way end, well or not."""
        self._going = False
        await asyncio.gather(*self._tasks)

    async def _ask(self, streamed: bool) -> None:
        messages = [{"role": "user", "content": "Tell me how a ledger keeps its rows. " * 12}]
        body = json.dumps({"model": "fast", "messages": messages, "stream": streamed}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        request = f"{head}content-type: application/json\r\n\r\n".encode() + body
        tally = self._tally
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return
        try:
            while self._going:
                started = time.monotonic()
                writer.write(request)
                said = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(said)
                if length is not None:
                    await reader.readexactly(int(length[1]))
                else:
                    await _to_last_chunk(reader)
                ended = time.monotonic()
                found = _HEAD.search(said)
                if said[9:12] == b"200" and found is not None:
                    tally.whole.add(found[1].decode())
                    tally.times.append((ended, ended - started))
                else:
                    tally.failed += 1
        except (OSError, EOFError):
            tally.cut += 1
        finally:
            writer.close()


async def _to_last_chunk(reader: asyncio.StreamReader) -> None:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


@dataclass
class House:
    """A data folder, the provider, and `hullspeed serve` on them."""

    folder: Path
    upstream_port: int
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def journal(self) -> Path:
        return self.data / "journal"

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return {**kept, "PYTHONPATH": str(Path(__file__).parents[1]), "HULLSPEED_DATA_DIR": str(self.data)}

    def start(self) -> None:
        """Serve, and wait until calls are taken."""
        config = self.folder / "hullspeed.yaml"
        parameters = {
            "model": "openai/fast",
            "api_base": f"http://127.0.0.1:{self.upstream_port}/v1",
            "api_key": "none",
            "input_cost_per_token": 1e-7,
            "output_cost_per_token": 4e-7,
        }
        config.write_text(json.dumps({"model_list": [{"model_name": "fast", "litellm_params": parameters}]}))
        said = self.folder / "said"
        before = said.stat().st_size if said.exists() else 0
        with said.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve", "--port", "0", "--config", str(config)],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        while (found := re.search(rb"serves on http://[^/]*:(\d+)/v1", said.read_bytes()[before:])) is None:
            assert self.process.poll() is None, said.read_text()
            time.sleep(0.02)
        self.port = int(found[1])

    def kill(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(120)
        self.process = None
        return code

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run a command of `hullspeed`."""
        done = subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def postgres(self) -> list[psutil.Process]:
        """The server's processes, the first one first."""
        pid = int((self.data / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]

    def signal_postgres(self, number: signal.Signals) -> None:
        for process in self.postgres():
            with suppress(psutil.Error):
                process.send_signal(number)

    def database(self) -> Database:
        return Database(f"postgresql://postgres@/postgres?host={self.data / 'postgres'}", self.folder)


@dataclass
class Finding:
    """What came of one kind of failure."""

    name: str
    repeats: int = 0
    replies: int = 0
    rows: int = 0
    missing: int = 0
    double: int = 0
    cut: int = 0
    failed: int = 0
    problems: list[str] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.missing or self.double or self.failed or self.problems)


async def rows_of(house: House) -> dict[str, int]:
    """How often each call stands in the ledger."""
    database = house.database()
    await database.open()
    try:
        async with database.begin() as connection:
            found = await connection.execute(sa.text("SELECT id::text, count(*) FROM calls GROUP BY id"))
            return {row[0]: row[1] for row in found}
    finally:
        await database.close()


async def settled(house: House) -> Books:
    """What `verify` finds once nothing waits in the journal any more."""
    database = house.database()
    await database.open()
    end = time.monotonic() + SETTLE_SECONDS
    try:
        while True:
            with suppress(StoreUnavailable):
                books = await verify(database, house.journal)
                if time.monotonic() > end or not books.total("waiting"):
                    return books
            await asyncio.sleep(0.3)
    finally:
        await database.close()


Act = Callable[[House, Tally, Finding, int], Awaitable[None]]


async def worker(house: House, tally: Tally, finding: Finding, number: int) -> None:
    """`kill -9` of the serving process."""
    load = Load(house.port, tally)
    await asyncio.sleep(random.uniform(0.6, 1.4))
    house.kill(signal.SIGKILL)
    await load.stop()
    if number % 2 == 0:
        code, said = await asyncio.to_thread(house.command, "ledger", "drain", "--json")
        if code:
            finding.problems.append(f"ledger drain ended with {code}: {said}")
    await asyncio.to_thread(house.start)


async def postgres(house: House, tally: Tally, _finding: Finding, _number: int) -> None:
    """`kill -9` of Postgres."""
    load = Load(house.port, tally)
    await asyncio.sleep(random.uniform(0.4, 1.0))
    house.signal_postgres(signal.SIGKILL)
    await asyncio.sleep(1.5)
    await load.stop()


def stopped(seconds: float) -> Act:
    async def act(house: House, tally: Tally, finding: Finding, _number: int) -> None:
        """`kill -STOP` of Postgres for some seconds, between two times of the same length with it running."""
        window = min(seconds, 10.0)
        load = Load(house.port, tally)
        await asyncio.sleep(0.5)  # connections are made, code is warm
        moments = [time.monotonic()]
        await asyncio.sleep(window)
        house.signal_postgres(signal.SIGSTOP)
        moments.append(time.monotonic())
        await asyncio.sleep(seconds)
        house.signal_postgres(signal.SIGCONT)
        moments.append(time.monotonic())
        # What has gathered is shipped now, which takes the processor from the calls: not a time to compare with.
        await load.stop()
        finding.running.append(tally.p99(moments[0], moments[1]))
        finding.stopped.append(tally.p99(moments[1], moments[2]))

    return act


async def disk(house: House, tally: Tally, finding: Finding, number: int) -> None:
    """No room for the journal."""
    filler = house.journal / "filler"
    load = Load(house.port, tally)
    await asyncio.sleep(0.5)
    if number % 2 == 0:
        with suppress(OSError):
            filler.write_bytes(bytes(DISK_BYTES))
        await asyncio.sleep(1.5)
        filler.unlink()
    else:
        house.signal_postgres(signal.SIGSTOP)
        await asyncio.sleep(3.0)
        house.signal_postgres(signal.SIGCONT)
    await asyncio.sleep(0.5)
    await load.stop()
    if "memory only" not in (house.folder / "said").read_text():
        finding.problems.append("the disk was never full")


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs of a megabyte on `folder`."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount() -> bool:
    return os.geteuid() == 0 and shutil.which("mount") is not None


async def measure(name: str, act: Act, repeat: int, folder: Path, upstream_port: int) -> Finding:
    """One kind of failure, `repeat` times on one data folder."""
    house = House(folder, upstream_port)
    finding = Finding(name)
    server = EmbeddedServer(house.data / "postgres")
    with small_disk(house.journal) if name == "disk" else contextlib.nullcontext():
        server.start()
        house.start()
        known = 0
        try:
            for number in range(repeat):
                tally = Tally()
                await act(house, tally, finding, number)
                books = await settled(house)
                rows = await rows_of(house)
                finding.repeats += 1
                finding.replies += len(tally.whole)
                finding.rows += len(rows) - known
                known = len(rows)
                finding.missing += sum(call not in rows for call in tally.whole)
                finding.double += sum(times > 1 for times in rows.values())
                finding.cut += tally.cut
                finding.failed += tally.failed
                if not books.is_complete or books.total("waiting"):
                    finding.problems.append(f"verify after repetition {number + 1}: {books}")
                print(f"{name} {number + 1}/{repeat}: {len(tally.whole):,} replies", file=sys.stderr, flush=True)
            if name != "worker" and finding.cut:
                finding.problems.append(f"{finding.cut} connections broke although the serving process lived")
            code, said = house.command("ledger", "verify", "--wait", "5")
            if code:
                finding.problems.append(f"ledger verify ended with {code}: {said}")
            if (code := house.kill(signal.SIGTERM)) != 0:
                finding.problems.append(f"serve ended with {code}")
        finally:
            if house.process is not None:
                house.process.kill()
                house.process.wait()
            with suppress(OSError, psutil.Error, ValueError):
                house.signal_postgres(signal.SIGCONT)
            server.stop()
    return finding


@asynccontextmanager
async def provider() -> AsyncIterator[int]:
    """The upstream, in a process of its own; gives its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.durability", "--upstream", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


def show(findings: list[Finding]) -> None:
    columns = ("repeats", "replies", "rows", "missing", "double", "cut", "failed")
    print(f"{'':10}" + "".join(f"{name:>10}" for name in columns))
    for finding in findings:
        print(f"{finding.name:10}" + "".join(f"{getattr(finding, name):10,}" for name in columns))
    for finding in findings:
        if finding.stopped:
            running, away = statistics.median(finding.running), statistics.median(finding.stopped)
            spread = f"{min(finding.running):.1f} to {max(finding.running):.1f}"
            other = f"{min(finding.stopped):.1f} to {max(finding.stopped):.1f}"
            print(
                f"p99, Postgres running {running:.1f} ms ({spread}), stopped {away:.1f} ms ({other}): "
                f"{away / running:.2f} ×; medians of {len(finding.running)}"
            )
        for problem in finding.problems:
            print(f"{finding.name}: {problem}")
    print("(cut: connections that broke with a reply due; such a call may have a row or none.)")


async def main(given: argparse.Namespace, folder: Path) -> bool:
    acts: dict[str, Act] = {
        "worker": worker,
        "postgres": postgres,
        "stopped": stopped(given.stopped_seconds),
        "disk": disk,
    }
    findings = []
    async with provider() as port:
        for name in given.only.split(","):
            if name == "disk" and not can_mount():
                print("disk: not run, a tmpfs can be mounted by root only", file=sys.stderr)
                continue
            house = folder / name
            house.mkdir()
            findings.append(await measure(name, acts[name], given.repeat, house, port))
    show(findings)
    return all(finding.is_good for finding in findings)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--only", default="worker,postgres,stopped,disk")
    parser.add_argument("--stopped-seconds", type=float, default=60.0)
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.upstream:
        with suppress(KeyboardInterrupt):
            run_async(serve_upstream())
        sys.exit(0)
    with tempfile.TemporaryDirectory(prefix="hs-") as temporary:
        sys.exit(0 if run_async(main(arguments, Path(temporary))) else 1)
