import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.core.errors import ConfigError
from app.store.database import Database
from app.store.embedded import EmbeddedServer

STAY = """
import sys
from pathlib import Path
from app.store.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print(server.start(), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="hs-"))
    yield parent / "postgres"
    shutil.rmtree(parent)


def runs(folder: Path) -> bool:
    return (folder / "postmaster.pid").exists()


def stay(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", STAY, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_last_to_leave_stops_it(folder: Path) -> None:
    one, two = EmbeddedServer(folder), EmbeddedServer(folder)
    with stay(folder) as other:
        assert other.stdout is not None
        url = other.stdout.readline().strip()
        assert one.start() == two.start() == url
        other.communicate()
        assert other.returncode == 0
    one.stop()
    with psycopg.connect(url) as connection:
        assert connection.info.server_version // 10_000 == 18
    two.stop()
    two.stop()
    assert not runs(folder)


def test_processes_that_start_at_once_share_one(folder: Path) -> None:
    others = [stay(folder) for _ in range(4)]
    urls = set()
    for other in others:
        assert other.stdout is not None
        urls.add(other.stdout.readline())
    assert len(urls) == 1
    for other in others:
        other.communicate()
        assert other.returncode == 0
    assert not runs(folder)


def test_a_killed_user_does_not_keep_it_running(folder: Path) -> None:
    server = EmbeddedServer(folder)
    with stay(folder) as other:
        assert other.stdout is not None
        other.stdout.readline()
        server.start()
        other.kill()
    server.stop()
    assert not runs(folder)


def test_a_server_killed_with_its_user_is_started_again(folder: Path) -> None:
    with stay(folder) as other:
        assert other.stdout is not None
        with psycopg.connect(other.stdout.readline().strip()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
        server_pid = int((folder / "postmaster.pid").read_text().splitlines()[0])
        # In this order nobody is left to collect the server: it stays listed as a dead process.
        other.kill()
        other.wait()
        os.kill(server_pid, signal.SIGKILL)
    server = EmbeddedServer(folder)
    with psycopg.connect(server.start()) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (1,)
    server.stop()
    assert not runs(folder)


def test_a_pid_that_is_another_program_now_is_no_server(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.start()
    lines = (folder / "postmaster.pid").read_text().splitlines(keepends=True)
    os.kill(int(lines[0]), signal.SIGKILL)
    server.stop()
    # What a container finds after it was killed: its own processes have taken the numbers.
    (folder / "postmaster.pid").write_text("".join([f"{os.getpid()}\n", *lines[1:]]))
    (folder / ".handle_pids.json").write_text(json.dumps([os.getpid(), 2**22 + 1]))
    url = server.start()
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1")
    server.stop()
    assert not runs(folder)


async def test_a_database_without_a_url(folder: Path) -> None:
    database = Database(None, folder.parent)
    await database.open()
    assert database.describe() == f"embedded Postgres in {folder}"
    await database.ping()
    await database.close()
    assert not runs(folder)


async def test_one_opened_twice_in_a_process(folder: Path) -> None:
    one, two = Database(None, folder.parent), Database(None, folder.parent)
    await asyncio.gather(one.open(), two.open())
    await one.close()
    await two.ping()
    await two.close()
    assert not runs(folder)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("x" * 200, "too long a path"), ("a b", "a space"), ("a;b", "a shell"), ("$(x)", "a shell")],
)
def test_a_path_it_cannot_live_at(name: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{problem}.*HULLSPEED_DATA_DIR.*DATABASE_URL"):
        EmbeddedServer(tmp_path / name / "postgres").start()
    assert not (tmp_path / name / "postgres").exists()


def test_a_folder_of_another_version(folder: Path) -> None:
    folder.mkdir()
    (folder / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigError, match="made by PostgreSQL 16, the embedded server is PostgreSQL 18"):
        EmbeddedServer(folder).start()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="HULLSPEED_DATA_DIR"):
        EmbeddedServer(tmp_path / "file" / "postgres").start()


def test_a_folder_it_cannot_be_made_in_says_why(folder: Path) -> None:
    folder.mkdir()
    (folder / "mine").write_text("")
    with pytest.raises(ConfigError, match=r"does not start. It says: initdb: error: directory .* is not empty"):
        EmbeddedServer(folder).start()


def test_a_folder_that_holds_no_server(folder: Path) -> None:
    folder.mkdir()
    (folder / "PG_VERSION").write_text("18\n")
    server = EmbeddedServer(folder)
    with pytest.raises(ConfigError, match="does not start"):
        server.start()
    server.stop()
