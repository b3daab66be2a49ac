"""Which routers there are: every entry point of the group `hullspeed.routers`, those of this project included.

A third-party package adds a router by an entry point of its own; nothing here names one. A package that does not
import is an error only for who asks for its router: the others keep working.

Entry points of the group `hullspeed.routers.ready` repeat those that need neither training nor parameters. A package
need not have them; of one that has, no router is imported only to find that out.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import sys
import types
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeGuard

from routers.base import Router, TrainableRouter
from routers.params import bind

GROUP = "hullspeed.routers"
READY = f"{GROUP}.ready"


class UnknownRouter(ValueError):
    """No entry point has the name asked for."""


class BrokenRouter(ValueError):
    """An entry point has the name, but it gives no usable router."""


def names() -> tuple[str, ...]:
    """Names of all routers that are installed, sorted; a broken one is among them (`find` says what is wrong)."""
    return tuple(_installed(tuple(sys.path)))


def find(name: str) -> type[Router]:
    """The router class with this name.

    Raises `UnknownRouter` with the close matches and the list, or `BrokenRouter` naming the distribution at fault:
    its import fails, it is no concrete `Router` of this name, or two distributions claim the name.
    """
    installed = _installed(tuple(sys.path))
    if name not in installed:
        close = difflib.get_close_matches(name, installed, n=3)
        hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise UnknownRouter(f"no router is named {name!r}; {hint}there are: {', '.join(installed) or 'none'}")
    claims = installed[name]
    if len(claims) > 1:
        owners = " and ".join(sorted(f"{_owner(claim)} ({claim.value})" for claim in claims))
        raise BrokenRouter(f"router {name!r} is claimed by {owners}; uninstall or rename one of them")
    return _load(claims[0])


def build(name: str, params: Mapping[str, Any] | None = None) -> Router:
    """A router made from the parameters a configuration gives it.

    Raises `ValueError` that names the parameter and lists those the router takes, when one is unknown, missing or of
    the wrong type; also for a router that can only be had by training (see `routers.artifacts.load`), and what
    `find` raises.
    """
    return make(find(name), params)


def is_ready(name: str) -> bool | None:
    """Whether it serves without training and parameters, as its package says; None where that says nothing."""
    said = [_ready(tuple(sys.path)).get(_owner(claim)) for claim in _installed(tuple(sys.path)).get(name, ())]
    # Of several packages' claims nothing can be said: whoever wants that router hears of it.
    return name in said[0] if len(said) == 1 and said[0] is not None else None


def make(cls: type[Router], params: Mapping[str, Any] | None = None) -> Router:
    """A router of this class made from parameters; raises `ValueError` as `build` does."""
    if is_trainable(cls) and cls.needs_training:
        raise ValueError(f"router {cls.name!r} serves what it has learned: train it and give the artifact's folder")
    return bind(cls, params or {}, owner=f"router {cls.name!r}")


def required(cls: type[Router]) -> tuple[str, ...]:
    """Names of the parameters that `make` cannot do without."""
    unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return tuple(
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is inspect.Parameter.empty and parameter.kind not in unnamed
    )


def from_file(path: Path, name: str) -> type[Router]:
    """The router class `name` of a Python file, for trying a router that is no installed package.

    Raises `BrokenRouter` saying what is wrong: no such file, it cannot be run, no such class, no concrete `Router`,
    or one without a `name` of its own. Running the file is importing it: whatever it does at its top level happens.
    """
    where = f"{path}:{name}"
    try:
        source = path.read_bytes()
    except OSError as error:
        raise BrokenRouter(f"{where} cannot be read: {error.strerror}; give FILE.py:Class") from error
    # By its content: a file that was changed is another module, one that was not is the same.
    module = types.ModuleType(f"hullspeed_file_{hashlib.blake2b(source, digest_size=6).hexdigest()}")
    module.__file__ = str(path)
    known = sys.modules.setdefault(module.__name__, module)
    if known is module:
        try:
            exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 – that is what was asked for
        except (Exception, SystemExit) as error:
            del sys.modules[module.__name__]
            raise BrokenRouter(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
    cls = getattr(known, name, None)
    if cls is None:
        raise BrokenRouter(f"{where}: the file has no class {name!r}")
    cls = _checked(cls, where)
    if not isinstance(getattr(cls, "name", None), str) or not cls.name:
        raise BrokenRouter(f"{where} has no `name`, a text that it is called by")
    return cls


def is_trainable(cls: type[Router]) -> TypeGuard[type[TrainableRouter]]:
    """Whether the router can be fitted to outcomes."""
    return issubclass(cls, TrainableRouter)


@lru_cache(maxsize=4)
def _installed(path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:  # noqa: ARG001 – the cache's key
    """Entry points by name, sorted. Reading the metadata takes tens of milliseconds, hence once per search path."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return {name: tuple(found[name]) for name in sorted(found)}


@lru_cache(maxsize=4)
def _ready(path: tuple[str, ...]) -> dict[str, frozenset[str]]:  # noqa: ARG001 – the cache's key
    """Names of the routers that are ready, by the package that says so."""
    found: dict[str, set[str]] = {}
    for point in entry_points(group=READY):
        found.setdefault(_owner(point), set()).add(point.name)
    return {owner: frozenset(ready) for owner, ready in found.items()}


def _load(point: EntryPoint) -> type[Router]:
    where = f"router {point.name!r} of {_owner(point)} ({point.value})"
    try:
        cls = point.load()
    except (Exception, SystemExit) as error:
        raise BrokenRouter(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
    cls = _checked(cls, where)
    if getattr(cls, "name", None) != point.name:
        raise BrokenRouter(f"{where} calls itself {getattr(cls, 'name', None)!r}; the two names must be equal")
    return cls


def _checked(cls: Any, where: str) -> type[Router]:
    """`cls` where it is a concrete router class; raises `BrokenRouter`."""
    if not (isinstance(cls, type) and issubclass(cls, Router)):
        raise BrokenRouter(f"{where} is not a subclass of routers.Router")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise BrokenRouter(f"{where} is abstract: {missing} must be written")
    return cls


def _owner(point: EntryPoint) -> str:
    return _described(point.dist) if point.dist else "an unnamed distribution"


@lru_cache(maxsize=64)
def _described(package: Distribution) -> str:
    """Name and version, for which the package's metadata is parsed, each time that either is asked for."""
    return f"{package.name} {package.version}"
