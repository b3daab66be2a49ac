"""A way to Postgres that does as networks do: it can keep to itself that a connection has ended, and forget those that
lead over it."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Self

import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

TERMINATE = b"X\x00\x00\x00\x04"
"""What a client says before it closes (postgresql.org, "Message Formats")."""


class Relay:
    """Leads to the server at a URL from one of its own, while it is entered."""

    def __init__(self, url: str, *, hides_ends: bool = False) -> None:
        """`hides_ends`: the server hears of a connection's end only when the relay is left."""
        self.url = ""
        """The way over the relay, once it is entered."""
        self._there = url
        self._hides_ends = hides_ends
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._ways: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._lead, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        way = sa.make_url(self._there).set(host="127.0.0.1", port=port, query={})
        self.url = way.render_as_string(hide_password=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    def forget(self) -> None:
        """Whoever speaks over a connection that there is now hears that there is none (RFC 9293, 3.5.2)."""
        self._forgotten |= self._clients

    def _lead(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._ways.add(way := asyncio.ensure_future(self._pass(reader, client)))
        self._clients.add(client)
        way.add_done_callback(self._ways.discard)

    async def _pass(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        there, server = await self._open()
        answers = asyncio.ensure_future(_pump(there, client))
        try:
            while data := await reader.read(65536):
                if client in self._forgotten:
                    # No time to linger: the connection is reset (socket(7)).
                    client.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    return
                server.write(data.removesuffix(TERMINATE) if self._hides_ends else data)
            if self._hides_ends:
                await asyncio.get_running_loop().create_future()
        finally:
            answers.cancel()
            self._clients.discard(client)
            client.close()
            server.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = conninfo_to_dict(self._there)
        host, port = str(place["host"]), int(place.get("port") or 5432)
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
