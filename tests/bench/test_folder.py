"""A suite as one folder: out and in again, to the bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from app.bench import bundled, folder
from app.bench.importers import import_outcomes
from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError

SHARED = Path(os.environ.get("HULLSPEED_SHARED", Path(__file__).parents[2].parent / "shared")) / "data"


def suite() -> Suite:
    image = {"type": "image_url", "image_url": {"url": "data:,", "detail": None}}
    items = (
        Item(id="ä/1", category="one", messages=[{"role": "user", "content": 'Hi\n\t"there" \x7f😀'}], target="é"),
        Item(id="2", category="two", messages=[{"role": "user", "content": [image]}], grader="exact", target=""),
        Item(id="3", category="one", messages=[{"role": "system", "content": "x"}, {"role": "user", "content": ""}]),
    )
    recorded = Recorded(
        models=("b/m", 'a "quoted"\\model'),
        quality=np.array([[1.0, 0.1 + 0.2], [np.nan, 0.0], [1 / 3, 1.0]]),
        cost=np.array([[1e-300, 0.1 + 0.2], [np.nan, 5e-324], [0.0, -0.0]]),
        prompt_tokens=np.array([[1, 2**53 - 1], [0, 0], [4, 5]]),
        completion_tokens=np.array([[0, 1], [0, 2], [3, 4]]),
        replies=np.array([["yes", None], [None, ""], ["a\0b", "漢"]], dtype=object),
    )
    return Suite("näme", items, "answer", recorded, True, 'Line one.\nLine "two" \x7f\x01.')


def equal(one: Suite, two: Suite) -> bool:
    for name in ("name", "items", "grader", "simulated", "description", "digest"):
        assert getattr(one, name) == getattr(two, name), name
    if one.recorded is None or two.recorded is None:
        return one.recorded is two.recorded
    assert one.recorded.models == two.recorded.models
    for name in ("quality", "cost", "prompt_tokens", "completion_tokens"):
        first, second = getattr(one.recorded, name), getattr(two.recorded, name)
        assert first.dtype == second.dtype, name
        assert first.tobytes() == second.tobytes(), name
    return bool(one.recorded.replies.tolist() == two.recorded.replies.tolist())


def test_what_comes_in_is_what_went_out(tmp_path: Path) -> None:
    folder.export(suite(), tmp_path / "made" / "suite")
    assert equal(folder.load(tmp_path / "made" / "suite"), suite())
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["suite"]


def test_items_alone_need_no_outcomes(tmp_path: Path) -> None:
    bare = replace(suite(), recorded=None, grader=None, simulated=False)
    folder.export(bare, tmp_path / "suite")
    assert sorted(path.name for path in (tmp_path / "suite").iterdir()) == ["items.parquet", "suite.toml"]
    assert equal(folder.load(tmp_path / "suite"), bare)


def test_the_bundled_suite_and_a_real_one_come_through(tmp_path: Path) -> None:
    folder.export(bundled.load(), tmp_path / "bundled")
    assert equal(folder.load(tmp_path / "bundled"), bundled.load())
    source = SHARED / "zeroeval_4sets_8models.parquet"
    if not source.exists():
        pytest.skip(f"{source.name} is not in {SHARED}; point HULLSPEED_SHARED at the shared folder")
    real = import_outcomes(source, None, "real")
    folder.export(real, tmp_path / "real")
    assert equal(folder.load(tmp_path / "real"), real)


def test_the_same_suite_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder.export(suite(), tmp_path / name)
    for file in ("suite.toml", "items.parquet", "outcomes.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_outcomes_are_a_plain_table(tmp_path: Path) -> None:
    folder.export(suite(), tmp_path / "suite")
    table = pq.read_table(tmp_path / "suite" / "outcomes.parquet").to_pylist()
    assert len(table) == 5  # the missing cell takes no row
    assert table[0] == {
        "sample_id": "ä/1",
        "model": "b/m",
        "quality": 1.0,
        "cost_usd": 1e-300,
        "prompt_tokens": 1,
        "completion_tokens": 0,
        "response": "yes",
    }


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    target = tmp_path / "suite"
    folder.export(suite(), target)
    with pytest.raises(ConfigError, match="holds a suite already"):
        folder.export(suite(), target)
    folder.export(replace(suite(), name="new"), target, overwrite=True)
    assert folder.load(target).name == "new"
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        folder.export(suite(), other, overwrite=True)
    with pytest.raises(ConfigError, match="is not a folder"):
        folder.export(suite(), other / "notes.txt", overwrite=True)
    assert (other / "notes.txt").read_text() == "mine"


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "suite"
    folder.export(suite(), target)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"cannot be written \(No space left on device\)"):
        folder.export(replace(suite(), name="new"), target, overwrite=True)
    assert equal(folder.load(target), suite())
    assert [path.name for path in tmp_path.iterdir()] == ["suite"]


def edit(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(target: Path) -> None:
        raw = (target / name).read_bytes()
        assert old in raw
        (target / name).write_bytes(raw.replace(old, new))

    return change


def rehash(target: Path, name: str) -> None:
    """Make `suite.toml` agree with a file that was changed."""
    lines = (target / "suite.toml").read_text().splitlines()
    digest = folder._sha256((target / name).read_bytes())
    kept = [f'"{name}" = "{digest}"' if line.startswith(f'"{name}"') else line for line in lines]
    (target / "suite.toml").write_text("\n".join(kept))


def twice(target: Path) -> None:
    path = target / "outcomes.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take([0, 0]), path)
    rehash(target, path.name)


def unknown(target: Path) -> None:
    path = target / "outcomes.parquet"
    rows = pq.read_table(path).to_pylist()
    pq.write_table(folder.pa.Table.from_pylist([rows[0] | {"model": "gone"}], schema=folder._OUTCOMES), path)
    rehash(target, path.name)


def other_items(target: Path) -> None:
    path = target / "items.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0]["target"] = "another"
    pq.write_table(folder.pa.Table.from_pylist(rows, schema=folder._ITEMS), path)
    rehash(target, path.name)


def other_columns(target: Path) -> None:
    path = target / "items.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["grader"]), path)
    rehash(target, path.name)


def no_parquet(target: Path) -> None:
    (target / "items.parquet").write_bytes(b"PAR1")
    rehash(target, "items.parquet")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda target: (target / "suite.toml").unlink(), "suite.toml: cannot be read"),
        (lambda target: (target / "suite.toml").write_text("= 1"), "suite.toml: is not TOML"),
        (lambda target: (target / "suite.toml").write_bytes(b"\xff"), "suite.toml: is not TOML"),
        (edit("suite.toml", b"format = 1", b"format = 9"), "suite.toml: has format 9, expected 1"),
        (edit("suite.toml", b"simulated = true", b"simulated = 1"), "Expected `bool`, got `int`"),
        (edit("suite.toml", b"simulated = true", b"simulated = true\nmore = 1"), "unknown field `more`"),
        (
            edit("suite.toml", b'"outcomes.parquet" = ', b'"x" = '),
            "lists items.parquet, x, expected items.parquet, outc",
        ),
        (lambda target: (target / "items.parquet").unlink(), "items.parquet: cannot be read"),
        (edit("outcomes.parquet", b"PAR1", b"PAR2"), "outcomes.parquet: does not match the hash in suite.toml"),
        (edit("suite.toml", b'grader = "answer"', b'grader = "number"'), "its items have digest"),
        (twice, "holds a cell twice"),
        (unknown, "names 'gone', which is no item or model"),
        (other_items, "its items have digest"),
        (other_columns, "items.parquet: has columns id, category, messages, target, expected"),
        (no_parquet, "items.parquet: is not a Parquet file"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path, change: Callable[[Path], None], line: str) -> None:
    target = tmp_path / "suite"
    folder.export(suite(), target)
    change(target)
    with pytest.raises(ConfigError) as caught:
        folder.load(target)
    assert caught.value.message.startswith(str(target))
    assert line in caught.value.message
    assert "\n" not in caught.value.message
