"""The style is whole: a brace that is lost, in a merge say, hides all that follows it in a condition."""

from __future__ import annotations

import re
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


def test_schemes_are_colours_and_nothing_else() -> None:
    """So a page that is right at one width in one scheme, and at the other in the other, is right in all four."""
    style = (files("app.pages") / "static" / "style.css").read_text()
    schemes = re.findall(
        r"@media \(prefers-color-scheme: \w+\) \{ [^{]+\{([^}]*)\} \}|\[data-theme=\"\w+\"\] \{([^}]*)\}", style
    )
    assert len(schemes) == style.count("prefers-color-scheme") + len(re.findall(r"(?<!not\()\[data-theme", style)) == 3
    for block in schemes:
        for line in "".join(block).split(";"):
            assert re.match(r"\s*(--[\w-]+: |color-scheme: |$)", line), line
