"""Gateways that conform knows: how each is configured so that the mock is behind it, and what it calls its things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from app.conform.check import Check, Dialect, Place

BACKUP = "backup"
"""The model that others fall back on. It always answers."""
UPSTREAM_KEY = "sk-conform-planted-4f1c9a7e2b"
"""The key of every model. No client may ever see it."""
KEY = "sk-conform-client"
"""The key that the printed configurations ask of clients."""
RETRIES = 2
STREAM_SECONDS = 14.0
"""Longest whole stream, as the printed configuration sets it."""


@dataclass(frozen=True)
class Gateway:
    """What differs between gateways, as far as a check must know."""

    name: str
    routed: Callable[[str], str] = str
    """Name under which a model is asked for so that it has its fallback."""
    call_id: str | None = None
    """Header with the gateway's own id of the call."""
    live: str | None = None
    """Path that says that the process is alive."""
    ready: str | None = None
    keep_alive: float = 15.0
    """Seconds of silence after which a stream gets a comment, as the printed configuration sets it."""


GATEWAYS: Mapping[str, Gateway] = {
    "hullspeed": Gateway(
        "hullspeed",
        routed=lambda name: f"auto/{name}",
        call_id="x-hullspeed-call-id",
        live="/healthz",
        ready="/readyz",
        keep_alive=3.0,
    ),
    "litellm": Gateway("litellm", call_id="x-litellm-call-id", live="/health/liveliness", ready="/health/readiness"),
    "other": Gateway("other"),
}


def print_config(gateway: str, checks: Iterable[Check], dialect: Dialect, address: str, expired: str) -> str:
    """YAML for `hullspeed` or `litellm`: the models of all checks, at the mock on `address` (HOST:PORT).

    `expired`: where its expired certificate is served.
    """
    places: Mapping[Place, str] = {
        "mock": f"http://{address}",
        "nowhere": "http://127.0.0.1:1",
        "expired": f"https://{expired}",
    }
    checks = [check for check in checks if dialect in check.dialects]
    models = [_model(check, dialect, places[check.place]) for check in checks]
    backup = _entry(BACKUP, dialect, places["mock"], {}, priced=True)
    # First, since Hullspeed's router `fixed` falls back in the catalog's order.
    config: dict[str, Any] = {"model_list": [{**backup, "model_info": {"max_input_tokens": 1_000_000}}, *models]}
    routed = [check.name for check in checks if check.fallback]
    if gateway == "hullspeed":
        config["routing"] = {
            "keep_alive": GATEWAYS["hullspeed"].keep_alive,
            "stream_timeout": STREAM_SECONDS,
            "retries": RETRIES,
            # Most calls of a run are made to fail, so a budget for retries would be spent at once.
            "retry_budget": 1.0,
            "fallback": [BACKUP],
            "routers": {name: {"router": "fixed", "params": {"model": name}} for name in routed},
        }
    else:
        config["router_settings"] = {"num_retries": RETRIES, "fallbacks": [{name: [BACKUP]} for name in routed]}
    config["general_settings"] = {"master_key": KEY}
    return yaml.safe_dump(config, sort_keys=False, width=120)


def _model(check: Check, dialect: Dialect, place: str) -> dict[str, Any]:
    entry = _entry(check.name, dialect, place, check.params, priced=check.priced)
    return {**entry, "model_info": dict(check.info)} if check.info else entry


def _entry(name: str, dialect: Dialect, place: str, params: Mapping[str, Any], *, priced: bool) -> dict[str, Any]:
    base = {"openai": f"{place}/v1", "anthropic": place, "gemini": f"{place}/v1beta"}[dialect]
    price = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6} if priced else {}
    reached = {"model": f"{dialect}/{name}", "api_base": base, "api_key": UPSTREAM_KEY}
    return {"model_name": name, "litellm_params": {**reached, **price, **params}}
