"""Parameters a person wrote (a configuration file, the command line): checked by name and type before use.

What a router takes stands once, in the signature that takes it; nothing repeats it, so nothing can disagree.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

T = TypeVar("T")


def bind(target: Callable[..., T], given: Mapping[str, Any], owner: str) -> T:
    """Call `target` with the parameters `given`; `owner` names it in errors, e.g. `router 'knn'`.

    Raises `ValueError` that names the parameter and lists those `target` takes, when one is unknown, missing, of
    the wrong type (by the annotation; an integer passes for a float) or refused by `target` itself.
    """
    expected = inspect.signature(target).parameters
    hints = _hints(target)
    named = {name for name, parameter in expected.items() if parameter.kind not in _UNNAMED}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in expected.values())
    listed = _listed(expected, hints)
    for name, value in given.items():
        if name not in named:
            if takes_any:
                continue
            raise ValueError(f"{owner} takes no parameter {name!r}; {listed}")
        if name in hints and not _fits(value, hints[name]):
            wanted = _name(hints[name])
            raise ValueError(f"{owner}: parameter {name!r} must be {wanted}, not {value!r}; {listed}")
    for name in sorted(named):
        if name not in given and expected[name].default is inspect.Parameter.empty:
            raise ValueError(f"{owner} needs the parameter {name!r}; {listed}")
    try:
        return target(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{owner}: {error}; {listed}") from error


_UNNAMED = (
    inspect.Parameter.VAR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.POSITIONAL_ONLY,
)


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        # Third-party annotations may name what is imported for type checkers only; the names still get checked.
        return {}


def _listed(expected: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]) -> str:
    shown = []
    for name, parameter in expected.items():
        if parameter.kind in _UNNAMED:
            continue
        text = f"{name}: {_name(hints[name])}" if name in hints else name
        if parameter.default is not inspect.Parameter.empty:
            text += f" = {parameter.default!r}"
        shown.append(text)
    return f"it takes {', '.join(shown)}" if shown else "it takes no parameters"


def _name(hint: Any) -> str:
    return hint.__name__ if type(hint) is type else str(hint).replace("typing.", "").replace("collections.abc.", "")


def _fits(value: Any, hint: Any) -> bool:
    """Whether `value` is of the type `hint`; what is not understood passes, its owner judges it."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in args)
    if origin is Literal:
        return value in args
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(key, args[0]) and _fits(item, args[1]) for key, item in value.items()
        )
    if isinstance(origin, type) and issubclass(origin, Sequence):
        text = isinstance(value, str | bytes)
        return isinstance(value, Sequence) and not text and all(_fits(item, args[0]) for item in value)
    return _fits_plain(value, hint)


def _fits_plain(value: Any, hint: Any) -> bool:
    if hint in (int, float) and isinstance(value, bool):
        return False  # YAML's `yes` is no number, though Python's True is one
    if hint is float:
        return isinstance(value, int | float)
    return isinstance(value, hint) if type(hint) is type else True
