"""A section beside the overview: an application of FastAPI's, for what it takes from forms and addresses.

Importing that takes a tenth of a second, which whoever opens the overview does not wait for.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.pages.error_pages import HANDLERS, error_page
from app.api.pages.shown import Shown


def section_app(shown: Shown, routers: Iterable[APIRouter]) -> FastAPI:
    """The pages of `routers`, for whoever may see them."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    for error, handler in HANDLERS.items():
        app.add_exception_handler(error, handler)
    app.add_exception_handler(RequestValidationError, _invalid)
    for pages in routers:
        app.include_router(pages, dependencies=[Depends(shown.access)])

    @app.get("/{path:path}", dependencies=[Depends(shown.access)])
    async def nothing_here() -> None:
        """Last: which pages there are is told to whoever may see them."""
        raise HTTPException(404)

    return app


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return await error_page(request, 422, f"{name}: {first['msg']}")
