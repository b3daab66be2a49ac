"""`GET /v1/models`: the catalog in OpenAI's form, with prices and windows as extra fields."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.api import routes
from app.api.guard import Checks
from app.gateway.catalog import Model
from app.gateway.decide import AUTO, Decider


def models_routes(decider: Decider, guard: Checks) -> list[Route]:
    """The endpoints over one catalog."""
    created = int(time.time())

    def router(name: str, entry: str) -> dict[str, Any]:
        description = f"Routed by `{entry}`" + (f" ({decider.entries[entry].kind})")
        return {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "hullspeed",
            "router": entry,
            "description": description,
        }

    def listed() -> list[dict[str, Any]]:
        names = [(AUTO, decider.rules.default), *((f"{AUTO}/{entry}", entry) for entry in decider.entries)]
        catalog = decider.catalog
        models = [_model(model, created) for model in catalog.values()]
        models += [{**_model(catalog[model], created), "id": alias} for alias, model in catalog.shown_aliases.items()]
        wildcards = [_wildcard(name, created) for name in catalog.wildcards.names]
        return [router(*pair) for pair in names] + models + wildcards

    async def list_models(_: Request) -> Response:
        """All names that a request's `model` may take."""
        return _json({"object": "list", "data": listed()})

    async def get_model(request: Request) -> Response:
        """One of them."""
        model: str = request.path_params["model"]
        found = next((entry for entry in listed() if entry["id"] == model), None)
        return _json(found or _model(decider.catalog.find(model), created))

    return [routes.get("/v1/models", list_models, guard), routes.get("/v1/models/{model:path}", get_model, guard)]


def _json(value: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _wildcard(name: str, created: int) -> dict[str, Any]:
    description = "Any model of this form, by its own name"
    return {"id": name, "object": "model", "created": created, "owned_by": "hullspeed", "description": description}


def _model(model: Model, created: int) -> dict[str, Any]:
    price = model.price
    return {
        "id": model.name,
        "object": "model",
        "created": created,
        "owned_by": model.provider or model.upstream,
        "upstream": model.upstream,
        "description": model.description,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output,
        "capabilities": None if model.capabilities is None else sorted(model.capabilities),
        "pricing": None
        if price is None
        else {
            "prompt": f"{price.input:f}",
            "completion": f"{price.output:f}",
            "unit": "USD per token",
            "source": price.source,
        },
    }
