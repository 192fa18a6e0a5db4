"""Which caption belongs to which picture, in files and in lists."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from kizy.trainer.archives import Unreadable
from kizy.trainer.caption_lists import captions_in
from kizy.trainer.intake import Intake
from kizy.trainer.limits import Limits
from kizy.trainer.pairing import pair, unused
from PIL import Image


def lay(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 80), "red").save(path)
    return folder


NFD = unicodedata.normalize("NFD", "Kätzchen")


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        ("a.png", "a.txt"),
        ("a.png", "a.png.txt"),
        ("a.png", "a.caption"),
        ("A.PNG", "a.TXT"),
        ("Kätzchen.png", f"{NFD}.txt"),
        (f"{NFD}.png", "Kätzchen.txt"),
        ("IMG 1.png", "IMG_1.txt"),
        ("IMG-1.png", "img 1.txt"),
        ("a.png", "captions/a.txt"),
        ("images/a.png", "captions/a.txt"),
        ("set/images/a.png", "set/a.txt"),
        ("sub\\a.png", "sub/a.txt"),
        ("a.b.png", "a.b.txt"),
    ],
)
def test_a_caption_is_found_under_its_name(picture: str, text: str) -> None:
    assert pair([picture], [text]) == {picture: text}


@pytest.mark.parametrize(
    ("picture", "text"),
    [("a.png", "b.txt"), ("one/a.png", "two/a.txt"), ("a.png", "a b.txt"), ("a1.png", "a.txt")],
)
def test_a_caption_of_another_name_is_not_taken(picture: str, text: str) -> None:
    assert pair([picture], [text]) == {}
    assert unused([text], {}) == [text]


def test_names_that_differ_in_case_alone_keep_their_own_captions() -> None:
    found = pair(["a.png", "A.png"], ["A.txt", "a.txt"])
    assert found == {"a.png": "a.txt", "A.png": "A.txt"}


def test_what_fits_loosely_to_two_pictures_is_given_to_none() -> None:
    assert pair(["IMG 1.png", "IMG-1.png"], ["IMG_1.txt"]) == {}


def test_a_text_of_the_very_name_is_not_given_to_another_that_is_alike() -> None:
    assert pair(["IMG_1.png", "IMG 1.png"], ["IMG_1.txt"]) == {"IMG_1.png": "IMG_1.txt"}


def test_a_file_beside_the_picture_goes_before_a_list() -> None:
    assert pair(["a.png"], ["a.png", "a.txt"]) == {"a.png": "a.txt"}


JSONL = b'{"file_name": "a.png", "text": "a cat"}\n{"file_name": "sub/b.png", "text": "a dog"}\n'
CSV = b"\xef\xbb\xbffile_name,text\r\na.png,a cat\r\nsub/b.png,a dog\r\n"
SEMICOLONS = b"image;caption\na.png;a cat\nsub/b.png;a dog\n"
META = json.dumps({"a": {"caption": "a cat"}, "sub/b": {"caption": "a", "tags": "dog"}}).encode()
ROWS = json.dumps([{"image": "a.png", "caption": "a cat"}]).encode()


@pytest.mark.parametrize(
    ("name", "data", "wanted"),
    [
        ("metadata.jsonl", JSONL, {"a.png": b"a cat", "sub/b.png": b"a dog"}),
        ("metadata.csv", CSV, {"a.png": b"a cat", "sub/b.png": b"a dog"}),
        ("metadata.csv", SEMICOLONS, {"a.png": b"a cat", "sub/b.png": b"a dog"}),
        ("meta_cap.json", META, {"a.png": b"a cat", "sub/b.png": b"a, dog"}),
        ("captions.json", ROWS, {"a.png": b"a cat", "sub/b.png": None}),
        ("a.json", b'{"tags": ["cat", "sofa"]}', {"a.png": b"cat, sofa", "sub/b.png": None}),
    ],
)
def test_captions_in_a_list_are_used(
    tmp_path: Path, name: str, data: bytes, wanted: dict[str, bytes | None]
) -> None:
    folder = lay(tmp_path / "f", "a.png", "sub/b.png")
    (folder / name).write_bytes(data)
    with Intake(Limits()) as intake:
        intake.take([str(folder)])
        found = {item.source: item.caption and item.caption.text(99) for item in intake.items}
    assert found == wanted
    assert intake.dropped == []


def test_a_list_in_a_folder_names_the_pictures_there(tmp_path: Path) -> None:
    folder = lay(tmp_path / "f", "train/a.png", "a.png")
    (folder / "train" / "metadata.jsonl").write_bytes(JSONL)
    with Intake(Limits()) as intake:
        intake.take([str(folder)])
    assert [item.source for item in intake.items if item.caption is not None] == ["train/a.png"]
    assert intake.notes == [("train/metadata.jsonl", "has 1 captions that fit no picture")]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("config.json", b'{"width": 3}'),
        ("metadata.jsonl", b"{broken"),
        ("a.json", b"[" * 100_000),
        ("x.csv", b"a,b\n1,2\n"),
        ("metadata.jsonl", b'{"file_name": "../../a.png", "text": "x"}'),
    ],
)
def test_what_is_no_list_of_captions_is_told(name: str, data: bytes) -> None:
    with pytest.raises(Unreadable):
        captions_in(name, data)
