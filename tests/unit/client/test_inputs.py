"""What is named by paths of this machine is handed over, whole and with its captions."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from kizy.core.errors import UnknownNameError
from kizy.core.request import GenerationRequest
from kizy.orchestrator.sdk.remote.send_inputs import (
    is_id,
    local_file,
    sent_name,
    training_files,
)
from PIL import Image

ID = "0123456789abcdef" * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, a caption, junk, and a model, in a folder with another in it."""
    folder = tmp_path / "mimi"
    (folder / "more").mkdir(parents=True)
    (folder / ".git").mkdir()
    for place in ("a.png", "more/b.png"):
        Image.new("RGB", (8, 8)).save(folder / place)
    Image.new("RGB", (8, 8)).save(folder / ".git" / "c.png")
    (folder / "a.txt").write_text("mimi sits")
    (folder / "Thumbs.db").write_bytes(b"junk")
    (folder / "model.safetensors").write_bytes(b"\x08" + bytes(100))
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


class TestPictures:
    def test_every_picture_of_a_request_is_named_by_its_id(self) -> None:
        request = GenerationRequest.model_validate(
            {
                "prompt": "x",
                "start": {"picture": "start.png", "strength": 0.5},
                "mask": {"picture": "mask.png"},
                "controls": [{"kind": "canny", "picture": "edges.png"}],
                "improve": [{"what": "faces"}, {"what": "mask", "mask": "part.png"}],
            }
        )
        named = request.with_pictures(lambda path: f"id of {path}")
        assert named.start and named.start.picture == "id of start.png"
        assert named.start.strength == 0.5
        assert named.mask and named.mask.picture == "id of mask.png"
        assert named.controls[0].picture == "id of edges.png"
        assert [one.mask for one in named.improve] == [None, "id of part.png"]

    def test_a_request_without_pictures_stays_as_it_is(self) -> None:
        request = GenerationRequest(prompt="x")
        assert request.with_pictures(lambda path: "id") == request

    def test_only_a_whole_sha256_is_an_id(self) -> None:
        assert is_id(ID)
        assert not any(map(is_id, (ID[:-1], ID + "0", ID.upper(), "start.png", "")))

    @pytest.mark.parametrize("name", ["none.png", "~nobody-here/x.png", "n" * 900, "a\0b", "."])
    def test_what_is_no_file_is_said(self, name: str) -> None:
        with pytest.raises(UnknownNameError) as missing:
            local_file(name)
        assert missing.value.code == "file_missing"


class TestTrainings:
    def test_single_pictures_and_zips_go_as_they_are(self, folder: Path, scratch: Path) -> None:
        packed = folder.parent / "more.zip"
        with zipfile.ZipFile(packed, "w"):
            pass
        files = [str(folder / "more" / "b.png"), str(packed)]
        assert training_files(files, scratch) == [packed, folder / "more" / "b.png"]
        assert list(scratch.iterdir()) == []

    def test_a_folder_becomes_a_zip_of_what_teaches(self, folder: Path, scratch: Path) -> None:
        (packed,) = training_files([str(folder)], scratch)
        assert packed.name == "mimi.zip"
        assert names(packed) == ["a.png", "a.txt", "more/b.png"]

    def test_links_in_a_folder_are_not_followed(self, folder: Path, scratch: Path) -> None:
        Image.new("RGB", (8, 8)).save(folder.parent / "secret.png")
        (folder / "link.png").symlink_to(folder.parent / "secret.png")
        (packed,) = training_files([str(folder)], scratch)
        assert "link.png" not in names(packed)

    def test_two_folders_of_one_name_stay_apart(self, folder: Path, scratch: Path) -> None:
        other = folder.parent / "other" / "mimi"
        other.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(other / "z.png")
        first, second = training_files([str(folder), str(other)], scratch)
        assert first != second and names(second) == ["z.png"]

    def test_a_picture_takes_its_caption_along(self, folder: Path, scratch: Path) -> None:
        (folder / "more" / "b.png.caption").write_text("mimi runs")
        files = [str(folder / "a.png"), str(folder / "more" / "b.png")]
        (packed,) = training_files(files, scratch)
        assert names(packed) == ["1/a.png", "2/b.png", "1/a.txt", "2/b.png.caption"]

    def test_a_caption_that_is_named_itself_comes_once(self, folder: Path, scratch: Path) -> None:
        files = [str(folder / "a.png"), str(folder / "a.txt")]
        (packed,) = training_files(files, scratch)
        assert names(packed) == ["a.png", "a.txt"]

    def test_many_pictures_are_packed(self, folder: Path, scratch: Path) -> None:
        files = [folder / f"{number}.png" for number in range(250)]
        for file in files:
            file.write_bytes((folder / "a.png").read_bytes())
        (packed,) = training_files([str(file) for file in files], scratch)
        assert len(names(packed)) == 250

    def test_what_is_named_twice_goes_once(self, folder: Path, scratch: Path) -> None:
        file = str(folder / "more" / "b.png")
        assert len(training_files([file, file], scratch)) == 1

    def test_a_name_that_is_no_text_is_packed(self, folder: Path, scratch: Path) -> None:
        try:
            (folder / "m\udcff.png").write_bytes((folder / "a.png").read_bytes())
        except (OSError, UnicodeError):
            pytest.skip("this system has no such names")
        (packed,) = training_files([str(folder)], scratch)
        assert "m?.png" in names(packed)

    def test_what_is_not_there_is_said(self, scratch: Path) -> None:
        with pytest.raises(UnknownNameError, match=r"nothing\.png"):
            training_files(["nothing.png"], scratch)

    def test_a_comic_books_archive_is_called_a_zip(self) -> None:
        assert sent_name(Path("a.cbz")) == "a.zip"
        assert sent_name(Path("a.png")) == "a.png"
