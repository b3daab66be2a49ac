"""Several processes on one port: a supervisor that starts them, restarts what dies, and is the line between them.

The supervisor serves nothing and holds no threads, so that it may fork at any time. Each worker has a listening socket
of its own on the port (`SO_REUSEPORT`), which the supervisor keeps open: the kernel spreads connections evenly, and
those that wait while a worker dies are served by the one that takes its place. Where the system does not spread them,
all workers share one socket.

A line (a pair of sockets) joins each worker to the supervisor. Over it go the orders to stop and to reload, and
questions that every worker answers, such as for its metrics. A worker whose line breaks drains and ends: whatever
kills the supervisor, it leaves nobody behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import NoReturn

import msgspec

from app.core.errors import HullspeedError
from app.core.exposition import Sums
from app.core.shared import Shared

log = logging.getLogger("hullspeed.workers")

METRICS = "metrics"
"""The question for a worker's snapshot; its answer is the page of all of them."""
ANSWER_SECONDS = 1.0
"""How long a question waits for a worker; one that hangs is left out of the answer."""
GRACE_SECONDS = 15.0
"""Beyond the time to drain, before a worker that does not end is killed."""
STEADY_SECONDS = 10.0
"""A worker that lived for so long is replaced at once."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Between the death of a worker that did not live long and the next one; doubles."""
ABSENT_SECONDS = 1.0
"""Connections do not wait for a worker that comes back later than this."""


class _Frame(msgspec.Struct, array_like=True):
    verb: str
    subject: str = ""
    number: int = 0
    data: bytes = b""

    def packed(self) -> bytes:
        body = msgspec.msgpack.encode(self)
        return len(body).to_bytes(4, "big") + body


_unpack = msgspec.msgpack.Decoder(_Frame).decode


class NoAnswer(HullspeedError):
    """The supervisor did not answer a question in time."""

    status, type, code = 503, "server_error", "no_answer"


class Line:
    """A worker's line to its supervisor, and through it to the other workers."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._last = 0
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def open(
        self,
        stop: Callable[[bool], None],
        reload: Callable[[], None],
        answers: Mapping[str, Callable[[], Awaitable[bytes]]],
    ) -> None:
        """Take orders from now on: `stop` (whether at once) and `reload`; `answers`: by the subject of a question."""
        reader, self._writer = await asyncio.open_connection(sock=self._sock)
        self._task = asyncio.create_task(self._run(reader, stop, reload, answers))

    def ready(self) -> None:
        """This worker serves."""
        self._send(_Frame("ready"))

    async def ask(self, subject: str) -> bytes:
        """The answer of all workers. Raises `NoAnswer`."""
        self._last += 1
        answer = self._asked[self._last] = asyncio.get_running_loop().create_future()
        try:
            self._send(_Frame("ask", subject, self._last))
            return await asyncio.wait_for(answer, 5 * ANSWER_SECONDS)
        except TimeoutError:
            raise NoAnswer("The process that starts the workers does not answer.", retry_after=1.0) from None
        finally:
            self._asked = {number: waiting for number, waiting in self._asked.items() if waiting is not answer}

    async def close(self, metrics: bytes) -> None:
        """Leave what was counted; nothing is heard from now on."""
        if self._task is not None and self._writer is not None:
            self._task.cancel()
            self._send(_Frame("answer", METRICS, 0, metrics))
            with contextlib.suppress(OSError):
                await self._writer.drain()
                self._writer.close()

    async def _run(
        self,
        reader: asyncio.StreamReader,
        stop: Callable[[bool], None],
        reload: Callable[[], None],
        answers: Mapping[str, Callable[[], Awaitable[bytes]]],
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                frame = _unpack(await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big")))
                if frame.verb == "stop":
                    stop(bool(frame.number))
                elif frame.verb == "reload":
                    reload()
                elif frame.verb == "question":
                    task = asyncio.create_task(self._answer(frame, answers))
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
                elif (waiting := self._asked.get(frame.number)) is not None and not waiting.done():
                    waiting.set_result(frame.data)
        log.error("The process that started this worker is gone; the worker drains and ends")
        stop(False)

    async def _answer(self, question: _Frame, answers: Mapping[str, Callable[[], Awaitable[bytes]]]) -> None:
        data = b""
        try:
            data = await answers[question.subject]()
        except Exception:
            log.exception("the question for %s could not be answered", question.subject)
        self._send(_Frame("answer", question.subject, question.number, data))

    def _send(self, frame: _Frame) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame.packed())


@dataclass(eq=False)
class _Worker:
    """One of the processes, as the supervisor sees it."""

    number: int
    pid: int
    line: socket.socket
    started: float = field(default_factory=monotonic)
    ready: bool = False
    inbox: bytearray = field(default_factory=bytearray)
    outbox: bytearray = field(default_factory=bytearray)


@dataclass(eq=False)
class _Round:
    """A question under way."""

    subject: str
    asker: _Worker
    number: int
    """The asker's own for it."""
    waiting: set[_Worker]
    until: float


