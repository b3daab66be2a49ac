"""A proxy that somebody else started."""

from __future__ import annotations

from typing import Any

from app.core.errors import ConfigError


async def listed_models(url: str, key: str | None) -> dict[str, Any]:
    """What `GET /v1/models` of a running proxy says, by name. Raises `ConfigError`."""
    import httpx

    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(timeout=10, headers=headers) as client:
            reply = await client.get(f"{url.rstrip('/')}/v1/models")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigError(f"--url {url}: no proxy answers there ({type(error).__name__})", param="url") from None
    if reply.status_code == 401:
        raise ConfigError(f"--url {url}: the proxy wants its key; set HULLSPEED_API_KEY", param="url")
    try:
        return {entry["id"]: entry for entry in reply.json()["data"]}
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"--url {url}: what answers there is no Hullspeed proxy", param="url") from None
