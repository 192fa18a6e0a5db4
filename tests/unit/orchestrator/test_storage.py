"""Finished pictures and kept inputs."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest
from kizy.core.errors import KizyError, PictureError, StorageError
from kizy.core.picture_files import read_plan
from kizy.core.plan import PictureFacts
from kizy.orchestrator.storage.inputs import InputFolder
from kizy.orchestrator.storage.pictures import MAX_WORDS, PictureFolder, file_names, slug
from PIL import Image

from tests.fakes.drawer import plan_of

NOON = datetime(2026, 2, 3, 12, 0, 0)


def picture(colour: str = "red") -> Image.Image:
    return Image.new("RGB", (8, 6), colour)


def saved_picture(folder: Path, name: str = "start.png", colour: str = "red") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    picture(colour).save(path)
    return path


def name_at(moment: datetime, **changes) -> str:
    return next(file_names(plan_of(**changes), moment))


def test_names_sort_by_time() -> None:
    rng = random.Random(0)
    moments = [NOON + timedelta(seconds=rng.randrange(10**9)) for _ in range(200)]
    prompts = [rng.choice(["zebra", "ape", "🦊"]) for _ in moments]
    names = [name_at(m, request_prompt=p) for m, p in zip(moments, prompts, strict=True)]
    assert [m for _, m in sorted(zip(names, moments, strict=True))] == sorted(moments)


def test_a_name_says_prompt_and_seed() -> None:
    assert name_at(NOON, seed=42) == "20260203-120000-a-red-fox-42.png"


def test_later_names_are_counted() -> None:
    assert list(islice(file_names(plan_of(), NOON), 3)) == [
        "20260203-120000-a-red-fox-1.png",
        "20260203-120000-a-red-fox-1-2.png",
        "20260203-120000-a-red-fox-1-3.png",
    ]


def test_saving_twice_in_one_second_keeps_both(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path, "0")
    paths = [folder.save(plan_of(), picture(colour)).path for colour in ("red", "blue", "green")]
    assert len({Image.open(path).tobytes() for path in paths}) == 3


def test_a_saved_picture_holds_its_plan(tmp_path: Path) -> None:
    plan = plan_of(request_prompt="ein Fuchs 🦊, grün")
    assert read_plan(Path(PictureFolder(tmp_path, "0").save(plan, picture()).path)) == plan


def test_a_saved_picture_keeps_its_pixels(tmp_path: Path) -> None:
    path = PictureFolder(tmp_path, "0").save(plan_of(), picture("teal")).path
    assert Image.open(path).tobytes() == picture("teal").tobytes()


def test_nothing_half_done_is_left_beside_a_picture(tmp_path: Path) -> None:
    PictureFolder(tmp_path / "new", "0").save(plan_of(), picture())
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".png"]


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageError):
        PictureFolder(tmp_path / "out", "0").save(plan_of(), picture())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Red Fox!", "a-red-fox"),
        ("crème brûlée", "creme-brulee"),
        ("🦊🦊", "picture"),
        ("狐", "picture"),
        ("../../etc/passwd", "etc-passwd"),
        ("a\x00b\nc", "a-b-c"),
        ("", "picture"),
        ("ﬁne", "fine"),
    ],
)
def test_a_slug_is_plain_words(text: str, expected: str) -> None:
    assert slug(text) == expected


@pytest.mark.parametrize("text", ["word " * 2000, "x" * 10_000, "ab " * 13 + "c" * 100])
def test_a_slug_of_a_long_prompt_is_short(text: str) -> None:
    assert 0 < len(slug(text)) <= MAX_WORDS


def test_a_long_slug_ends_with_a_whole_word() -> None:
    assert slug("crocodile " * 20) == "crocodile-crocodile-crocodile-crocodile"[:MAX_WORDS]


def kept_in(inputs: InputFolder, path: Path) -> PictureFacts:
    facts = inputs.look(path)
    inputs.keep(path, facts)
    return facts


def test_a_kept_picture_is_known_by_its_content(tmp_path: Path) -> None:
    inputs = InputFolder(tmp_path / "inputs")
    one = kept_in(inputs, saved_picture(tmp_path, "one.png"))
    other = kept_in(inputs, saved_picture(tmp_path, "other.png"))
    assert one.picture == other.picture


def test_a_kept_pictures_size_is_told(tmp_path: Path) -> None:
    facts = kept_in(InputFolder(tmp_path / "inputs"), saved_picture(tmp_path))
    assert (facts.width, facts.height) == (8, 6)


def test_a_turned_photo_has_the_size_that_people_see(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "photo.jpg", exif=exif)
    facts = kept_in(InputFolder(tmp_path / "inputs"), tmp_path / "photo.jpg")
    assert (facts.width, facts.height) == (6, 8)


def test_a_kept_picture_is_found_after_the_original_is_gone(tmp_path: Path) -> None:
    inputs = InputFolder(tmp_path / "inputs")
    original = saved_picture(tmp_path)
    content = original.read_bytes()
    kept = kept_in(inputs, original).picture
    original.unlink()
    assert Path(inputs.find(kept).path).read_bytes() == content


def test_a_picture_is_found_again_when_kizys_folder_has_moved(tmp_path: Path) -> None:
    kept = kept_in(InputFolder(tmp_path / "inputs"), saved_picture(tmp_path)).picture
    (tmp_path / "inputs").rename(tmp_path / "moved")
    found = InputFolder(tmp_path / "moved").find(kept)
    assert Path(found.path).parent == tmp_path / "moved"


def test_a_picture_whose_content_has_changed_is_refused(tmp_path: Path) -> None:
    inputs = InputFolder(tmp_path / "inputs")
    kept = kept_in(inputs, saved_picture(tmp_path)).picture
    saved_picture(tmp_path / "inputs", Path(kept.path).name, colour="blue")
    with pytest.raises(PictureError) as caught:
        inputs.find(kept)
    assert caught.value.code == "picture_unreadable"


def test_a_picture_that_was_only_looked_at_is_not_copied(tmp_path: Path) -> None:
    inputs = InputFolder(tmp_path / "inputs")
    inputs.look(saved_picture(tmp_path))
    assert not inputs.folder.exists()


def test_a_picture_that_changes_before_it_is_kept_is_refused(tmp_path: Path) -> None:
    inputs, path = InputFolder(tmp_path / "inputs"), saved_picture(tmp_path)
    facts = inputs.look(path)
    picture(colour="blue").save(path)
    with pytest.raises(PictureError, match="changed"):
        inputs.keep(path, facts)
    assert not inputs.folder.exists()


def test_what_is_no_picture_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    inputs = InputFolder(tmp_path / "inputs")
    with pytest.raises(PictureError):
        kept_in(inputs, tmp_path / "notes.png")
    assert not inputs.folder.exists()


def test_a_start_picture_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(KizyError) as caught:
        kept_in(InputFolder(tmp_path / "inputs"), tmp_path / "none.png")
    assert caught.value.code == "file_missing"
