"""Graders that somebody wrote elsewhere: a Python function `(item, reply) -> float`.

Named by an entry point of the group `hullspeed.graders`, or as `path/to/file.py:function`. A file that a suite names is
run only where code may be run: whoever imports a suite has not read it. One that is named on the command line is the
user's own.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from app.bench.graders.base import GraderFailed, Judgement
from app.bench.suite import Item
from app.core.errors import ConfigError, HullspeedError

GROUP = "hullspeed.graders"
FORM = "def grade(item, reply) -> float"

Function = Callable[[Item, str], Judgement]


def installed() -> tuple[str, ...]:
    """Names of all graders that packages bring, sorted; broken ones are among them (`from_package` says why)."""
    return tuple(_installed(tuple(sys.path)))


def is_file(name: str) -> bool:
    """Whether a name is that of a function in a file."""
    source, colon, function = name.rpartition(":")
    return bool(colon) and source.endswith(".py") and function.isidentifier()


def from_package(name: str) -> Function:
    """The function of an entry point. Raises `ConfigError` that says what is wrong with the package or the function."""
    claims = _installed(tuple(sys.path))[name]
    if len(claims) > 1:
        owners = " and ".join(sorted(f"{_owner(claim)} ({claim.value})" for claim in claims))
        raise ConfigError(f"grader {name!r} is claimed by {owners}; uninstall or rename one of them")
    where = f"grader {name!r} of {_owner(claims[0])} ({claims[0].value})"
    try:
        function = claims[0].load()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
    return _wrapped(name, function, where)


def from_file(name: str) -> Function:
    """The function that `path/to/file.py:function` names. Raises `ConfigError` that says what is wrong with it."""
    source, _, attribute = name.rpartition(":")
    where = f"grader {name!r}"
    module = _file(str(Path(source).resolve()), where)
    try:
        function = getattr(module, attribute)
    except AttributeError:
        raise ConfigError(f"{where}: there is no {attribute!r} in it; write `{FORM}`") from None
    return _wrapped(name, function, where)


@lru_cache(maxsize=4)
def _installed(path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:  # noqa: ARG001 – the cache's key
    """Entry points by name, sorted. Reading the metadata takes tens of milliseconds, hence once per search path."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return {name: tuple(found[name]) for name in sorted(found)}


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed distribution"


@lru_cache(maxsize=64)
def _file(path: str, where: str) -> ModuleType:
    """The module of a file, loaded once: a grader is not changed in the middle of a run."""
    # In sys.modules under a name of its own, where dataclasses and pickle look for it.
    name = f"hullspeed_grader_{sha256(path.encode()).hexdigest()[:16]}"
    if not Path(path).is_file():
        raise ConfigError(f"{where}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ConfigError(f"{where}: {path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _wrapped(name: str, function: Any, where: str) -> Function:
    if not callable(function) or isinstance(function, type):
        raise ConfigError(f"{where} is no function; write `{FORM}`")
    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"{where} is asynchronous; write `{FORM}`")
    try:
        inspect.signature(function).bind("item", "reply")
    except (TypeError, ValueError):
        raise ConfigError(f"{where} does not take (item, reply); write `{FORM}`") from None

    def grade(item: Item, reply: str) -> Judgement:
        at = f"grader `{name}` on item `{item.id}`"
        try:
            value: Any = function(item, reply)
            # numpy's numbers too. Strings and complex numbers are none, and what is "not a number" is within no bounds.
            number = float(value) if isinstance(value, Real | np.bool_) else -1.0
        except HullspeedError:
            raise
        except Exception as error:
            raise GraderFailed(f"{at}: {type(error).__name__}: {error}") from error
        if 0 <= number <= 1:
            return Judgement(number)
        raise GraderFailed(f"{at} returned {repr(value)[:100]}: it must return a number from 0 to 1")

    return grade
