"""Which commands there are, however few of them are made for one that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from typer.main import get_command

from app.cli.root import app, narrowed


def leaves(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands under this one, each with the words that it is called by."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, under in command.commands.items():
        yield from leaves(under, *path, name)


def described(command: Any) -> list[object]:
    return [command.help, *((one.name, one.opts, one.default, getattr(one, "help", "")) for one in command.params)]


def test_a_command_is_the_same_without_the_others() -> None:
    everything = dict(leaves(get_command(app)))
    assert {("serve",), ("bench", "run"), ("bench", "import", "items")} <= everything.keys()
    for path, command in everything.items():
        ((found, alone),) = leaves(get_command(narrowed(app, [*path, "--help"])))
        assert found == path
        assert described(alone) == described(command)


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], ["nope"], ["nope", "serve"]])
def test_all_are_there_for_whoever_names_none(words: Sequence[str]) -> None:
    assert narrowed(app, words) is app


@pytest.mark.parametrize("words", [["bench"], ["bench", "--help"], ["bench", "nope"]])
def test_all_of_a_group_are_there_for_whoever_names_none_of_it(words: Sequence[str]) -> None:
    everything = {path for path, _ in leaves(get_command(app)) if path[0] == "bench"}
    assert {path for path, _ in leaves(get_command(narrowed(app, words)))} == everything
