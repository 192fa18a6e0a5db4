"""What another process writes down is heard here, whole and once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kizy.core.job import EndEvent, NoticeEvent
from kizy.core.request import GenerationRequest
from kizy.orchestrator.jobs.database import Database, events
from kizy.orchestrator.jobs.event_poller import OVERLAP, Elsewhere
from kizy.orchestrator.jobs.recorder import Ledger
from kizy.orchestrator.jobs.table import JobTable, NewJob
from kizy.orchestrator.service import Numbered
from kizy.orchestrator.storage.artifacts import ArtifactStore


@dataclass
class Side:
    """One process's view of the database."""

    ledger: Ledger
    heard: list[Numbered] = field(default_factory=list)

    def follow(self, job_id: str) -> None:
        """Until the end, as all followers do."""

        def hear(event: Numbered) -> None:
            self.heard.append(event)
            if isinstance(event.event, EndEvent):
                leave()

        leave = self.ledger.watch(job_id, hear)

    def notices(self) -> list[str]:
        return [one.event.code for one in self.heard if isinstance(one.event, NoticeEvent)]

    def ends(self) -> list[str]:
        return [one.event.state for one in self.heard if isinstance(one.event, EndEvent)]


@pytest.fixture
def sides(tmp_path: Path, file_url: str) -> Iterator[tuple[Side, Side]]:
    """(where jobs are carried out, where somebody listens)."""
    databases = [Database(file_url), Database(file_url)]
    store = ArtifactStore(tmp_path / "artifacts", "1")
    there, here = (Side(Ledger(JobTable(database), store)) for database in databases)
    yield there, here
    for database in databases:
        database.close()


def accepted(side: Side, job_id: str = "a") -> str:
    request = GenerationRequest(prompt="a fox").model_dump_json()
    values: dict[str, Any] = {"title": "a fox", "request": request, "asked": "", "begun": True}
    new = NewJob(job_id, "generation", "embedded", "anna", 0, **values)
    side.ledger.table.accept(new, 10)
    return job_id


def followed(here: Side, accepting: Side) -> tuple[Elsewhere, str]:
    """A job that `accepting` took in and that somebody follows here."""
    job_id = accepted(accepting)
    here.follow(job_id)
    return Elsewhere(here.ledger), job_id


def told(side: Side, job_id: str, code: str, number: int | None = None) -> None:
    """A notice, numbered as if it had been written down out of turn."""
    side.ledger.notice(job_id, code, "Something.")
    if number is not None:
        with side.ledger.table.database.writing() as connection:
            last = side.ledger.table.last_event()
            connection.execute(events.update().where(events.c.id == last).values(id=number))


def test_the_first_event_of_all_is_heard(sides: tuple[Side, Side]) -> None:
    there, here = sides
    elsewhere, job_id = followed(here, there)
    elsewhere.tell()
    there.ledger.end(job_id, "succeeded")
    elsewhere.tell()
    assert here.ends() == ["succeeded"]


def test_each_event_is_heard_once(sides: tuple[Side, Side]) -> None:
    there, here = sides
    elsewhere, job_id = followed(here, there)
    for code in ("one", "two", "three"):
        elsewhere.tell()
        told(there, job_id, code)
    for _ in range(3):
        elsewhere.tell()
    assert here.notices() == ["one", "two", "three"]


def test_an_event_that_was_numbered_early_and_written_late_is_heard(
    sides: tuple[Side, Side],
) -> None:
    there, here = sides
    elsewhere, job_id = followed(here, there)
    elsewhere.tell()
    told(there, job_id, "second", 20)
    elsewhere.tell()
    told(there, job_id, "first", 19)
    elsewhere.tell()
    assert here.notices() == ["second", "first"]


def test_the_end_is_heard_even_if_its_event_comes_much_too_late(
    sides: tuple[Side, Side],
) -> None:
    there, here = sides
    elsewhere, job_id = followed(here, there)
    elsewhere.tell()
    told(there, job_id, "newest", 10 * OVERLAP)
    elsewhere.tell()
    there.ledger.end(job_id, "cancelled")
    with there.ledger.table.database.writing() as connection:
        last = there.ledger.table.last_event()
        connection.execute(events.update().where(events.c.id == last).values(id=3))
    elsewhere.tell()
    assert here.ends() == ["cancelled"]


def test_what_was_heard_directly_is_not_told_again(sides: tuple[Side, Side]) -> None:
    there, here = sides
    elsewhere, job_id = followed(here, here)
    elsewhere.tell()
    elsewhere.skip()
    told(here, job_id, "mine")
    elsewhere.tell()
    told(there, job_id, "theirs")
    elsewhere.tell()
    assert here.notices() == ["mine", "theirs"]
