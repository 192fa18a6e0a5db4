"""Rows that a newer version of Kizy wrote: listed as far as they can be read, and left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from kizy.core.errors import InputError
from kizy.core.job import EndEvent, Job, Notice, NoticeEvent, StateEvent
from kizy.orchestrator.jobs.database import durations, events, job_artifacts
from kizy.orchestrator.service import Wish
from sqlalchemy import func, select

from tests.waiting import wait_for

Wished = Callable[..., Any]

NEWER: dict[str, dict[str, Any]] = {
    "state": {"state": "held"},
    "kind": {"kind": "film"},
    "lane": {"lane": "ray"},
    "request": {"request": '{"prompt": "a fox", "mood": "glad"}'},
    "plan": {"plan": '{"version": 2, "what": ["is", "not", "known"]}'},
    "error": {"error": '{"code": "x", "message": "y", "fix": "z", "more": 1}'},
    "error-of-another-form": {"error": '["x"]'},
    "notices": {"notices": '[{"code": "a", "text": "b", "more": 1}, "another form"]'},
    "notices-of-another-form": {"notices": '{"a": 1}'},
    "training": {"training": "[1]"},
    "time": {"created": 1e18},
    "progress": {"progress": 1.5},
}

NOTICE = Notice(code="hint", text="Look.")
NOT_RUN = ("kind", "lane", "request", "plan")


def ended(service: Any, job: Job) -> Job:
    """The job when it is over."""
    for _ in service.follow(job.id):
        pass
    return service.job(job.id)


def row(service: Any, job: Job) -> dict[str, Any]:
    return dict(service._shared.ledger.table.row(job.id))


@pytest.mark.parametrize("what", NEWER)
def test_a_row_of_a_newer_version_is_listed_beside_the_others(
    made: Any, wish: Wished, what: str
) -> None:
    service = made()
    service.pause(True)
    newer, ours = service.generate(wish("newer")), service.generate(wish("ours"))
    service._shared.ledger.table.set(newer.id, **NEWER[what])
    listed = {job.id: job for job in service.jobs().jobs}
    assert set(listed) == {newer.id, ours.id}
    assert listed[newer.id].title == "newer"
    assert listed[ours.id] == service.job(ours.id) and listed[ours.id].request is not None
    assert service.job(newer.id).title == "newer"
    assert Job.model_validate_json(listed[newer.id].model_dump_json()) == listed[newer.id]
    told = [notice.code for notice in listed[newer.id].notices]
    assert ("newer_version" in told) == (what in ("state", *NOT_RUN))


@pytest.mark.parametrize("what", NOT_RUN)
def test_a_waiting_row_of_a_newer_version_is_neither_run_nor_changed(
    made_in_file: Any, wish: Wished, what: str
) -> None:
    service = made_in_file()
    service.pause(True)
    newer, ours = service.generate(wish("newer")), service.generate(wish("ours"))
    service._shared.ledger.table.set(newer.id, **NEWER[what])
    before = row(service, newer)
    service.pause(False)
    assert ended(service, ours).state == "succeeded"
    assert row(service, newer) == before
    assert service.ready() is None
    assert service.job(newer.id).place is None
    assert service.cancel(newer.id).state == "cancelled"


def test_a_row_that_ran_under_a_newer_version_waits_for_it(made_in_file: Any, wish: Wished) -> None:
    service = made_in_file()
    service.pause(True)
    newer = service.generate(wish("newer"))
    table = service._shared.ledger.table
    table.set(newer.id, state="running", lane="ray")
    service.close(0.1)
    second = made_in_file()
    second.pause(False)
    assert ended(second, second.generate(wish("ours"))).state == "succeeded"
    assert second.job(newer.id).state == "queued"
    assert made_in_file.app.drawn[newer.id] == 0


def test_a_state_of_a_newer_version_is_not_over(made: Any, wish: Wished) -> None:
    service = made()
    service.pause(True)
    job = service.generate(wish())
    service._shared.ledger.table.set(job.id, state="held")
    seen = service.job(job.id)
    assert (seen.state, seen.over) == ("unknown", False)
    assert service.cancel(job.id).state == "unknown"
    assert row(service, job)["state"] == "held"


def test_what_only_a_newer_version_can_read_is_not_tried_again(made: Any, wish: Wished) -> None:
    service = made()
    service.pause(True)
    job = service.generate(wish())
    service.cancel(job.id)
    service._shared.ledger.table.set(job.id, **NEWER["request"])
    with pytest.raises(InputError) as caught:
        service.retry(job.id)
    assert caught.value.code == "request_invalid"


def test_an_event_of_a_newer_version_is_told_as_a_notice(made: Any, wish: Wished) -> None:
    service = made()
    job = ended(service, service.generate(wish(seed=4)))
    with service._shared.database.writing() as connection:
        first = select(func.min(events.c.id)).where(events.c.job_id == job.id).scalar_subquery()
        data = json.dumps({"kind": "applause", "job_id": job.id})
        connection.execute(events.update().where(events.c.id == first).values(data=data))
    heard = [one.event for one in service.follow(job.id, after=0)]
    assert isinstance(heard[0], StateEvent) and isinstance(heard[-1], EndEvent)
    told = [event.code for event in heard if isinstance(event, NoticeEvent)]
    assert told == ["newer_version"]


def test_a_file_of_a_kind_of_a_newer_version_is_listed(made: Any, wish: Wished) -> None:
    service = made()
    job = ended(service, service.generate(wish(count=2)))
    with service._shared.database.writing() as connection:
        connection.execute(
            job_artifacts.update().where(job_artifacts.c.idx == 1).values(kind="hologram")
        )
    files = {file.kind: file for file in service.job(job.id).artifacts}
    assert set(files) == {"picture", "unknown"}
    assert service.artifact(files["unknown"].id).path.is_file()


def test_files_of_a_job_in_a_state_of_a_newer_version_stay(made_in_file: Any, wish: Wished) -> None:
    from kizy.orchestrator.jobs.retention import Retention
    from kizy.orchestrator.settings import StorageSettings

    service = made_in_file()
    job = ended(service, service.generate(wish()))
    shared = service._shared
    shared.ledger.table.set(job.id, state="held")
    rules = StorageSettings(keep_gb=1e-9)
    assert Retention(shared.ledger, shared.uploads.store, rules).look().old == 0
    assert service.artifact(job.artifacts[0].id).path.is_file()


def test_a_duration_in_a_form_of_a_newer_version_is_passed_over(
    made_in_file: Any, wish: Wished
) -> None:
    service = made_in_file()
    with service._shared.database.writing() as connection:
        for key in ("embedded|starter|large", "a|b|c|d|e|f", "embedded|starter|16x16x9|2||"):
            connection.execute(durations.insert().values(key=key, seconds=3.0, count=1))
    service.close(0.1)
    second = made_in_file()
    assert ended(second, second.generate(wish(), Wish(fresh=True))).state == "succeeded"


def test_elsewhere_a_newer_event_stops_nobody_from_hearing_the_next(
    made_in_file: Any, wish: Wished
) -> None:
    from kizy.orchestrator.jobs.event_poller import Elsewhere

    service = made_in_file()
    service.pause(True)
    job = service.generate(wish())
    ledger = service._shared.ledger
    elsewhere, heard = Elsewhere(ledger), list[Any]()
    leave = service.watch(job.id, heard.append)
    elsewhere.tell()
    with service._shared.database.writing() as connection:
        data = json.dumps({"kind": "applause", "job_id": job.id})
        connection.execute(events.insert().values(job_id=job.id, at=1.0, data=data))
    ledger.table.told(job.id, NOTICE)
    elsewhere.tell()
    wait_for(lambda: [one.event.kind for one in heard].count("notice") == 2)
    assert [one.event.code for one in heard if one.event.kind == "notice"] == [
        "newer_version",
        "hint",
    ]
    leave()
