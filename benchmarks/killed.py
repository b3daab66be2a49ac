"""What a killed run costs: `python -m benchmarks.killed`.

Starts `hullspeed` on the bundled suite in a process group of its own, kills the whole group without notice (SIGKILL)
once about half of the results are kept, gives the same command again, and holds what comes out against an undisturbed
run in another data folder. Four ways: `bench run` on recorded models, the same with its embedded Postgres killed too,
`bench run` on live models, and `bench record`. The live models are those of a second Hullspeed that serves the
suite's outcomes, so that a provider's own ledger tells how often it was asked.

Prints for each: calls, how many were kept when it was killed, how many calls the ledger holds beyond them (under way
when it was killed, or answered for nothing and not yet kept), how many results have no call in the ledger, and whether
the report (or the exported suite) is the same, byte for byte. Exits with 1 where it is not, where a call is lost, or
where the provider was asked twice for more than was under way.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from app.bench import bundled, library
from app.bench.folder import export
from app.bench.suite import Suite
from app.store.database import Database
from app.store.embedded import EmbeddedServer

TIMES = ("run", "created_at", "latency", "overhead")
"""Fields of a report which no two runs share."""
MODELS = ("sim-nano", "sim-mini", "sim-coder", "sim-pro", "sim-max")
CONCURRENCY = 16
PACED = ("--concurrency", str(CONCURRENCY))
TRADEOFFS = ("--tradeoffs", "0,0.1,0.2,0.4,0.7,1")
ROUTERS = ("-r", "uniform", "-r", "knn", "-r", "ridge", *TRADEOFFS)
LIVE_ROUTERS = ("-r", "uniform", "-r", "cheapest", "-r", "length", *TRADEOFFS)
SETTINGS = 18


@dataclass(frozen=True)
class House:
    """`hullspeed` with a data folder of its own, and with an embedded Postgres or the one at `url`."""

    folder: Path
    url: str | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin a command in a process group of its own; what it says goes to the file `said`."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        own = {"PYTHONPATH": str(Path(__file__).parents[1]), "HULLSPEED_DATA_DIR": str(self.folder / "data")}
        ledger = {} if self.url is None else {"DATABASE_URL": self.url}
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "app", *arguments],
                cwd=self.folder,
                env={**kept, **own, **ledger},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def said(self) -> str:
        return (self.folder / "said").read_text(errors="replace")

    def run(self, *arguments: str) -> None:
        """Run a command to its end, which must be a good one."""
        code = self.start(*arguments).wait(300)
        assert code == 0, f"{arguments} ended with {code}:\n{self.said()}"

    def kept(self) -> int:
        """Results in the ledger, 0 while there is none yet. Starts no server: this only looks on."""
        socket = f"host={self.folder / 'data' / 'postgres'} user=postgres dbname=postgres connect_timeout=2"
        try:
            return count(self.url or socket, "results")
        except psycopg.Error:
            return 0

    def counts(self, *wanted: str) -> list[int]:
        """Rows in the ledger once all processes have ended. `wanted`: tables and conditions."""
        if self.url is not None:
            return [count(self.url, which) for which in wanted]
        server = EmbeddedServer(self.folder / "data" / "postgres")
        url = server.start()
        try:
            return [count(url, which) for which in wanted]
        finally:
            server.stop()


def count(url: str, wanted: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {wanted}".encode()).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True)
class Outcome:
    """What came of killing a command and giving it again."""

    calls: int
    """That an undisturbed run makes."""
    kept: int
    """Results in the ledger when it was killed."""
    beyond: int
    """Calls in the ledger beyond those that are needed."""
    lost: int
    """Kept results whose call is not in the ledger."""
    same: bool
    """Whether the result is that of the undisturbed run, byte for byte."""


def kill(house: House, command: Sequence[str], calls: int, *, postgres: bool = False) -> int:
    """Start the command and kill it once half of the `calls` are kept; gives how many were. `postgres`: that too."""
    process = house.start(*command)
    while house.kept() < calls // 2:
        assert process.poll() is None, f"it ended before it could be killed:\n{house.said()}"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = house.kept()
    assert kept < calls, "all was kept already: nothing is left to resume"
    if postgres:
        server = house.folder / "data" / "postgres" / "postmaster.pid"
        os.kill(int(server.read_text().split("\n", 1)[0]), signal.SIGKILL)
    return kept


def outcome(house: House, calls: int, kept: int, *, same: bool) -> Outcome:
    """Read the rest from the ledger."""
    made, results, lost = house.counts(
        "calls WHERE run IS NOT NULL", "results", "results WHERE call_id NOT IN (SELECT id FROM calls)"
    )
    assert results == calls, f"{results} results of {calls} calls"
    return Outcome(calls, kept, made - calls, lost, same)


def killed_run(disturbed: House, undisturbed: House, calls: int, *options: str, postgres: bool = False) -> Outcome:
    """`bench run` of the suite, which both houses hold: killed and resumed in one, left alone in the other."""
    command = ("bench", "run", bundled.NAME, *options, "--json", "report.json")
    kept = kill(disturbed, command, calls, postgres=postgres)
    disturbed.run(*command)
    assert "resuming run" in disturbed.said(), disturbed.said()
    undisturbed.run(*command)
    return outcome(disturbed, calls, kept, same=report(disturbed) == report(undisturbed))


def killed_recording(
    disturbed: House, undisturbed: House, calls: int, *options: str, models: Sequence[str] = MODELS
) -> Outcome:
    """`bench record` of the suite without its outcomes, likewise."""
    command = ("bench", "record", "bare", "--models", ",".join(models), *options)
    kept = kill(disturbed, command, calls)
    disturbed.run(*command)
    undisturbed.run(*command)
    return outcome(disturbed, calls, kept, same=recorded(disturbed) == recorded(undisturbed))


def recorded(house: House) -> dict[str, bytes]:
    """The suite that was recorded, as the files it is handed on in."""

    async def load() -> Suite:
        database = Database(house.url, house.folder / "data")
        await database.open()
        try:
            return await library.load(database, "bare")
        finally:
            await database.close()

    export(asyncio.run(load()), house.folder / "exported")
    return {path.name: path.read_bytes() for path in sorted((house.folder / "exported").iterdir())}


def report(house: House) -> bytes:
    """The report without times."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: timeless(entry) for name, entry in value.items() if name not in TIMES}
        return [timeless(entry) for entry in value] if isinstance(value, list) else value

    return json.dumps(timeless(json.loads((house.folder / "report.json").read_bytes()))).encode()


