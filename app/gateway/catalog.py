"""The catalog: which models there are, how each is reached, what it costs and can do."""

from __future__ import annotations

import datetime
import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from app.core.config import UNUSED_PARAMS, Config, ModelEntry
from app.core.errors import ConfigError, ModelNotFound
from app.core.types import Price
from app.gateway.fallbacks import Fallbacks
from app.gateway.pricing import Listing, decimal, find_listing, price_map_source
from app.gateway.wildcards import Wildcard, Wildcards
from routers import Candidate

OPENAI_SPEAKING: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "openai": ("https://api.openai.com/v1", ("OPENAI_API_KEY",)),
    "groq": ("https://api.groq.com/openai/v1", ("GROQ_API_KEY",)),
    "together_ai": (
        "https://api.together.ai/v1",
        ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"),
    ),
    "openrouter": ("https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY", "OR_API_KEY")),
    "deepseek": ("https://api.deepseek.com/beta", ("DEEPSEEK_API_KEY",)),
    "xai": ("https://api.x.ai/v1", ("XAI_API_KEY",)),
    "cerebras": ("https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",)),
    "hosted_vllm": ("", ("HOSTED_VLLM_API_KEY",)),
    "lm_studio": ("", ("LM_STUDIO_API_KEY",)),
    "openai_like": ("", ("OPENAI_LIKE_API_KEY",)),
}
"""Providers that speak OpenAI's dialect, reached without litellm: base URL (empty: must be configured) and the
environment variables that may hold the key. A test compares this table with litellm's own resolution."""

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

CHAT = "/v1/chat/completions"
ENDPOINTS: Mapping[str, str] = {
    "chat": CHAT,
    "embedding": "/v1/embeddings",
    "completion": "/v1/completions",
    "responses": "/v1/responses",
}
"""Where a model of each mode is asked."""
MESSAGES = "/v1/messages"


@dataclass(frozen=True)
class Model:
    """One entry of the catalog."""

    name: str
    """What clients and routers call it."""
    upstream: str
    """Which upstream reaches it: `direct`, `litellm`, `recorded` or `simulated`."""
    target: str
    """What the upstream calls it."""
    provider: str = ""
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    key_name: str | None = None
    """Where the key comes from, for messages: an environment variable, or `api_key in the config`."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Beside the key: what no reply, row or log may hold."""
    price: Price | None = None
    context_window: int | None = None
    max_output: int | None = None
    capabilities: frozenset[str] | None = None
    """None where nothing is known: the model is then taken to be able to do anything."""
    mean_cost: float | None = None
    """Observed mean USD per call, where there are recorded outcomes."""
    timeout: float | None = None
    first_token_timeout: float | None = None
    """Seconds until the first content of a stream; None: what holds for all."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every request that does not go through litellm."""
    endpoints: frozenset[str] = frozenset({CHAT})
    """What it can be asked at. Chat may be translated on the way; at all others its provider speaks the dialect."""
    dropped: frozenset[str] = frozenset()
    """Parameters that are never sent."""
    drop_params: bool = False
    """Whether a parameter that the model turns out not to support is left out rather than fail the request."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Extra parameters of `litellm_params`, sent with every request."""
    max_inflight: int | None = None
    """Most calls at once."""
    rpm: int | None = None
    """Most requests a minute."""
    tpm: int | None = None
    """Most tokens a minute."""
    description: str | None = None

    def as_candidate(self) -> Candidate:
        """The model as a router sees it."""
        return Candidate(
            model=self.name,
            input_price=None if self.price is None else float(self.price.input),
            output_price=None if self.price is None else float(self.price.output),
            mean_cost=self.mean_cost,
            context_window=self.context_window,
            max_output=self.max_output,
            capabilities=self.capabilities or frozenset(),
        )


