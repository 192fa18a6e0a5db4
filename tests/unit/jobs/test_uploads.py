"""What is handed over: cleaned names, pictures that open, kinds that are known, sizes in limits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import InputError, PictureError
from kizy.orchestrator.storage.uploads import UploadStore, clean_name
from PIL import Image


def png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\a.png", "a.png"),
        ("a\x00b\n.png", "a_b_.png"),
        ("", "file"),
        ("..", "file"),
        (".png", "png"),
        ("x" * 300 + ".png", "x" * 120 + ".png"),
    ],
)
def test_names_are_of_one_part_and_harmless(given: str, clean: str) -> None:
    assert clean_name(given) == clean


def test_a_picture_is_kept_once_by_what_it_is(tmp_path: Path) -> None:
    store = UploadStore(tmp_path / "store")
    found = []
    for name in ("a.jpg", "b"):
        path = tmp_path / "arrived"
        path.write_bytes(png())
        found.append(store.take(path, name))
        assert not path.exists()
    assert found[0].path == found[1].path and found[0].path.suffix == ".png"
    assert (found[0].media_type, found[0].width) == ("image/png", 8)
    assert store.find(found[0].id) == found[0].path
    assert store.find("../x") is None and store.find("0" * 64) is None


@pytest.mark.parametrize(
    ("name", "kind"), [("x.exe", InputError), ("x.pt", InputError), ("x.png", PictureError)]
)
def test_other_things_are_refused_and_nothing_is_kept(
    tmp_path: Path, name: str, kind: type[Exception]
) -> None:
    store = UploadStore(tmp_path / "store")
    path = tmp_path / "arrived"
    path.write_bytes(b"MZ nothing")
    with pytest.raises(kind):
        store.take(path, name)
    assert list(store.files()) == []


def test_an_upload_beyond_the_limit_is_refused_while_it_comes(made: Any) -> None:
    service = made(serve={"upload_mb": 1})

    class Endless:
        sent = 0

        def read(self, size: int) -> bytes:
            self.sent += size
            return b"x" * size

    endless = Endless()
    with pytest.raises(InputError) as caught:
        service.upload("x.png", endless)
    assert caught.value.code == "upload_too_large"
    assert endless.sent < 4_000_000
    assert list((made.folder / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("ending", "media_type"),
    [("gif", "image/gif"), ("bmp", "image/bmp"), ("tif", "image/tiff"), ("avif", "image/avif")],
)
def test_pictures_of_all_kinds_are_looked_at(tmp_path: Path, ending: str, media_type: str) -> None:
    given = tmp_path / "x"
    Image.new("RGB", (20, 10), "red").save(given, {"tif": "TIFF"}.get(ending, ending.upper()))
    kept = UploadStore(tmp_path / "store").take(given, f"a.{ending}")
    assert (kept.media_type, kept.width, kept.height) == (media_type, 20, 10)
