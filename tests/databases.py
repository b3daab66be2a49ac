"""Databases on the tests' server."""

from __future__ import annotations

import os
import uuid

import psycopg
import sqlalchemy as sa


class Databases:
    """Makes them, and drops them where the server stays."""

    def __init__(self, server_url: str, owner: str) -> None:
        """`owner`: who makes them, so that names of several do not meet."""
        self._admin = sa.make_url(server_url).set(drivername="postgresql")
        self._owner = owner
        self._names: list[str] = []

    def create(self, template: str | None = None) -> str:
        """The URL of a new one: empty, or a copy of the one of that URL, which nobody may be connected to."""
        name = f"hullspeed_test_{self._owner}_{uuid.uuid4().hex[:8]}"
        self._run(f"CREATE DATABASE {name}" + (f" TEMPLATE {sa.make_url(template).database}" if template else ""))
        self._names.append(name)
        return self._admin.set(database=name).render_as_string(hide_password=False)

    def drop(self) -> None:
        """Drop all of them; an embedded server goes with them."""
        if "DATABASE_URL" in os.environ:
            for name in self._names:
                self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        with psycopg.connect(self._admin.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(statement.encode())
