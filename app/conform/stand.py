"""Where the checks work: the gateway in front, the mock behind, and what each check may use of both."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.conform.check import Broken, Check, Dialect, NotApplicable, expect
from app.conform.client import Base, Connection, Reply
from app.conform.gateways import BACKUP, UPSTREAM_KEY, Gateway
from app.core.errors import ConfigError
from app.mock.replies import Reply as Said
from app.mock.seen import Seen
from app.mock.server import Mock
from app.mock.tls import make_certificates

PATIENCE = 30.0
"""Seconds a reply may take before the check gives up."""
KEPT_BYTES = 100_000
"""Of each reply, for the check that looks through all of them."""


@dataclass
class Stand:
    """One gateway under test."""

    base: Base
    gateway: Gateway
    mock: Mock
    mock_address: str
    """HOST:PORT under which the gateway reaches the mock."""
    dialect: Dialect = "openai"
    key: str | None = None
    ledger: Base | None = None
    expired: bool = True
    """Whether there is an address with an expired certificate."""
    haste: float = 1.0
    """Shortens every wait; a gateway that is known to keep nobody waiting can be judged sooner."""
    transcript: list[bytes] = field(default_factory=list)
    """Heads and bodies of all replies."""

    def case(self, check: Check) -> Case:
        """What one check works with."""
        return Case(self, check)

    async def listen(self, host: str, port: int, folder: Path) -> None:
        """Let the mock serve on `port`, and on the next one with an expired certificate, made in `folder`.

        Raises `OSError`.
        """
        await self.mock.listen(host, port)
        try:
            expired = make_certificates(folder).expired
        except ConfigError:
            self.expired = False
        else:
            await self.mock.listen(host, port + 1, expired)

    async def warm(self) -> None:
        """One call, so that what a gateway does at its first call (imports, connections) is not judged."""
        reply = await Case(self, Check(0, BACKUP, "", _never)).ask(within=60)
        if reply.status != 200:
            raise ConfigError(f"the gateway answers a plain request with status {reply.status}: {reply.body[:200]!r}")

    async def greet(self, checks: Sequence[Check]) -> None:
        """See that the gateway is there and has the models of these checks. Raises `ConfigError`."""
        case = Case(self, checks[0])
        try:
            reply = await case.call("GET", "/v1/models", within=10)
            listed = {entry["id"] for entry in reply.json["data"]} if reply.status == 200 else set()
        except Broken as broken:
            raise ConfigError(f"the gateway does not answer: {broken}", param="base_url") from None
        except (KeyError, TypeError):
            listed = set()
        if reply.status in (401, 403):
            raise ConfigError("the gateway does not take the key; name it with --api-key", param="api_key")
        missing = [check.name for check in checks if self.dialect in check.dialects and check.name not in listed]
        if listed and missing:
            raise ConfigError(
                f"the gateway has no model `{missing[0]}` (and {len(missing) - 1} more): give it the configuration "
                f"that `hullspeed conform --print-config {self.gateway.name}` prints"
            )


async def _never(_: Case) -> str:
    raise AssertionError("not a check to be run")


class Case:
    """What one check holds in its hands."""

    def __init__(self, stand: Stand, check: Check) -> None:
        self.stand = stand
        self.check = check
        self.mock = stand.mock
        self.gateway = stand.gateway
        self.dialect = stand.dialect
        self.target = check.name
        """What the mock calls the model."""
        self.model = stand.gateway.routed(check.name) if check.fallback else check.name
        """What a request calls it."""

    # ------------------------------------------------------------------ the mock

    def says(self, *replies: Said) -> None:
        """What the model says to the next requests, each once."""
        self.mock.next(*replies, model=self.target)

    def always(self, reply: Said) -> None:
        """What it says from now on."""
        self.mock.on(self.target, reply)

    @property
    def seen(self) -> list[Seen]:
        """What the model was asked so far."""
        return [seen for seen in self.mock.chats if seen.model == self.target]

    def backup_seen(self, nonce: str) -> list[Seen]:
        """What the backup was asked with this text."""
        return [seen for seen in self.mock.chats if seen.model == BACKUP and nonce.encode() in seen.raw]

    async def arrived(self, count: int = 1) -> list[Seen]:
        """Wait until the model has been asked `count` times. Raises `Broken`."""
        await self.until(lambda: len(self.seen) >= count, f"the upstream was not asked {count} times")
        return self.seen

    # ------------------------------------------------------------------ the gateway

    async def ask(
        self, text: str = "Say it", *, headers: Mapping[str, str] | None = None, within: float = PATIENCE, **fields: Any
    ) -> Reply:
        """One chat request and its reply. The text gets a word that no other request has."""
        async with self.connect() as connection, self.patience(within):
            return await self.ask_on(connection, text, headers=headers, **fields)

    async def ask_on(
        self, connection: Connection, text: str = "Say it", *, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Reply:
        """The same on a connection that is there already."""
        nonce, body = self.body(text, **fields)
        reply = await connection.ask("POST", "/v1/chat/completions", self.headers(headers), body)
        reply.nonce = nonce
        self.keep(reply)
        return reply

    async def stream(self, text: str = "Say it", **fields: Any) -> Reply:
        """`ask` with `stream: true`."""
        return await self.ask(text, stream=True, **fields)

    async def post(self, body: bytes, *, headers: Mapping[str, str] | None = None, within: float = PATIENCE) -> Reply:
        """A chat request with this very body."""
        return await self.call("POST", "/v1/chat/completions", body, headers=headers, within=within)

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        within: float = PATIENCE,
        key: bool = True,
    ) -> Reply:
        """Any request. Without `key` it bears none."""
        async with self.connect() as connection, self.patience(within):
            reply = await connection.ask(method, path, self.headers(headers, key=key), body)
        self.keep(reply)
        return reply

    def body(self, text: str = "Say it", **fields: Any) -> tuple[str, bytes]:
        """A word that no other request has, and the body of a request whose text holds it."""
        nonce = secrets.token_hex(6)
        messages = [{"role": "user", "content": f"{text} {nonce}"}]
        asked = {"model": self.model, "messages": messages, **fields}
        return nonce, json.dumps(asked, ensure_ascii=False).encode()

    def headers(self, more: Mapping[str, str] | None = None, *, key: bool = True) -> dict[str, str]:
        """What a client sends with a chat request."""
        given = {"content-type": "application/json", **(more or {})}
        if key and self.stand.key is not None:
            given.setdefault("authorization", f"Bearer {self.stand.key}")
        return given

    @asynccontextmanager
    async def connect(self, *, receive_buffer: int | None = None) -> AsyncIterator[Connection]:
        """A connection to the gateway of one's own."""
        async with await Connection.open(self.stand.base, receive_buffer=receive_buffer) as connection:
            yield connection

    @asynccontextmanager
    async def patience(self, seconds: float) -> AsyncIterator[None]:
        """`Broken` where what is inside takes longer."""
        try:
            async with asyncio.timeout(seconds * self.stand.haste):
                yield
        except TimeoutError:
            raise Broken(f"no end within {seconds:g} s") from None

    async def until(self, true: Callable[[], bool], otherwise: str, *, within: float = 5.0) -> None:
        """Wait until something is so. Raises `Broken` with `otherwise`."""
        deadline = asyncio.get_running_loop().time() + within * self.stand.haste
        while not true():
            expect(asyncio.get_running_loop().time() < deadline, f"{otherwise} within {within:g} s")
            await asyncio.sleep(0.01)

    def keep(self, reply: Reply) -> None:
        """For the check that looks through all replies."""
        head = "".join(f"{name}: {value}\n" for name, value in reply.headers.items())
        self.stand.transcript.append(head.encode("latin-1") + reply.body[:KEPT_BYTES])

    # ------------------------------------------------------------------ the ledger

    async def logged(self, session: str, count: int) -> list[dict[str, Any]]:
        """All calls of a session, as the ledger has them, once there are `count`. Raises `Broken`."""
        assert self.stand.ledger is not None
        deadline = asyncio.get_running_loop().time() + 10 * self.stand.haste
        rows: list[dict[str, Any]] = []
        while asyncio.get_running_loop().time() < deadline:
            rows = await self._ledger(f"/v1/calls?session={session}&limit=100", "data")
            if len(rows) >= count:
                break
            await asyncio.sleep(0.2)
        expect(len(rows) == count, f"{len(rows)} rows in the ledger for {count} calls")
        return [await self._ledger(f"/v1/calls/{row['id']}") for row in rows]

    async def _ledger(self, path: str, part: str | None = None) -> Any:
        assert self.stand.ledger is not None
        async with await Connection.open(self.stand.ledger) as connection, self.patience(PATIENCE):
            reply = await connection.ask("GET", path, self.headers())
        if reply.status != 200:
            raise NotApplicable(f"the ledger answers GET {path.partition('?')[0]} with {reply.status}")
        return reply.json if part is None else reply.json[part]

    @property
    def planted(self) -> tuple[str, ...]:
        """What no client may see."""
        return (UPSTREAM_KEY, self.stand.mock_address)
