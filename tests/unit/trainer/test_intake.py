from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from kizy.core.errors import CancelledError, InputError, UnknownNameError
from kizy.trainer.intake import Intake
from kizy.trainer.limits import Limits
from PIL import Image


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 80), "red").save(buffer, "PNG")
    return buffer.getvalue()


def lay(folder: Path, *names: str, data: bytes | None = None) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png() if data is None else data)
    return folder


def taken(*paths: Path | str, limits: Limits | None = None) -> Intake:
    with Intake(limits or Limits()) as intake:
        intake.take([str(path) for path in paths])
    return intake


def names(intake: Intake) -> list[str]:
    return [item.source for item in intake.items]


def test_a_folder_is_walked_in_the_order_of_people(tmp_path: Path) -> None:
    folder = lay(tmp_path / "f", "10.png", "2.png", "sub/1.png", "B.png", "a.png")
    assert names(taken(folder)) == ["2.png", "10.png", "a.png", "B.png", "sub/1.png"]


def test_of_several_sources_each_name_says_which(tmp_path: Path) -> None:
    one, two = lay(tmp_path / "one", "a.png"), lay(tmp_path / "two", "a.png")
    assert names(taken(one, two)) == ["one/a.png", "two/a.png"]


def test_files_keep_the_order_in_which_they_were_named(tmp_path: Path) -> None:
    lay(tmp_path, "b.png", "a.png")
    assert names(taken(tmp_path / "b.png", tmp_path / "a.png")) == ["b.png", "a.png"]


def test_what_systems_leave_in_folders_is_passed_over(tmp_path: Path) -> None:
    folder = lay(
        tmp_path / "f", "a.png", ".DS_Store", "Thumbs.db", "__MACOSX/._a.png", ".git/x.png"
    )
    intake = taken(folder)
    assert names(intake) == ["a.png"]
    assert intake.dropped == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_in_folders_are_not_followed(tmp_path: Path) -> None:
    folder, outside = lay(tmp_path / "f", "a.png"), lay(tmp_path / "outside", "secret.png")
    (folder / "link.png").symlink_to(outside / "secret.png")
    (folder / "folder").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    intake = taken(folder)
    assert names(intake) == ["a.png"]
    assert sorted(intake.dropped) == [(x, "is a link") for x in ("folder", "link.png", "loop")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    folder = lay(tmp_path / "f", "a.png")
    os.mkfifo(folder / "pipe.png")
    assert taken(folder).dropped == [("pipe.png", "is no ordinary file")]
    assert taken(folder / "pipe.png").dropped == [("pipe.png", "is no ordinary file")]


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    for name in ("none.png", "x" * 5000, "a\0b"):
        with pytest.raises(UnknownNameError) as caught:
            taken(str(tmp_path / name))
        assert caught.value.code == "file_missing"


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path) -> None:
    folder = lay(tmp_path / "f", *(f"{i}.txt" for i in range(9)), data=b"x")
    with pytest.raises(InputError) as caught:
        taken(folder, limits=Limits(entries=8))
    assert caught.value.code == "pictures_too_many"


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.svg", b"<svg/>", "SVG"),
        ("a.pdf", b"%PDF-1.7", "PDF"),
        ("a.nef", b"MM\0*" + bytes(60), "raw photo"),
        ("a.kra", b"PK\x03\x04" + bytes(60), "Krita"),
        ("a.png", b"", "is empty"),
        ("a.png", b"<html>404</html>", "is a web page"),
        ("a.bin", b"any", "no picture or video"),
        ("inner.zip", b"PK\x03\x04" + bytes(60), "is an archive inside"),
        ("a.png", b"PK\x03\x04" + bytes(60), "is an archive"),
        ("a.rar", b"Rar!\x1a\x07" + bytes(60), "is an archive"),
        ("a.tar", b"any", "is an archive"),
    ],
)
def test_what_is_no_picture_is_named_with_the_reason(
    tmp_path: Path, name: str, data: bytes, why: str
) -> None:
    folder = lay(tmp_path / "f", name, data=data)
    intake = taken(folder)
    assert intake.items == []
    assert why in intake.dropped[0][1]


def test_an_archive_of_another_kind_that_was_named_itself_says_so(tmp_path: Path) -> None:
    lay(tmp_path, "a.tar.gz", data=b"\x1f\x8b" + bytes(60))
    assert "another kind than zip" in taken(tmp_path / "a.tar.gz").dropped[0][1]


def test_nested_archives_are_named_and_not_opened(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.png", png())
    path = tmp_path / "outer.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
        archive.writestr("sub/b.png", png())
    intake = taken(path)
    assert names(intake) == ["sub/b.png"]
    assert intake.dropped[0][0] == "inner.zip"


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_captions_lie_beside_their_pictures(tmp_path: Path, form: str) -> None:
    texts = {"a.txt": b"A", "B.TXT": b"B", "c.png.txt": b"C", "d.caption": b"D", "readme.txt": b"R"}
    pictures = ("a.png", "b.png", "c.png", "d.png", "e.png")
    folder = lay(tmp_path / "f", *pictures)
    for name, text in texts.items():
        (folder / name).write_bytes(text)
    source = folder
    if form == "zip":
        source = tmp_path / "f.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in folder.iterdir():
                archive.write(path, path.name)
    with Intake(Limits()) as intake:
        intake.take([str(source)])
        found = {item.source: item.caption and item.caption.text(10) for item in intake.items}
    assert found == {"a.png": b"A", "b.png": b"B", "c.png": b"C", "d.png": b"D", "e.png": None}
    assert intake.lone_captions == ["readme.txt"]


def test_the_caption_beside_a_single_named_file_is_found(tmp_path: Path) -> None:
    lay(tmp_path, "a.png")
    (tmp_path / "a.txt").write_text("hello")
    for given in ([tmp_path / "a.png"], [tmp_path / "a.png", tmp_path / "a.txt"]):
        (item,) = taken(*given).items
        assert item.caption is not None
        assert item.caption.text(10) == b"hello"


def test_names_are_made_fit_to_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\x1b[31mred\n.png", png())
        archive.writestr("x" * 400 + ".png", png())
    for name in names(taken(path)):
        assert name.isprintable()
        assert len(name) <= 120


def test_looking_over_can_be_cancelled(tmp_path: Path) -> None:
    folder = lay(tmp_path / "f", "a.png")
    with Intake(Limits()) as intake, pytest.raises(CancelledError):
        intake.take([str(folder)], lambda: True)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is locked for this user"
)
def test_a_locked_folder_is_named(tmp_path: Path) -> None:
    folder = lay(tmp_path / "f", "a.png", "locked/b.png")
    (folder / "locked").chmod(0)
    intake = taken(folder)
    (folder / "locked").chmod(0o755)
    assert names(intake) == ["a.png"]
    assert intake.dropped == [("locked", "is a folder that cannot be read")]


def test_what_systems_leave_is_counted_and_hidden_files_are_named(tmp_path: Path) -> None:
    folder = lay(tmp_path / "f", "a.png", ".hidden.png", "._a.png", "__MACOSX/x.png")
    intake = taken(folder)
    assert names(intake) == ["a.png"]
    assert intake.dropped == [(".hidden.png", "is hidden: its name begins with a dot")]
    assert sorted(intake.left) == ["._a.png", "__MACOSX"]
