"""The disk under the database takes nothing for a while: nothing that was accepted is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kizy.core.errors import StorageError
from kizy.core.request import GenerationRequest
from kizy.orchestrator.jobs.database import Database
from sqlalchemy import event

from tests.waiting import wait_for

Wished = Callable[..., GenerationRequest]


FULL = ("PRAGMA max_page_count=1", "PRAGMA max_page_count=1073741823")
"""Not one page more."""

READ_ONLY = ("PRAGMA query_only=ON", "PRAGMA query_only=OFF")
"""As a disk is that the system no longer trusts."""


@contextmanager
def failing(database: Database, how: tuple[str, str]) -> Iterator[None]:
    def broken(connection: Any, _record: Any, _proxy: Any) -> None:
        connection.execute(how[0])

    def mended(connection: Any, _record: Any) -> None:
        connection.execute(how[1])

    event.listen(database.engine, "checkout", broken)
    event.listen(database.engine, "checkin", mended)
    try:
        yield
    finally:
        event.remove(database.engine, "checkout", broken)


def fill(service: Any, wish: Wished, seed: int) -> list[str]:
    """Jobs until one is refused; the ids of those that were accepted."""
    accepted: list[str] = []
    with pytest.raises(StorageError) as refused:
        for number in range(200):
            accepted.append(service.generate(wish(seed=seed + number)).id)
    assert refused.value.code == "database_unusable"
    return accepted


def all_over(service: Any, ids: list[str]) -> list[str]:
    wait_for(lambda: all(service.job(job_id).over for job_id in ids))
    return [service.job(job_id).state for job_id in ids]


def test_what_is_refused_leaves_nothing_and_what_was_accepted_is_drawn(
    made_in_file: Any, wish: Wished
) -> None:
    service = made_in_file()
    service.pause(True)
    database = service._shared.database
    with failing(database, FULL):
        accepted = fill(service, wish, 100)
    assert [job.id for job in service.jobs().jobs] == accepted[::-1]
    accepted.append(service.generate(wish(seed=1)).id)
    service.pause(False)
    assert all_over(service, accepted) == ["succeeded"] * len(accepted)


def test_a_job_that_ends_meanwhile_is_written_down_once_the_disk_is_well(
    made_in_file: Any, wish: Wished
) -> None:
    service = made_in_file()
    app = made_in_file.app
    app.hold()
    running = service.generate(wish(seed=1)).id
    wait_for(lambda: service.job(running).state == "running")
    with failing(service._shared.database, READ_ONLY):
        assert fill(service, wish, 100) == []
        app.let_go()
        time.sleep(0.3)
        assert service.job(running).state == "running"
    assert all_over(service, [running]) == ["succeeded"]
    assert len(service.job(running).artifacts) == 1
