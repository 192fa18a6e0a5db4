"""What was saved of which job, for whoever takes it up."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from kizy.core.job import Artifact
from kizy.orchestrator.backends.comfyui.run import saved_pictures as module
from kizy.orchestrator.backends.comfyui.run.saved_pictures import SavedPictures

from tests.unit.orchestrator.comfy.builders import plan_of

PLAN = plan_of(count=3)


def picture(folder: Path, index: int) -> Artifact:
    path = folder / f"{index}.png"
    path.write_bytes(b"picture %d" % index)
    return Artifact(
        id=hashlib.sha256(path.read_bytes()).hexdigest(),
        path=str(path),
        media_type="image/png",
        width=64,
        height=64,
        seed=PLAN.seed + index,
        plan=PLAN.for_picture(index),
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "saved.jsonl"


def test_what_was_saved_is_known_to_the_next_process(file: Path, tmp_path: Path) -> None:
    pictures = {index: picture(tmp_path, index) for index in (0, 2)}
    for index, artifact in pictures.items():
        SavedPictures(file).add("job", index, artifact)
    SavedPictures(file).add("other", 1, picture(tmp_path, 1))
    assert SavedPictures(file).of("job", PLAN) == pictures
    assert SavedPictures(file).of("unknown", PLAN) == {}


def test_a_picture_that_is_gone_or_was_changed_counts_as_not_saved(
    file: Path, tmp_path: Path
) -> None:
    saved = SavedPictures(file)
    for index in range(3):
        saved.add("job", index, picture(tmp_path, index))
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").write_bytes(b"painted over")
    assert list(saved.of("job", PLAN)) == [2]


@pytest.mark.parametrize("damage", [b"{cut sho", b"\xff\xfe\n", b'{"job": "job"}\n', b"[]\n"])
def test_damaged_lines_are_passed_over(file: Path, tmp_path: Path, damage: bytes) -> None:
    saved = SavedPictures(file)
    saved.add("job", 0, picture(tmp_path, 0))
    file.write_bytes(file.read_bytes() + damage)
    assert list(saved.of("job", PLAN)) == [0]


def test_old_lines_go(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 2000)
    saved = SavedPictures(file)
    for number in range(40):
        saved.add(f"job-{number}", 0, picture(tmp_path, 0))
        assert file.stat().st_size <= 2500
    assert saved.of("job-0", PLAN) == {}
    assert list(saved.of("job-39", PLAN)) == [0]


def test_without_a_file_nothing_is_remembered(tmp_path: Path) -> None:
    saved = SavedPictures()
    saved.add("job", 0, picture(tmp_path, 0))
    assert saved.of("job", PLAN) == {}


def test_a_file_that_cannot_be_written_stops_no_picture(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    SavedPictures(tmp_path / "home" / "saved.jsonl").add("job", 0, picture(tmp_path, 0))
