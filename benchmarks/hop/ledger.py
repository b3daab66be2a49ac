"""The Postgres behind Hullspeed's ledger: on the core of the load, as a server on another machine would be."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from app.store.embedded import EmbeddedServer
from benchmarks.hop.processes import cpu_of


class Postgres:
    """The server at `DATABASE_URL`, or one of our own in `folder`, with a database for each proxy."""

    def __init__(self, folder: Path) -> None:
        self._given = os.environ.get("DATABASE_URL")
        self._folder = folder / "postgres"
        self._embedded = EmbeddedServer(self._folder)
        self._url = ""
        self._made: list[str] = []

    def start(self) -> None:
        """Start the server, where it is our own."""
        self._url = self._given or self._embedded.start()

    def stop(self) -> None:
        """Drop what was made, and stop the server where it is our own."""
        for name in self._made:
            with suppress(psycopg.Error):
                self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        if not self._given:
            self._embedded.stop()

    def create(self, name: str) -> str:
        """The URL of a new, empty database."""
        self._run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self._made.append(name)
        return make_url(self._url).set(database=name).render_as_string(hide_password=False)

    def cpu(self) -> float:
        """Seconds of processor time that the server used so far; 0 where it is not our own."""
        if self._given:
            return 0.0
        return cpu_of(psutil.Process(int((self._folder / "postmaster.pid").read_text().split()[0])))

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)
