"""Names in zip files that systems packed in encodings of their own, built byte by byte."""

from __future__ import annotations

import io
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import pytest
from kizy.trainer.intake import Intake
from kizy.trainer.limits import Limits
from PIL import Image


def png(colour: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 80), (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def packed(path: Path, files: dict[bytes, bytes], flags: int = 0, extra: bytes = b"") -> Path:
    """A zip with these very bytes as names, as programs of other systems write it."""
    body, directory = b"", b""
    for name, data in files.items():
        facts = struct.pack("<HHHHHLLLHH", 20, flags, 0, 0, 33, zlib.crc32(data), len(data),
                            len(data), len(name), len(extra))  # fmt: skip
        place = len(body)
        body += b"PK\x03\x04" + facts + name + extra + data
        directory += b"PK\x01\x02\x14\0" + facts + struct.pack("<HHHLL", 0, 0, 0, 0, place)
        directory += name + extra
    end = struct.pack("<HHHHLLH", 0, 0, len(files), len(files), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\x05\x06" + end)
    return path


def taken(path: Path) -> Intake:
    with Intake(Limits()) as intake:
        intake.take([str(path)])
        for item in intake.items:
            assert item.content.head()[:4] == b"\x89PNG"
    return intake


NAMES = [
    ("cp932", ("表紙/写真 (1).png", "ソ連.png", "機能.png", "予定表.png", "能.png")),
    ("gb18030", ("照片/猫咪在沙发上.png", "红色连衣裙.png", "乗誠.png")),
    ("big5", ("照片/功能.png", "許多貓咪.png", "蓋章.png")),
    ("cp949", ("사진/고양이.png", "빨간 드레스.png")),
    ("cp866", ("Фото/кот на диване.png", "собака.png")),
    ("cp1251", ("Фото/кот на диване.png", "собака в снегу.png")),
]


@pytest.mark.parametrize(("encoding", "names"), NAMES)
def test_names_of_windows_are_read_in_its_encoding_and_told(
    tmp_path: Path, encoding: str, names: tuple[str, ...]
) -> None:
    files = {name.encode(encoding): png(n) for n, name in enumerate(names)}
    intake = taken(packed(tmp_path / "a.zip", files))
    assert sorted(item.source for item in intake.items) == sorted(names)
    assert (intake.dropped, intake.left) == ([], [])
    assert "has names in" in intake.notes[0][1]


@pytest.mark.parametrize("name", ["表.png", "ソ.png", "十.png", "フォ/ポ.png"])
def test_a_name_whose_second_byte_is_a_backslash_loses_no_picture(
    tmp_path: Path, name: str
) -> None:
    raw = name.encode("cp932")
    assert b"\\" in raw or "/" in name
    intake = taken(packed(tmp_path / "a.zip", {raw: png(), b"plain.png": png(1)}))
    assert len(intake.items) == 2
    assert (intake.dropped, intake.left) == ([], [])


def test_captions_find_their_pictures_under_old_names(tmp_path: Path) -> None:
    files = {"表.png".encode("cp932"): png(), "表.txt".encode("cp932"): b"a cover"}
    (item,) = taken(packed(tmp_path / "a.zip", files)).items
    assert item.caption is not None


def test_unmarked_utf_8_is_read_as_such(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "Kätzchen 猫.png")
    intake = taken(packed(tmp_path / "a.zip", {name.encode(): png()}))
    assert [item.source for item in intake.items] == [name]
    assert intake.notes == []


def test_the_unicode_path_of_info_zip_goes_before_the_name(tmp_path: Path) -> None:
    raw = "表.png".encode("cp932")
    data = b"\x01" + struct.pack("<L", zlib.crc32(raw)) + "表.png".encode()
    extra = struct.pack("<HH", 0x7075, len(data)) + data
    (item,) = taken(packed(tmp_path / "a.zip", {raw: png()}, extra=extra)).items
    assert item.source == "表.png"


def test_a_unicode_path_of_another_name_is_passed_over(tmp_path: Path) -> None:
    data = b"\x01" + struct.pack("<L", 1) + b"../evil.png"
    extra = struct.pack("<HH", 0x7075, len(data)) + data
    (item,) = taken(packed(tmp_path / "a.zip", {b"a.png": png()}, extra=extra)).items
    assert item.source == "a.png"


def test_backslashes_are_separators(tmp_path: Path) -> None:
    files = {b"sub\\a.png": png(), b"sub\\a.txt": b"A", b"sub\\": b""}
    intake = taken(packed(tmp_path / "a.zip", files))
    assert [item.source for item in intake.items] == ["sub/a.png"]
    assert intake.items[0].caption is not None
    assert intake.dropped == []


def test_names_that_are_the_same_but_for_case_keep_their_captions(tmp_path: Path) -> None:
    files = {b"a.png": png(), b"A.png": png(1), b"a.txt": b"small", b"A.txt": b"large"}
    with Intake(Limits()) as intake:
        intake.take([str(packed(tmp_path / "x.zip", files))])
        found = {item.source: item.caption and item.caption.text(9) for item in intake.items}
    assert found == {"a.png": b"small", "A.png": b"large"}


@pytest.mark.parametrize("name", [b"", b".", b"./", b"/"])
def test_a_file_without_a_name_is_told(tmp_path: Path, name: bytes) -> None:
    path = packed(tmp_path / "x.zip", {name: png(), b"a.png": png(1)})
    intake = taken(path)
    assert [item.source for item in intake.items] == ["a.png"]
    assert len(intake.dropped) + len(intake.left) + (name.endswith(b"/")) >= 1


def test_a_name_that_lies_about_utf_8_is_refused_in_plain_words(tmp_path: Path) -> None:
    from kizy.core.errors import InputError

    path = packed(tmp_path / "x.zip", {b"\x95\x5c.png": png()}, flags=0x800)
    with pytest.raises(InputError, match="marked as UTF-8") as caught:
        taken(path)
    assert caught.value.code == "archive_unusable"


def test_large_zips_of_the_64_bit_kind_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with (
        zipfile.ZipFile(path, "w") as archive,
        archive.open(zipfile.ZipInfo("a.png"), "w", force_zip64=True) as file,
    ):
        file.write(png())
    assert [item.source for item in taken(path).items] == ["a.png"]
