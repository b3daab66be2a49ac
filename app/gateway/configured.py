"""The catalog as it is configured: from the `model_list` of a file, or from the keys in the environment."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from app.core.config import UNUSED_PARAMS, Config, ModelEntry
from app.core.errors import ConfigError, ModelNotFound
from app.core.types import Price
from app.gateway.catalog import Catalog, Model
from app.gateway.fallbacks import Fallbacks
from app.gateway.pricing import find_listing
from app.gateway.providers import capabilities_of, price_of, resolve
from app.gateway.wildcards import Wildcard, Wildcards

WELL_KNOWN: Mapping[str, tuple[str, ...]] = {
    "OPENAI_API_KEY": ("openai/gpt-6-luna", "openai/gpt-5.4-mini", "openai/gpt-6-sol"),
    "ANTHROPIC_API_KEY": (
        "anthropic/claude-haiku-5-5",
        "anthropic/claude-sonnet-5-5",
        "anthropic/claude-opus-5-5",
    ),
    "GEMINI_API_KEY": ("gemini/gemini-3.1-flash-lite", "gemini/gemini-3.8-flash", "gemini/gemini-4-argon"),
    "MISTRAL_API_KEY": ("mistral/mistral-small-latest", "mistral/mistral-large-latest"),
    "DEEPSEEK_API_KEY": ("deepseek/deepseek-v4-flash", "deepseek/deepseek-v4-pro"),
    "XAI_API_KEY": ("xai/grok-4.3", "xai/grok-4.7"),
    "GROQ_API_KEY": ("groq/openai/gpt-oss-20b", "groq/openai/gpt-oss-120b"),
}
"""What a key in the environment brings into the catalog when there is no config file: per provider a cheap, a middle
and a strong model. Those that the price map does not know, or says are switched off, are left out."""


def catalog_from_config(config: Config, environ: Mapping[str, str] = os.environ) -> Catalog:
    """The models of `model_list`. Raises `ConfigError` naming every entry that is at fault."""
    models, wildcards = [], []
    wrong: list[ConfigError] = []
    for index, entry in enumerate(config.model_list):
        make = partial(_model_from, entry, config, environ)
        name, litellm_model = entry.model_name, entry.litellm_params.model
        # Made for a wildcard too, and thrown away: what is missing is said when the file is read.
        try:
            model = make(name, litellm_model)
        except ConfigError as error:
            # Whoever has set one missing key must not be told of the next one only then.
            wrong.append(error.at("model_list", index, "litellm_params", _taking(entry, error.param)))
            continue
        if "*" in name:
            wildcards.append(Wildcard(name, litellm_model, make))
        else:
            models.append(model)
    if wrong:
        said = "; ".join(dict.fromkeys(error.message for error in wrong))
        together = ConfigError(said, param=wrong[0].param)
        together.key = wrong[0].key
        raise together
    groups = config.router_settings.model_group_alias
    aliases = {name: alias.model for name, alias in groups.items()}
    hidden = [name for name, alias in groups.items() if alias.hidden]
    source = f"{config.source}" if config.source else "config"
    catalog = Catalog(models, source, aliases=aliases, hidden=hidden, wildcards=Wildcards(wildcards))
    for name, model_name in aliases.items():
        _known(catalog, model_name, f"router_settings.model_group_alias.{name}")
    catalog.fallbacks = Fallbacks(
        _chains(catalog, config, "fallbacks"), _chains(catalog, config, "context_window_fallbacks")
    )
    return catalog


def _chains(catalog: Catalog, config: Config, key: str) -> dict[str, tuple[str, ...]]:
    """litellm's fallbacks by the names that models have here."""
    chains: Mapping[str, tuple[str, ...]] = getattr(config, key)
    return {
        catalog.aliases.get(name, name): tuple(
            _known(catalog, model, f"{config.section_of(key)}.{key}.{name}") for model in models
        )
        for name, models in chains.items()
    }


def _known(catalog: Catalog, name: str, where: str) -> str:
    """The model's own name. Raises `ConfigError` where there is none."""
    try:
        return catalog.find(name).name
    except ModelNotFound as error:
        raise ConfigError(f"{where}: {error.message}", param=where) from None


def _taking(entry: ModelEntry, variable: str | None) -> str:
    """The parameter of an entry that is taken from an environment variable; empty where none is."""
    given = entry.litellm_params.model_dump()
    key = entry.litellm_params.api_key
    given["api_key"] = None if key is None else key.get_secret_value()
    return next((name for name, value in given.items() if value == f"os.environ/{variable}"), "")


def catalog_from_environment(environ: Mapping[str, str] = os.environ) -> Catalog:
    """A catalog of well-known models for every provider whose key is set; empty where none is."""
    models, keys = [], []
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for key, names in WELL_KNOWN.items():
        if not environ.get(key):
            continue
        keys.append(key)
        for name in names:
            listing = find_listing(name)
            if listing is None or (listing.deprecation_date or "9999") < today:
                continue
            models.append(resolve(name.partition("/")[2], name, environ=environ, listing=listing))
    return Catalog(models, f"the keys in the environment ({', '.join(keys)})" if keys else "nothing")


