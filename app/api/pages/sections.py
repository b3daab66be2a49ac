"""The sections beside the overview, each an application of its own that is made when it is first asked for.

They are FastAPI's, for what they take from forms and addresses. Importing that takes a tenth of a second, which whoever
opens the overview does not wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.pages.error_pages import HANDLERS, error_page
from app.api.pages.shown import Shown


def section_app(shown: Shown, path: str) -> FastAPI:
    """The section below `path`. Takes a while: to be made in a thread."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    for error, handler in HANDLERS.items():
        app.add_exception_handler(error, handler)
    app.add_exception_handler(RequestValidationError, _invalid)
    for pages in _MAKERS[path](shown):
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


def _calls(shown: Shown) -> list[APIRouter]:
    from app.api.pages.calls import calls_pages

    return [calls_pages(shown)]


def _bench(shown: Shown) -> list[APIRouter]:
    from app.api.pages.bench import bench_pages
    from app.api.pages.bench_common import Bench
    from app.api.pages.bench_compare import bench_compare_pages
    from app.api.pages.bench_items import bench_item_pages
    from app.api.pages.bench_new import bench_new_pages
    from app.api.pages.bench_runs import bench_run_pages
    from app.api.pages.bench_starts import bench_start_pages

    bench = Bench(shown)
    return [
        bench_new_pages(bench),
        bench_start_pages(bench),
        bench_compare_pages(bench),
        bench_run_pages(bench),
        bench_item_pages(bench),
        bench_pages(bench),
    ]


def _routers(shown: Shown) -> list[APIRouter]:
    from app.api.pages.playground import playground_pages
    from app.api.pages.routers import routers_pages

    return [playground_pages(shown), routers_pages(shown)]


def _try(shown: Shown) -> list[APIRouter]:
    from app.api.pages.trying import trying_pages

    return [trying_pages(shown)]


_MAKERS: Mapping[str, Callable[[Shown], Sequence[APIRouter]]] = {
    "/calls": _calls,
    "/bench": _bench,
    "/routers": _routers,
    "/try": _try,
}
