"""Commands that a Kizy server does: KIZY_SERVER is set, and they look as in this process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import CancelledError, EngineError
from kizy.core.picture_files import png_bytes, read_plan
from kizy.core.plan import InputPicture, PlannedStart
from kizy.core.request import GenerationRequest
from kizy.orchestrator.cli import draw_remote as there
from PIL import Image
from rich.console import Console

from tests.fakes.draws import plan_of
from tests.fakes.kizy_server import KizyServer
from tests.fakes.service import FakeService

WAIT = 60.0
"""Seconds after which a test that hangs fails."""


@pytest.fixture
def fake(tmp_path: Path) -> FakeService:
    return FakeService(tmp_path / "server")


@pytest.fixture(autouse=True)
def server(fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> Iterator[KizyServer]:
    """The server of the settings."""
    with KizyServer(fake) as running:
        monkeypatch.setenv("KIZY_SERVER", running.url)
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "teal").save(path)
    return path


def drawn(path: Path, **changes: Any) -> Path:
    """A picture of Kizy's."""
    plan = plan_of(GenerationRequest(prompt="a red fox", seed=3), **changes)
    path.write_bytes(png_bytes(Image.new("RGB", (16, 16)), plan, "0"))
    return path


def last_request(fake: FakeService) -> Any:
    return fake.jobs().jobs[0].request


