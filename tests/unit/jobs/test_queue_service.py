"""The queue from the outside: what is accepted ends once, in order, with one set of files."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import EngineError, InputError, StorageError, UnknownNameError
from kizy.core.job import EndEvent, Job, JobArtifactEvent, Notice, ProgressEvent, StateEvent
from kizy.core.plan import NOTICE, Reason
from kizy.orchestrator.service import JobChange, JobQuery, Wish

from tests.waiting import wait_for

Wished = Callable[..., Any]


def ended(service: Any, job: Job | str) -> Job:
    """The job when it is over."""
    job_id = job if isinstance(job, str) else job.id
    for _ in service.follow(job_id):
        pass
    return service.job(job_id)


def test_a_job_is_accepted_drawn_and_tells_of_its_files(made: Any, wish: Wished) -> None:
    service = made()
    accepted = service.generate(wish(count=2, seed=7))
    assert accepted.plan is not None and accepted.plan.seed == 7
    job = ended(service, accepted)
    assert (job.state, job.progress, job.attempts) == ("succeeded", 1.0, 1)
    assert [(file.index, file.seed) for file in job.artifacts] == [(0, 7), (1, 8)]
    file = service.artifact(job.artifacts[1].id)
    assert file.path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert job.started is not None and job.ended is not None and job.created <= job.started


def test_a_follower_hears_the_state_first_and_the_end_last(made: Any, wish: Wished) -> None:
    service = made()
    made.app.hold()
    job = service.generate(wish())
    heard: list[Any] = []
    for numbered in service.follow(job.id):
        heard.append(numbered.event)
        made.app.let_go()
    assert isinstance(heard[0], StateEvent) and isinstance(heard[-1], EndEvent)
    assert sum(isinstance(event, JobArtifactEvent) for event in heard) == 1
    fractions = [event.fraction for event in heard if isinstance(event, ProgressEvent)]
    assert fractions == sorted(fractions)


def test_a_follower_that_comes_late_hears_the_end(made: Any, wish: Wished) -> None:
    service = made()
    job = ended(service, service.generate(wish()))
    heard = [numbered.event for numbered in service.follow(job.id)]
    assert [type(event) for event in heard] == [StateEvent, EndEvent]


def test_a_follower_that_comes_again_hears_what_it_missed(made: Any, wish: Wished) -> None:
    service = made()
    job = service.generate(wish(count=3))
    kept = [one for one in service.follow(job.id) if one.id is not None]
    again = list(service.follow(job.id, after=kept[0].id))
    assert [one.id for one in again if one.id is not None] == [one.id for one in kept[1:]]
    assert isinstance(again[0].event, StateEvent)


def test_higher_priorities_go_first_and_owners_take_turns(made: Any, wish: Wished) -> None:
    service = made()
    made.app.hold()
    first = service.generate(wish("first", owner="a"))
    wait_for(lambda: service.job(first.id).state == "running")
    names = ["a1", "a2", "a3", "b1", "b2", "urgent"]
    jobs = {}
    for name in names:
        priority = 5 if name == "urgent" else 0
        jobs[name] = service.generate(wish(name, owner=name[0], priority=priority)).id
    places = {name: service.job(jobs[name]).place for name in names}
    assert places == {"urgent": 1, "b1": 2, "a1": 3, "b2": 4, "a2": 5, "a3": 6}
    made.app.let_go()
    for name in names:
        ended(service, jobs[name])
    order = {job_id: name for name, job_id in jobs.items()}
    drawn = [order[one] for one in made.app.order if one in order]
    assert drawn[0] == "urgent"
    assert {drawn[1][0], drawn[2][0]} == {"a", "b"} == {drawn[3][0], drawn[4][0]}


def test_a_job_can_be_moved_paused_and_let_go(made: Any, wish: Wished) -> None:
    service = made()
    made.app.hold()
    running = service.generate(wish("running"))
    wait_for(lambda: service.job(running.id).state == "running")
    one, two, three = (service.generate(wish(name)).id for name in ("one", "two", "three"))
    service.change(three, JobChange(before="first"))
    service.change(one, JobChange(before="last"))
    service.change(two, JobChange(paused=True))
    assert [service.job(x).place for x in (three, two, one)] == [1, 2, 3]
    made.app.let_go()
    assert ended(service, one).state == "succeeded"
    assert service.job(two).state == "queued" and service.job(two).paused
    service.change(two, JobChange(paused=False))
    assert ended(service, two).state == "succeeded"
    assert made.app.order == [running.id, three, one, two]


def test_a_job_that_began_keeps_its_place(made: Any, wish: Wished) -> None:
    service = made()
    job = ended(service, service.generate(wish()))
    with pytest.raises(InputError) as caught:
        service.change(job.id, JobChange(priority=3))
    assert caught.value.code == "job_not_waiting"


def test_a_queue_that_is_paused_begins_nothing(made: Any, wish: Wished) -> None:
    service = made()
    assert service.pause(True).paused
    job = service.generate(wish())
    time.sleep(0.05)
    assert service.job(job.id).state == "queued"
    assert service.queue().waiting == 1
    service.pause(False)
    assert ended(service, job).state == "succeeded"


def test_a_waiting_job_is_cancelled_at_once(made: Any, wish: Wished) -> None:
    service = made()
    service.pause(True)
    job = service.generate(wish())
    assert service.cancel(job.id).state == "cancelled"
    service.pause(False)
    time.sleep(0.02)
    assert made.app.order == []


def test_a_running_job_is_cancelled(made: Any, wish: Wished) -> None:
    service = made()
    made.app.hold()
    job = service.generate(wish())
    wait_for(lambda: made.app.order == [job.id])
    service.cancel(job.id)
    over = ended(service, job)
    assert (over.state, over.artifacts) == ("cancelled", ())
    assert service.cancel(job.id).state == "cancelled"


def test_a_job_that_failed_can_be_tried_again(made: Any, wish: Wished) -> None:
    service = made()
    made.app.fails["a red fox"].append(EngineError("drawing_failed", "It broke."))
    failed = ended(service, service.generate(wish(seed=5)))
    assert failed.state == "failed" and failed.error is not None
    assert (failed.error.code, failed.error.message) == ("drawing_failed", "It broke.")
    again = ended(service, service.retry(failed.id))
    assert (again.state, again.retry_of) == ("succeeded", failed.id)
    assert again.plan == failed.plan
    with pytest.raises(InputError) as caught:
        service.retry(again.id)
    assert caught.value.code == "job_not_over"


def test_what_is_not_the_jobs_fault_is_tried_again_by_itself(
    made: Any, wish: Wished, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kizy.orchestrator.jobs.runs import base as carrying

    monkeypatch.setattr(carrying, "REST_SECONDS", (0.01,))
    service = made()
    gone = EngineError("server_unreachable", "The server is away.")
    made.app.fails["a red fox"] += [gone, StorageError("disk_full", "The disk is full.")]
    job = ended(service, service.generate(wish()))
    assert (job.state, job.attempts) == ("succeeded", 3)
    assert [notice.code for notice in job.notices] == ["server_unreachable", "disk_full"]


def test_a_plans_notices_are_those_of_its_job_from_the_beginning(made: Any, wish: Wished) -> None:
    service = made()
    made.app.hold()
    made.app.reasons = (
        Reason(choice="size", value="16x16", why="you asked for it"),
        Reason(choice=NOTICE, value="starter_not_taught", why="no lake"),
    )
    job = service.generate(wish())
    assert job.notices == (Notice(code="starter_not_taught", text="no lake"),)
    made.app.let_go()
    assert ended(service, job).notices == job.notices
    again = service.generate(wish())
    assert again.from_store or ended(service, again).from_store
    assert again.notices == job.notices


def test_tries_come_to_an_end(made: Any, wish: Wished, monkeypatch: pytest.MonkeyPatch) -> None:
    from kizy.orchestrator.jobs.runs import base as carrying

    monkeypatch.setattr(carrying, "REST_SECONDS", (0.01,))
    service = made(jobs={"attempts": 2})
    made.app.fails["a red fox"] += [EngineError("server_lost", "Lost.") for _ in range(5)]
    job = ended(service, service.generate(wish()))
    assert (job.state, job.attempts) == ("failed", 2)


def test_a_deadline_ends_jobs_that_wait_and_that_run(made: Any, wish: Wished) -> None:
    service = made()
    made.app.hold()
    soon = datetime.now(UTC) + timedelta(seconds=0.05)
    running = service.generate(wish("one"), Wish(deadline=soon))
    waiting = service.generate(wish("two"), Wish(deadline=soon))
    for job in (running, waiting):
        over = ended(service, job)
        assert over.error is not None
        assert (over.state, over.error.code) == ("failed", "deadline_passed")


def test_the_same_plan_again_comes_from_the_store(made: Any, wish: Wished) -> None:
    service = made()
    first = ended(service, service.generate(wish(seed=3, count=2)))
    second = service.generate(wish(seed=3, count=2))
    assert (second.state, second.from_store) == ("succeeded", True)
    assert [x.id for x in second.artifacts] == [x.id for x in first.artifacts]
    third = ended(service, service.generate(wish(seed=3, count=2), Wish(fresh=True)))
    assert not third.from_store and made.app.drawn[third.id] == 2
    made.app.name = "another machine"
    assert not ended(service, service.generate(wish(seed=3, count=2))).from_store


def test_an_idempotency_key_gives_the_same_job(made: Any, wish: Wished) -> None:
    service = made()
    first = service.generate(wish(seed=1), Wish(idempotency_key="k"))
    assert service.generate(wish(seed=1), Wish(idempotency_key="k")).id == first.id
    other = service.seen_by("somebody")
    assert other.generate(wish(seed=1), Wish(idempotency_key="k")).id != first.id
    with pytest.raises(InputError) as caught:
        service.generate(wish(seed=2), Wish(idempotency_key="k"))
    assert caught.value.code == "idempotency_conflict"


def test_a_full_queue_refuses(made: Any, wish: Wished) -> None:
    service = made(jobs={"max_waiting": 2})
    service.pause(True)
    for _ in range(2):
        service.generate(wish())
    with pytest.raises(EngineError) as caught:
        service.generate(wish())
    assert caught.value.code == "queue_full"


def test_owners_see_their_own_jobs_and_files_alone(made: Any, wish: Wished) -> None:
    service = made()
    ann, ben = service.seen_by("ann"), service.seen_by("ben")
    job = ended(ann, ann.generate(wish(owner="ben")))
    assert job.owner == "ann" and service.job(job.id).id == job.id
    for ask in (ben.job, ben.cancel, ben.retry, lambda x: list(ben.follow(x))):
        with pytest.raises(UnknownNameError) as caught:
            ask(job.id)
        assert caught.value.code == "job_unknown"
    with pytest.raises(UnknownNameError):
        ben.artifact(job.artifacts[0].id)
    assert ben.jobs().jobs == () and len(ann.jobs().jobs) == 1
    with pytest.raises(InputError):
        ann.pause(True)


def test_pages_of_jobs_go_from_new_to_old_without_gaps(made: Any, wish: Wished) -> None:
    service = made()
    service.pause(True)
    made_ids = [service.generate(wish(str(i))).id for i in range(7)]
    found: list[str] = []
    query = JobQuery(limit=3)
    while True:
        page = service.jobs(query)
        found += [job.id for job in page.jobs]
        if page.next is None:
            break
        query = JobQuery(limit=3, cursor=page.next)
    assert found == made_ids[::-1]
    assert service.jobs(JobQuery(states=("succeeded",))).jobs == ()
    for wrong in (JobQuery(cursor="?"), JobQuery(limit=0), JobQuery(limit=201)):
        with pytest.raises(InputError):
            service.jobs(wrong)


def test_pictures_are_named_by_upload_or_artifact_and_never_by_path(
    made: Any, wish: Wished, tmp_path: Path
) -> None:
    service = made()
    drawn = ended(service, service.generate(wish()))
    path = service.artifact(drawn.artifacts[0].id).path
    with path.open("rb") as file:
        upload = service.upload("../../a picture.png", file)
    assert (upload.name, upload.media_type, upload.width) == ("a picture.png", "image/png", 16)
    for picture in (upload.id, drawn.artifacts[0].id):
        service.plan(wish(start={"picture": picture}))
    for wrong in (str(path), "0" * 64, "../x"):
        with pytest.raises(UnknownNameError) as caught:
            service.generate(wish(start={"picture": wrong}))
        assert caught.value.code == "upload_unknown"
    with pytest.raises(InputError) as refused:
        service.plan(wish(model=str(tmp_path)))
    assert refused.value.code == "path_refused"


def test_time_left_is_learned_from_earlier_jobs(made: Any, wish: Wished) -> None:
    service = made()
    ended(service, service.generate(wish("first")))
    service.pause(True)
    waiting = [service.generate(wish(str(i))) for i in range(3)]
    lefts = [service.job(job.id).left for job in waiting]
    assert all(left is not None for left in lefts) and lefts == sorted(lefts)


def test_figures_count_jobs(made: Any, wish: Wished) -> None:
    service = made()
    ended(service, service.generate(wish()))
    figures = service.figures()
    assert figures.jobs == {("generation", "succeeded"): 1}
    assert figures.seconds["generation"] >= 0 and service.ready() is None


# After the process is gone.


def test_what_ran_when_the_process_died_is_drawn_once_by_the_next(
    made_in_file: Any, wish: Wished
) -> None:
    first = made_in_file()
    dead = made_in_file.app
    dead.hold()
    running = first.generate(wish("running", count=2))
    waiting = first.generate(wish("waiting"))
    wait_for(lambda: dead.order == [running.id])
    # Its lock and its memory go, and nothing is written down: as by kill -9.
    first._shared.dispatcher._lock_of_all.release()
    first._shared.dispatcher._thread.stop()
    second = made_in_file()
    jobs = [ended(second, job) for job in (running, waiting)]
    assert [job.state for job in jobs] == ["succeeded", "succeeded"]
    assert [len(job.artifacts) for job in jobs] == [2, 1]
    assert made_in_file.app.order == [running.id, waiting.id]
    names = {f"{file.id}.png" for job in jobs for file in job.artifacts}
    assert made_in_file.files() == names


def test_pictures_that_were_saved_before_the_process_died_are_not_drawn_again(
    made_in_file: Any, wish: Wished
) -> None:
    first = made_in_file()
    made_in_file.app.hold()
    job = first.generate(wish(count=3, seed=1))
    wait_for(lambda: made_in_file.app.order == [job.id])
    app = made_in_file.app
    artifact = app.pictures.save(job.plan.for_picture(1), _picture())
    app._saved.add(job.id, 1, artifact)
    first._shared.dispatcher._lock_of_all.release()
    first._shared.dispatcher._thread.stop()
    second = made_in_file()
    over = ended(second, job)
    assert made_in_file.app.drawn[job.id] == 2
    assert over.artifacts[1].id == artifact.id and len(over.artifacts) == 3


def test_what_runs_too_long_is_parked_when_the_server_stops(
    made_in_file: Any, wish: Wished
) -> None:
    first = made_in_file()
    made_in_file.app.hold()
    job = first.generate(wish())
    wait_for(lambda: made_in_file.app.order == [job.id])
    begun = time.monotonic()
    first.close(0.2)
    assert time.monotonic() - begun < 5
    with pytest.raises(EngineError) as caught:
        first.generate(wish())
    assert caught.value.code == "server_stopping"
    second = made_in_file()
    assert ended(second, job).state == "succeeded"


def test_what_is_nearly_done_is_finished_when_the_server_stops(
    made_in_file: Any, wish: Wished
) -> None:
    first = made_in_file()
    made_in_file.app.hold()
    job = first.generate(wish())
    wait_for(lambda: made_in_file.app.order == [job.id])
    made_in_file.app.let_go()
    first.close(10.0)
    second = made_in_file()
    assert second.job(job.id).state == "succeeded" and second.job(job.id).attempts == 1


def test_a_pause_outlives_the_process(made_in_file: Any, wish: Wished) -> None:
    first = made_in_file()
    first.pause(True)
    first.close(0.1)
    assert made_in_file().queue().paused


def test_a_second_server_on_the_same_file_is_refused(made_in_file: Any) -> None:
    made_in_file()
    with pytest.raises(InputError) as caught:
        made_in_file()
    assert caught.value.code == "server_runs_already"


def test_a_job_that_takes_the_process_with_it_is_given_up(made_in_file: Any, wish: Wished) -> None:
    service = made_in_file()
    service.pause(True)
    job = service.generate(wish())
    service.close(0.1)
    table = service._shared.ledger.table
    for _ in range(5):
        table.set(job.id, state="running")
        again = made_in_file()
        again.close(0.1)
    service = made_in_file()
    over = service.job(job.id)
    assert over.state == "failed" and over.error is not None
    assert "died 5 times" in over.error.message


def _picture() -> Any:
    from PIL import Image

    return Image.new("RGB", (16, 16), "red")


def test_a_fetched_picture_tells_no_path_of_the_server(
    made: Any, wish: Wished, tmp_path: Path
) -> None:
    from kizy.core.picture_files import read_plan
    from kizy.core.plan import (
        InputPicture,
        ModelFile,
        PlannedLora,
        PlannedStart,
    )

    service = made()
    plan = service.plan(wish())
    lora = ModelFile(name="ink", path=str(tmp_path / "loras" / "ink.safetensors"), sha256="1" * 64)
    start = InputPicture(path=str(tmp_path / f"{'2' * 64}.png"), sha256="2" * 64)
    told = plan.model_copy(
        update={
            "loras": (PlannedLora(file=lora, model_weight=1.0, clip_weight=1.0),),
            "start": PlannedStart(picture=start, strength=0.5),
        }
    )
    artifact = made.app.pictures.save(told, _picture())
    assert str(tmp_path).encode() not in Path(artifact.path).read_bytes()
    read = read_plan(Path(artifact.path))
    assert read.loras[0].file.sha256 == "1" * 64 and read.start is not None
    assert read.start.picture.path == f"{'2' * 64}.png" and read.digest() == told.digest()


@pytest.mark.parametrize("seed", [2**63 - 1, 2**64 - 1], ids=["signed", "highest"])
def test_the_highest_seeds_draw_every_picture(made: Any, wish: Wished, seed: int) -> None:
    service = made()
    job = ended(service, service.generate(wish(seed=seed, count=3)))
    assert job.state == "succeeded"
    assert [file.seed for file in job.artifacts] == [(seed + index) % 2**64 for index in range(3)]
    again = ended(service, service.generate(wish(seed=seed, count=3)))
    assert again.from_store and [f.seed for f in again.artifacts] == [f.seed for f in job.artifacts]
    assert all(service.artifact(file.id).path.is_file() for file in again.artifacts)
