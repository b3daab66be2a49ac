"""Graders that somebody wrote elsewhere: found by entry point, file or module, and never a silent 0."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from app.bench.graders import (
    Grader,
    GraderContext,
    GraderFailed,
    check_grader,
    check_target,
    grade_recorded,
    grader_for,
    judged,
    names,
)
from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError

MODULE = '''
from dataclasses import dataclass
import numpy as np

@dataclass
class Half:
    value: "float" = 0.5

def length(item, reply):
    """As long as it should be."""
    return min(len(reply), int(item.target)) / max(len(reply), int(item.target))

def same(item, reply): return reply == item.target
def numpys(item, reply): return np.bool_(reply == item.target)
def half(question, answer, strict=False): return Half().value
def without_target(item, reply): return item.target is None

def beyond(item, reply): return 1.5
def below(item, reply): return -0.1
def nan(item, reply): return float("nan")
def huge(item, reply): return 10 ** 400
def text(item, reply): return "1"
def nothing(item, reply): pass
def fails(item, reply): raise KeyError("no such thing")
async def later(item, reply): return 1.0
def one(item): return 1.0
def three(item, reply, more): return 1.0
NUMBER = 3
'''


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(MODULE)
    return str(tmp_path / "own.py")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "acme_graders").mkdir()
    (tmp_path / "acme_graders" / "__init__.py").write_text("")
    (tmp_path / "acme_graders" / "own.py").write_text(MODULE)
    (tmp_path / "acme_graders" / "broken.py").write_text("import no_such_package_anywhere")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "acme_graders.own"


def item(target: str | None, **fields: str) -> Item:
    return Item(**{"id": "q7", "category": "c", "messages": [], "target": target, **fields})


def named(name: str) -> Grader:
    """A grader that the user named."""
    grader = grader_for(name, GraderContext(named=name))
    assert isinstance(grader, Grader)
    return grader


def value(name: str, reply: str, target: str | None) -> float:
    return named(name).grade(item(target), reply).value


def install(folder: Path, distribution: str, entries: str) -> None:
    """What a package leaves behind when it is installed."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hullspeed.graders]\n{entries}\n")


def test_a_function_of_a_file_grades(file: str) -> None:
    check_grader(f"{file}:length")
    check_target(f"{file}:length", "4")
    check_target(f"{file}:length", None)
    assert value(f"{file}:length", "ab", "4") == 0.5
    assert [value(f"{file}:{name}", "a", target) for name in ("same", "numpys") for target in "ab"] == [1, 0, 1, 0]
    assert value(f"{file}:half", "", "") == 0.5, "called by place, whatever its parameters are called"
    assert value(f"{file}:without_target", "", None) == 1.0


def test_a_relative_path_starts_where_the_command_does(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(file).parent)
    assert value("own.py:half", "", "") == value("./own.py:half", "", "") == 0.5


