"""Reports and comparisons as files, made once: a finished run never changes.

`bench report` and `bench compare` make them, so what a page shows is what the command writes.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from typing import Literal

import msgspec

from app.bench.aside import Aside
from app.bench.compare import Comparison
from app.bench.render_html import policy_of

KEPT = 40
"""Reports that are kept; one takes about 2 MB."""
HEAD = 8192
"""Bytes at the beginning of a page that hold its policy."""

Form = Literal["html", "json", "csv"]


class Drawn:
    """What was drawn below one data folder."""

    def __init__(self, aside: Aside) -> None:
        self.aside = aside
        self.folder = aside.settings.data_dir / "bench"

    async def report(self, run: str, form: Form) -> bytes:
        """The report of a finished run, compressed (RFC 1952). Raises `HullspeedError` with what `bench report`
        says."""
        # Another version may draw it otherwise.
        made = self.folder / "reports" / f"{run}-{version('hullspeed')}"
        file = made / f"report.{form}.gz"
        with suppress(OSError):
            return await asyncio.to_thread(file.read_bytes)
        await self._make_report(run, made)
        return await asyncio.to_thread(file.read_bytes)

    async def comparison(self, first: str, second: str) -> Comparison:
        """The second finished run against the first. Raises `ConfigError` where they cannot be compared."""
        file = self.folder / "comparisons" / f"{first}-{second}-{version('hullspeed')}.json"
        try:
            raw = await asyncio.to_thread(file.read_bytes)
        except OSError:
            raw = (await self.aside.ask("bench", "compare", first, second, "--json")).encode()
            await asyncio.to_thread(_keep, file, raw)
        return msgspec.json.decode(raw, type=Comparison)

    async def _make_report(self, run: str, made: Path) -> None:
        folder = await asyncio.to_thread(_new_folder, made.parent)
        try:
            html, table, data = (folder / f"report.{form}" for form in ("html", "csv", "json"))
            await self.aside.ask("bench", "report", run, f"--output={html}", f"--csv={table}", f"--json={data}")
            await asyncio.to_thread(_compress, (html, table, data))
            await asyncio.to_thread(_settle, folder, made)
        finally:
            await asyncio.to_thread(rmtree, folder, ignore_errors=True)


def policy(page: bytes) -> str:
    """The content security policy that a compressed page states."""
    with gzip.open(io.BytesIO(page)) as file:
        return policy_of(file.read(HEAD).decode(errors="replace"))


def _new_folder(within: Path) -> Path:
    within.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=within, prefix=".part-"))


def _settle(folder: Path, made: Path) -> None:
    with suppress(OSError):  # somebody else has just made it
        folder.rename(made)
    _forget_the_oldest(made.parent)


def _compress(files: tuple[Path, ...]) -> None:
    for file in files:
        Path(f"{file}.gz").write_bytes(gzip.compress(file.read_bytes(), 6, mtime=0))
        file.unlink()


def _keep(file: Path, raw: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_bytes(raw)
    part.rename(file)
    _forget_the_oldest(file.parent)


def _forget_the_oldest(folder: Path) -> None:
    found = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[KEPT:]:
        if path.is_dir():
            rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
