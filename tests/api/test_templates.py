"""Templates of the pages: compiled off the loop, and kept for the next process."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import Environment, meta

from app.api.pages import render


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """As in a process that has just begun."""
    made = render._environment.__wrapped__()
    monkeypatch.setattr(render, "_environment", lambda: made)
    monkeypatch.setattr(render, "_compiled", {})
    return made


def test_every_template_that_is_referred_to_is_found(environment: Environment) -> None:
    """What was not compiled off the loop would be on it, in the middle of a page."""
    assert environment.loader is not None
    names = [name for name in environment.list_templates() if name.startswith("ui/")]
    assert len(names) > 40
    for name in names:
        source, _, _ = environment.loader.get_source(environment, name)
        assert set(render._REFERRED.findall(source)) == set(
            meta.find_referenced_templates(environment.parse(source))
        ), name


def test_they_are_kept(environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache" / "templates"
    render.make_ready(folder)
    render._compile("ui/sign_in.html")
    assert folder.stat().st_mode & 0o777 == 0o700
    kept = sorted(folder.iterdir())
    assert len(kept) == 3, "itself, what it extends, and the pictures in that"

    def compiles(*_: object, **__: object) -> None:
        raise AssertionError("it was compiled again")

    environment.cache.clear()  # type: ignore[union-attr]
    monkeypatch.setattr(render, "_compiled", {})
    monkeypatch.setattr(environment, "compile", compiles)
    assert render._compile("ui/sign_in.html").render(to="/ui/", wrong=False, current=None, signed_in=False)


@pytest.mark.parametrize("damage", [b"", b"no bytecode", None])
def test_a_damaged_one_is_made_anew(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    render.make_ready(tmp_path)
    render._compile("ui/sign_in.html")
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-10] if damage is None else damage)
    environment.cache.clear()  # type: ignore[union-attr]
    monkeypatch.setattr(render, "_compiled", {})
    assert "Admin key" in render._compile("ui/sign_in.html").render(to="", wrong=False, current=None, signed_in=False)


def test_a_folder_that_cannot_be_written_is_done_without(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    render.make_ready(tmp_path / "cache" / "templates")
    assert environment.bytecode_cache is None
    assert render._compile("ui/sign_in.html").name == "ui/sign_in.html"


def test_a_full_disk_takes_no_page(environment: Environment, tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    render.make_ready(folder)
    folder.rmdir()
    assert render._compile("ui/sign_in.html").name == "ui/sign_in.html"
    assert not folder.exists()
