"""Alembic's way in: from `app.store.migrate`, which passes a connection, or from its command line for writing a step.

On the command line (`alembic revision --autogenerate -m …`) the database is the one `DATABASE_URL` names.
"""

from __future__ import annotations

import os

import sqlalchemy as sa
from alembic import context

from app.store.partitions import is_partition
from app.store.tables import metadata


def run(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        include_name=lambda name, kind, _: kind != "table" or not is_partition(name or ""),
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = sa.create_engine(sa.make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        run(connection)
    engine.dispose()
