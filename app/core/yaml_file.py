"""A YAML file with the place of every key, and litellm's `include:` resolved.

Included files stand next to the file that names them. Their lists are appended to those of the same key, everything
else overrides; a file is read once however often it is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.core.errors import ConfigError

Key = tuple[str | int, ...]
"""Where a value stands: names of mappings and places in lists, from the top."""


@dataclass(frozen=True)
class Document:
    """What was read."""

    data: dict[str, Any]
    places: Mapping[Key, str]
    """`FILE, line N` of each key."""
    files: tuple[Path, ...]
    """All files it came from, the first included."""

    def place(self, key: Key) -> str:
        """`FILE, line N` of a key, or of what stands around it."""
        while key not in self.places and key:
            key = key[:-1]
        return self.places.get(key, f"{self.files[0]}, line 1")


def read_document(path: Path) -> Document:
    """Read `path` and what it includes. Raises `ConfigError` naming file and line."""
    data: dict[str, Any] = {}
    places: dict[Key, str] = {}
    files: list[Path] = []
    waiting: list[tuple[Path, str]] = [(path, "")]
    while waiting:
        current, named = waiting.pop(0)
        if any(current.resolve() == file.resolve() for file in files):
            continue
        files.append(current)
        more, where = _read(current, named)
        waiting += [(current.parent / name, where[("include",)]) for name in _included(more, where)]
        for key, value in more.items():
            _merge(data, places, key, value, where)
    return Document(data, {(): f"{path}, line 1", **places}, tuple(files))


def _merge(data: dict[str, Any], places: dict[Key, str], key: str, value: Any, where: Mapping[Key, str]) -> None:
    """Put `key` of a further file into `data`, and the places of what is in it into `places`."""
    there = data.get(key)
    shift = 0
    if isinstance(there, list) and isinstance(value, list):
        shift = len(there)
        data[key] = [*there, *value]
    else:
        data[key] = value
        for place in [place for place in places if place[:1] == (key,)]:
            del places[place]
    for place, line in where.items():
        if place[:1] == (key,) and (len(place) > 1 or not shift):
            moved = (key, shift + place[1], *place[2:]) if len(place) > 1 and isinstance(place[1], int) else place
            places[moved] = line


def _included(data: dict[str, Any], where: Mapping[Key, str]) -> list[str]:
    names = data.pop("include", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{where[('include',)]}: `include`: must be a list of file names", param="include")
    return names


def _read(path: Path, named: str) -> tuple[dict[str, Any], dict[Key, str]]:
    """The data of one file and the place of each of its keys; `named`: where it is included, if it is."""
    by = f"{named}: `include`: " if named else ""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        what = "does not exist" if by else "does not exist; check HULLSPEED_CONFIG or --config"
        raise ConfigError(f"{by}config file {path} {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{by}config file {path} cannot be read: {error}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise ConfigError(f"{path}{where}: {problem}") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}, line 1: the file must hold keys and values, not a {type(data).__name__}")
    lines: dict[Key, int] = {}
    for key, line in _lines(node) if node is not None else ():
        if key and lines.get(key, line) != line:
            name = ".".join(map(str, key))
            raise ConfigError(f"{path}, line {line}: `{name}` stands on line {lines[key]} already", param=name)
        lines[key] = line
    return data, {key: f"{path}, line {line}" for key, line in lines.items()}


def _lines(node: yaml.Node, path: Key = ()) -> Iterator[tuple[Key, int]]:
    """Pairs of (path of a key, its line counted from 1)."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            for where, line in _lines(value, (*path, key.value)):
                yield where, key.start_mark.line + 1 if where == (*path, key.value) else line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index))
