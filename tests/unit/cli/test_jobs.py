"""`kizy jobs`: the jobs of a server, listed, watched, fetched, stopped and ordered."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import EngineError
from kizy.core.job import Job
from kizy.core.request import GenerationRequest, TrainingRequest
from PIL import Image

from tests.fakes.kizy_server import KizyServer
from tests.fakes.service import FakeService


@pytest.fixture
def fake(tmp_path: Path) -> FakeService:
    """What it accepts waits until a test goes on with it."""
    return FakeService(tmp_path / "server", held=True)


@pytest.fixture(autouse=True)
def server(fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> Iterator[KizyServer]:
    """The server that runs on this machine."""
    with KizyServer(fake) as running:
        monkeypatch.setenv("KIZY_SERVE__PORT", str(running.port))
        yield running


def hand_in(fake: FakeService, prompt: str = "a red fox", **values: Any) -> Job:
    return fake.generate(GenerationRequest(prompt=prompt, **values))


def do(fake: FakeService, job: Job) -> Job:
    fake.begin(job.id)
    fake.finish(job.id)
    return fake.job(job.id)


class TestList:
    def test_jobs_are_listed_newest_first(self, kizy: Any, fake: FakeService) -> None:
        first, second = hand_in(fake, "a red fox"), hand_in(fake, "a blue cat")
        do(fake, first)
        outcome = kizy("jobs")
        lines = outcome.out.splitlines()
        assert lines[0].split()[:2] == ["Id", "State"]
        assert second.id[:8] in lines[1] and "queued" in lines[1] and "a blue cat" in lines[1]
        assert "place 1" in lines[1]
        assert first.id[:8] in lines[2] and "succeeded" in lines[2]
        assert "0 running, 1 waiting." in outcome.out

    def test_list_is_the_same(self, kizy: Any, fake: FakeService) -> None:
        hand_in(fake)
        assert kizy("jobs", "list").out == kizy("jobs").out

    def test_states_are_chosen(self, kizy: Any, fake: FakeService) -> None:
        waits, done = hand_in(fake, "a"), hand_in(fake, "b")
        do(fake, done)
        told = kizy("jobs", "--state", "succeeded", "--state", "failed", "--json").json
        assert [job["id"] for job in told["jobs"]] == [done.id]
        told = kizy("jobs", "list", "--state", "queued", "--json").json
        assert [job["id"] for job in told["jobs"]] == [waits.id]

    def test_a_state_that_there_is_not_is_refused(self, kizy: Any) -> None:
        outcome = kizy("jobs", "--state", "dreaming")
        assert outcome.status == 2 and "succeeded" in outcome.words

    def test_older_ones_are_listed_when_all_are_asked_for(
        self, kizy: Any, fake: FakeService
    ) -> None:
        for number in range(22):
            hand_in(fake, f"fox {number}")
        newest = kizy("jobs", "--json").json
        assert (len(newest["jobs"]), newest["more"]) == (20, True)
        assert "kizy jobs --all" in kizy("jobs").words
        every = kizy("jobs", "--all", "--json").json
        assert (len(every["jobs"]), every["more"]) == (22, False)

    def test_titles_are_made_fit_to_be_shown(self, kizy: Any, fake: FakeService) -> None:
        hand_in(fake, "a \x1b[31mred\nfox " + "and another one " * 20)
        out = kizy("jobs").out
        assert "\x1b" not in out and "…" in out


class TestWhichServer:
    def test_that_none_runs_here_is_said(self, kizy: Any, server: KizyServer) -> None:
        server.stop()
        outcome = kizy("jobs")
        assert outcome.status == 1
        assert "No Kizy server runs here" in outcome.words and "kizy serve" in outcome.words

    def test_the_server_of_the_settings_comes_first(
        self, kizy: Any, server: KizyServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            monkeypatch.setenv("KIZY_SERVE__PORT", str(free.getsockname()[1]))
        monkeypatch.setenv("KIZY_SERVER", server.url)
        assert kizy("jobs").status == 0


class TestOne:
    def test_it_is_shown(self, kizy: Any, fake: FakeService) -> None:
        job = do(fake, hand_in(fake, seed=5, priority=3))
        words = kizy("jobs", "show", job.id).words
        assert "a red fox" in words and "State: succeeded" in words and "Priority: 3" in words
        assert "File: picture-0.png" in words and "Model: starter (it is there)" in words
        assert kizy("jobs", "show", job.id, "--json").json["id"] == job.id

    def test_the_begin_of_its_id_will_do(self, kizy: Any, fake: FakeService) -> None:
        job = hand_in(fake)
        assert kizy("jobs", "show", job.id[:8].upper(), "--json").json["id"] == job.id

    @pytest.mark.parametrize("given", ["", "zz", "5f0c1a52-6f0e-4c1b-9a57-0a4f5f6f2d11"])
    def test_one_that_is_not_known_is_said(self, kizy: Any, fake: FakeService, given: str) -> None:
        hand_in(fake)
        outcome = kizy("jobs", "show", given)
        assert outcome.status == 2 and "Code: job_unknown" in outcome.words

    def test_a_begin_that_two_have_is_refused(self, kizy: Any, fake: FakeService) -> None:
        begins: dict[str, int] = {}
        while max(begins.values(), default=0) < 2:
            begin = hand_in(fake).id[0]
            begins[begin] = begins.get(begin, 0) + 1
        outcome = kizy("jobs", "show", max(begins, key=lambda begin: begins[begin]))
        assert outcome.status == 2 and "Give more letters" in outcome.words

    def test_why_it_failed_is_shown(self, kizy: Any, fake: FakeService) -> None:
        job = hand_in(fake)
        fake.fail(job.id, EngineError("out_of_memory", "There is too little memory."))
        assert "There is too little memory." in kizy("jobs", "show", job.id).words

    def test_one_that_runs_shows_how_far_it_is(self, kizy: Any, fake: FakeService) -> None:
        job = hand_in(fake)
        fake.begin(job.id)
        fake.advance(job.id, 0.4, "step 4 of 10")
        assert "Now: 40% step 4 of 10" in kizy("jobs", "show", job.id).words
        assert "40%" in kizy("jobs").out


class TestWatch:
    def later(self, fake: FakeService, happens: Any) -> None:
        def wait() -> None:
            for _ in range(4000):
                if fake.followers:
                    happens()
                    return
                threading.Event().wait(0.005)

        threading.Thread(target=wait, daemon=True).start()

    def test_it_is_watched_to_its_end(self, kizy: Any, fake: FakeService) -> None:
        job = hand_in(fake)

        def happens() -> None:
            fake.begin(job.id)
            fake.note(job.id, "saving", "Drawn in two tiles.")
            fake.finish(job.id)

        self.later(fake, happens)
        outcome = kizy("jobs", "watch", job.id[:8])
        assert outcome.status == 0
        assert "Drawn in two tiles." in outcome.err and "Done: 1 file." in outcome.words

    def test_what_was_said_before_is_told_once(self, kizy: Any, fake: FakeService) -> None:
        job = hand_in(fake)
        fake.begin(job.id)
        fake.note(job.id, "saving", "Drawn in two tiles.")

        def happens() -> None:
            fake.advance(job.id, 0.5)
            fake.note(job.id, "offload", "Drawn in parts.")
            fake.finish(job.id)

        self.later(fake, happens)
        said = kizy("jobs", "watch", job.id[:8]).err
        assert said.count("Drawn in two tiles.") == said.count("Drawn in parts.") == 1

    def test_what_it_failed_with_is_the_commands_error(self, kizy: Any, fake: FakeService) -> None:
        job = hand_in(fake)
        self.later(fake, lambda: fake.fail(job.id))
        outcome = kizy("jobs", "watch", job.id, "--json")
        assert outcome.status == 1
        assert outcome.json["error"]["code"] == "drawing_failed"

    def test_one_that_is_over_is_told_at_once(self, kizy: Any, fake: FakeService) -> None:
        job = do(fake, hand_in(fake))
        assert kizy("jobs", "watch", job.id, "--json").json["state"] == "succeeded"


class TestFetch:
    def test_pictures_are_saved_under_their_usual_names(
        self, kizy: Any, fake: FakeService, tmp_path: Path
    ) -> None:
        job = do(fake, hand_in(fake, seed=5, count=2))
        outcome = kizy("jobs", "fetch", job.id[:8], "--out", tmp_path / "out", "--json")
        paths = [Path(file["path"]) for file in outcome.json["files"]]
        assert [path.name[15:] for path in paths] == ["-a-red-fox-5.png", "-a-red-fox-6.png"]
        assert all(path.is_file() for path in paths)

    def test_files_of_a_training_are_saved_under_their_own(
        self, kizy: Any, fake: FakeService, tmp_path: Path
    ) -> None:
        picture = tmp_path / "a.png"
        Image.new("RGB", (8, 8)).save(picture)
        with picture.open("rb") as data:
            upload = fake.upload("a.png", data)
        job = do(fake, fake.train(TrainingRequest(files=(upload.id,), name="Mimi")))
        kizy("jobs", "fetch", job.id, "--out", tmp_path / "out")
        kizy("jobs", "fetch", job.id, "--out", tmp_path / "out")
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "lora-0-2.safetensors",
            "lora-0.safetensors",
            "sample-0-2.png",
            "sample-0.png",
        ]

    def test_what_is_gone_is_said(self, kizy: Any, fake: FakeService, tmp_path: Path) -> None:
        job = do(fake, hand_in(fake))
        fake.lose(job.artifacts[0].id)
        outcome = kizy("jobs", "fetch", job.id, "--out", tmp_path / "out")
        assert outcome.status == 0 and "was removed by the server's rules" in outcome.words

    def test_a_job_without_files_says_so(self, kizy: Any, fake: FakeService) -> None:
        job = hand_in(fake)
        assert "no files (queued)" in kizy("jobs", "fetch", job.id).words


class TestOrder:
    def test_jobs_are_cancelled(self, kizy: Any, fake: FakeService) -> None:
        first, second = hand_in(fake, "a"), hand_in(fake, "b")
        outcome = kizy("jobs", "cancel", first.id[:8], second.id[:8])
        assert outcome.out.count("cancelled") == 2
        assert {job.state for job in fake.jobs().jobs} == {"cancelled"}

    def test_none_is_cancelled_if_one_is_not_known(self, kizy: Any, fake: FakeService) -> None:
        job = hand_in(fake)
        assert kizy("jobs", "cancel", job.id, "zz").status == 2
        assert fake.job(job.id).state == "queued"

    def test_one_that_was_cancelled_is_tried_again(self, kizy: Any, fake: FakeService) -> None:
        job = hand_in(fake)
        assert kizy("jobs", "retry", job.id).status == 2
        fake.cancel(job.id)
        (again,) = kizy("jobs", "retry", job.id, "--json").json["jobs"]
        assert again["retry_of"] == job.id

    def test_the_queue_is_paused_and_goes_on(self, kizy: Any, fake: FakeService) -> None:
        assert "The queue is paused" in kizy("jobs", "pause").words
        assert fake.queue().paused
        assert kizy("jobs", "resume", "--json").json["paused"] is False
        assert not fake.queue().paused

    def test_one_job_is_paused_and_goes_on(self, kizy: Any, fake: FakeService) -> None:
        job = hand_in(fake)
        assert "paused" in kizy("jobs", "pause", job.id).out
        assert fake.job(job.id).paused and not fake.queue().paused
        kizy("jobs", "resume", job.id)
        assert not fake.job(job.id).paused

    def test_a_job_is_moved(self, kizy: Any, fake: FakeService) -> None:
        first, second = hand_in(fake, "a"), hand_in(fake, "b")
        kizy("jobs", "move", second.id, "first")
        assert fake.job(second.id).place == 1
        kizy("jobs", "move", first.id[:8], second.id[:8])
        assert fake.job(first.id).place == 1

    @pytest.mark.parametrize("number", [7, -7])
    def test_its_priority_is_changed(self, kizy: Any, fake: FakeService, number: int) -> None:
        job = hand_in(fake)
        outcome = kizy("jobs", "priority", job.id, str(number))
        assert outcome.status == 0, outcome.err
        assert fake.job(job.id).priority == number

    def test_one_that_began_is_not_moved(self, kizy: Any, fake: FakeService) -> None:
        job = hand_in(fake)
        fake.begin(job.id)
        outcome = kizy("jobs", "move", job.id, "first")
        assert outcome.status == 2 and "Code: job_not_waiting" in outcome.words
