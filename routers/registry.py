"""Which routers there are: every entry point of the group `hullspeed.routers`, those of this project included.

A third-party package adds a router by an entry point of its own; nothing here names one. A package that does not
import is an error only for who asks for its router: the others keep working.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeGuard

from routers.base import Router, TrainableRouter
from routers.params import bind

GROUP = "hullspeed.routers"


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
    cls = find(name)
    if is_trainable(cls) and cls.needs_training:
        raise ValueError(f"router {name!r} serves what it has learned: train it and give the artifact's folder")
    return bind(cls, params or {}, owner=f"router {name!r}")


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


def _load(point: EntryPoint) -> type[Router]:
    where = f"router {point.name!r} of {_owner(point)} ({point.value})"
    try:
        cls = point.load()
    except (Exception, SystemExit) as error:
        raise BrokenRouter(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Router)):
        raise BrokenRouter(f"{where} is not a subclass of routers.Router")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise BrokenRouter(f"{where} is abstract: {missing} must be written")
    if getattr(cls, "name", None) != point.name:
        raise BrokenRouter(f"{where} calls itself {getattr(cls, 'name', None)!r}; the two names must be equal")
    return cls


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed distribution"
