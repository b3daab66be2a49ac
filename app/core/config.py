"""The config file: litellm's, read unchanged, and `routing:` and `ledger:` of ours.

Every error names the key and the line. Keys of litellm's that Hullspeed does not use are named in one warning; an
unknown key in a section of ours is an error, since a mistyped option that is ignored is found only by its bill.
`os.environ/NAME` stands for an environment variable, as in litellm.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, model_validator

from app.core.errors import ConfigError
from app.core.litellm_sections import IDLE_SECONDS, LitellmSections, unused_settings
from app.core.yaml_file import Document, Key, read_document

Rate = Annotated[Decimal, Field(ge=0)]
"""USD per token."""


class Rates(BaseModel):
    """Prices of a model's own; litellm takes them in `litellm_params` and in `model_info`."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    input_cost_per_token: Rate | None = None
    """USD."""
    output_cost_per_token: Rate | None = None
    """USD; one of the two without the other is refused."""
    cache_read_input_token_cost: Rate | None = None
    """USD; without it, cached tokens cost what input costs."""
    cache_creation_input_token_cost: Rate | None = None
    """USD; without it, what input costs."""
    output_cost_per_reasoning_token: Rate | None = None
    """USD; without it, what output costs."""
    base_model: str | None = None
    """litellm's name of the model whose prices and limits hold, where `model` is the name of a deployment."""


class LitellmParams(Rates):
    """litellm's `litellm_params`: the model and how to reach it. Other keys are passed on with every request."""

    model: str
    """litellm's name, `provider/model`; a `*` in it stands for what the `*` of `model_name` stands for."""
    api_base: str | None = None
    api_key: SecretStr | None = None
    """The key itself, or `os.environ/NAME`."""
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds for a whole call."""
    stream_timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds until the first token of a stream, and between two chunks."""
    max_parallel_requests: Annotated[int, Field(gt=0)] | None = None
    """Most calls at once."""
    rpm: Annotated[int, Field(gt=0)] | None = None
    """Most requests a minute."""
    tpm: Annotated[int, Field(gt=0)] | None = None
    """Most tokens a minute."""
    drop_params: bool | None = None
    """Leave out what the model does not support; overrides `litellm_settings.drop_params`."""
    additional_drop_params: tuple[str, ...] = ()
    """Parameters that are never sent."""
    custom_llm_provider: str | None = None
    """The provider, where `model` does not begin with it."""
    organization: str | None = None
    """OpenAI's organization."""
    extra_headers: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}


class ModelInfo(Rates):
    """litellm's `model_info`; overrides what the price map says."""

    max_input_tokens: Annotated[int, Field(gt=0)] | None = None
    max_output_tokens: Annotated[int, Field(gt=0)] | None = None
    supports_function_calling: bool | None = None
    supports_vision: bool | None = None
    supports_audio_input: bool | None = None
    supports_response_schema: bool | None = None
    supports_reasoning: bool | None = None
    mode: str | None = None
    """What kind of model it is: `chat`, `embedding`, `completion` or `responses`."""
    supported_endpoints: tuple[str, ...] | None = None
    """All that an OpenAI-speaking server is asked at, e.g. `/v1/chat/completions` and `/v1/responses`."""


UNUSED_PARAMS = frozenset(
    {"weight", "order", "tags", "max_retries", "num_retries", "cooldown_time", "max_budget", "budget_duration",
     "input_cost_per_second", "output_cost_per_second", "use_in_pass_through", "use_litellm_proxy", "mock_response",
     "merge_reasoning_content_in_choices", "configurable_clientside_auth_params", "litellm_credential_name",
     "max_file_size_mb", "default_api_key_rpm_limit", "default_api_key_tpm_limit", "litellm_trace_id"}
)  # fmt: skip
"""Options of litellm's router in `litellm_params`: no provider must see them."""