class Catalog(Mapping[str, Model]):
    """Models by name, in the order of the configuration; several entries of one name are deployments of one model."""

    def __init__(
        self,
        models: Iterable[Model],
        source: str,
        *,
        aliases: Mapping[str, str] | None = None,
        hidden: Iterable[str] = (),
        wildcards: Wildcards | None = None,
        fallbacks: Fallbacks | None = None,
    ) -> None:
        """`aliases`: further names of models, of which `hidden` are not shown. Routers see neither aliases nor
        wildcards."""
        self._deployments: dict[str, tuple[Model, ...]] = {}
        for model in models:
            self._deployments[model.name] = (*self._deployments.get(model.name, ()), model)
        # Prices, window and capabilities are those of the first.
        self._models = {name: deployments[0] for name, deployments in self._deployments.items()}
        self.source = source
        """Where the catalog comes from, for people."""
        self.aliases = aliases or {}
        self.shown_aliases = {name: self.aliases[name] for name in self.aliases.keys() - set(hidden)}
        self.wildcards = wildcards or Wildcards()
        self.fallbacks = fallbacks or Fallbacks()
        self.candidates = {model.name: model.as_candidate() for model in self._models.values()}

    def __getitem__(self, name: str) -> Model:
        return self.deployments(name)[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def deployments(self, name: str) -> tuple[Model, ...]:
        """The entries that share a name, in order; made now where a wildcard stands for it. Raises `KeyError`."""
        found = self._deployments.get(name) or self.wildcards.find(name)
        if not found:
            raise KeyError(name)
        return found

    def lists(self, name: str) -> bool:
        """Whether the configuration itself has the name, as a model or an alias."""
        return name in self._models or name in self.aliases

    def label(self, name: str) -> str:
        """The name in metrics."""
        return name if name in self._models else self.wildcards.label(name) or name

    def find(self, name: str) -> Model:
        """The model that a client calls `name`; raises `ModelNotFound` that says what there is."""
        model = self.get(self.aliases.get(name, name))
        if model is None:
            near = difflib.get_close_matches(name, [*self._models, *self.aliases, "auto"], n=1, cutoff=0.5)
            hint = f"Did you mean `{near[0]}`?" if near else "GET /v1/models lists what there is."
            raise ModelNotFound(f"The model `{name}` does not exist here. {hint}", param="model")
        return model


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
        price=_own_price(entry) or _price(listing),
        base_url=_from_environ(params.api_base, environ),
        api_key=None if params.api_key is None else params.api_key.get_secret_value(),
        timeout=params.timeout,
        params=_from_environ(extras, environ),
        max_inflight=params.max_parallel_requests or config.deployment_max_inflight,
        rpm=params.rpm,
        tpm=params.tpm,
        context_window=info.max_input_tokens,
        max_output=info.max_output_tokens,
        capabilities=_capabilities(listing, info),
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


def resolve(
    name: str,
    litellm_model: str,
    *,
    environ: Mapping[str, str] = os.environ,
    listing: Listing | None = None,
    provider: str | None = None,
    price: Price | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    timeout: float | None = None,
    params: Mapping[str, Any] | None = None,
    context_window: int | None = None,
    max_output: int | None = None,
    capabilities: frozenset[str] | None = None,
    max_inflight: int | None = None,
    rpm: int | None = None,
    tpm: int | None = None,
    mode: str | None = None,
    supported_endpoints: Iterable[str] | None = None,
) -> Model:
    """A catalog entry for litellm's `provider/model`: its provider, upstream, URL and key worked out.

    `listing`: where price, limits and capabilities come from. `provider`: where the name does not begin with it.
    Raises `ConfigError` where a named environment variable is empty or a URL is needed and not given.
    """
    if provider is None:
        provider, target = _split(litellm_model, find_listing(litellm_model))
    else:
        target = litellm_model.removeprefix(f"{provider}/")
    key_name: str | None = "api_key in the config"
    if api_key is not None and api_key.startswith("os.environ/"):
        key_name = api_key.removeprefix("os.environ/")
        api_key = environ.get(key_name)
        if not api_key:
            raise ConfigError(f"model_list: `{name}` takes its key from {key_name}, which is not set", param=key_name)
    direct = OPENAI_SPEAKING.get(provider)
    secrets: tuple[str, ...] = ()
    if direct is not None:
        default_url, names = direct
        if provider == "openai":
            base_url = base_url or environ.get("OPENAI_BASE_URL") or environ.get("OPENAI_API_BASE")
        base_url = (base_url or default_url).rstrip("/")
        if not base_url:
            raise ConfigError(f"model_list: `{name}` needs `api_base` (the URL of its {provider} server)")
        if api_key is None:
            key_name = next((variable for variable in names if environ.get(variable)), names[0])
            api_key = environ.get(key_name)
    elif api_key is None:
        key_name = f"{provider.upper()}_API_KEY"
        also = ("GOOGLE_API_KEY",) if provider == "gemini" else ()
        secrets = tuple(environ[name] for name in (key_name, *also) if environ.get(name))
        # Of what is also reached without litellm, which would find it by itself.
        api_key = environ.get(key_name) if provider == "anthropic" else None
    if provider == "anthropic":
        base_url = base_url or environ.get("ANTHROPIC_API_BASE") or environ.get("ANTHROPIC_BASE_URL")
    at_home = direct is not None and base_url == direct[0]
    endpoints = _endpoints(provider, mode, listing, at_home=at_home)
    if supported_endpoints is not None and direct is not None:
        endpoints = supported_endpoints
    return Model(
        name=name,
        upstream="litellm" if direct is None else "direct",
        target=litellm_model if direct is None else target,
        provider=provider,
        base_url=base_url,
        api_key=api_key,
        key_name=key_name,
        secrets=secrets,
        price=price if price is not None else _price(listing),
        context_window=context_window or _whole(listing and listing.max_input_tokens),
        max_output=max_output or _whole(listing and listing.max_output_tokens),
        capabilities=capabilities if capabilities is not None else _capabilities(listing, None),
        timeout=timeout,
        params=params or {},
        max_inflight=max_inflight,
        rpm=rpm,
        tpm=tpm,
        endpoints=frozenset(endpoints),
    )


def _endpoints(provider: str, mode: str | None, listing: Listing | None, *, at_home: bool) -> Iterable[str]:
    """What a model can be asked at; `at_home`: its provider's own server answers, not one that looks like it."""
    mode = mode or (listing and listing.mode) or "chat"
    if mode not in ENDPOINTS:
        return ()
    if provider not in OPENAI_SPEAKING:
        # litellm asks for chats in whatever way the model has.
        found = ENDPOINTS["embedding"] if mode == "embedding" else CHAT
        return (found, MESSAGES) if provider == "anthropic" else (found,)
    if provider == "openai" and mode == "chat" and at_home:
        stated = set(listing.supported_endpoints or ()) if listing else set()
        return {CHAT, ENDPOINTS["responses"]} | (stated & set(ENDPOINTS.values()))
    return (ENDPOINTS[mode],)


def _split(litellm_model: str, listing: Listing | None) -> tuple[str, str]:
    """Provider and the provider's own name for the model."""
    provider, slash, target = litellm_model.partition("/")
    if slash and (provider in OPENAI_SPEAKING or listing is None or listing.litellm_provider != "openai"):
        return provider, target
    if listing is not None and listing.litellm_provider:
        return listing.litellm_provider, litellm_model
    return ("openai", litellm_model) if not slash else (provider, target)


def _price(listing: Listing | None) -> Price | None:
    if listing is None:
        return None
    rates = decimal(listing.input_cost_per_token), decimal(listing.output_cost_per_token)
    if rates[0] is None or rates[1] is None:
        return None
    return Price(
        input=rates[0],
        output=rates[1],
        cached_input=decimal(listing.cache_read_input_token_cost),
        cache_write=decimal(listing.cache_creation_input_token_cost),
        reasoning=decimal(listing.output_cost_per_reasoning_token),
        source=price_map_source(),
    )


def _capabilities(listing: Listing | None, info: Any) -> frozenset[str] | None:
    """What the model can do, the config's word before the map's; None where neither says anything."""
    if listing is None and info is None:
        return None
    able = set()
    for flag, capability in (
        ("supports_function_calling", "tools"),
        ("supports_vision", "vision"),
        ("supports_audio_input", "audio"),
        ("supports_response_schema", "json_schema"),
        ("supports_reasoning", "reasoning"),
    ):
        said = getattr(info, flag, None)
        if said is None and listing is None:
            # A model that does not reason refuses to be told how much: this is not taken for granted.
            said = capability != "reasoning"
        if said is None:
            said = getattr(listing, flag)
        if said:
            able.add(capability)
    return frozenset(able)


def _whole(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except ValueError:
        return None


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
