"""Running the program as a user does: another process, its exit code, and what it prints."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


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
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environ(**environ),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        shown = f"{arguments}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        assert done.returncode == code, shown
        assert "Traceback" not in done.stdout + done.stderr, shown
        return done

    def fails(self, *arguments: str, code: int = 2, **environ: str) -> str:
        """The one line a failing command says."""
        done = self.run(*arguments, code=code, **environ)
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("warning:")]
        assert len(lines) == 1, done.stderr
        return lines[0]

    @contextmanager
    def serving(self, *arguments: str, **environ: str) -> Iterator[Served]:
        """Serve on a free port until the block ends; then SIGTERM must end it with exit code 0."""
        process = subprocess.Popen(
            self.command("serve", "--port", "0", *arguments),
            cwd=self.folder,
            env=self.environ(**environ),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        said = []
        try:
            for line in process.stderr:
                said.append(line)
                found = re.search(r"Hullspeed serves on (http://\S+)/v1", line)
                if found:
                    break
            else:
                raise AssertionError("".join(said))
            yield Served(found[1], process, said)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            # Not communicate(): it passes over what the loop above has buffered.
            said.append(process.stderr.read())
            process.wait(30)
            process.stderr.close()
        assert process.returncode == 0, "".join(said)
        assert "Traceback" not in "".join(said)


@dataclass(frozen=True)
class Served:
    """A serving process."""

    url: str
    process: subprocess.Popen[str]
    said: list[str]
    """What it has printed; complete once the block has ended."""
