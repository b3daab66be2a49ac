"""Runs that were started from a page: which command, as which process, and what it says.

Each has a folder below `data_dir/bench/starts`, which every worker of this host reads. What the run does stands in
Postgres like any other's; here is only what Postgres does not know, and it may be deleted at any time.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any

import msgspec
import psutil  # type: ignore[import-untyped]
import uuid_utils

from app.bench.aside import Aside
from app.store.queries.calls import is_id

KEPT = 100
"""Starts that are remembered."""
TAIL = 8000
"""Signs of what a process said that are shown: its end tells what happened."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One start. Times are UTC."""

    id: str
    suite: str
    arguments: tuple[str, ...]
    """The command, as a person would type it."""
    form: dict[str, Any]
    """What was asked for on the page."""
    max_cost: float | None
    """USD."""
    created_at: datetime
    host: str
    process: int | None = None
    process_began: float | None = None
    """Tells a process from a later one with the same id."""


class Starts:
    """The starts of one data folder. Everything here reads or writes files: not for an event loop."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "bench" / "starts"

    def begin(
        self, aside: Aside, arguments: tuple[str, ...], *, suite: str, form: dict[str, Any], max_cost: float | None
    ) -> Start:
        """Start `arguments`, a `bench run`, and remember it."""
        start = Start(
            id=str(uuid_utils.uuid7()),
            suite=suite,
            arguments=arguments,
            form=form,
            max_cost=max_cost,
            created_at=datetime.now(UTC),
            host=socket.gethostname(),
        )
        folder = self.folder / start.id
        folder.mkdir(parents=True, mode=0o700)
        process = aside.begin([*arguments, "--yes", f"--run-file={folder / 'run'}"], folder / "said")
        began = None
        with suppress(psutil.Error):
            began = psutil.Process(process).create_time()
        start = msgspec.structs.replace(start, process=process, process_began=began)
        part = folder / "start.part"
        part.write_bytes(msgspec.json.encode(start))
        part.rename(folder / "start.json")
        self._forget_the_oldest()
        return start

    def get(self, key: str) -> Start | None:
        """None where there is no such start (any more)."""
        if not is_id(key):
            return None
        try:
            return msgspec.json.decode((self.folder / key / "start.json").read_bytes(), type=Start)
        except (OSError, msgspec.DecodeError):
            return None

    def newest(self) -> list[Start]:
        """All that are remembered, the newest first."""
        found = [self.get(name) for name in sorted(self._names(), reverse=True)]
        return [start for start in found if start is not None]

    def of_run(self, run: str) -> Start | None:
        """The latest start that a run was made or taken up by."""
        for name in sorted(self._names(), reverse=True):
            if self.run_of(name) == run:
                return self.get(name)
        return None

    def run_of(self, key: str) -> str | None:
        """The id of the run; None until there is one."""
        try:
            text = (self.folder / key / "run").read_text().strip()
        except OSError:
            return None
        return text if is_id(text) else None

    def said(self, start: Start) -> str:
        """The end of what the process has said."""
        try:
            text = (self.folder / start.id / "said").read_bytes()[-TAIL:].decode(errors="replace")
        except OSError:
            return ""
        return text.strip()

    def is_here(self, start: Start) -> bool:
        """Whether it was started on this host, where it can be stopped."""
        return start.host == socket.gethostname()

    def is_alive(self, start: Start) -> bool | None:
        """Whether the process runs; None where only another host can tell."""
        if not self.is_here(start):
            return None
        return self._process(start) is not None

    def stop(self, start: Start) -> bool:
        """Ask the process to stop, as Ctrl-C would: it keeps what is done, and ends what it started itself. Before
        there is a run there is nothing to keep, and it may be busy fitting: it is ended. False where there is none
        here."""
        process = self._process(start)
        if process is None:
            return False
        with suppress(ProcessLookupError):
            if self.run_of(start.id) is None:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(process.pid, signal.SIGTERM)
        return True

    def _process(self, start: Start) -> Any:
        if not self.is_here(start) or start.process is None or start.process_began is None:
            return None
        try:
            process = psutil.Process(start.process)
            same = abs(process.create_time() - start.process_began) < 0.05
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    def _names(self) -> list[str]:
        try:
            return [folder.name for folder in self.folder.iterdir()]
        except OSError:
            return []

    def _forget_the_oldest(self) -> None:
        for name in sorted(self._names(), reverse=True)[KEPT:]:
            start = self.get(name)
            if start is None or not self._process(start):
                rmtree(self.folder / name, ignore_errors=True)
