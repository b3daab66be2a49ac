"""The program, loaded once and started often.

Most of a short command's time goes into imports: one to three seconds, several hundred times in these tests. Here a
process imports what commands need and then forks for each of them, so that every command is still a process of its
own, with its own arguments, environment, folder, signals and exit code, and nothing that one does can reach another.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import app.api
import app.bench
import app.cli
import app.store
import routers
from tests.cli.ask import Asked

PACKAGES = (app.api, app.bench, app.cli, app.store, routers)
"""All their modules are imported, and so what those import."""
LIBRARIES = (
    "alembic.autogenerate",
    "alembic.command",
    "app.core.workers",
    "app.main",
    "app.serving",
    "encodings.idna",
    "httpcore",
    "mako.template",
    "pyarrow.csv",
    "pyarrow.parquet",
    "pygments.formatters",
    "pygments.lexers",
    "scipy.stats",
    "sklearn.feature_extraction.text",
    "sklearn.neighbors",
    "sqlalchemy.dialects.postgresql.psycopg",
    "tomllib",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)
"""Imported on top of those: what they import where they need it."""
_MESSAGE_BYTES = 1 << 17


class WarmProgram:
    """Starts commands; its process ends with this one."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hs-")  # short: a Unix socket's path has a limit
        self.path = f"{self._folder.name}/warm"
        """The socket at which commands are asked for, also by other processes; see `tests.cli.ask`."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.bind(self.path)
            door.listen(16)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.cli.warm", str(door.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=(door.fileno(),),
            )

    def start(
        self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str], streams: Sequence[int | None]
    ) -> Asked:
        """As `subprocess.Popen` of `hullspeed` with `arguments` does. `streams`: the descriptors that become its
        standard input, output and errors; None is nothing to read, and nobody who reads."""
        with Path(os.devnull).open("r+b") as nothing:
            given = [nothing.fileno() if stream is None else stream for stream in streams]
            return Asked(self.path, arguments, str(cwd), environ, given)

    def run(
        self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of `hullspeed` with `arguments` does, output captured as text. Raises
        `subprocess.TimeoutExpired`."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = self.start(arguments, cwd, environ, (None, output.fileno(), errors.fileno()))
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired as error:
                process.kill()
                process.wait()
                error.output, error.stderr = _text(output), _text(errors)
                raise
            return subprocess.CompletedProcess(list(arguments), code, _text(output), _text(errors))

    def close(self) -> None:
        """End its process; commands that run go on."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._folder.cleanup()


def _text(file: tempfile._TemporaryFileWrapper[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _serve(door: socket.socket) -> list[str]:
    """Answer until standard input ends; returns in the processes made for commands, with their arguments."""
    while True:
        ready, _, _ = select.select([door, 0], [], [])
        if 0 in ready:
            os._exit(0)
        tells, _ = door.accept()
        message, streams, _, _ = socket.recv_fds(tells, _MESSAGE_BYTES, 3)
        if os.fork() == 0:
            door.close()
            return _attended(tells, message, streams)
        for descriptor in (tells.detach(), *streams):
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _attended(tells: socket.socket, message: bytes, streams: Sequence[int]) -> list[str]:
    """Fork for the command, and tell its process's number and, once it has ended, how."""
    process = os.fork()
    if process:
        # Who waits for the end of its output must not wait for this process.
        for descriptor in (0, 1, 2, *streams):
            os.close(descriptor)
        tells.send(b"%d" % process)
        tells.send(b"%d" % os.waitpid(process, 0)[1])
        os._exit(0)
    tells.close()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 – as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    asked = json.loads(message)
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["cwd"])
    # As `python -m` has it.
    sys.path[0] = asked["cwd"]
    sys.path[1:1] = [path for path in asked["environ"].get("PYTHONPATH", "").split(os.pathsep) if path]
    return list(asked["arguments"])


def _load() -> None:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)
    # What is there now is never looked at again by the collector, so that it stays shared.
    gc.collect()
    gc.freeze()


def _run() -> int:
    """Be the command; gives its exit code."""
    try:
        runpy.run_module("app", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """End as the interpreter does, without taking apart all that was loaded: .2 s of a command's .35.

    `multiprocessing` ends the processes that it forks in the same way.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _load()
    sys.argv = ["hullspeed", *_serve(socket.socket(fileno=int(sys.argv[1])))]
    _end(_run())
