import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.errors import ConfigError
from app.store.journal import Journal, JournalFull, claim_refused, count, left_over, read_refused, refused

LEAVE = """
import sys
from pathlib import Path
from app.store.journal import Journal
journal = Journal(Path(sys.argv[1]), max_bytes=1 << 20)
journal.open()
journal.append(b"C1")
journal.append(b"C2")
print("written", flush=True)
if sys.argv[2] == "stay":
    sys.stdin.read()
"""


def make(folder: Path, **options) -> Journal:
    journal = Journal(folder, **{"max_bytes": 1 << 20, **options})
    journal.open()
    return journal


def other_process(folder: Path, what: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", LEAVE, str(folder), what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.rows"))


def test_rows_are_on_disk_at_once(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.append(b"Ca")
    journal.append(b"Sb")
    assert files(tmp_path)[0].read_bytes() == b"Ca\nSb\n"
    assert count(tmp_path) == (2, 6) == (journal.waiting_rows, journal.waiting_bytes)
    journal.close()
    assert count(tmp_path) == (2, 6)


def test_only_this_account_may_read_it(tmp_path: Path) -> None:
    journal = make(tmp_path / "journal")
    journal.append(b"Ca")
    journal.refuse(b"Cx", "why")
    for path in (tmp_path / "journal").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "journal").stat().st_mode & 0o077 == 0
    journal.close()


def test_a_sealed_segment_takes_no_more_rows(tmp_path: Path) -> None:
    journal = make(tmp_path)
    assert journal.rotate() is None
    journal.append(b"C1")
    sealed = journal.rotate()
    journal.append(b"C2")
    assert sealed is not None
    assert sealed.lines(0) == ([b"C1"], 3)
    assert sealed.lines(3) == ([], 3)
    journal.remove(sealed)
    journal.close()
    assert [path.read_bytes() for path in files(tmp_path)] == [b"C2\n"]


def test_an_empty_journal_leaves_no_file(tmp_path: Path) -> None:
    make(tmp_path).close()
    assert files(tmp_path) == []


def test_long_rows_are_read_whole(tmp_path: Path) -> None:
    journal = make(tmp_path, max_bytes=1 << 30)
    rows = [b"C" + bytes([65 + index]) * size for index, size in enumerate([1, 3 << 20, 5, (1 << 20) - 2, 700_000])]
    for row in rows:
        journal.append(row)
    sealed = journal.rotate()
    assert sealed is not None
    found: list[bytes] = []
    offset = 0
    while (step := sealed.lines(offset))[1] != offset:
        found += step[0]
        offset = step[1]
    assert found == rows
    journal.close()


def test_the_dead_leave_and_the_living_keep(tmp_path: Path) -> None:
    with other_process(tmp_path, "leave") as dead:
        dead.communicate()
    with other_process(tmp_path, "stay") as living:
        assert living.stdout is not None
        assert living.stdout.readline() == "written\n"
        journal = make(tmp_path)
        (adopted,) = journal.adopt()
        assert adopted.lines(0)[0] == [b"C1", b"C2"]
        assert journal.waiting_rows == 2
        assert journal.adopt() == []
        assert count(tmp_path) == (4, 12)
        living.kill()
    (late,) = journal.adopt()
    assert late.rows == 2
    journal.close()


def test_two_in_one_process_keep_apart(tmp_path: Path) -> None:
    one, other = make(tmp_path), make(tmp_path)
    one.append(b"C1")
    assert other.adopt() == []
    one.close()
    assert [segment.rows for segment in other.adopt()] == [1]
    other.close()


def test_a_torn_last_line_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "0-1-a.rows").write_bytes(b'C{"a":1}\nC{"b"')
    (tmp_path / "0-1-b.rows").write_bytes(b"C{")
    (tmp_path / "0-1-c.rows").write_bytes(b"")
    journal = make(tmp_path)
    adopted = journal.adopt()
    assert [(segment.rows, segment.is_torn) for segment in adopted] == [(1, True), (0, True)]
    assert adopted[0].lines(0) == ([b'C{"a":1}'], 9)
    assert not (tmp_path / "0-1-c.rows").exists()
    journal.close()


def test_the_limit_holds_over_all_segments(tmp_path: Path) -> None:
    journal = make(tmp_path, max_bytes=100)
    for _ in range(4):
        journal.append(b"C" * 20)
        journal.rotate()
    with pytest.raises(JournalFull, match="limit of 100 bytes"):
        journal.append(b"C" * 20)
    assert journal.waiting_bytes == 84
    journal.close()


def test_the_limit_holds_over_all_processes_of_a_folder(tmp_path: Path) -> None:
    one, other = make(tmp_path, max_bytes=100), make(tmp_path, max_bytes=100)
    one.append(b"C" * 50)
    other.append(b"C" * 20)
    other.look_around()
    with pytest.raises(JournalFull):
        other.append(b"C" * 40)
    one.remove(one.rotate())
    other.look_around()
    other.append(b"C" * 40)
    one.close()
    other.close()


def test_what_a_living_process_holds_is_not_left_over(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.append(b"C1")
    left = tmp_path / "0-0-a.rows"
    left.write_bytes(b"C2\nC3\n")
    assert left_over(tmp_path) == [left]
    assert count(left) == (2, 6)
    assert count(tmp_path) == (3, 9)
    journal.close()


def test_rows_put_aside_are_claimed_once(tmp_path: Path) -> None:
    journal = make(tmp_path)
    assert claim_refused(tmp_path) == []
    journal.refuse(b"C1", "why")
    (first,) = claim_refused(tmp_path)
    journal.refuse(b"C\xff", "so")
    assert [row.error for row in read_refused(first)] == ["why"]
    assert [row.row for row in refused(tmp_path)] == ["C1", "C\ufffd"]
    assert len(claim_refused(tmp_path)) == 2
    journal.close()


def test_a_full_disk_spoils_only_the_row_it_refuses(tmp_path: Path) -> None:
    import resource

    journal = make(tmp_path)
    journal.append(b"C1")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores SIGXFSZ: a write past the limit is cut short, the next one fails, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        with pytest.raises(OSError, match="in part"):
            journal.append(b"C22222222")
        journal.append(b"C3")
        with pytest.raises(OSError, match="in part"):
            journal.append(b"C44")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.append(b"C5")
    sealed = journal.rotate()
    assert sealed is not None
    assert sealed.size == os.fstat(sealed.fd).st_size == journal.waiting_bytes
    assert sealed.lines(0)[0] == [b"C1", b"C3", b"C5"]
    journal.close()


@pytest.mark.parametrize("fsync", ["none", "interval", "always"])
def test_what_is_forced_to_disk(tmp_path: Path, fsync) -> None:
    journal = make(tmp_path, fsync=fsync)
    journal.append(b"C1")
    segment = journal.rotate()
    assert segment is not None
    assert segment.synced == (3 if fsync == "always" else 0)
    journal.sync()
    assert segment.synced == (0 if fsync == "none" else 3)
    journal.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="HULLSPEED_DATA_DIR"):
        make(tmp_path / "file" / "journal")
