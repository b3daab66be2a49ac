"""The application that is mounted at `/ui`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from app.api.lazy import LazyApp
from app.api.pages.files import files_pages
from app.api.pages.overview import overview_pages
from app.api.pages.render import make_ready, page
from app.api.pages.shown import Shown
from app.api.pages.signing import signing_pages, to_sign_in
from app.core.errors import HullspeedError, InvalidKey

log = logging.getLogger("hullspeed.pages")


def pages_app(shown: Shown) -> FastAPI:
    """All pages. Errors are pages too. Takes a while: to be made in a thread.

    Each section but the first is an application of its own and made when it is first asked for. Some of them need
    pyarrow, the graders and what reads a suite: whoever opens the overview waits for none of it and keeps none of it in
    memory.
    """
    make_ready()
    sections = {"/calls": _calls, "/bench": _bench, "/routers": _routers, "/try": _try}
    later: list[BaseRoute] = []
    for path, make in sections.items():
        section = LazyApp(partial(_section, shown, make))
        later += [Route(path, section), Route(path + "/{rest:path}", section)]
    return _application(shown, [overview_pages(shown)], later, [files_pages(), signing_pages(shown.access)])


def _section(shown: Shown, make: Callable[[Shown], Sequence[APIRouter]]) -> FastAPI:
    return _application(shown, make(shown))


def _application(
    shown: Shown,
    guarded: Iterable[APIRouter],
    mounted: Iterable[BaseRoute] = (),
    public: Iterable[APIRouter] = (),
) -> FastAPI:
    """`guarded` pages are for whoever may see them; `mounted` applications see to that themselves."""

    async def signed_in(request: Request) -> None:
        await shown.access(request)
        request.state.signed_in = shown.access.has_key

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    _install_error_pages(app)
    for pages in public:
        app.include_router(pages)
    for pages in guarded:
        app.include_router(pages, dependencies=[Depends(signed_in)])
    app.router.routes.extend(mounted)

    @app.get("/{path:path}", dependencies=[Depends(signed_in)])
    async def nothing_here() -> Response:
        """Last: which pages there are is told to whoever may see them."""
        raise HTTPException(404)

    return app


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


def _install_error_pages(app: FastAPI) -> None:
    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, HullspeedError)
        if isinstance(error, InvalidKey):
            return to_sign_in(request)
        return await _error(request, error.status, error.message)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return await _error(request, 422, f"{name}: {first['msg']}")

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = {404: "There is no such page.", 405: "This page takes no such request."}
        return await _error(request, error.status_code, said.get(error.status_code, str(error.detail)))

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return await _error(request, 500, "This page failed; the log of the proxy says why.")

    app.add_exception_handler(HullspeedError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(Exception, unexpected)


async def _error(request: Request, status: int, message: str) -> Response:
    """As a page, or as a part of one: htmx is told to show it as a notice in place of what it asked for."""
    if "hx-request" in request.headers:
        headers = {"hx-retarget": "#notice", "hx-reswap": "innerHTML"}
        return await page(request, "notice.html", status=status, headers=headers, message=message, tone="bad")
    return await page(request, "error.html", status=status, message=message, code=status)
