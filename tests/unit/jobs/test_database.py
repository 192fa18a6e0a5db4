"""The database itself: transactions, versions, addresses."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import StorageError
from kizy.core.job import new_job_id
from kizy.core.request import GenerationRequest
from kizy.orchestrator.jobs.database import Database, events, meta, put
from kizy.orchestrator.jobs.lock import DispatcherLock
from kizy.orchestrator.jobs.table import JobTable, NewJob
from sqlalchemy import func, select


def count(database: Database) -> int:
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(events)).scalar_one()


def test_a_transaction_that_fails_leaves_nothing(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(RuntimeError), database.writing() as connection:
        connection.execute(events.insert().values(job_id="x", at=1.0, data="{}"))
        raise RuntimeError
    assert count(database) == 0
    database.close()


def test_many_threads_write_without_losing_anything(database_url: str) -> None:
    database = Database(database_url)

    def write() -> None:
        for _ in range(20):
            with database.writing() as connection:
                connection.execute(events.insert().values(job_id="x", at=1.0, data="{}"))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(database) == 80
    database.close()


def test_a_database_of_a_newer_version_is_left_alone(file_url: str) -> None:
    database = Database(file_url)
    with database.writing() as connection:
        connection.execute(meta.update().where(meta.c.key == "schema").values(value="999"))
    database.close()
    with pytest.raises(StorageError) as caught:
        Database(file_url)
    assert caught.value.code == "database_unusable" and "newer" in caught.value.message


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql-of-nobody://x", "postgresql://user:secret@127.0.0.1:1/kizy"]
)
def test_a_wrong_address_is_told_without_its_password(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        Database(url)
    assert caught.value.code == "database_unusable"
    assert "secret" not in caught.value.message + caught.value.fix


def test_a_file_that_is_no_database_is_told(file_url: str) -> None:
    Path(file_url.removeprefix("sqlite:///")).write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError) as caught:
        Database(file_url)
    assert caught.value.code == "database_unusable"


def test_one_process_dispatches_at_a_time(database_url: str) -> None:
    if database_url == "sqlite://":
        pytest.skip("a database in memory has one user")
    databases = [Database(database_url), Database(database_url)]
    first, second = (DispatcherLock(database) for database in databases)
    assert first.take() and first.take()
    assert not second.take()
    first.release()
    assert second.take() and second.still_held()
    second.release()
    for database in databases:
        database.close()


def test_jobs_that_an_earlier_version_accepted_are_drawn_by_this_one(
    made_in_file: Any, file_url: str
) -> None:
    """tests/data/jobs-schema-1.sql: one that ran when its server was replaced, one that waits."""
    recorded = Path(__file__).parents[2] / "data" / "jobs-schema-1.sql"
    with contextlib.closing(sqlite3.connect(file_url.removeprefix("sqlite:///"))) as file:
        file.executescript(recorded.read_text())
    service = made_in_file()
    jobs = service.jobs().jobs
    assert {job.title for job in jobs} == {"a red fox on a blue background", "an owl, cartoon"}
    for job in jobs:
        for _ in service.follow(job.id):
            pass
        over = service.job(job.id)
        assert over.state == "succeeded" and over.plan is not None
        assert len(over.artifacts) == over.plan.count


def test_one_idempotency_key_gives_one_job_on_two_servers(
    tmp_path: Path, database_url: str, wish: Callable[..., GenerationRequest]
) -> None:
    if database_url == "sqlite://":
        pytest.skip("a database in memory has one user")
    tables = [JobTable(Database(database_url)) for _ in range(2)]
    for number in range(8):
        together = threading.Barrier(2)

        def accept(table: JobTable, key: str, together: threading.Barrier) -> str:
            new = NewJob(
                id=new_job_id(),
                kind="generation",
                lane="embedded",
                owner="local",
                priority=0,
                title="a fox",
                request=wish().model_dump_json(),
                asked="the same",
                idempotency_key=key,
            )
            together.wait(20.0)
            return table.accept(new, 1000)[0].id

        with ThreadPoolExecutor(2) as threads:
            found = [threads.submit(accept, table, f"key {number}", together) for table in tables]
        assert found[0].result() == found[1].result()
    for table in tables:
        table.database.close()


def test_two_servers_that_write_the_same_row_at_once_both_succeed(database_url: str) -> None:
    if database_url == "sqlite://":
        pytest.skip("a database in memory has one user")
    databases = [Database(database_url) for _ in range(2)]
    for number in range(8):
        together = threading.Barrier(2)

        def write(database: Database, key: str, together: threading.Barrier) -> None:
            together.wait(20.0)
            with database.writing() as connection:
                put(connection, meta, {"key": key}, {"value": "yes"})

        with ThreadPoolExecutor(2) as threads:
            done = [threads.submit(write, one, f"key {number}", together) for one in databases]
        assert [one.result() for one in done] == [None, None]
    for database in databases:
        database.close()
