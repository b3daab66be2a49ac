"""A proxy that somebody else started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.errors import ConfigError

if TYPE_CHECKING:
    from routers import Candidate


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


def candidate_of(listed: dict[str, Any]) -> Candidate:
    """A listed model with its prices, for an estimate."""
    from routers import Candidate

    price = listed.get("pricing") or {}
    rates = [None if price.get(kind) is None else float(price[kind]) for kind in ("prompt", "completion")]
    return Candidate(str(listed["id"]), input_price=rates[0], output_price=rates[1])
