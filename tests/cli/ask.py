"""Asks a loaded program (tests.cli.warm) to run a command: as a module, and as a script in the command's place.

`python -I -S ask.py SOCKET arguments…` passes on its arguments, folder, environment, streams, signals and exit code.
It imports nothing that takes time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any


class Asked:
    """A command that has been asked for: a process, to be handled as one of `subprocess.Popen`."""

    def __init__(
        self,
        path: str,
        arguments: Sequence[str],
        cwd: str,
        environ: Mapping[str, str],
        streams: Sequence[int],
    ) -> None:
        """`streams`: the descriptors that are to be its standard input, output and errors."""
        self.args = list(arguments)
        self.returncode: int | None = None
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._told.connect(path)
        asked = {"arguments": self.args, "cwd": cwd, "environ": dict(environ)}
        socket.send_fds(self._told, [json.dumps(asked).encode()], streams)
        self.pid = int(self._told.recv(100))

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end: the exit code, or less than 0 for a signal. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                from subprocess import TimeoutExpired

                raise TimeoutExpired(self.args, timeout or 0.0)
            self.returncode = os.waitstatus_to_exitcode(int(self._told.recv(100)))
            self._told.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """As `os.kill` does, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _main() -> int:
    asked = Asked(sys.argv[1], sys.argv[2:], os.getcwd(), os.environ, (0, 1, 2))  # noqa: PTH109 – pathlib takes time

    def pass_on(number: int, _frame: Any) -> None:
        os.kill(asked.pid, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    code = asked.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_main())