class ModelEntry(BaseModel):
    """One entry of `model_list`."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    model_name: Annotated[str, Field(min_length=1)]
    """The name clients and routers use."""
    litellm_params: LitellmParams
    """The model, and how to reach it."""
    model_info: ModelInfo = ModelInfo()
    """What it costs and can do, where the price map does not know it."""


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
    max_calls: Annotated[int, Field(ge=1)] | None = None
    """Overrides `routing.max_calls` for this entry."""
    max_latency_seconds: Annotated[float, Field(gt=0)] | None = None
    """Overrides `routing.max_latency_seconds` for this entry."""

    @model_validator(mode="after")
    def _one_of(self) -> RouterConfig:
        if self.router is None and self.artifact is None:
            raise ValueError("needs `router` (a name) or `artifact` (a folder)")
        if self.artifact is not None and self.params:
            raise ValueError("an artifact holds its own parameters; leave `params` out")
        return self


class EmbeddingConfig(BaseModel):
    """`routing.embedding` — who computes the sentence embeddings of routers that were trained with such."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    onnx: Path | None = None
    """Folder with `model.onnx` and `tokenizer.json`; relative to the config file."""
    model: str | None = None
    """An embedding model of `model_list`."""
    tokens: Annotated[int, Field(ge=8, le=8192)] = 256
    """Tokens of a prompt that are read; of four characters each for a model of `model_list`."""
    cache: Annotated[int, Field(gt=0)] = 10_000
    """Most embeddings that are kept."""

    @model_validator(mode="after")
    def _one_of(self) -> EmbeddingConfig:
        if (self.onnx is None) == (self.model is None):
            raise ValueError("needs either `onnx` (a folder) or `model` (of model_list)")
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
    max_calls: Annotated[int, Field(ge=1)] = 4
    """Most models called for one request by routers that compare replies; 1 gives the first token soonest."""
    max_latency_seconds: Annotated[float, Field(gt=0)] | None = None
    """Once this has passed no further model is called to compare replies."""
    keep_alive: Annotated[float, Field(gt=0)] = 15.0
    """Seconds of silence after which a streaming client gets a comment that keeps its line open."""
    timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds for one whole reply; in a stream, for the first token and between two chunks, if shorter than those."""
    stream_timeout: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds for a whole stream."""
    first_token_timeout: Annotated[float, Field(gt=0)] = 300.0
    """Seconds until the first token of a stream; models that reason think for long before it."""
    idle_timeout: Annotated[float, Field(gt=0)] = IDLE_SECONDS
    """Seconds between two chunks of a stream, after the first token."""
    retries: Annotated[int, Field(ge=0)] = 2
    """Further rounds over a call's models where all failed for passing reasons; falling back comes first."""
    retry_seconds: Annotated[float, Field(gt=0)] = 60.0
    """After this time no model is called any more for a call."""
    retry_budget: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Retries as a share of the calls of the last seconds, beside a few a second: they cannot make an outage worse."""
    longest_pause: Annotated[float, Field(ge=0)] = 10.0
    """Seconds; an upstream that asks for a longer pause before a retry is not waited for."""
    allowed_fails: Annotated[int, Field(ge=0)] = 3
    """Failures in a row after which a model is set aside."""
    cooldown: Annotated[float, Field(gt=0)] = 5.0
    """Seconds it is set aside at first; doubled with each failed trial, five minutes at most."""
    max_inflight: Annotated[int, Field(gt=0)] = 1000
    """Most calls at once; as many more wait for `queue_seconds`, and others get 503 with `retry-after`."""
    queue_seconds: Annotated[float, Field(ge=0)] = 1.0
    """Seconds a call waits for a place, here or at a model that has reached its own cap."""
    read_on_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Seconds for which a model is read on after its client has gone, so that its usage is known; 0: it is stopped at
    once, and the usage estimated."""
    routers: dict[str, RouterConfig] = {}
    """Routers by the name behind `auto/`."""
    embedding: EmbeddingConfig | None = None
    """For routers that were trained with sentence embeddings; no other asks for any."""


class LedgerConfig(BaseModel):
    """`ledger:` — what is kept of every call, and how safely."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store_text: bool = False
    """Keep prompts and replies. Off by default: they are somebody's."""
    fsync: Literal["none", "interval", "always"] = "none"
    """`none` survives a crash of the process, `interval` loses at most a second in a power cut, `always` nothing."""
    journal_max_bytes: Annotated[int, Field(gt=0)] = 1024 * 1024 * 1024
    """Most bytes that wait on disk, over all processes of a data folder, while Postgres is away; beyond it rows wait in
    memory, and are dropped where that is full too, loudly."""
    retention_days: Annotated[int | None, Field(gt=0)] = None
    """Days for which calls, their attempts and scores are kept, today included; by default all are. Their sums stay."""
    retain_runs: bool = True
    """Keep the calls of runs for ever, which their reports need; false drops them with their day."""
    idempotency_seconds: Annotated[float, Field(ge=0)] = 86400.0
    """How long the reply to a request with an `Idempotency-Key` is kept; 0: the header is of no effect."""