def test_a_file_that_a_suite_names_is_run_only_where_that_is_allowed(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    plant = f"import pathlib; pathlib.Path({str(planted)!r}).touch()"
    (tmp_path / "theirs.py").write_text(f"{plant}\ndef grade(item, reply): return 1.0\n")
    name = f"{tmp_path}/theirs.py:grade"
    check_grader(name)
    for context in (None, GraderContext(named="exact")):
        with pytest.raises(ConfigError, match="a file that the suite names: read it, then allow it with --allow-code"):
            grader_for(name, context)
    assert not planted.exists()
    allowed = grader_for(name, GraderContext(allow_code=True))
    assert isinstance(allowed, Grader)
    assert allowed.grade(item("x"), "y").value == 1.0
    assert planted.exists()


def test_an_entry_point_grades(module: str, tmp_path: Path) -> None:
    install(tmp_path, "acme", f"acme-length = {module}:length\nacme-broken = acme_graders.broken:length")
    sys.path.insert(0, str(tmp_path / "elsewhere"))  # the cache's key changes with the path
    try:
        assert {"acme-length", "acme-broken", "exact", "math", "judge:<model>"} <= set(names())
        check_grader("acme-length")
        assert value("acme-length", "ab", "4") == 0.5
        with pytest.raises(ConfigError, match=r"grader 'acme-broken' of acme 1\.0 \(.*\) cannot be imported: Mod"):
            grader_for("acme-broken")
        install(tmp_path, "zoo", f"acme-length = {module}:half")
        sys.path.insert(0, str(tmp_path / "still-elsewhere"))
        with pytest.raises(ConfigError, match=r"claimed by acme 1\.0 \(.*\) and zoo 1\.0 \(.*\); uninstall or rename"):
            grader_for("acme-length")
    finally:
        sys.path[:] = [place for place in sys.path if not place.endswith("elsewhere")]


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("gone", "there is no 'gone' in it; write `def grade"),
        ("NUMBER", "is no function"),
        ("Half", "is no function"),
        ("later", "is asynchronous"),
        ("one", r"does not take \(item, reply\); write `def grade\(item, reply\) -> float`"),
        ("three", "does not take"),
    ],
)
def test_what_is_no_grader_is_refused(file: str, function: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        named(f"{file}:{function}")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere/own.py:grade", "there is no file"),
        ("maths", r"no grader is called 'maths'.*did you mean math"),
        # A function of a module is none: what a suite names must not reach into the standard library.
        ("os:system", "no grader is called 'os:system'"),
        ("own.py:", "no grader is called"),
        ("own.py:a b", "no grader is called"),
    ],
)
def test_names_that_lead_nowhere_are_said(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        named(name)


def test_a_file_that_does_not_import_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"broken\.py cannot be imported: ZeroDivisionError: division by zero"):
            named(f"{tmp_path}/broken.py:grade")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)")
    with pytest.raises(ConfigError, match="cannot be imported: SystemExit: 3"):
        named(f"{tmp_path}/exits.py:grade")


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("beyond", "returned 1.5: it must return a number from 0 to 1"),
        ("below", "returned -0.1"),
        ("nan", "returned nan"),
        ("huge", "OverflowError"),
        ("text", "returned '1'"),
        ("nothing", "returned None"),
        ("fails", "KeyError: 'no such thing'"),
    ],
)
async def test_a_failing_grader_is_an_error_and_never_a_0(file: str, function: str, why: str) -> None:
    name = f"{file}:{function}"
    grader = named(name)
    with pytest.raises(GraderFailed, match=f"own.py:{function}` on item `q7`.*{why}"):
        grader.grade(item("t"), "r")
    with pytest.raises(GraderFailed, match="on item `q7`"):
        await judged(grader, item("t"), "r")
    suite = Suite("s", (item("t", grader=name),), recorded=recorded([["r"]]))
    with pytest.raises(GraderFailed, match="on item `q7`"):
        grade_recorded(suite, context=GraderContext(allow_code=True))


def recorded(replies: list[list[str]]) -> Recorded:
    shape = (len(replies), len(replies[0]))
    counts = np.ones(shape, dtype=np.int64)
    return Recorded(("m",), np.ones(shape), np.ones(shape), counts, counts, np.array(replies, dtype=object))


def test_recorded_replies_are_graded_by_each_items_own(file: str) -> None:
    graders = (f"{file}:length", "math", "schema", None)
    targets = ("4", "1/2", '{"type": "number"}', "0.5")
    items = tuple(
        Item(id=f"q{place}", category="c", messages=[], target=target, grader=name)
        for place, (name, target) in enumerate(zip(graders, targets, strict=True))
    )
    suite = Suite("s", items, "exact", recorded([["ab"], ["0.5"], ["{}"], ["0.50"]]))
    graded = grade_recorded(suite, "number", GraderContext(allow_code=True))
    assert graded.tolist() == [[0.5], [1.0], [0.0], [1.0]]


def test_an_item_without_a_target_is_said() -> None:
    for name in ("exact", "math", "schema"):
        grader = grader_for(name)
        assert isinstance(grader, Grader)
        with pytest.raises(GraderFailed, match=f"grader `{name}` on item `q7`: the item has no target"):
            grader.grade(item(None), "r")
        with pytest.raises(ConfigError, match="there is no target"):
            check_target(name, None)
