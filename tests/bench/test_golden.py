"""The printed golden numbers: all of them hold, and one that did not would be seen."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from benchmarks import golden
from benchmarks.golden import Absent, Check


@pytest.mark.parametrize("name", golden.PARTS)
def test_every_figure_is_as_it_should_be(name: str) -> None:
    try:
        checks = list(golden.PARTS[name]())
    except Absent:
        pytest.skip(f"recorded set {name} is not in {golden.FOLDER}; point HULLSPEED_SHARED at the shared folder")
    assert checks
    assert [check for check in checks if not check.holds] == []


@pytest.mark.parametrize(
    ("expected", "measured", "holds"),
    [
        (".65", 0.6549, True),
        (".65", 0.656, False),
        ("207", 207.0, True),
        ("207", 208.0, False),
        (".5", math.nan, False),
    ],
)
def test_a_figure_holds_up_to_its_rounding(expected: str, measured: float, holds: bool) -> None:
    assert Check("figure", expected, measured).holds is holds


def test_a_wrong_figure_fails_the_run_and_an_absent_set_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong() -> Iterator[Check]:
        yield Check("the answer", "42", 41)

    def absent() -> Iterator[Check]:
        raise Absent("far")
        yield

    monkeypatch.setattr(golden, "PARTS", {"near": wrong, "far": absent})
    assert golden.main() == 1
    printed = capsys.readouterr().out
    assert "✗" in printed
    assert "far: not present" in printed
    monkeypatch.setattr(golden, "PARTS", {"far": absent})
    assert golden.main() == 0
