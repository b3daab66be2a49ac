"""The application that is mounted at `/ui`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

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

SECTIONS = ("/calls", "/bench", "/routers", "/try")


def pages_app(shown: Shown) -> Starlette:
    """All pages. Takes a while: to be made in a thread.

    Each section but the first is an application of its own and made when it is first asked for. Some of them need
    FastAPI, pyarrow, the graders and what reads a suite: whoever opens the overview waits for none of it and keeps none
    of it in memory.
    """
    make_ready(shown.settings.data_dir / "cache" / "templates")
    routes: list[BaseRoute] = [FILES, *signing_pages(shown.access)]
    routes += [_guarded(path, endpoint, shown.access) for path, endpoint in overview_pages(shown).items()]
    for path in SECTIONS:
        section = LazyApp(partial(_section, shown, path))
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


def _section(shown: Shown, path: str) -> ASGIApp:
    from app.api.pages.sections import section_app

    return section_app(shown, path)
