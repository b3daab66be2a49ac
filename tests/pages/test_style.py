"""The style is whole: a brace that is lost, in a merge say, hides all that follows it in a condition."""

from __future__ import annotations

from importlib.resources import files

import pytest


def test_nothing_is_left_open() -> None:
    depth = 0
    for number, line in enumerate((files("app.pages") / "static" / "style.css").read_text().splitlines(), 1):
        if line.startswith("/* ") and depth:
            pytest.fail(f"line {number}, {line!r}, stands within what was opened before it")
        depth += line.count("{") - line.count("}")
        assert depth >= 0, f"line {number} closes what was not opened"
    assert depth == 0
