"""One process that settles what may take for ever: whether formulas are equal, whether JSON validates.

The libraries that do so are good and slow on a bad day: a formula of twenty signs keeps sympy busy for hours, a pattern
in a schema stalls on an unlucky reply. So they run in a process of their own (`settling`), which is given little memory
and little time, no keys from the environment, and whose child that judges is ended where it comes to no verdict.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

MIB = 1 << 20
SCRIPT = Path(__file__).with_name("settling.py")
KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "VIRTUAL_ENV")
"""Variables that the worker needs to find its libraries."""


class Unsettled(Exception):
    """There is no verdict within the limits."""


class Worker:
    """The process, started with the first question. Safe to use from several threads: they take turns."""

    def __init__(self, *, seconds: float = 10.0, cpu_seconds: int = 3, memory: int = 1024 * MIB) -> None:
        """`seconds` on the clock, `cpu_seconds` of the processor (whole, and up to one more) for each question."""
        self.seconds = seconds
        self.cpu_seconds = cpu_seconds
        self.memory = memory
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def ask(self, kind: str, left: str, right: str) -> bool | None:
        """The verdict of `settling`. Raises `Unsettled` where there is none within the limits."""
        # ASCII, so that a line is a line and half a character is none of the pipe's business.
        question = json.dumps([kind, left, right]).encode() + b"\n"
        with self._turn:
            process = self._process or self._start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(question)
                process.stdin.flush()
                line = process.stdout.readline()
            except OSError:
                line = b""
            if not line.endswith(b"\n"):
                self._stop()
                raise Unsettled
            verdict: bool | str | None = json.loads(line)
        if isinstance(verdict, str):
            raise Unsettled
        return verdict

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self._turn:
            self._stop()

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(  # noqa: S603 – our own script; what is not ours is on its standard input
            # -P: the script's folder holds a `code.py`, which is not the library's.
            [sys.executable, "-P", str(SCRIPT), str(self.memory), str(self.cpu_seconds), str(self.seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in KEPT if name in os.environ},
            # Ctrl-C is for the run to hear; the worker ends with its standard input.
            start_new_session=True,
        )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass
        process.wait()


WORKER = Worker()
"""The one of this process."""
