"""Asks a loaded program (tests.cli.warm) to run a command: as a module, and as a script in the command's place.

`python -I -S ask.py SOCKET arguments…` passes on its arguments, folder, environment, streams, signals and exit code.
It imports nothing that takes time.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any


class Asked:
    """A command that has been asked for."""

    def __init__(
        self,
        path: str,
        arguments: Sequence[str],
        cwd: str,
        environ: Mapping[str, str],
        streams: Sequence[int],
    ) -> None:
        """`streams`: the descriptors that are to be its standard input, output and errors."""
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.told.connect(path)
        asked = {"arguments": list(arguments), "cwd": cwd, "environ": dict(environ)}
        socket.send_fds(self.told, [json.dumps(asked).encode()], streams)
        self.pid = int(self.told.recv(100))

    def code(self) -> int:
        """Wait for its end: the exit code, or less than 0 for a signal."""
        return os.waitstatus_to_exitcode(int(self.told.recv(100)))


def _main() -> int:
    asked = Asked(sys.argv[1], sys.argv[2:], os.getcwd(), os.environ, (0, 1, 2))  # noqa: PTH109 – pathlib takes time

    def pass_on(number: int, _frame: Any) -> None:
        os.kill(asked.pid, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    code = asked.code()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_main())
