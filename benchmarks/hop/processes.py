"""Processes of the benchmark: started on one core, measured with all their children, ended."""

from __future__ import annotations

import fcntl
import http.client
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from app.core.errors import ConfigError
from app.serving import bind

PACKAGES = {"nginx": "nginx-light", "wrk": "wrk", "taskset": "util-linux"}
"""Programs and the Debian packages they come in."""
QUIET_SECONDS = 0.3
SETTLE_SECONDS = 15.0
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


class Gone(Exception):
    """A process ended, or never answered; says what it wrote last."""


def missing() -> list[str]:
    """Debian packages to install before anything can be measured."""
    return [package for program, package in PACKAGES.items() if shutil.which(program) is None]


def free_port() -> int:
    """A port that is free now, and that no outgoing connection is given."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(ConfigError):
            bind("127.0.0.1", port).close()
            return port


@contextmanager
def alone() -> Iterator[None]:
    """One measurement at a time on a machine: two would share the cores they are pinned to."""
    with (Path(tempfile.gettempdir()) / "hullspeed-hop.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run is measuring on these cores; this one waits for it …", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """A plain environment, in which Python keeps the bytecode it compiles."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(more)


class Running:
    """One process on one core, with its children."""

    def __init__(
        self, command: Sequence[str], core: int, folder: Path, environ: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log"
        self.started = time.perf_counter()
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                env=environment(environ),
                cwd=cwd or folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._process = psutil.Process(self._popen.pid)

    def cpu(self) -> float:
        """Seconds of processor time that the process and its children used so far, ended children included."""
        return cpu_of(self._process)

    def resident(self) -> float:
        """Resident bytes (RSS) of the process and its children."""
        return float(sum(process.memory_info().rss for process in _tree(self._process)))

    def open_files(self) -> int:
        """Open descriptors of the process and its children."""
        return sum(process.num_fds() for process in _tree(self._process))

    def wait_for(self, answers: Callable[[], bool], seconds: float) -> float:
        """Ask again and again until it answers; gives the seconds since the process was started."""
        while not (answers() and self._popen.poll() is None):
            if self._popen.poll() is not None or time.perf_counter() - self.started > seconds:
                said = self.log.read_text(errors="replace")[-2000:]
                state = "ended" if self._popen.poll() is not None else f"did not answer within {seconds:.0f} s"
                raise Gone(f"it {state}:\n{said}")
            time.sleep(0.005)
        return time.perf_counter() - self.started

    def settle(self) -> None:
        """Wait until it does nothing any more."""
        deadline = time.perf_counter() + SETTLE_SECONDS
        before = self.cpu()
        while time.perf_counter() < deadline:
            time.sleep(QUIET_SECONDS)
            after = self.cpu()
            if after - before <= 0.03 * QUIET_SECONDS + 0.01:
                return
            before = after

    def stop(self) -> None:
        """End it and its children."""
        tree = _tree(self._process)
        self._popen.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(20)
        for process in tree:
            with suppress(psutil.Error):
                process.kill()
        self._popen.wait()


def cpu_of(process: psutil.Process) -> float:
    """Seconds of processor time of a process and its children, ended ones included."""
    seconds = 0.0
    for one in _tree(process):
        with suppress(psutil.Error):
            times = one.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def _tree(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def fetch(port: int, path: str) -> str:
    """The text at a path."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
