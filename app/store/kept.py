"""Replies that are kept for requests that may come again, shared by all workers and replicas.

A key is claimed by one statement before its call is made, held while the call runs, and given free again where there
is no reply to keep. The hold of a process that died runs out by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.store.database import Database
from app.store.tables import kept_replies

HOLD_SECONDS = 60.0
"""A claim that is not renewed for so long is nobody's any more."""


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
        now = sa.func.now()
        row = {
            "key": key,
            "request": request,
            "call_id": call_id,
            "held_until": now + timedelta(seconds=HOLD_SECONDS),
            "expires_at": now + self._seconds,
            "stream": None,
            "headers": None,
            "body": None,
        }
        table = kept_replies.c
        lapsed = sa.or_(table.expires_at < now, sa.and_(table.body.is_(None), table.held_until < now))
        statement = insert(kept_replies).values(row)
        statement = statement.on_conflict_do_update(
            index_elements=[table.key], set_={name: statement.excluded[name] for name in row}, where=lapsed
        )
        while True:
            async with self._database.begin() as connection:
                taken = (await connection.execute(statement.returning(table.call_id))).first()
                if taken is not None:
                    return None
                found = (await connection.execute(sa.select(kept_replies).where(table.key == key))).first()
            # Nothing is there where it was given free in between: claimed anew.
            if found is not None:
                reply = None if found.body is None else KeptReply(found.stream, found.headers, found.body)
                return Claimed(found.request, reply)

    async def hold(self, key: bytes, call_id: str) -> None:
        """The call still runs."""
        await self._update(key, call_id, held_until=sa.func.now() + timedelta(seconds=HOLD_SECONDS))

    async def keep(self, key: bytes, call_id: str, reply: KeptReply) -> None:
        """The call's reply."""
        await self._update(key, call_id, stream=reply.stream, headers=dict(reply.headers), body=reply.body)

    async def release(self, key: bytes, call_id: str) -> None:
        """The call has no reply to keep: the next request with the key is served anew."""
        table = kept_replies.c
        async with self._database.begin() as connection:
            await connection.execute(
                sa.delete(kept_replies).where(table.key == key, table.call_id == call_id, table.body.is_(None))
            )

    async def purge(self) -> None:
        """Delete what has expired."""
        async with self._database.begin() as connection:
            await connection.execute(sa.delete(kept_replies).where(kept_replies.c.expires_at < sa.func.now()))

    async def _update(self, key: bytes, call_id: str, **values: object) -> None:
        table = kept_replies.c
        mine = sa.and_(table.key == key, table.call_id == call_id)
        async with self._database.begin() as connection:
            await connection.execute(sa.update(kept_replies).where(mine).values(**values))
