"""Writes docs/reference.md anew from the models that read the environment and the config file.

    python docs/reference.py

A test holds the page against what this makes.
"""

from __future__ import annotations

import ast
import inspect
import re
from decimal import Decimal
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.core import config, litellm_sections
from app.core.settings import Settings

PAGE = Path(__file__).parent / "reference.md"
HEAD = """\
# Reference of the configuration

<!-- Written by docs/reference.py from the models themselves: change their docstrings, then run `make docs`. -->

Every variable and every key there is, with its default. What belongs together, and how litellm's own keys are read,
stands in [Configuration](configuration.md).
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    parts += _section(
        "Environment", "Options of `hullspeed serve` win over these; `.env` is read.", Settings, _variable
    )
    parts += _section("`model_list`", "litellm's list of models. Each entry:", config.ModelEntry)
    parts += _section(
        "`litellm_params`", "Of an entry of `model_list`; other keys are passed on.", config.LitellmParams
    )
    parts += _section("`model_info`", "Of an entry of `model_list`.", config.ModelInfo)
    parts += _section("`routing`", None, config.RoutingConfig)
    parts += _section("`routing.routers.<name>`", None, config.RouterConfig)
    parts += _section("`routing.embedding`", None, config.EmbeddingConfig)
    parts += _section("`ledger`", None, config.LedgerConfig)
    for name, field in litellm_sections.LitellmSections.model_fields.items():
        inner = _model_of(field.annotation)
        if inner is not None:
            parts += _section(f"`{name}`", "litellm's own; read where `routing` says nothing itself.", inner)
    return "\n".join(parts)


def _section(title: str, about: str | None, model: type[BaseModel], named: Any = lambda name: name) -> list[str]:
    said = about or _one_line(inspect.getdoc(model) or "").partition(" — ")[2].capitalize()
    lines = [f"## {title}\n", f"{said}\n" if said else "", "| key | takes | default | |", "| --- | --- | --- | --- |"]
    docs = _docstrings(model)
    for name, field in model.model_fields.items():
        lines.append(f"| `{named(name)}` | {_takes(field)} | {_default(field)} | {docs.get(name, '')} |")
    return [line for line in lines if line != ""] + [""]


def _variable(name: str) -> str:
    return "DATABASE_URL" if name == "database_url" else f"HULLSPEED_{name.upper()}"


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The string under each field, from the source of the class and of those it comes from."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls.__module__.partition(".")[0] != "app":
            continue
        (tree,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls))).body
        assert isinstance(tree, ast.ClassDef)
        for field, after in zip(tree.body, [*tree.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                text = (
                    after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
                )
                found[field.target.id] = _one_line(str(text)).replace("|", "\\|")
    return found


def _takes(field: FieldInfo) -> str:
    """What may be given, in a word, with its bounds."""
    bounds = []
    for rule in field.metadata + [part for kind in get_args(field.annotation) for part in _metadata(kind)]:
        match rule:
            case Ge(ge=least):
                bounds.append(f"≥ {least}")
            case Gt(gt=least):
                bounds.append(f"> {least}")
            case Le(le=most):
                bounds.append(f"≤ {most}")
            case MinLen():
                bounds.append("not empty")
    return ", ".join([_word(field.annotation), *bounds])


def _metadata(kind: Any) -> tuple[Any, ...]:
    rules = getattr(kind, "__metadata__", ())
    return tuple(inner for rule in rules for inner in (rule.metadata if isinstance(rule, FieldInfo) else [rule]))


WORDS = {
    bool: "`true`, `false`", int: "whole number", float: "number", Decimal: "number", str: "text", SecretStr: "secret",
    Path: "path",
}  # fmt: skip


def _word(kind: Any) -> str:
    origin, inner = get_origin(kind), [part for part in get_args(kind) if part is not NoneType]
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_word(part) for part in inner))
    if hasattr(kind, "__metadata__"):
        return _word(kind.__origin__)
    if origin in (tuple, list):
        return "list"
    if origin is not None or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return "keys and values"
    return WORDS.get(kind, "any")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.default
    if field.default_factory is not None or value is PydanticUndefined:
        return "the user's data folder" if field.annotation is Path else "none"
    if value is None or value in ((), {}) or isinstance(value, BaseModel):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _model_of(kind: Any) -> type[BaseModel] | None:
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