class Supervisor:
    """Runs the workers. One thread, no event loop."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        work: Callable[[socket.socket, Line], int],
        shared: Shared,
        *,
        on_ready: Callable[[], None],
        drain_seconds: float,
    ) -> None:
        """`sockets`: one for each worker. `work` runs in the process of a worker and gives its exit code.
        `on_ready` is told when all of them serve."""
        self._sockets: list[socket.socket | None] = list(sockets)
        self._addresses = [(sock.family, sock.getsockname()) for sock in sockets]
        self._work, self._shared, self._on_ready, self._drain_seconds = work, shared, on_ready, drain_seconds
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, _Worker] = {}
        self._restarts: dict[int, float] = {}
        """When each dead worker is replaced."""
        self._short_lives = [0] * len(sockets)
        self._rounds: dict[int, _Round] = {}
        self._sums = Sums()
        self._last_round = 0
        self._served = False
        self._stopping = False
        self._kill_at: float | None = None
        self._code = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until the workers cannot start; gives the exit code. SIGHUP is passed on.

        Every worker has ended by then.
        """
        with self._signals():
            for number in range(len(self._sockets)):
                self._start(number)
            while self._workers or (self._restarts and not self._stopping):
                for key, events in self._selector.select(self._patience()):
                    key.data(events)
                self._tick(monotonic())
        return self._code

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        heard, told = socket.socketpair()
        heard.setblocking(False)
        told.setblocking(False)
        self._selector.register(heard, selectors.EVENT_READ, lambda _: self._heard(heard))
        before = {number: signal.signal(number, lambda *_: None) for number in _HEARD}
        wakeup = signal.set_wakeup_fd(told.fileno())
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            heard.close()
            told.close()

    def _heard(self, wake: socket.socket) -> None:
        for number in wake.recv(256):
            if number == signal.SIGCHLD:
                self._collect()
            elif number == signal.SIGHUP:
                self._tell_all(_Frame("reload"))
            else:
                self._stop()

    def _stop(self) -> None:
        """Have all workers drain; asked a second time, end without waiting."""
        self._tell_all(_Frame("stop", number=int(self._stopping)))
        self._stopping = True
        self._restarts.clear()
        # Nobody is to wait on a port that nobody will answer.
        for sock in self._sockets:
            if sock is not None:
                sock.close()
        self._kill_at = monotonic() + self._drain_seconds + GRACE_SECONDS

    # Starting, and what becomes of them.

    def _start(self, number: int) -> None:
        sock = self._sockets[number] or self._listen_again(number)
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            self._become(number, sock, theirs, ours)
        theirs.close()
        ours.setblocking(False)
        worker = self._workers[number] = _Worker(number, pid, ours)
        self._selector.register(ours, selectors.EVENT_READ, lambda events: self._talk(worker, events))

    def _become(self, number: int, sock: socket.socket, line: socket.socket, ours: socket.socket) -> NoReturn:
        """The life of the worker's process."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for heard in _HEARD:
                # A terminal's signals go to all processes; the supervisor says what they mean.
                signal.signal(heard, signal.SIG_IGN if heard in (signal.SIGINT, signal.SIGHUP) else signal.SIG_DFL)
            self._selector.close()
            ours.close()
            for other in self._workers.values():
                other.line.close()
            for listening in self._sockets:
                if listening is not None and listening is not sock:
                    listening.close()
            self._shared.join(number)
            code = self._work(sock, Line(line))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _collect(self) -> None:
        """Look which workers have ended. As the first process of a container it collects what others leave, too."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for worker in list(self._workers.values()):
                    if worker.pid == ended[0]:
                        self._talk(worker, selectors.EVENT_READ)  # its last words
                        self._bury(worker, os.waitstatus_to_exitcode(ended[1]))

    def _bury(self, worker: _Worker, code: int) -> None:
        number = worker.number
        del self._workers[number]
        self._hang_up(worker)
        self._shared.forget(number)
        self._sums.retire(number)
        for round_ in self._rounds.values():
            round_.waiting.discard(worker)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if self._stopping:
            if code not in (0, -signal.SIGTERM):
                log.error("Worker %d %s", number, how)
                self._code = self._code or 1
        elif not self._served and not worker.ready:
            # It cannot start at all, and has said why.
            self._code = code if code > 0 else 1
            self._stop()
        else:
            self._replace(worker, how)

    def _replace(self, worker: _Worker, how: str) -> None:
        number, now = worker.number, monotonic()
        lived = now - worker.started
        self._short_lives[number] = 0 if lived >= STEADY_SECONDS else self._short_lives[number] + 1
        pause = min(FIRST_PAUSE * 2 ** (self._short_lives[number] - 1), LONGEST_PAUSE) if lived < STEADY_SECONDS else 0
        log.error("Worker %d %s after %.0f s; another takes its place in %.1f s", number, how, lived, pause)
        self._restarts[number] = now + pause
        sock = self._sockets[number]
        if pause > ABSENT_SECONDS and sock is not None and self._sockets.count(sock) == 1:
            sock.close()
            self._sockets[number] = None

    def _listen_again(self, number: int) -> socket.socket:
        family, address = self._addresses[number]
        sock = self._sockets[number] = socket.create_server(
            address[:2], family=family, backlog=BACKLOG, reuse_port=True
        )
        return sock

    # Time.

    def _patience(self) -> float | None:
        moments = [*self._restarts.values(), *(round_.until for round_ in self._rounds.values())]
        if self._kill_at is not None:
            moments.append(self._kill_at)
        return max(min(moments) - monotonic(), 0.0) if moments else None

    def _tick(self, now: float) -> None:
        for number, when in list(self._restarts.items()):
            if now >= when:
                del self._restarts[number]
                self._start(number)
        for key, round_ in list(self._rounds.items()):
            if not round_.waiting or now >= round_.until:
                del self._rounds[key]
                data = self._sums.render() if round_.subject == METRICS else b""
                self._tell(round_.asker, _Frame("reply", round_.subject, round_.number, data))
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            for worker in self._workers.values():
                os.kill(worker.pid, signal.SIGKILL)

    # Talking.

    def _talk(self, worker: _Worker, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                del worker.outbox[: worker.line.send(worker.outbox)]
                self._listen_to(worker)
            while events & selectors.EVENT_READ:
                data = worker.line.recv(1 << 18)
                if not data:
                    self._hang_up(worker)  # SIGCHLD says the rest
                    return
                worker.inbox += data
                self._read(worker)
        except BlockingIOError:
            pass
        except OSError:
            self._hang_up(worker)

    def _read(self, worker: _Worker) -> None:
        inbox = worker.inbox
        while len(inbox) >= 4 and len(inbox) >= (end := 4 + int.from_bytes(inbox[:4], "big")):
            frame = _unpack(bytes(inbox[4:end]))
            del inbox[:end]
            if frame.verb == "ready":
                worker.ready = True
                if not self._served and all(worker.ready for worker in self._workers.values()):
                    self._served = True
                    self._on_ready()
            elif frame.verb == "ask":
                self._last_round += 1
                everybody = {other for other in self._workers.values() if other.ready and other.line.fileno() >= 0}
                self._rounds[self._last_round] = _Round(
                    frame.subject, worker, frame.number, everybody, monotonic() + ANSWER_SECONDS
                )
                for other in everybody:
                    self._tell(other, _Frame("question", frame.subject, self._last_round))
            else:
                if frame.subject == METRICS and frame.data:
                    self._sums.take(worker.number, frame.data)
                if (round_ := self._rounds.get(frame.number)) is not None:
                    round_.waiting.discard(worker)

    def _tell_all(self, frame: _Frame) -> None:
        for worker in self._workers.values():
            self._tell(worker, frame)

    def _tell(self, worker: _Worker, frame: _Frame) -> None:
        if worker.line.fileno() >= 0:
            worker.outbox += frame.packed()
            self._talk(worker, selectors.EVENT_WRITE)

    def _listen_to(self, worker: _Worker) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outbox else 0)
        self._selector.modify(worker.line, wanted, lambda events: self._talk(worker, events))

    def _hang_up(self, worker: _Worker) -> None:
        if worker.line.fileno() >= 0:
            self._selector.unregister(worker.line)
            worker.line.close()


BACKLOG = 2048
_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
