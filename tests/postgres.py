"""Databases of a Postgres server, for one test each."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy

POSTGRES = "KIZY_TEST_POSTGRES"
"""The address of a Postgres server where tests may make databases."""

SERVER = os.environ.get(POSTGRES)
"""Read now: no test sees Kizy's variables."""


@contextmanager
def postgres_database() -> Iterator[str]:
    """The address of an empty database, which goes with the test. Without a server it skips."""
    if SERVER is None:
        pytest.skip(f"{POSTGRES} names no server")
    name = f"kizy_{uuid.uuid4().hex[:12]}"
    address = sqlalchemy.make_url(SERVER).set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        shown = address.set(database=name, drivername="postgresql")
        try:
            yield shown.render_as_string(hide_password=False)
        finally:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()
