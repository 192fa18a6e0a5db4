"""The SDK: pictures that were drawn, jobs that are followed, and errors as Kizy's own."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kizy.core.picture_files import read_plan
from kizy.orchestrator import sdk
from kizy.orchestrator.sdk import (
    CancelledError,
    EngineError,
    File,
    InputError,
    JobHandle,
    Kizy,
    KizyError,
    LoraChoice,
    Picture,
    PictureError,
    StartPicture,
    StateEvent,
    UnknownNameError,
)
from kizy.orchestrator.service import Numbered, Wish
from PIL import Image

from tests.fakes.kizy_server import KizyServer
from tests.fakes.service import FakeService


@pytest.fixture
def start(tmp_path: Path) -> Path:
    path = tmp_path / "start.png"
    Image.new("RGB", (40, 30), "teal").save(path)
    return path


def test_the_public_names_are_sorted_and_there() -> None:
    assert sdk.__all__ == sorted(sdk.__all__)
    assert [name for name in sdk.__all__ if not hasattr(sdk, name)] == []


class TestPictures:
    def test_generate_waits_and_gives_them_in_order(self, kizy: Kizy) -> None:
        found = kizy.generate("a red fox", count=3, seed=5)
        assert [picture.seed for picture in found] == [5, 6, 7]
        assert all(isinstance(picture, Picture) for picture in found)

    def test_a_picture_has_its_content_its_plan_and_its_size(self, kizy: Kizy) -> None:
        (picture,) = kizy.generate("a red fox", seed=5, size=(48, 32))
        with Image.open(io.BytesIO(picture.bytes)) as opened:
            assert opened.size == (48, 32)
        assert picture.image.size == (picture.width, picture.height) == (48, 32)
        assert (picture.plan.seed, picture.plan.request_prompt) == (5, "a red fox")
        assert picture.plan.count == 1
        assert (len(picture.bytes), picture.media_type) == (picture.size, "image/png")
        assert picture._repr_png_() == picture.bytes

    def test_it_is_saved_with_its_plan_inside(self, kizy: Kizy, tmp_path: Path) -> None:
        (picture,) = kizy.generate("a red fox", seed=5)
        saved = picture.save(tmp_path / "out" / "fox.png")
        assert saved == tmp_path / "out" / "fox.png"
        assert read_plan(saved).seed == 5

    def test_in_a_folder_it_gets_a_name_and_nothing_is_overwritten(
        self, kizy: Kizy, tmp_path: Path
    ) -> None:
        (picture,) = kizy.generate("a red fox", seed=5)
        first, second = picture.save(f"{tmp_path}/out/"), picture.save(tmp_path / "out")
        assert first != second and first.parent == second.parent == tmp_path / "out"
        assert "a-red-fox-5" in first.name

    def test_it_is_saved_in_another_format(self, kizy: Kizy, tmp_path: Path) -> None:
        (picture,) = kizy.generate("a red fox")
        for name, format_ in (("a.jpg", "JPEG"), ("a.webp", "WEBP"), ("a.PNG", "PNG")):
            with Image.open(picture.save(tmp_path / name)) as saved:
                assert saved.format == format_

    def test_a_format_that_is_none_is_refused(self, kizy: Kizy, tmp_path: Path) -> None:
        (picture,) = kizy.generate("a red fox")
        with pytest.raises(PictureError, match="docx"):
            picture.save(tmp_path / "fox.docx")
        assert not (tmp_path / "fox.docx").exists()

    def test_one_that_is_gone_says_so(self, kizy: Kizy, fake: FakeService) -> None:
        (picture,) = kizy.generate("a red fox")
        fake.lose(picture.id)
        with pytest.raises(UnknownNameError) as gone:
            _ = picture.bytes
        assert gone.value.code == "artifact_gone"
        handle = kizy.job(next(kizy.jobs()).id)
        assert handle.files()[0].gone


class TestWishes:
    def test_a_picture_to_begin_with_may_be_anything(self, kizy: Kizy, start: Path) -> None:
        (drawn,) = kizy.generate("a fox")
        given: list[Any] = [
            start,
            str(start),
            start.read_bytes(),
            Image.open(start),
            drawn,
            drawn.id,
            StartPicture(picture=str(start), strength=0.3),
            {"picture": start, "strength": 0.3},
        ]
        plans = [kizy.plan("a fox", start=one) for one in given]
        assert all(plan.start is not None for plan in plans)
        assert [plan.start.strength for plan in plans[-2:] if plan.start] == [0.3, 0.3]

    def test_what_is_no_picture_is_refused(self, kizy: Kizy) -> None:
        with pytest.raises(InputError, match="is no picture"):
            kizy.plan("a fox", start=3.5)  # type: ignore[arg-type]

    def test_a_picture_that_is_not_there_is_said(self, kizy: Kizy) -> None:
        with pytest.raises(KizyError):
            kizy.plan("a fox", start="none.png")

    def test_a_mask_needs_no_more_than_its_picture(self, kizy: Kizy, start: Path) -> None:
        assert kizy.plan("a fox", start=start, mask=start).mask is not None

    def test_a_field_that_there_is_not_is_refused(self, kizy: Kizy) -> None:
        with pytest.raises(InputError) as refused:
            kizy.generate("a fox", stepps=3)  # type: ignore[call-arg]
        assert refused.value.code == "request_invalid"

    def test_an_empty_prompt_is_refused(self, kizy: Kizy) -> None:
        with pytest.raises(InputError) as refused:
            kizy.generate(" ")
        assert refused.value.code == "prompt_empty"

    def test_how_it_is_to_be_accepted_arrives(self, slow: Kizy, held: FakeService) -> None:
        deadline = datetime(2030, 1, 1, tzinfo=UTC)
        job = slow.submit("a", fresh=True, raw=True, deadline=deadline, idempotency_key="k")
        assert held.wish_of(job.id) == Wish(True, deadline, "k", True)
        assert slow.submit("a", idempotency_key="k").id == job.id

    def test_a_deadline_may_be_a_time_from_now(self, slow: Kizy) -> None:
        job = slow.submit("a", deadline=timedelta(hours=1)).job
        assert job.deadline is not None
        assert timedelta(minutes=59) < job.deadline - datetime.now(UTC) < timedelta(minutes=61)


class TestJobs:
    def test_a_job_is_followed_to_its_end(self, slow: Kizy, held: FakeService) -> None:
        job = slow.submit("a red fox", count=2)
        events = iter(job)
        assert next(events).kind == "state"
        held.begin(job.id)
        held.advance(job.id, 0.5)
        held.finish(job.id)
        rest = [event.kind for event in events]
        assert (rest.count("artifact"), rest[-1]) == (2, "end")
        assert (job.state, len(job.pictures())) == ("succeeded", 2)

    def test_its_end_is_heard_though_its_state_is_not_told_again(self, fake: FakeService) -> None:
        class Terse(FakeService):
            def follow(self, job_id: str, after: int | None = None) -> Any:
                told = list(super().follow(job_id, after))
                waiting = told[0].event.job.model_copy(update={"state": "queued"})  # type: ignore
                yield Numbered(None, StateEvent(job=waiting))
                yield told[-1]

        kizy = Kizy.over(Terse(fake._table.folder, table=fake._table))
        job = kizy.submit("a red fox")
        assert [event.kind for event in job] == ["state", "end"]
        assert (job.state, len(job.pictures())) == ("succeeded", 1)

    def test_its_result_is_waited_for(self, slow: Kizy, held: FakeService) -> None:
        job = slow.submit("a red fox")
        assert not job.done
        threading.Timer(0.02, lambda: (held.begin(job.id), held.finish(job.id))).start()
        assert [picture.seed for picture in job.result()] == [7]
        assert job.done

    def test_waiting_may_have_a_limit(self, slow: Kizy, held: FakeService) -> None:
        job = slow.submit("a red fox")
        assert job.wait(0.02).state == "queued"
        with pytest.raises(TimeoutError):
            job.result(timeout=0.02)
        threading.Timer(0.02, lambda: (held.begin(job.id), held.finish(job.id))).start()
        assert len(job.result(timeout=20)) == 1

    def test_what_it_failed_with_is_raised(self, slow: Kizy, held: FakeService) -> None:
        job = slow.submit("a red fox")
        held.begin(job.id)
        held.fail(job.id, EngineError("out_of_memory", "There is too little memory."))
        with pytest.raises(EngineError, match="too little memory") as failed:
            job.result()
        assert failed.value.code == "out_of_memory"

    def test_one_that_was_cancelled_raises_so(self, slow: Kizy) -> None:
        job = slow.submit("a red fox")
        assert job.cancel().state == job.state == "cancelled"
        with pytest.raises(CancelledError):
            job.result()

    def test_it_is_tried_again(self, slow: Kizy, held: FakeService) -> None:
        job = slow.submit("a red fox")
        job.cancel()
        again = job.retry()
        assert again.id != job.id and again.job.retry_of == job.id
        held.begin(again.id)
        held.finish(again.id)
        assert len(again.result()) == 1

    def test_its_place_is_changed(self, slow: Kizy) -> None:
        first, second = slow.submit("a fox"), slow.submit("a cat")
        assert second.prioritize(5).place == 1
        assert second.pause().paused and not second.resume().paused
        assert second.move("last").state == "queued"
        assert first.move(second.id).state == "queued"

    def test_it_is_found_by_its_id(self, kizy: Kizy) -> None:
        id_ = kizy.submit("a red fox").id
        (picture,) = kizy.job(id_).result()
        assert isinstance(picture, Picture)

    def test_one_that_is_not_known_is_said(self, kizy: Kizy) -> None:
        with pytest.raises(UnknownNameError) as unknown:
            kizy.job("5f0c1a52-6f0e-4c1b-9a57-0a4f5f6f2d11")
        assert unknown.value.code == "job_unknown"

    def test_all_are_listed_over_all_pages(self, kizy: Kizy) -> None:
        ids = [kizy.submit(f"fox {number}").id for number in range(5)]
        assert [job.id for job in kizy.jobs(page=2)] == ids[::-1]
        assert [job.id for job in kizy.jobs("succeeded", kind="generation")] == ids[::-1]
        assert list(kizy.jobs("failed", "cancelled")) == []

    def test_the_queue_is_paused_and_goes_on(self, slow: Kizy) -> None:
        slow.submit("a red fox")
        assert slow.queue().waiting == 1
        assert slow.pause().paused and not slow.resume().paused

    def test_a_handle_shows_what_it_is(self, slow: Kizy) -> None:
        job = slow.submit("a red fox")
        assert repr(job) == f"<JobHandle {job.id} queued>"


class TestCtrlC:
    def test_while_it_is_waited_for_it_cancels_the_job(self, held: FakeService) -> None:
        class Interrupted(FakeService):
            def follow(self, job_id: str, after: int | None = None) -> Any:
                raise KeyboardInterrupt

        service = Interrupted(held._table.folder, table=held._table)
        with pytest.raises(KeyboardInterrupt):
            Kizy.over(service).generate("a red fox")
        assert [job.state for job in held.jobs().jobs] == ["cancelled"]

    def test_while_it_is_handed_in_it_cancels_the_job(self, held: FakeService) -> None:
        class Interrupted(FakeService):
            def generate(self, request: Any, wish: Wish = Wish()) -> Any:  # noqa: B008
                job = super().generate(request, wish)
                if len(held.jobs().jobs) == 1 and not self.heard:
                    self.heard = True
                    raise KeyboardInterrupt
                return job

            heard = False

        service = Interrupted(held._table.folder, table=held._table)
        with pytest.raises(KeyboardInterrupt):
            Kizy.over(service).submit("a red fox")
        assert [job.state for job in held.jobs().jobs] == ["cancelled"]


class TestImproving:
    def test_a_picture_of_kizys_is_improved_as_it_was_drawn(self, kizy: Kizy) -> None:
        (picture,) = kizy.generate("a red fox", seed=5, model="painter-xl")
        better = kizy.improve(picture, amount="strong")
        request = next(kizy.jobs()).request
        assert isinstance(better, Picture)
        assert request.prompt == "a red fox"  # type: ignore[union-attr]
        assert request.model == "painter-xl"  # type: ignore[union-attr]
        assert request.loras == "none"  # type: ignore[union-attr]
        assert request.start.picture == picture.id  # type: ignore[union-attr]
        assert request.start.strength == 0  # type: ignore[union-attr]
        assert request.improve[0].amount == "strong"  # type: ignore[union-attr]

    def test_any_other_picture_is_improved_by_what_is_said(self, kizy: Kizy, start: Path) -> None:
        kizy.improve(start, start, prompt="a teal card", faces=["a card"], loras=["ink"], seed=4)
        request = next(kizy.jobs()).request
        assert (request.prompt, request.seed) == ("a teal card", 4)  # type: ignore[union-attr]
        assert request.improve[0].what == "mask"  # type: ignore[union-attr]
        assert request.improve[0].prompts == ("a card",)  # type: ignore[union-attr]
        assert request.loras == (LoraChoice(name="ink"),)  # type: ignore[union-attr]

    def test_without_words_a_face_is_meant(self, kizy: Kizy, start: Path) -> None:
        kizy.improve(start.read_bytes())
        assert next(kizy.jobs()).title == "a face"


class TestTrainings:
    def test_a_training_is_handed_in_and_gives_its_lora(
        self, kizy: Kizy, start: Path, tmp_path: Path
    ) -> None:
        job = kizy.train(start, name="Mimi", about="a cat", steps=10)
        assert isinstance(job, JobHandle)
        lora = job.result()
        assert isinstance(lora, File) and not isinstance(lora, Picture)
        assert lora.save(tmp_path / "loras/").read_bytes() == lora.bytes
        assert [file.artifact.kind for file in job.files()] == ["lora", "sample"]
        assert [picture.image.size for picture in job.pictures()] == [(64, 64)]

    def test_pictures_that_were_drawn_can_be_learned_from(self, kizy: Kizy) -> None:
        drawn = kizy.generate("a red fox", count=2)
        assert kizy.train(drawn, name="Fox").result().artifact.kind == "lora"

    def test_a_training_without_files_is_refused(self, kizy: Kizy) -> None:
        with pytest.raises(InputError):
            kizy.train([], name="Mimi")


class TestWhatThereIs:
    def test_it_is_told(self, kizy: Kizy) -> None:
        assert [model.name for model in kizy.models()] == ["starter", "painter-xl"]
        assert [lora.name for lora in kizy.loras("cat")] == ["mimi"]
        assert [lora.name for lora in kizy.loras(family="sdxl")] == ["ink"]
        assert kizy.styles() and kizy.families() and kizy.templates() and kizy.servers()

    def test_files_are_handed_over(self, kizy: Kizy, start: Path) -> None:
        upload = kizy.upload(start)
        assert (upload.name, upload.width) == ("start.png", 40)
        assert kizy.upload(io.BytesIO(start.read_bytes()), "x.png").id == upload.id


class TestWhichServer:
    def test_without_an_address_it_is_that_of_the_settings(
        self, fake: FakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with KizyServer(fake) as server:
            monkeypatch.setenv("KIZY_SERVER", server.url)
            with Kizy() as kizy:
                assert kizy.models()

    def test_else_it_is_that_of_this_machine(
        self, fake: FakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with KizyServer(fake) as server:
            monkeypatch.setenv("KIZY_SERVE__PORT", str(server.port))
            with Kizy() as kizy:
                assert kizy.models()

    def test_the_settings_key_goes_to_the_settings_server_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KIZY_SERVER", "http://gpu1:7433")
        monkeypatch.setenv("KIZY_SERVER_KEY", "secret-key")
        other, own = Kizy("http://gpu2:7433"), Kizy()
        assert other.service._http.place.key is None  # type: ignore[attr-defined]
        assert own.service._http.place.key == "secret-key"  # type: ignore[attr-defined]

    def test_a_key_that_is_wrong_is_said(self, fake: FakeService) -> None:
        with (
            KizyServer(fake, host="0.0.0.0") as server,
            Kizy(server.url, key="wrong-key") as kizy,
            pytest.raises(InputError) as refused,
        ):
            kizy.models()
        assert refused.value.code == "key_wrong"
        assert "wrong-key" not in f"{refused.value.as_dict()}"

    def test_a_server_that_is_not_there_is_said(self) -> None:
        with Kizy("http://127.0.0.1:9") as kizy, pytest.raises(EngineError) as away:
            kizy.models()
        assert away.value.code == "server_unreachable"
