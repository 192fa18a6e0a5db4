"""Long work: progress, the end of patience, and calls that break off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
from kizy.core.errors import EngineError, UnknownNameError
from kizy.core.job import Job
from kizy.core.request import GenerationRequest
from kizy.orchestrator.server.mcp.follow_job import Progress
from kizy.orchestrator.server.mcp.protocol_server import Terms

Speak = Callable[..., None]
SHORT = Terms(patience=0.03)


def test_progress_is_told_with_words(speak: Speak, held: Any, told: Any, mode: str) -> None:
    async def happens(job: Any) -> None:
        held.begin(job.id)
        for fraction in (0.2, 0.5, 0.9):
            held.advance(job.id, fraction)
            with anyio.fail_after(9):
                while fraction not in told.done:
                    await anyio.sleep(0.002)
        held.finish(job.id)

    async def conversation(talk: Any) -> None:
        answer = await talk.during(happens, "generate", told, prompt="a fox")
        assert len(answer.images) == 1

    speak(conversation, mode=mode, service=held)
    assert told.done == [0.0, 0.2, 0.5, 0.9, 1.0]
    assert {total for _, total, _ in told.steps} == {1.0}
    assert "50% done" in " ".join(words or "" for _, _, words in told.steps)


def test_progress_never_goes_back_and_is_told_once() -> None:
    sent: list[float] = []

    async def send(done: float, _total: float, _words: str) -> None:
        sent.append(done)

    async def report() -> None:
        progress = Progress(send, lambda _: "")
        job = Job(request=GenerationRequest(prompt="a fox"), state="running")
        for fraction in (0.1, 0.1, 0.5, 0.2, 0.6):
            await progress(job.model_copy(update={"progress": fraction}))
        await progress(job.model_copy(update={"state": "failed", "progress": 0.6}))
        await progress(job.model_copy(update={"state": "succeeded", "progress": 0.6}))

    anyio.run(report)
    assert sent == [0.1, 0.5, 0.6, 1.0]


def test_whoever_waits_is_told_the_place_in_the_queue(speak: Speak, held: Any, told: Any) -> None:
    async def conversation(talk: Any) -> None:
        await talk.call("generate", prompt="a dog", wait=False)
        answer = await talk.call("generate", told, prompt="a fox")
        assert "number 2 in the queue" in answer.text

    speak(conversation, SHORT, service=held)
    assert "number 2 in the queue" in (told.steps[0][2] or "")


def test_what_takes_longer_gives_its_id_and_job_status_ends_it(
    speak: Speak, held: Any, mode: str
) -> None:
    async def conversation(talk: Any) -> None:
        begun = await talk.call("generate", prompt="a fox")
        assert not begun.failed
        assert begun.images == []
        job_id = begun.facts["job_id"]
        assert job_id in begun.text
        assert "job_status" in begun.text
        held.begin(job_id)
        held.advance(job_id, 0.25)
        status = await talk.call("job_status", job_id=job_id)
        assert (status.facts["state"], status.facts["progress"]) == ("running", 0.25)
        assert "25% done" in status.text
        held.finish(job_id)
        done = await talk.call("job_status", job_id=job_id)
        assert done.facts["state"] == "succeeded"
        assert [picture.size for picture in done.pictures] == [(64, 64)]

    speak(conversation, SHORT, mode=mode, service=held)


def test_a_status_waits_for_the_end_if_it_is_asked_to(speak: Speak, held: Any) -> None:
    async def conversation(talk: Any) -> None:
        begun = await talk.call("generate", prompt="a fox", wait=False)

        async def finish(job: Any) -> None:
            held.finish(job.id)

        job_id = begun.facts["job_id"]
        done = await talk.during(finish, "job_status", job_id=job_id, wait_seconds=9)
        assert len(done.images) == 1

    speak(conversation, service=held)


def test_a_status_shows_no_pictures_if_none_are_wanted(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        done = await talk.call("generate", prompt="a fox")
        status = await talk.call("job_status", job_id=done.facts["job_id"], show=False)
        assert status.facts["state"] == "succeeded"
        assert status.images == []

    speak(conversation)


def test_without_waiting_the_id_comes_back_at_once(speak: Speak, held: Any) -> None:
    async def conversation(talk: Any) -> None:
        begun = await talk.call("generate", prompt="a fox", wait=False)
        assert begun.facts["state"] == "queued"

    speak(conversation, service=held)


def test_a_training_gives_its_id_at_once_and_its_lora_at_the_end(
    speak: Speak, held: Any, picture: Any, as_url: Any
) -> None:
    async def conversation(talk: Any) -> None:
        begun = await talk.call("train", name="mimi", pictures=[as_url(picture())])
        assert begun.data["state"] == "queued"
        held.begin(begun.data["job_id"])
        held.finish(begun.data["job_id"])
        done = await talk.call("job_status", job_id=begun.data["job_id"])
        assert [one["kind"] for one in done.facts["files"]] == ["lora", "sample"]
        # The sample is shown.
        assert len(done.images) == 1

    speak(conversation, service=held)


def test_cancelling_the_call_cancels_its_job(speak: Speak, held: Any, mode: str) -> None:
    async def conversation(talk: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk.client.call_tool, "generate", {"prompt": "a fox"})
            job = await talk.the_job()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            while not held.job(job.id).over:
                await anyio.sleep(0.002)
        assert held.job(job.id).state == "cancelled"

    speak(conversation, mode=mode, service=held)


def test_a_server_that_is_being_stopped_leaves_the_jobs_of_its_calls(
    speak: Speak, held: Any
) -> None:
    async def conversation(talk: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk.client.call_tool, "generate", {"prompt": "a fox"})
            await talk.the_job()
            tasks.cancel_scope.cancel()

    speak(conversation, Terms(stopping=lambda: True), service=held)
    assert held.jobs().jobs[0].state == "queued"


def test_breaking_off_a_status_leaves_the_job(speak: Speak, held: Any, mode: str) -> None:
    async def conversation(talk: Any) -> None:
        begun = await talk.call("generate", prompt="a fox", wait=False)
        values = {"job_id": begun.facts["job_id"], "wait_seconds": 40}
        with anyio.move_on_after(0.05):
            await talk.client.call_tool("job_status", values)
        # A call behind it shows that the server is through with it.
        status = await talk.call("job_status", job_id=begun.facts["job_id"])
        assert status.facts["state"] == "queued"

    speak(conversation, mode=mode, service=held)


def test_a_service_that_is_away_for_a_moment_is_asked_again(speak: Speak, held: Any) -> None:
    async def happens(job: Any) -> None:
        held.raises["job"] = EngineError("server_unreachable", "Nobody answers.")
        await anyio.sleep(0.05)
        del held.raises["job"]
        held.finish(job.id)

    async def conversation(talk: Any) -> None:
        answer = await talk.during(happens, "generate", prompt="a fox")
        assert len(answer.images) == 1

    speak(conversation, service=held)


def test_a_job_that_vanishes_meanwhile_is_an_error(speak: Speak, held: Any) -> None:
    async def happens(job: Any) -> None:
        held.raises["job"] = UnknownNameError("job_unknown", "There is no such job.")

    async def conversation(talk: Any) -> None:
        answer = await talk.during(happens, "generate", prompt="a fox")
        assert answer.failed
        assert answer.code == "job_unknown"

    speak(conversation, service=held)


def test_a_full_queue_is_an_error_with_what_to_do(speak: Speak, held: Any) -> None:
    held.raises["generate"] = EngineError("queue_full", "10 jobs wait already.")

    async def conversation(talk: Any) -> None:
        answer = await talk.call("generate", prompt="a fox")
        assert answer.code == "queue_full"
        assert "Try again" in answer.text

    speak(conversation, service=held)


def test_a_drawing_that_somebody_else_cancels_is_an_error(speak: Speak, held: Any) -> None:
    async def happens(job: Any) -> None:
        held.cancel(job.id)

    async def conversation(talk: Any) -> None:
        answer = await talk.during(happens, "generate", prompt="a fox")
        assert answer.failed
        assert answer.facts["state"] == "cancelled"

    speak(conversation, service=held)