class Config(LitellmSections):
    """A whole config file."""

    model_list: tuple[ModelEntry, ...] = ()
    routing: RoutingConfig = RoutingConfig()
    """With what litellm's sections say where it says nothing itself."""
    ledger: LedgerConfig = LedgerConfig()
    source: Path | None = None
    """File it was read from."""
    files: tuple[Path, ...] = ()
    """That file and those it includes."""
    warnings: tuple[str, ...] = ()
    """What was read and not used, in one sentence; what was passed on though nobody knows it, in another."""
    _document: Document | None = PrivateAttr(None)

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Errors inside that are about something in the file say where that stands."""
        try:
            yield
        except ConfigError as error:
            key: Key = error.key or tuple((error.param or "").split("."))
            if self._document is None or key[0] not in self._document.data:
                raise
            found = ConfigError(f"{self._document.place(key)}: {error.message}", param=error.param)
            raise found from None

    def section_of(self, key: str) -> str:
        """Which of litellm's sections has a key that may stand in two of them."""
        data = {} if self._document is None else self._document.data
        return next((name for name in ("router_settings", "litellm_settings") if key in (data.get(name) or ())), key)


LITELLM_SECTIONS = frozenset(
    {"litellm_settings", "router_settings", "environment_variables", "general_settings", "guardrails",
     "credential_list", "mcp_servers", "vector_store_registry", "callback_settings", "files_settings",
     "finetune_settings", "search_tools", "prompts", "mcp_tools", "assistant_settings", "default_team_settings",
     "model_group_alias", "cost_discount_config", "cost_margin_config"}
)  # fmt: skip
OWN_SECTIONS = ("model_list", "routing", "ledger")


