"""Replies that are kept for requests that may come again, shared by all workers and replicas.

A key is claimed by one statement before its call is made, held while the call runs, and given free again where there
is no reply to keep. The hold of a process that died runs out by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from app.store import text
from app.store.database import Database

HOLD_SECONDS = 60.0
"""A claim that is not renewed for so long is nobody's any more."""
_CLAIM = b"""
INSERT INTO kept_replies (key, request, call_id, held_until, expires_at)
VALUES (%(key)s, %(request)s, %(call_id)s, now() + %(hold)s, now() + %(keep)s)
ON CONFLICT (key) DO UPDATE SET
  request = excluded.request, call_id = excluded.call_id, held_until = excluded.held_until,
  expires_at = excluded.expires_at, stream = NULL, headers = NULL, body = NULL
WHERE kept_replies.expires_at < now() OR (kept_replies.body IS NULL AND kept_replies.held_until < now())
RETURNING call_id
"""
_FIND = b"SELECT request, stream, headers, body FROM kept_replies WHERE key = %s"
_HOLD = b"UPDATE kept_replies SET held_until = now() + %s WHERE key = %s AND call_id = %s"
_KEEP = b"UPDATE kept_replies SET stream = %s, headers = %s, body = %s WHERE key = %s AND call_id = %s"
_RELEASE = b"DELETE FROM kept_replies WHERE key = %s AND call_id = %s AND body IS NULL"
_PURGE = b"DELETE FROM kept_replies WHERE expires_at < now()"


@dataclass(frozen=True)
class KeptReply:
    """A reply as it went out."""

    stream: bool
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Claimed:
    """A key that another request has claimed."""

    request: bytes
    """Digest of its body."""
    reply: KeptReply | None
    """None while its call runs."""


class KeptReplies:
    """The table. All methods raise `StoreUnavailable`. Times are those of the database's clock."""

    def __init__(self, database: Database, seconds: float) -> None:
        """`seconds`: how long a reply is kept."""
        self._database = database
        self._seconds = timedelta(seconds=seconds)

    async def claim(self, key: bytes, request: bytes, call_id: str) -> Claimed | None:
        """Claim `key` for a call; None where it is now ours, otherwise who has it."""
        row = {
            "key": key,
            "request": request,
            "call_id": call_id,
            "hold": timedelta(seconds=HOLD_SECONDS),
            "keep": self._seconds,
        }
        while True:
            async with self._database.session() as connection:
                if await (await connection.execute(_CLAIM, row)).fetchone() is not None:
                    return None
                found = await (await connection.execute(_FIND, (key,))).fetchone()
            # Nothing is there where it was given free in between: claimed anew.
            if found is not None:
                digest, stream, headers, body = found
                return Claimed(digest, None if body is None else KeptReply(stream, headers, body))

    async def hold(self, key: bytes, call_id: str) -> None:
        """The call still runs."""
        await self._execute(_HOLD, timedelta(seconds=HOLD_SECONDS), key, call_id)

    async def keep(self, key: bytes, call_id: str, reply: KeptReply) -> None:
        """The call's reply."""
        await self._execute(_KEEP, reply.stream, text.encode_text(dict(reply.headers)), reply.body, key, call_id)

    async def release(self, key: bytes, call_id: str) -> None:
        """The call has no reply to keep: the next request with the key is served anew."""
        await self._execute(_RELEASE, key, call_id)

    async def purge(self) -> None:
        """Delete what has expired."""
        await self._execute(_PURGE)

    async def _execute(self, statement: bytes, *values: object) -> None:
        async with self._database.session() as connection:
            await connection.execute(statement, values)
