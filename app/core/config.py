"""The config file: litellm's `model_list` unchanged, and `routing:` and `ledger:` of ours.

Every error names the key and the line. Keys of litellm's that Hullspeed does not use are named in one warning; an
unknown key in a section of ours is an error, since a mistyped option that is ignored is found only by its bill.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from app.core.errors import ConfigError

Rate = Annotated[Decimal, Field(ge=0)]
"""USD per token."""


class LitellmParams(BaseModel):
    """litellm's `litellm_params`: the model and how to reach it. Other keys are passed on to litellm."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str
    """litellm's name, `provider/model`."""
    api_base: str | None = None
    api_key: SecretStr | None = None
    """The key itself, or `os.environ/NAME`."""
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds for a whole call."""
    input_cost_per_token: Rate | None = None
    output_cost_per_token: Rate | None = None


class ModelInfo(BaseModel):
    """litellm's `model_info`; overrides what the price map says."""

    model_config = ConfigDict(extra="allow", frozen=True)

    input_cost_per_token: Rate | None = None
    output_cost_per_token: Rate | None = None
    cache_read_input_token_cost: Rate | None = None
    cache_creation_input_token_cost: Rate | None = None
    output_cost_per_reasoning_token: Rate | None = None
    max_input_tokens: Annotated[int, Field(gt=0)] | None = None
    max_output_tokens: Annotated[int, Field(gt=0)] | None = None
    supports_function_calling: bool | None = None
    supports_vision: bool | None = None
    supports_audio_input: bool | None = None
    supports_response_schema: bool | None = None


class ModelEntry(BaseModel):
    """One entry of `model_list`."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    model_name: Annotated[str, Field(min_length=1)]
    """The name clients and routers use."""
    litellm_params: LitellmParams
    model_info: ModelInfo = ModelInfo()


class RouterConfig(BaseModel):
    """One entry of `routing.routers`: a router by name with its parameters, or a trained artifact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    router: str | None = None
    """Name of an installed router. May be left out where an artifact says it."""
    artifact: Path | None = None
    """Folder written by `hullspeed train`; relative to the config file."""
    params: dict[str, Any] = {}
    """Parameters of the router."""
    tradeoff: Annotated[float, Field(ge=0, le=1)] | None = None
    """Overrides `routing.tradeoff` for this entry."""

    @model_validator(mode="after")
    def _one_of(self) -> RouterConfig:
        if self.router is None and self.artifact is None:
            raise ValueError("needs `router` (a name) or `artifact` (a folder)")
        if self.artifact is not None and self.params:
            raise ValueError("an artifact holds its own parameters; leave `params` out")
        return self


class RoutingConfig(BaseModel):
    """`routing:` — which router serves `auto`, and what happens around it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str | None = None
    """Entry of `routers`, or an installed router, that serves the model name `auto`."""
    tradeoff: Annotated[float, Field(ge=0, le=1)] = 0.5
    """0 = quality only, 1 = cost only; a request may set its own."""
    deadline: Annotated[float, Field(gt=0)] = 0.1
    """Seconds a router may take before the fallback order is used instead."""
    fallback: tuple[str, ...] = ()
    """Order of models used when a router fails, is late or declines; by default the order of `model_list`."""
    models: tuple[str, ...] = ()
    """Models that routers may choose from; by default all."""
    timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds for one attempt, where the model sets none."""
    routers: dict[str, RouterConfig] = {}


class LedgerConfig(BaseModel):
    """`ledger:` — what is kept of every call, and how safely."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store_text: bool = False
    """Keep prompts and replies. Off by default: they are somebody's."""
    fsync: Literal["none", "interval", "always"] = "none"
    """`none` survives a crash of the process, `interval` loses at most a second in a power cut, `always` nothing."""
    journal_max_bytes: Annotated[int, Field(gt=0)] = 1024 * 1024 * 1024
    """Most bytes that wait on disk while Postgres is away; beyond it rows are refused, loudly."""


