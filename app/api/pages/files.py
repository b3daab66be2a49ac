"""The pages' files: style, scripts and pictures.

An address holds a digest of the content, so that browsers keep a file for good.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.core.errors import NotFound

TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_FOREVER = "public, max-age=31536000, immutable"
_CALLED_ON_LOAD = ("plotly-basic.min.js",)
"""Scripts that all but run as soon as they have come."""
_HINT = b"//# allFunctionsCalledOnLoad\n"
"""Has V8 compile a script whole while it comes, beside the page and not when each function is first called
(v8.dev/blog/explicit-compile-hints). Other browsers see a comment."""
_COMPRESSING = ThreadPoolExecutor(1, thread_name_prefix="files")


class _File(NamedTuple):
    body: bytes
    """Compressed (RFC 1952)."""
    tag: str
    """Of its content."""


def address(name: str) -> str:
    """Where a page finds the file, below `/ui`."""
    return f"/ui/files/{_tag(name)}/{name}"


def list_files() -> list[str]:
    """Names of all files."""
    ours = (file.name for file in (files("app.pages") / "static").iterdir())
    return [name for name in ours if name.rpartition(".")[2] in TYPES]


async def _file(request: Request) -> Response:
    """They are no secret: whoever has the package has them."""
    tag, name = request.path_params["tag"], request.path_params["name"]
    # Whoever goes away meanwhile does not take it from the others.
    found = await asyncio.shield(asyncio.wrap_future(_compressed(name)))
    headers = {
        # An old page of a proxy that has been replaced must not have the new file kept under the old name.
        "cache-control": _FOREVER if tag == found.tag else "no-store",
        "x-content-type-options": "nosniff",
        "vary": "accept-encoding",
    }
    body = found.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
    else:
        body = await asyncio.to_thread(gzip.decompress, body)
    return Response(body, headers=headers, media_type=TYPES[name.rpartition(".")[2]])


FILES = Route("/files/{tag}/{name}", _file)


@cache
def _compressed(name: str) -> Future[_File]:
    """The file, compressed in a thread: for the largest some 50 ms. Raises `NotFound`."""
    return _COMPRESSING.submit(_compress, _find(name))


def _compress(found: Traversable) -> _File:
    return _File(gzip.compress(_content(found), 6, mtime=0), _tag(found.name))


@cache
def _tag(name: str) -> str:
    return hashlib.sha256(_content(_find(name))).hexdigest()[:12]


def _content(found: Traversable) -> bytes:
    return (_HINT if found.name in _CALLED_ON_LOAD else b"") + found.read_bytes()


def _find(name: str) -> Traversable:
    found = files("app.pages") / "static" / name
    if "/" in name or name.startswith(".") or name.rpartition(".")[2] not in TYPES or not found.is_file():
        raise NotFound(f"There is no file {name[:100]!r}.")
    return found
