"""`hullspeed ledger`: what it prints and how it ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx

from tests.cli.program import Program
from tests.cli.test_serve import ask, config_file, rows
from tests.fakes.openai_server import FakeOpenAI
from tests.store.test_verify import left_behind
from tests.store.test_writer import NOWHERE


def leave(folder: Path, calls: int) -> None:
    """What a writer that found no Postgres has left behind."""
    asyncio.run(left_behind(folder, calls))


def test_migrate_makes_the_tables(newcomer: Program) -> None:
    for _ in range(2):
        newcomer.run("migrate")
        assert rows(newcomer) == 0


def test_what_was_left_is_verified_drained_and_verified(newcomer: Program, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "journal"
    leave(folder, 30)
    leave(folder, 12)
    before = json.loads(newcomer.run("ledger", "verify", "--json").stdout)
    assert (before["complete"], before["recorded"], before["waiting"], before["in_postgres"]) == (True, 42, 42, 0)
    # Without Postgres all stays where it is.
    done = newcomer.run("ledger", "drain", "--json", code=1, DATABASE_URL=NOWHERE)
    found = json.loads(done.stdout)
    assert (found["shipped"], found["left"], found["held"]) == (0, 42, 0)
    assert "does not answer" in found["problem"]
    done = newcomer.run("ledger", "drain")
    assert "42 rows shipped, 0 left; 0 are held" in done.stdout
    assert done.stderr.count("rows\n") == 2
    after = json.loads(newcomer.run("ledger", "verify", "--json").stdout)
    assert (after["complete"], after["in_postgres"], after["waiting"]) == (True, 42, 0)


def test_a_missing_row_ends_in_code_1(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    leave(folder, 9)
    (segment,) = folder.glob("*.rows")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:2] + lines[3:]))
    done = program.run("ledger", "verify", "--journal", str(folder), "--wait", "0", code=1)
    assert "The ledger is not complete." in done.stdout
    said = program.run("ledger", "verify", "--journal", str(folder), "--wait", "0", "--json", code=1).stdout
    (writer,) = json.loads(said)["writers"]
    assert (writer["highest"], writer["missing"]) == (9, [[3, 3]])


def test_rows_that_postgres_refuses_are_listed(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "journal"
    folder.mkdir(parents=True)
    (folder / "0-0-a.rows").write_text("nonsense\n")
    program.run("ledger", "drain")
    assert "neither a call nor a score\n  nonsense" in program.run("ledger", "refused", code=1).stdout
    done = program.run("ledger", "refused", "--retry", "--json", code=1)
    assert "1 rows sent, 1 refused again" in done.stderr
    assert [row["row"] for row in json.loads(done.stdout)] == ["nonsense"]


def test_beside_serve(program: Program, openai_server: FakeOpenAI, tmp_path: Path) -> None:
    with program.serving("--config", config_file(tmp_path, openai_server)) as served:
        for _ in range(5):
            assert ask(served.url).status_code == 200
        # The ledger's list is complete for whoever asks for it.
        assert len(httpx.get(f"{served.url}/v1/calls", trust_env=False).json()["data"]) == 5
        found = json.loads(program.run("ledger", "verify", "--json").stdout)
        assert (found["complete"], found["recorded"], found["in_postgres"]) == (True, 5, 5)
        assert "0 rows shipped, 0 left" in program.run("ledger", "drain").stdout
