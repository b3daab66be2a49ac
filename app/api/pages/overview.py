"""`/ui/`: what was called, what it cost and what it saved."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.pages.render import page
from app.api.pages.shown import Shown


def overview_pages(_shown: Shown) -> APIRouter:
    """The page, and the parts of it that are asked for again while it is looked at."""
    api = APIRouter()

    @api.get("/")
    async def overview(request: Request) -> Response:
        return await page(request, "overview.html")

    return api
