"""The program, loaded once and started often.

Most of a short command's time goes into imports: one to three seconds, several hundred times in these tests. Here a
process imports what commands need and then forks for each of them, so that every command is still a process of its
own, with its own arguments, environment, folder and exit code, and nothing that one does can reach another.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import app.cli

LIBRARIES = (
    "plotly.graph_objects",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.feature_extraction.text",
    "sklearn.neighbors",
    "sqlalchemy.dialects.postgresql.psycopg",
)
"""Imported on top of the commands' own modules: what they import where they need it."""
_MESSAGE_BYTES = 1 << 17


class WarmProgram:
    """Starts commands; its process ends with this one."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.cli.warm", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )

    def run(
        self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of `hullspeed` with `arguments` does, output captured as text. Raises
        `subprocess.TimeoutExpired`."""
        asked = json.dumps({"arguments": list(arguments), "cwd": str(cwd), "environ": dict(environ)}).encode()
        told, tells = socket.socketpair()
        with told, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            with tells:
                socket.send_fds(self._control, [asked], [tells.fileno(), output.fileno(), errors.fileno()])
            with told.makefile("r") as lines:
                process = int(lines.readline())
                if not select.select([told], [], [], seconds)[0]:
                    os.kill(process, signal.SIGKILL)
                    lines.readline()
                    raise subprocess.TimeoutExpired(list(arguments), seconds, _text(output), _text(errors))
                code = os.waitstatus_to_exitcode(int(lines.readline()))
            return subprocess.CompletedProcess(list(arguments), code, _text(output), _text(errors))

    def close(self) -> None:
        """End its process; commands that run go on."""
        self._control.close()
        self._process.wait(30)


def _text(file: tempfile._TemporaryFileWrapper[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _serve(control: socket.socket) -> list[str]:
    """Answer until the other side is gone; returns in the processes made for commands, with their arguments."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 3)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            return _attended(message, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _attended(message: bytes, descriptors: Sequence[int]) -> list[str]:
    """Fork for the command, and tell its process's number and, once it has ended, how."""
    tells, *streams = descriptors
    process = os.fork()
    if process:
        os.write(tells, f"{process}\n".encode())
        os.write(tells, f"{os.waitpid(process, 0)[1]}\n".encode())
        os._exit(0)
    os.close(tells)
    for number, descriptor in enumerate(streams, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 – as long as the process
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    asked = json.loads(message)
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["cwd"])
    # As `python -m` has it.
    sys.path[0] = asked["cwd"]
    sys.path[1:1] = [path for path in asked["environ"].get("PYTHONPATH", "").split(os.pathsep) if path]
    return list(asked["arguments"])


def _load() -> None:
    for module in pkgutil.iter_modules(app.cli.__path__, f"{app.cli.__name__}."):
        importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)
    # What is there now is never looked at again by the collector, so that it stays shared.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _load()
    sys.argv = ["hullspeed", *_serve(socket.socket(fileno=int(sys.argv[1])))]
    runpy.run_module("app", run_name="__main__", alter_sys=True)
