"""Hullspeed's own commands as processes beside the one that serves.

A replay, a report's bootstrap or its drawing would weigh on the loop that serves calls, in a thread too (Python runs
one at a time). So what the pages want of the bench is the command that a person could type, in a process of its own
that yields to the one that serves. It finds the same ledger, the same configuration and the same key; secrets go to it
by the environment alone, which other users of the machine cannot read.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import ConfigError, HullspeedError
from app.core.settings import Settings

NICE = 10
"""How far such a process stands back; the scheduler's scale ends at 19."""
PROGRAM = "hullspeed"
_PATIENCE = 300.0
"""Seconds that an answer may take."""
_SAID = f"{PROGRAM}: "
_at_once = threading.BoundedSemaphore(2)


class AsideFailed(HullspeedError):
    """The command failed for a reason that it did not foresee."""

    code = "command_failed"


@dataclass(frozen=True)
class Aside:
    """Runs commands as the proxy with these settings would."""

    settings: Settings
    api_key: str | None
    """What the proxy asks of its clients."""

    def environment(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Of the process: this one's, and what this one was told on its command line."""
        settings = self.settings
        told = {
            "HULLSPEED_DATA_DIR": str(settings.data_dir.absolute()),
            "HULLSPEED_CONFIG": str(settings.config.absolute()) if settings.config else None,
            "DATABASE_URL": settings.database_url.get_secret_value() if settings.database_url else None,
            "HULLSPEED_API_KEY": self.api_key,
            "HULLSPEED_ALLOW_CODE": "1" if settings.allow_code else "0",
        }
        # It calls, and shows nobody anything; a terminal's width is not its own.
        kept = {name: value for name, value in environ.items() if name not in ("HULLSPEED_ADMIN_KEY", "COLUMNS")}
        return {**kept, **{name: value for name, value in told.items() if value is not None}}

    async def ask(self, *arguments: str) -> str:
        """Standard output of a command that ends by itself. Raises `ConfigError` with what the command says where it
        was asked for something that cannot be, `AsideFailed` where it fails otherwise."""
        return await asyncio.to_thread(self._ask, arguments)

    def _ask(self, arguments: Sequence[str]) -> str:
        with _at_once:
            process = subprocess.Popen(  # noqa: S603 – this program, without a shell
                command(arguments),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
            )
            _stand_back(process)
            try:
                shown, said = process.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise AsideFailed(f"`{shell(arguments)}` took longer than {_PATIENCE:.0f} s") from None
        if process.returncode == 0:
            return shown
        last = last_words(said) or f"exit code {process.returncode}"
        if process.returncode == 2:
            raise ConfigError(last)
        raise AsideFailed(last)

    def begin(self, arguments: Sequence[str], said: Path) -> int:
        """Start a command that outlives this process, in a session of its own, and give its id. What it says on
        standard error goes to the file `said`, what it shows nowhere. Blocks for some milliseconds."""
        with said.open("ab") as file:
            process = subprocess.Popen(  # noqa: S603 – as above
                command(arguments),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        _stand_back(process)
        # Somebody has to take note of its end, or it stays listed until this process ends.
        threading.Thread(target=process.wait, name=f"wait for {process.pid}", daemon=True).start()
        return process.pid


def command(arguments: Sequence[str]) -> list[str]:
    """This program with arguments, whichever Python runs it."""
    # -P: where it is run from there may be another package that is called `app`.
    return [sys.executable, "-P", "-m", "app", *arguments]


def shell(arguments: Sequence[str]) -> str:
    """The command as a person would type it."""
    return shlex.join([PROGRAM, *arguments])


def last_words(said: str) -> str:
    """The error in what a command said on standard error: its own line, or else the last line there is."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    ours = [line.removeprefix(_SAID) for line in lines if line.startswith(_SAID)]
    return ours[-1] if ours else lines[-1] if lines else ""


def _stand_back(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