class TestGenerate:
    def test_pictures_are_saved_and_told(self, kizy: Any, out: Path) -> None:
        outcome = kizy("generate", "a red fox", "--count", "2", "--seed", "5", "--out", out)
        assert outcome.status == 0, outcome.err
        saved = sorted(path.name for path in out.iterdir())
        assert [name[15:] for name in saved] == ["-a-red-fox-5.png", "-a-red-fox-6.png"]
        assert all(str(out / name) in outcome.err for name in saved)
        assert "64x64, seed 5" in outcome.err
        assert "Model: starter (it is there)" in outcome.err
        assert [read_plan(out / name).seed for name in saved] == [5, 6]

    def test_without_a_folder_they_go_where_pictures_go(
        self, kizy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KIZY_PICTURES", str(tmp_path / "mine"))
        assert kizy("generate", "a red fox").status == 0
        assert len(list((tmp_path / "mine").iterdir())) == 1

    def test_json_is_one_document_of_the_usual_form(self, kizy: Any, out: Path) -> None:
        told = kizy("generate", "a red fox", "--seed", "5", "--out", out, "--json").json
        assert told.keys() == {"pictures", "notices", "notice_codes", "seconds", "plan"}
        (picture,) = told["pictures"]
        assert picture.keys() == {"id", "path", "media_type", "width", "height", "seed"}
        assert Path(picture["path"]).is_file()
        assert told["plan"]["seed"] == 5

    def test_what_was_drawn_before_is_said(self, kizy: Any, out: Path, fake: FakeService) -> None:
        arguments = ("generate", "a red fox", "--seed", "5", "--out", out)
        kizy(*arguments)
        assert "--fresh draws anew" in kizy(*arguments).err
        assert "--fresh" not in kizy(*arguments, "--fresh").err
        assert [job.from_store for job in fake.jobs().jobs] == [False, True, False]

    def test_a_start_picture_is_handed_over(
        self, kizy: Any, out: Path, photo: Path, fake: FakeService
    ) -> None:
        outcome = kizy("generate", "a fox", "--start", photo, "--strength", "0.3", "--out", out)
        assert outcome.status == 0, outcome.err
        start = last_request(fake).start
        assert len(start.picture) == 64 and start.strength == 0.3

    def test_a_refusal_is_told_as_in_this_process(self, kizy: Any, out: Path) -> None:
        outcome = kizy("generate", "a fox", "--model", "startr", "--out", out, "--json")
        assert outcome.status == 2
        assert outcome.json["error"]["code"] == "model_unknown"
        assert "Error:" in outcome.err and "Fix:" in outcome.err

    def test_a_picture_that_is_not_there_is_told(self, kizy: Any) -> None:
        outcome = kizy("generate", "a fox", "--start", "none.png")
        assert outcome.status == 2 and "none.png" in outcome.words

    def test_a_full_queue_is_told(self, kizy: Any, fake: FakeService) -> None:
        fake.raises["generate"] = EngineError("queue_full", "1000 jobs wait already.")
        outcome = kizy("generate", "a fox")
        assert outcome.status == 1 and "1000 jobs wait already." in outcome.words

    def test_a_folder_that_cannot_be_written_is_told_before_anything_is_drawn(
        self, kizy: Any, tmp_path: Path, fake: FakeService
    ) -> None:
        (tmp_path / "file").write_text("here")
        outcome = kizy("generate", "a fox", "--out", tmp_path / "file")
        assert outcome.status == 2 and "folder_not_writable" in outcome.err
        assert fake.jobs().jobs == ()

    def test_a_server_that_is_away_is_told(self, kizy: Any, server: KizyServer) -> None:
        server.stop()
        outcome = kizy("generate", "a fox")
        assert outcome.status == 1
        assert f"Nothing answers at {server.url}" in outcome.words

    def test_a_key_that_is_wrong_is_told_and_not_shown(
        self, kizy: Any, fake: FakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KIZY_SERVER_KEY", "wrong-key")
        with KizyServer(fake, host="0.0.0.0") as guarded:
            monkeypatch.setenv("KIZY_SERVER", guarded.url)
            outcome = kizy("generate", "a fox", "--debug")
        assert outcome.status == 2 and "Code: key_wrong" in outcome.words
        assert "wrong-key" not in outcome.out + outcome.err


class TestFailures:
    """Of jobs that were accepted."""

    @pytest.fixture
    def fake(self, tmp_path: Path) -> FakeService:
        return FakeService(tmp_path / "server", held=True)

    def when_it_comes(self, fake: FakeService, happens: Any) -> None:
        """Do something to the first job, once there is one."""

        def wait() -> None:
            for _ in range(int(WAIT / 0.005)):
                jobs = fake.jobs().jobs
                if jobs and fake.followers:
                    happens(jobs[0].id)
                    return
                threading.Event().wait(0.005)

        threading.Thread(target=wait, daemon=True).start()

    def test_a_failure_is_told(self, kizy: Any, fake: FakeService, out: Path) -> None:
        error = EngineError("out_of_memory", "There is too little memory.", fix="Buy some.")
        self.when_it_comes(fake, lambda job_id: (fake.begin(job_id), fake.fail(job_id, error)))
        outcome = kizy("generate", "a fox", "--out", out, "--json")
        assert outcome.status == 1
        assert outcome.json["error"] == {
            "code": "out_of_memory",
            "message": "There is too little memory.",
            "fix": "Buy some.",
        }

    def test_a_failure_of_a_newer_server_is_told(
        self, kizy: Any, fake: FakeService, out: Path
    ) -> None:
        error = EngineError("moon_full", "The moon is full.", fix="Wait.")
        self.when_it_comes(fake, lambda job_id: fake.fail(job_id, error))
        outcome = kizy("generate", "a fox", "--out", out)
        assert outcome.status == 1 and "Code: moon_full" in outcome.words

    def test_who_cancels_it_elsewhere_is_heard(
        self, kizy: Any, fake: FakeService, out: Path
    ) -> None:
        self.when_it_comes(fake, fake.cancel)
        outcome = kizy("generate", "a fox", "--out", out)
        assert outcome.status == 130
        assert "the job was cancelled on the server; nothing was saved" in outcome.words

    def test_notices_are_told(self, kizy: Any, fake: FakeService, out: Path) -> None:
        def happens(job_id: str) -> None:
            fake.begin(job_id)
            fake.note(job_id, "saving", "Drawn in two tiles.")
            fake.finish(job_id)

        self.when_it_comes(fake, happens)
        outcome = kizy("generate", "a fox", "--out", out, "--json")
        assert outcome.json["notices"] == ["Drawn in two tiles."]
        assert "Note: Drawn in two tiles." in outcome.err

    @pytest.mark.slow
    def test_ctrl_c_cancels_the_job_there_and_says_so(
        self, fake: FakeService, server: KizyServer, out: Path
    ) -> None:
        code = "from kizy.orchestrator.cli.main import main; main()"
        arguments = ["generate", "a red fox", "--out", str(out)]
        with subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            self.when_it_comes(fake, lambda _: process.send_signal(signal.SIGINT))
            try:
                _, err = process.communicate(timeout=WAIT)
            finally:
                process.kill()
        assert process.returncode == 130, err
        assert "Stopping: the job is cancelled on the server." in err
        assert "Stopped: the job was cancelled on the server; nothing was saved." in err
        assert "Traceback" not in err
        assert [job.state for job in fake.jobs().jobs] == ["cancelled"]

    def test_a_second_ctrl_c_leaves_at_once(self, fake: FakeService) -> None:
        class Interrupted(FakeService):
            def follow(self, job_id: str, after: int | None = None) -> Any:
                raise KeyboardInterrupt

        job = fake.generate(GenerationRequest(prompt="a fox"))
        service = Interrupted(fake._table.folder, table=fake._table)
        with pytest.raises(CancelledError, match="Left at once; the job is being cancelled"):
            there.followed(service, job, Console(stderr=True))
        assert fake.job(job.id).state == "cancelled"

    def test_one_before_the_server_has_heard_of_it_says_how_to_stop_the_job(
        self, fake: FakeService
    ) -> None:
        class Deaf(FakeService):
            def follow(self, job_id: str, after: int | None = None) -> Any:
                raise KeyboardInterrupt

            def cancel(self, job_id: str) -> Any:
                raise KeyboardInterrupt

        job = fake.generate(GenerationRequest(prompt="a fox"))
        service = Deaf(fake._table.folder, table=fake._table)
        with pytest.raises(CancelledError, match="the job may go on") as left:
            there.followed(service, job, Console(stderr=True))
        assert f"kizy jobs cancel {job.id}" in left.value.fix


class TestReplay:
    def test_a_picture_is_drawn_again(
        self, kizy: Any, out: Path, tmp_path: Path, fake: FakeService
    ) -> None:
        outcome = kizy("replay", drawn(tmp_path / "ours.png"), "--out", out)
        assert outcome.status == 0, outcome.err
        request = last_request(fake)
        assert (request.prompt, request.seed, request.steps) == ("a red fox", 3, 2)
        assert (request.loras, request.model) == ("none", "starter")

    def test_what_comes_out_otherwise_is_said(self, kizy: Any, tmp_path: Path) -> None:
        outcome = kizy("replay", drawn(tmp_path / "ours.png", sampler="dpmpp_2m"))
        assert "another sampler euler (it was dpmpp_2m)" in outcome.words

    def test_its_start_picture_is_found_or_named_by_its_content(
        self, kizy: Any, tmp_path: Path, photo: Path, fake: FakeService
    ) -> None:
        with photo.open("rb") as data:
            upload = fake.upload("photo.png", data)
        gone = InputPicture(path="/nowhere/photo.png", sha256=upload.id)
        here = InputPicture(path=str(photo), sha256=upload.id)
        for start in (gone, here):
            planned = PlannedStart(picture=start, strength=0.4)
            outcome = kizy("replay", drawn(tmp_path / "ours.png", start=planned))
            assert outcome.status == 0, outcome.err
            assert last_request(fake).start.picture == upload.id

    def test_a_picture_without_a_plan_is_refused(self, kizy: Any, photo: Path) -> None:
        outcome = kizy("replay", photo)
        assert outcome.status == 2 and "plan_missing" in outcome.err


class TestImprove:
    def test_a_picture_of_kizys_is_improved_as_it_was_drawn(
        self, kizy: Any, tmp_path: Path, out: Path, fake: FakeService
    ) -> None:
        outcome = kizy("improve", drawn(tmp_path / "ours.png"), "--out", out, "--json")
        assert outcome.status == 0, outcome.err
        request = last_request(fake)
        assert (request.prompt, request.model, request.loras) == ("a red fox", "starter", "none")
        assert (request.start.strength, request.improve[0].what) == (0, "faces")
        assert len(request.start.picture) == 64
        assert Path(outcome.json["pictures"][0]["path"]).parent == out

    def test_a_mask_is_handed_over(self, kizy: Any, photo: Path, fake: FakeService) -> None:
        outcome = kizy("improve", photo, "--what", photo, "--prompt", "a card")
        assert outcome.status == 0, outcome.err
        assert last_request(fake).improve[0].mask == last_request(fake).start.picture


class TestTrain:
    def test_pictures_are_handed_over_and_the_lora_is_told(
        self, kizy: Any, photo: Path, fake: FakeService
    ) -> None:
        outcome = kizy("train", photo, "--name", "Mimi", "--about", "a cat", "--steps", "9")
        assert outcome.status == 0, outcome.err
        request = last_request(fake)
        assert (request.name, request.about, request.steps) == ("Mimi", "a cat", 9)
        assert "lora-0.safetensors" in outcome.words
        assert "kizy jobs fetch" in outcome.words

    def test_json_is_one_document_of_the_usual_form(self, kizy: Any, photo: Path) -> None:
        told = kizy("train", photo, "--name", "Mimi", "--json").json
        assert (told["state"], told["lora"]) == ("succeeded", "lora-0.safetensors")
        usual = "trigger weight best_step why steps loss validation samples pictures notices"
        assert set(told) >= {*usual.split(), "seconds", "folder", "plan", "dataset"}
        assert told["steps"] == 10

    @pytest.mark.parametrize("option", ["--resume", "--dry-run"])
    def test_what_only_this_machine_can_is_refused(
        self, kizy: Any, photo: Path, option: str, fake: FakeService
    ) -> None:
        outcome = kizy("train", photo, "--name", "Mimi", option)
        assert outcome.status == 2 and "KIZY_SERVER" in outcome.words
        assert fake.jobs().jobs == ()

    def test_a_training_without_a_name_is_refused(self, kizy: Any, photo: Path) -> None:
        outcome = kizy("train", photo)
        assert outcome.status == 2 and "The LoRA has no name." in outcome.words


class TestLists:
    def test_models(self, kizy: Any, server: KizyServer) -> None:
        words = kizy("models").words
        assert "painter-xl SDXL gpu1, gpu2" in words and server.url in words
        models = kizy("models", "--json").json["models"]
        assert [model["name"] for model in models] == ["starter", "painter-xl"]

    def test_models_that_are_sought(self, kizy: Any) -> None:
        assert [m["name"] for m in kizy("models", "search", "xl", "--json").json["found"]] == [
            "painter-xl"
        ]
        assert "No model on the server" in kizy("models", "search", "moon").words
        outcome = kizy("models", "search", "painter", "--family", "starter")
        assert "No model on the server" in outcome.words

    def test_why_a_model_is_taken(self, kizy: Any) -> None:
        assert "starter (Kizy Starter) it is there" in kizy("models", "why", "a fox").words
        told = kizy("models", "why", "a fox", "--json").json
        assert (told["model"]["name"], told["why"]) == ("starter", "it is there")

    def test_loras(self, kizy: Any, server: KizyServer) -> None:
        words = kizy("loras").words
        assert "ink style" in words and f"2 LoRAs on the server {server.url}" in words
        told = kizy("loras", "--family", "sdxl", "--json").json["loras"]
        assert [(lora["name"], lora["weight"]) for lora in told] == [("ink", 0.8)]

    def test_loras_that_are_sought(self, kizy: Any) -> None:
        assert "Mimi the cat." in kizy("loras", "search", "cat").words
        (found,) = kizy("loras", "search", "cat", "--json").json["found"]
        assert (found["name"], found["score"]) == ("mimi", 0.9)
        assert "No LoRA on the server" in kizy("loras", "search", "moon").words

    def test_why_a_lora_is_taken(self, kizy: Any) -> None:
        assert "No LoRA is used." in kizy("loras", "why", "a fox").words
        told = kizy("loras", "why", "a fox", "--json").json
        assert (told["picked"], told["family"]) == ([], "starter")
        assert kizy("loras", "why", "a fox", "--max", "2").status == 2

    def test_servers(self, kizy: Any) -> None:
        words = kizy("servers").words
        assert "gpu1 comfyui ready 0.3.64 A GPU 0" in words
        told = kizy("servers", "--json").json["servers"]
        assert [(one["name"], one["reachable"]) for one in told] == [("here", True), ("gpu1", True)]
