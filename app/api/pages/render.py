"""Templates made into replies. A page is made in pieces, between which calls are served."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined, Template
from jinja2.bccache import Bucket
from starlette.requests import Request
from starlette.responses import Response

from app.api.pages.files import address, list_files
from app.core import formats

PIECE_SECONDS = 0.001
"""How long a page is made at a stretch: a call that comes meanwhile waits no longer."""
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'"
)
"""No script but our files. Styles may be inline: plotly.js writes its own, and widths of bars are figures."""
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Section:
    """An entry of the navigation."""

    path: str
    title: str
    icon: str
    """Name of its drawing in `icons.html`."""


SECTIONS = (
    Section("/ui/", "Overview", "overview"),
    Section("/ui/calls", "Calls", "calls"),
    Section("/ui/bench", "Bench", "bench"),
    Section("/ui/routers", "Routers", "routers"),
    Section("/ui/try", "Try it", "try"),
)


async def page(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """The reply that a template of `app/pages/templates/ui` gives: a whole page, or a part for htmx."""
    headers: Mapping[str, str] = context.pop("headers", {})
    made = await compiled(template)
    path = request.scope["path"]
    # `/ui/` is the overview, and no more than that.
    current = next((s.path for s in SECTIONS if path == s.path or path.startswith(f"{s.path}/")), None)
    pieces: list[str] = []
    begun = time.monotonic()
    for piece in made.generate(
        current=current, signed_in=getattr(request.state, "signed_in", False), now=datetime.now(UTC), **context
    ):
        pieces.append(piece)
        if time.monotonic() - begun > PIECE_SECONDS:
            await asyncio.sleep(0)
            begun = time.monotonic()
    return Response("".join(pieces), status, {**HEADERS, **headers}, media_type="text/html")


async def compiled(template: str) -> Template:
    """A template of `app/pages/templates/ui`. Worth asking for beside what takes long elsewhere."""
    name = f"ui/{template}"
    made = _compiled.get(name)
    if made is None:
        made = await asyncio.to_thread(_compile, name)
    return made


def make_ready(kept: Path) -> None:
    """Read what addresses of files are made of, which the first page would otherwise take from the calls beside it.
    Meant for a thread.

    `kept`: a folder for compiled templates; those of the overview take a tenth of a second, which the first page after
    a start then has not to wait for. Where it cannot be written, each process compiles its own.
    """
    with contextlib.suppress(OSError):
        kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        _environment().bytecode_cache = _Kept(str(kept))
    for name in list_files():
        address(name)


def away(request: Request, url: str) -> Response:
    """Send the browser elsewhere after a form (RFC 9110, 15.4.4). htmx is told by a header: it loads the whole page."""
    if "hx-request" in request.headers:
        return Response(status_code=200, headers={**HEADERS, "hx-redirect": url})
    return Response(status_code=303, headers={**HEADERS, "location": url})


class _Kept(FileSystemBytecodeCache):
    """Reads what is out of date or damaged as missing; a full disk takes nothing from a page either."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):
            super().dump_bytecode(bucket)


_compiled: dict[str, Template] = {}
_REFERRED = re.compile(r"{%-? *(?:extends|from|import|include) +\"([^\"]+)\"")
"""Names of templates in another's source. Jinja's own `find_referenced_templates` reads it whole for them, which is a
third of what compiling it takes."""


def _compile(name: str) -> Template:
    """A template that can be filled in, with all that it refers to: a tenth of a second for a large page, which the
    loop must not spend. All templates together take a second, so that each waits until a page needs it."""
    environment = _environment()
    assert environment.loader is not None
    reached, waiting = set[str](), [name]
    while waiting:
        one = waiting.pop()
        reached.add(one)
        environment.get_template(one)
        source, _, _ = environment.loader.get_source(environment, one)
        waiting += [other for other in _REFERRED.findall(source) if other not in reached]
    return _compiled.setdefault(name, environment.get_template(name))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("app.pages"),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.globals.update(file=address, sections=SECTIONS, version=version("hullspeed"), query=_query)
    environment.filters.update(
        usd=formats.usd,
        seconds=formats.seconds,
        count=formats.count,
        short_count=formats.short_count,
        share=formats.share,
        cut=formats.cut,
        stamp=lambda moment: f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        iso=lambda moment: moment.astimezone(UTC).isoformat(timespec="milliseconds"),
        ago=formats.ago,
    )
    return environment


def _query(given: Mapping[str, Any], **changed: Any) -> str:
    """`?…` of the parameters that are set, with some of them changed; empty without any."""
    wanted = {name: value for name, value in {**given, **changed}.items() if value not in (None, "")}
    return f"?{urlencode(wanted, doseq=True)}" if wanted else ""
