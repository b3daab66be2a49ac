"""What is used of litellm's own sections: `router_settings`, `litellm_settings` and `general_settings`.

Their values take the place of ours under `routing:` where ours are not given. Names and meanings are those of litellm
1.106 (`litellm/router.py`); where it has a key in two sections, its router's wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

IDLE_SECONDS = 60.0
"""Between two chunks of a stream, where nothing is said."""
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


def _by_model(value: Any) -> Any:
    """litellm's list of one-key mappings as one mapping; a fallback with parameters of its own as its model."""
    if not isinstance(value, list):
        raise ValueError("must be a list such as `- small: [large]`")
    chains: dict[str, list[Any]] = {}
    for entry in value:
        if not isinstance(entry, dict):
            raise ValueError("must be a list such as `- small: [large]`")
        for name, models in entry.items():
            if not isinstance(models, list):
                raise ValueError(f"`{name}` must have a list of models")
            chains[str(name)] = [model.get("model") if isinstance(model, dict) else model for model in models]
    return chains


Chains = Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(_by_model)]
"""Models by the model they come after; `*` stands for all that have none of their own."""


class Alias(BaseModel):
    """A value of `model_group_alias`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str
    hidden: bool = False
    """Whether `/v1/models` leaves it out."""


def _alias(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


class RouterSettings(BaseModel):
    """litellm's `router_settings`."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    timeout: Seconds | None = None
    stream_timeout: Seconds | None = None
    """Until the first token of a stream, and between two chunks."""
    num_retries: Annotated[int, Field(ge=0)] | None = None
    allowed_fails: Annotated[int, Field(ge=0)] | None = None
    cooldown_time: Seconds | None = None
    max_parallel_requests: Count | None = None
    default_max_parallel_requests: Count | None = None
    """For each deployment that sets none."""
    fallbacks: Chains | None = None
    context_window_fallbacks: Chains | None = None
    default_fallbacks: tuple[str, ...] | None = None
    model_group_alias: Mapping[str, Annotated[Alias, BeforeValidator(_alias)]] = {}


class LitellmSettings(BaseModel):
    """litellm's `litellm_settings`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    drop_params: bool = False
    """Leave out what a model does not support rather than fail."""
    request_timeout: Seconds | None = None
    """Of one attempt; wins over the router's `timeout`, which in litellm bounds all attempts together."""
    num_retries: Annotated[int, Field(ge=0)] | None = None
    allowed_fails: Annotated[int, Field(ge=0)] | None = None
    cooldown_time: Seconds | None = None
    fallbacks: Chains | None = None
    context_window_fallbacks: Chains | None = None
    default_fallbacks: tuple[str, ...] | None = None


class GeneralSettings(BaseModel):
    """litellm's `general_settings`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    master_key: SecretStr | None = None
    max_parallel_requests: Count | None = None
    """For each deployment that sets none."""
    global_max_parallel_requests: Count | None = None
    """For the whole proxy."""


class LitellmSections(BaseModel):
    """The three together."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    router_settings: RouterSettings = RouterSettings()
    litellm_settings: LitellmSettings = LitellmSettings()
    general_settings: GeneralSettings = GeneralSettings()

    @property
    def fallbacks(self) -> Mapping[str, tuple[str, ...]]:
        """Models to try after a model that a client named and that failed; those after `*` for all others."""
        chains = dict(self.router_settings.fallbacks or self.litellm_settings.fallbacks or {})
        default = self.router_settings.default_fallbacks or self.litellm_settings.default_fallbacks
        if default:
            chains.setdefault("*", default)
        return chains

    @property
    def context_window_fallbacks(self) -> Mapping[str, tuple[str, ...]]:
        """Models to try after one whose window is too small for the prompt, before `fallbacks`."""
        return self.router_settings.context_window_fallbacks or self.litellm_settings.context_window_fallbacks or {}

    @property
    def deployment_max_inflight(self) -> int | None:
        """Most calls at once of a deployment that sets none itself."""
        router = self.router_settings
        return (
            router.default_max_parallel_requests
            or router.max_parallel_requests
            or self.general_settings.max_parallel_requests
        )

    def said(self) -> dict[str, Any]:
        """What they say in the words of `routing:`."""
        router, module = self.router_settings, self.litellm_settings
        said = {
            "timeout": module.request_timeout or router.timeout,
            "first_token_timeout": router.stream_timeout,
            # litellm hands it to its HTTP client, which waits no longer between two chunks either.
            "idle_timeout": router.stream_timeout and min(router.stream_timeout, IDLE_SECONDS),
            "retries": _first(router.num_retries, module.num_retries),
            "allowed_fails": _first(router.allowed_fails, module.allowed_fails),
            "cooldown": router.cooldown_time or module.cooldown_time,
            "max_inflight": self.general_settings.global_max_parallel_requests,
        }
        return {name: value for name, value in said.items() if value is not None}


def unused_settings(data: Mapping[str, Any]) -> Iterator[str]:
    """Keys of the three sections that are not used, with their section."""
    for section, field in LitellmSections.model_fields.items():
        found = data.get(section)
        if not isinstance(found, dict):
            continue
        known = field.annotation.model_fields  # type: ignore[union-attr]
        yield from (f"{section}.{key}" for key in found if key not in known)
        for key in ("fallbacks", "context_window_fallbacks"):
            if any(isinstance(to, dict) and to.keys() - {"model"} for to in _targets(found.get(key))):
                yield f"{section}.{key} (parameters of a fallback)"


def _targets(chains: Any) -> list[Any]:
    entries = [entry for entry in chains or () if isinstance(entry, dict)]
    return [to for entry in entries for models in entry.values() if isinstance(models, list) for to in models]


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