class GeneralSettings(BaseModel):
    """litellm's `general_settings`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    master_key: SecretStr | None = None


class Config(BaseModel):
    """A whole config file."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    model_list: tuple[ModelEntry, ...] = ()
    routing: RoutingConfig = RoutingConfig()
    ledger: LedgerConfig = LedgerConfig()
    general_settings: GeneralSettings = GeneralSettings()
    source: Path | None = None
    """File it was read from."""
    warnings: tuple[str, ...] = ()
    """What was read and not used, one sentence each."""


LITELLM_SECTIONS = frozenset(
    {"litellm_settings", "router_settings", "environment_variables", "general_settings", "guardrails",
     "credential_list", "mcp_servers", "vector_store_registry", "include", "callback_settings", "files_settings",
     "finetune_settings", "search_tools", "prompts", "mcp_tools", "assistant_settings", "default_team_settings",
     "model_group_alias", "cost_discount_config", "cost_margin_config"}
)  # fmt: skip
OWN_SECTIONS = ("model_list", "routing", "ledger")


def load_config(path: Path) -> Config:
    """Read and check a config file. Raises `ConfigError` naming file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"config file {path} does not exist; check HULLSPEED_CONFIG or --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} cannot be read: {error}") from None
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
    lines = dict(_lines(node)) if node is not None else {}
    _refuse_unknown_sections(path, data, lines)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise _explain(path, error, lines) from None
    update = {"source": path.resolve(), "warnings": tuple(_unused(path, data))}
    return config.model_copy(update=update)


def _lines(node: yaml.Node, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Pairs of (path of a key, its line counted from 1)."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            for where, line in _lines(value, (*path, key.value)):
                yield where, key.start_mark.line + 1 if where == (*path, key.value) else line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index))


def _refuse_unknown_sections(path: Path, data: dict[Any, Any], lines: dict[tuple[str | int, ...], int]) -> None:
    for key in data:
        if key in OWN_SECTIONS or key in LITELLM_SECTIONS:
            continue
        near = difflib.get_close_matches(str(key), [*OWN_SECTIONS, *LITELLM_SECTIONS], n=1)
        hint = f"; did you mean `{near[0]}`?" if near else f"; known are {', '.join(OWN_SECTIONS)} and litellm's own"
        raise ConfigError(f"{path}, line {lines.get((str(key),), 1)}: unknown key `{key}`{hint}", param=str(key))


def _explain(path: Path, error: ValidationError, lines: dict[tuple[str | int, ...], int]) -> ConfigError:
    first = error.errors(include_url=False, include_input=False)[0]
    where = tuple(first["loc"])
    key = ".".join(str(part) for part in where)
    known = where
    while known and known not in lines:
        known = known[:-1]
    line = lines.get(known, 1)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        names = _field_names(where[:-1])
        near = difflib.get_close_matches(str(where[-1]), names, n=1)
        message = "unknown key" + (f"; did you mean `{near[0]}`?" if near else f"; known are {', '.join(names)}")
    elif first["type"] == "missing":
        message = "is missing"
    return ConfigError(f"{path}, line {line}: `{key}`: {message}", param=key)


def _field_names(where: tuple[str | int, ...]) -> list[str]:
    """Names of the fields of the section at `where`."""
    model: type[BaseModel] = Config
    for part in where:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
    return list(model.model_fields)


def _unused(path: Path, data: dict[Any, Any]) -> Iterator[str]:
    """One sentence that lists what of litellm's was read and not used."""
    ignored = [key for key in data if key in LITELLM_SECTIONS and key != "general_settings"]
    general = data.get("general_settings")
    if isinstance(general, dict):
        ignored += [f"general_settings.{key}" for key in general if key != "master_key"]
    if ignored:
        yield f"{path}: not used by Hullspeed: {', '.join(sorted(ignored))}"
    names = [entry.get("model_name") for entry in data.get("model_list") or () if isinstance(entry, dict)]
    doubled = sorted({str(name) for name in names if names.count(name) > 1})
    if doubled:
        yield f"{path}: several entries of model_list share a model_name; the first one serves: {', '.join(doubled)}"