def _model_from(entry: ModelEntry, config: Config, environ: Mapping[str, str], name: str, litellm_model: str) -> Model:
    """The model of an entry, called `name`; for a wildcard, name and litellm's name are those that were asked for."""
    params, info = entry.litellm_params, entry.model_info
    listing = find_listing(info.base_model or params.base_model or litellm_model)
    drop = config.litellm_settings.drop_params if params.drop_params is None else params.drop_params
    extras = {key: value for key, value in (params.model_extra or {}).items() if key not in UNUSED_PARAMS}
    headers = {**params.headers, **params.extra_headers}
    model = resolve(
        name,
        litellm_model,
        environ=environ,
        listing=listing,
        provider=params.custom_llm_provider,
        price=_own_price(entry) or price_of(listing),
        base_url=_from_environ(params.api_base, environ),
        api_key=None if params.api_key is None else params.api_key.get_secret_value(),
        timeout=params.timeout,
        params=_from_environ(extras, environ),
        max_inflight=params.max_parallel_requests or config.deployment_max_inflight,
        rpm=params.rpm,
        tpm=params.tpm,
        context_window=info.max_input_tokens,
        max_output=info.max_output_tokens,
        capabilities=capabilities_of(listing, info),
        mode=info.mode,
        supported_endpoints=info.supported_endpoints,
    )
    model = replace(model, first_token_timeout=params.stream_timeout, drop_params=drop)
    if params.organization and model.upstream == "direct":
        headers["OpenAI-Organization"] = params.organization
    # Names in lower case: a configured header takes the place of ours.
    named = {key.lower(): value for key, value in _from_environ(headers, environ).items()}
    model = replace(model, secrets=(*model.secrets, *_secrets(named, model.params)))
    if model.upstream == "direct":
        return replace(model, headers=named, dropped=frozenset(params.additional_drop_params))
    # litellm's own options go to litellm.
    options: dict[str, Any] = {
        "drop_params": drop or None,
        "additional_drop_params": list(params.additional_drop_params) or None,
        "custom_llm_provider": params.custom_llm_provider,
        "organization": params.organization,
        "extra_headers": headers or None,
    }
    given = {key: value for key, value in options.items() if value is not None}
    return replace(model, headers=named, params={**model.params, **_from_environ(given, environ)})


_SECRET = re.compile(r"key|secret|token|password|credential|auth", re.IGNORECASE)
_SHORTEST_SECRET = 6
"""Characters. What is shorter says nothing, and would be found in every other word."""


def _secrets(headers: Mapping[str, str], params: Mapping[str, Any]) -> Iterator[str]:
    """What of the configured headers and parameters is to be kept quiet: all values of headers, since nobody knows
    what a company puts into them, and parameters by their names."""
    named = [(name, value) for name, value in params.items() if _SECRET.search(name)]
    for _, value in [*headers.items(), *named]:
        if isinstance(value, str) and len(value) >= _SHORTEST_SECRET:
            yield value
            scheme, blank, rest = value.partition(" ")
            if blank and scheme.lower() in ("bearer", "basic", "token") and len(rest) >= _SHORTEST_SECRET:
                yield rest


def _own_price(entry: ModelEntry) -> Price | None:
    """The price that the entry itself sets. Raises `ConfigError` where it is half a price."""

    def rate(name: str) -> Any:
        own = getattr(entry.litellm_params, name)
        return own if own is not None else getattr(entry.model_info, name)

    names = ("input_cost_per_token", "output_cost_per_token")
    missing = [name for name in names if rate(name) is None]
    if len(missing) == 1:
        raise ConfigError(f"model_list: `{entry.model_name}` sets one price without the other; add `{missing[0]}`")
    if missing:
        return None
    return Price(
        input=rate("input_cost_per_token"),
        output=rate("output_cost_per_token"),
        cached_input=rate("cache_read_input_token_cost"),
        cache_write=rate("cache_creation_input_token_cost"),
        reasoning=rate("output_cost_per_reasoning_token"),
    )


def _from_environ(value: Any, environ: Mapping[str, str]) -> Any:
    """litellm's `os.environ/NAME` anywhere in the parameters."""
    if isinstance(value, Mapping):
        return {key: _from_environ(inner, environ) for key, inner in value.items()}
    if isinstance(value, list):
        return [_from_environ(inner, environ) for inner in value]
    if isinstance(value, str) and value.startswith("os.environ/"):
        name = value.removeprefix("os.environ/")
        if not environ.get(name):
            raise ConfigError(f"model_list: a parameter is taken from {name}, which is not set", param=name)
        return environ[name]
    return value
