"""The application that is mounted at `/ui`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from app.api.lazy import LazyApp
from app.api.pages.access import Access
from app.api.pages.error_pages import HANDLERS
from app.api.pages.files import FILES
from app.api.pages.overview import overview_pages
from app.api.pages.render import make_ready
from app.api.pages.shown import Shown
from app.api.pages.signing import signing_pages

if TYPE_CHECKING:
    from fastapi import APIRouter


def pages_app(shown: Shown) -> Starlette:
    """All pages. Takes a while: to be made in a thread.

    Each section but the first is an application of its own and made when it is first asked for. Some of them need
    FastAPI, pyarrow, the graders and what reads a suite: whoever opens the overview waits for none of it and keeps none
    of it in memory.
    """
    make_ready(shown.settings.data_dir / "cache" / "templates")
    routes: list[BaseRoute] = [FILES, *signing_pages(shown.access)]
    routes += [_guarded(path, endpoint, shown.access) for path, endpoint in overview_pages(shown).items()]
    sections = {"/calls": _calls, "/bench": _bench, "/routers": _routers, "/try": _try}
    for path, make in sections.items():
        section = LazyApp(partial(_section, shown, make))
        routes += [Route(path, section), Route(path + "/{rest:path}", section)]
    # Last: which pages there are is told to whoever may see them.
    routes.append(_guarded("/{path:path}", _nothing_here, shown.access))
    app = Starlette(routes=routes, exception_handlers=HANDLERS)
    app.router.redirect_slashes = False
    return app


def _guarded(path: str, endpoint: Callable[[Request], Awaitable[Response]], access: Access) -> Route:
    async def for_whoever_may(request: Request) -> Response:
        await access(request)
        return await endpoint(request)

    return Route(path, for_whoever_may)


async def _nothing_here(_: Request) -> Response:
    raise HTTPException(404)


def _section(shown: Shown, make: Callable[[Shown], list[APIRouter]]) -> ASGIApp:
    from app.api.pages.sections import section_app

    return section_app(shown, make(shown))


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
