"""What litellm's `provider/model` stands for: whose it is, how it is reached and with which key, what it costs and can
do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from app.core.errors import ConfigError
from app.core.types import Price
from app.gateway.catalog import CHAT, ENDPOINTS, MESSAGES, Model
from app.gateway.pricing import Listing, decimal, find_listing, price_map_source

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
        price=price if price is not None else price_of(listing),
        context_window=context_window or _whole(listing and listing.max_input_tokens),
        max_output=max_output or _whole(listing and listing.max_output_tokens),
        capabilities=capabilities if capabilities is not None else capabilities_of(listing),
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


def price_of(listing: Listing | None) -> Price | None:
    """What the price map says, USD a token; None where it lacks the price of prompts or that of replies."""
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


def capabilities_of(listing: Listing | None, info: Any = None) -> frozenset[str] | None:
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