def furnish(house: House) -> House:
    """Give a house the suite, with its outcomes and without."""
    house.folder.mkdir()
    suite = bundled.load()
    for name, given in ((bundled.NAME, suite), ("bare", replace(suite, name="bare", recorded=None))):
        export(given, house.folder / name)
        house.run("bench", "import", "folder", name)
    return house


@contextmanager
def provider(house: House) -> Iterator[str]:
    """Serve the suite's recorded models; gives the base URL."""
    process = house.start("serve", "--recorded", bundled.NAME, "--port", "0")
    try:
        while (found := re.search(r"Hullspeed serves on (http://\S+/v1)", house.said())) is None:
            assert process.poll() is None, house.said()
            time.sleep(0.02)
        yield found[1]
    finally:
        process.terminate()
        process.wait(60)


def write_config(folder: Path, url: str) -> str:
    """A config whose providers are the models at `url`."""
    listed = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_base": url,
                "api_key": "none",
                "input_cost_per_token": 1e-7 * 4**place,
                "output_cost_per_token": 3e-7 * 4**place,
            },
        }
        for place, name in enumerate(MODELS)
    ]
    path = folder / "hullspeed.yaml"
    path.write_text(json.dumps({"model_list": listed}))  # YAML too
    return str(path)


def main(folder: Path) -> bool:
    """All four, in data folders of their own; whether all is well."""
    suite = bundled.load()
    calls = SETTINGS * len(suite.rows("test", 0))
    cells = len(MODELS) * len(suite.items)
    number = iter(range(100))

    def house() -> House:
        return furnish(House(folder / str(next(number))))

    found = {
        "bench run, recorded": killed_run(house(), house(), calls, *ROUTERS, *PACED),
        "and its Postgres": killed_run(house(), house(), calls, *ROUTERS, *PACED, postgres=True),
    }
    served = house()
    with provider(served) as url:
        live = ("--yes", "--config", write_config(served.folder, url), *PACED)
        found["bench run, live"] = killed_run(house(), house(), calls, *LIVE_ROUTERS, "--upstream", "live", *live)
        found["bench record"] = killed_recording(house(), house(), cells, *live)
    print(f"{'killed':20}{'calls':>8}{'kept':>8}{'beyond':>8}{'lost':>8}  the same")
    for title, came in found.items():
        print(f"{title:20}{came.calls:8,}{came.kept:8,}{came.beyond:8,}{came.lost:8,}  {came.same}")
    (asked,) = served.counts("calls")
    twice = asked - 2 * (calls + cells)
    print(f"The provider was asked twice for {twice} of {asked:,} calls; at most {2 * CONCURRENCY} were under way.")
    return all(came.same and not came.lost for came in found.values()) and twice <= 2 * CONCURRENCY


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hs-") as name:
        sys.exit(0 if main(Path(name)) else 1)
