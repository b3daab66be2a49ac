"""Running the program as a user does: another process, its exit code, and what it prints."""

from __future__ import annotations

import atexit
import contextlib
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from tests.cli.warm import WarmProgram


@cache
def warm_program() -> WarmProgram:
    """The one of this process."""
    warm = WarmProgram()
    atexit.register(warm.close)
    return warm


@dataclass(frozen=True)
class Program:
    """`hullspeed` with a data folder and a database of its own."""

    folder: Path
    environment: Mapping[str, str]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "app", *arguments]

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return {**kept, "PYTHONPATH": str(Path.cwd()), "COLUMNS": "120", **self.environment, **more}

    def run(
        self, *arguments: str, code: int = 0, seconds: float = 90, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; fails where the exit code is another one, or where a traceback shows."""
        done = warm_program().run(arguments, self.folder, self.environ(**environ), seconds)
        shown = f"{arguments}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        assert done.returncode == code, shown
        assert "Traceback" not in done.stdout + done.stderr, shown
        return done

    def fails(self, *arguments: str, code: int = 2, **environ: str) -> str:
        """The one line a failing command says, besides warnings and steps that it had done."""
        done = self.run(*arguments, code=code, **environ)
        beside = re.compile(r"warning:|.*: [\d,.]+ s$|\s*$")
        lines = [line for line in done.stderr.splitlines() if not beside.match(line)]
        assert len(lines) == 1, done.stderr
        return lines[0]

    def on_terminal(self, columns: int, *arguments: str) -> str:
        """What it shows on a terminal of that width, with the escapes for colour and place left out."""
        leader, follower = pty.openpty()
        environ = self.environ(TERM="xterm-256color", COLUMNS=str(columns), LINES="50")
        process = warm_program().start(arguments, self.folder, environ, [follower] * 3)
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other side is closed.
            while block := os.read(leader, 65536):
                shown += block
        os.close(leader)
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
        assert process.wait(60) == 0, text
        return text.replace("\r\n", "\n").replace("\r", "\n")

    @contextmanager
    def serving(self, *arguments: str, fresh: bool = False, **environ: str) -> Iterator[Served]:
        """Serve on a free port until the block ends; then SIGTERM must end it with exit code 0.

        `fresh`: in a Python that has imported nothing, as a user's; for tests in which that may matter.
        """
        serve = ("serve", "--port", "0", *arguments)
        reads, writes = os.pipe()
        with os.fdopen(reads, encoding="utf-8") as errors:
            try:
                process: Process
                if fresh:
                    process = subprocess.Popen(
                        self.command(*serve), cwd=self.folder, env=self.environ(**environ), stderr=writes
                    )
                else:
                    process = warm_program().start(serve, self.folder, self.environ(**environ), (None, None, writes))
            finally:
                os.close(writes)
            said = []
            try:
                for line in errors:
                    said.append(line)
                    found = re.search(r"Hullspeed serves on (http://\S+)/v1", line)
                    if found:
                        break
                else:
                    raise AssertionError("".join(said))
                yield Served(found[1], process, said)
            finally:
                process.terminate()
                said.append(errors.read())
                process.wait(30)
        assert process.returncode == 0, "".join(said)
        assert "Traceback" not in "".join(said)


class Process(Protocol):
    """What tests do with a process, be it one of `subprocess.Popen` or one of `tests.cli.warm`."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


@dataclass(frozen=True)
class Served:
    """A serving process."""

    url: str
    process: Process
    said: list[str]
    """What it has printed; complete once the block has ended."""