def load_config(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read and check a config file. Raises `ConfigError` naming file, line and key."""
    document = read_document(path)
    _refuse_unknown_sections(document)
    _fill(document, environ)
    try:
        config = Config.model_validate(document.data)
        routing = RoutingConfig.model_validate({**config.said(), **document.data.get("routing", {})})
    except ValidationError as error:
        raise _explain(document, error) from None
    update = {
        "routing": routing,
        "source": path.absolute(),
        "files": tuple(file.absolute() for file in document.files),
        "warnings": (*_unused(config, document), *_unknown(config, document)),
    }
    config = config.model_copy(update=update)
    config._document = document
    return config


def _fill(document: Document, environ: Mapping[str, str]) -> None:
    """Put the values of environment variables in place of their names.

    Those of `litellm_params` that may be text are left to the catalog, which says where a key came from.
    """
    for section, value in document.data.items():
        if section != "model_list" or not isinstance(value, list):
            document.data[section] = _filled(value, (section,), document, environ)
            continue
        for index, entry in enumerate(value):
            for part, inner in entry.items() if isinstance(entry, dict) else ():
                where: Key = (section, index, part)
                if part != "litellm_params" or not isinstance(inner, dict):
                    entry[part] = _filled(inner, where, document, environ)
                    continue
                for name in inner.keys() & NUMBERS:
                    inner[name] = _filled(inner[name], (*where, name), document, environ)


NUMBERS = frozenset(
    {*Rates.model_fields, "timeout", "stream_timeout", "max_parallel_requests", "rpm", "tpm", "drop_params"}
) - {"base_model"}  # fmt: skip


def _filled(value: Any, where: Key, document: Document, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, (*where, name), document, environ) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, (*where, index), document, environ) for index, inner in enumerate(value)]
    if not isinstance(value, str) or not value.startswith("os.environ/"):
        return value
    name = value.removeprefix("os.environ/")
    if not environ.get(name):
        key = ".".join(map(str, where))
        raise ConfigError(f"{document.place(where)}: `{key}`: is taken from {name}, which is not set", param=name)
    return environ[name]


def _refuse_unknown_sections(document: Document) -> None:
    for key in document.data:
        if key in OWN_SECTIONS or key in LITELLM_SECTIONS:
            continue
        near = difflib.get_close_matches(str(key), [*OWN_SECTIONS, *LITELLM_SECTIONS], n=1)
        hint = f"; did you mean `{near[0]}`?" if near else f"; known are {', '.join(OWN_SECTIONS)} and litellm's own"
        raise ConfigError(f"{document.place((str(key),))}: unknown key `{key}`{hint}", param=str(key))


def _explain(document: Document, error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False, include_input=False)[0]
    where = tuple(first["loc"])
    key = ".".join(str(part) for part in where)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        names = _field_names(where[:-1])
        near = difflib.get_close_matches(str(where[-1]), names, n=1)
        message = "unknown key" + (f"; did you mean `{near[0]}`?" if near else f"; known are {', '.join(names)}")
    elif first["type"] == "missing":
        message = "is missing"
    return ConfigError(f"{document.place(where)}: `{key}`: {message}", param=key)


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


def _unused(config: Config, document: Document) -> Iterator[str]:
    """One sentence that lists what of litellm's was read and not used, with the line of each."""
    data = document.data
    ignored: list[tuple[str, Key]] = [
        (key, (key,)) for key in data if key in LITELLM_SECTIONS and key not in LitellmSections.model_fields
    ]
    ignored += [(found, tuple(found.partition(" ")[0].split(".", 1))) for found in unused_settings(data)]
    for index, entry in enumerate(config.model_list):
        place = ("model_list", index)
        ignored += [(f"model_list.{key}", (*place, key))
                    for key in data["model_list"][index] if key not in ModelEntry.model_fields]  # fmt: skip
        ignored += [(f"model_list.model_info.{key}", (*place, "model_info", key))
                    for key in entry.model_info.model_extra or {}]  # fmt: skip
        ignored += [(f"model_list.litellm_params.{key}", ("model_list", index, "litellm_params", key))
                    for key in (entry.litellm_params.model_extra or {}) if key in UNUSED_PARAMS]  # fmt: skip
    names = [entry.model_name for entry in config.model_list] + list(config.router_settings.model_group_alias)
    for key in ("fallbacks", "context_window_fallbacks"):
        section = next((part for part in ("router_settings", "litellm_settings") if key in (data.get(part) or ())), key)
        ignored += [(f"{key} of `{name}`, which model_list does not have", (section, key))
                    for name in getattr(config, key)
                    if not any(fnmatchcase(name, pattern) for pattern in names) and name != "*"]  # fmt: skip
    if ignored:
        lines: dict[str, list[str]] = {}
        for what, where in ignored:
            lines.setdefault(what, []).append(document.place(where).removeprefix(f"{document.files[0]}, "))
        listed = [f"{what} ({', '.join(places)})" for what, places in sorted(lines.items())]
        yield f"{document.files[0]}: not used by Hullspeed: {'; '.join(listed)}"


PROVIDERS_OWN = ("aws_", "azure_", "vertex_", "watsonx_", "sagemaker_", "databricks_", "oci_", "s3_")
"""Beginnings of parameters that are for one provider."""
PASSED = frozenset(
    {"api_version", "region_name", "temperature", "top_p", "top_k", "min_p", "n", "max_tokens", "max_completion_tokens",
     "stop", "seed", "user", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs",
     "top_logprobs", "response_format", "reasoning_effort", "reasoning", "thinking", "verbosity", "modalities", "audio",
     "prediction", "service_tier", "parallel_tool_calls", "tools", "tool_choice", "functions", "function_call",
     "metadata", "store", "stream_options", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
     "extra_body", "extra_query", "allowed_openai_params", "web_search_options", "dimensions", "encoding_format",
     "input_type", "safety_settings", "guardrails", "provider", "models", "transforms", "route", "plugins",
     "hf_model_name", "cache_control_injection_points", "keep_alive", "num_ctx", "chat_template_kwargs", "guided_json"}
)  # fmt: skip
"""Parameters that providers are known to take."""


def _unknown(config: Config, document: Document) -> Iterator[str]:
    """One sentence that lists the keys of `litellm_params` that go to the provider though nobody here knows them."""
    found = []
    for index, entry in enumerate(config.model_list):
        for key in entry.litellm_params.model_extra or {}:
            if key in PASSED or key in UNUSED_PARAMS or key.startswith(PROVIDERS_OWN):
                continue
            near = difflib.get_close_matches(key, LitellmParams.model_fields, n=1, cutoff=0.75)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            place = document.place(("model_list", index, "litellm_params", key)).removeprefix(f"{document.files[0]}, ")
            found.append(f"model_list.litellm_params.{key} ({place}{hint})")
    if found:
        yield f"{document.files[0]}: not known, and sent to the provider with every request: {'; '.join(found)}"
