"""Hashes of model files: computed once for a content, kept on disk, never of another content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kizy.catalog.index import hashes
from kizy.catalog.index.hashes import (
    KEPT_FROM,
    file_sha256,
    known_model_sha256,
    known_sha256,
    model_sha256,
)
from kizy.core.errors import UnknownNameError
from kizy.core.files import sha256_of


@pytest.fixture
def file(tmp_path: Path, kizy_home: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"a" * KEPT_FROM)
    return path


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What would be read in the background, and is not."""
    asked: list[Path] = []

    class Waits:
        add = staticmethod(asked.extend)

    monkeypatch.setattr(hashes, "_background", Waits)
    return asked


def another_process() -> None:
    hashes._book_of.cache_clear()


def test_it_is_not_known_before_it_was_computed(file: Path) -> None:
    assert known_sha256(file) is None
    assert file_sha256(file) == sha256_of(file) == known_sha256(file)


def test_another_process_finds_it_on_disk(file: Path) -> None:
    computed = file_sha256(file)
    another_process()
    assert known_sha256(file) == computed


def test_a_replaced_file_is_not_known_though_size_and_time_are_the_same(file: Path) -> None:
    before = file_sha256(file)
    about = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"b" * KEPT_FROM)
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    other.replace(file)
    assert known_sha256(file) is None
    another_process()
    assert known_sha256(file) is None and file_sha256(file) != before


def test_a_damaged_list_is_passed_over(file: Path, kizy_home: Path) -> None:
    computed = file_sha256(file)
    book = kizy_home / "cache" / hashes.FILE
    book.write_text("{\n" + book.read_text() + '["x", 1]\n[1, "cut')
    another_process()
    assert known_sha256(file) == computed


def test_a_folder_is_known_when_all_its_files_are(file: Path, unread: list[Path]) -> None:
    folder = file.parent / "folder"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "weights.safetensors").write_bytes(b"w")
    (folder / "model_index.json").write_text("{}")
    (folder / ".DS_Store").write_text("hidden")
    assert known_model_sha256(folder) is None
    assert sorted(path.name for path in unread) == ["model_index.json", "weights.safetensors"]
    whole = model_sha256(folder)
    assert known_model_sha256(folder) == whole
    (folder / "unet" / "weights.safetensors").write_bytes(b"x")
    assert known_model_sha256(folder) is None and model_sha256(folder) != whole


def test_the_names_in_a_folder_count(file: Path) -> None:
    folder = file.parent / "folder"
    folder.mkdir()
    (folder / "one").write_text("1")
    before = model_sha256(folder)
    (folder / "one").rename(folder / "two")
    assert model_sha256(folder) != before


def test_what_is_asked_for_is_read_in_the_background(file: Path) -> None:
    assert known_model_sha256(file) is None
    while known_model_sha256(file) is None:
        pass
    assert known_model_sha256(file) == sha256_of(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert known_sha256(tmp_path / "none") is None
    assert known_model_sha256(tmp_path / "none") is None
    for ask in (file_sha256, model_sha256):
        with pytest.raises(UnknownNameError) as caught:
            ask(tmp_path / "none")
        assert caught.value.code == "file_missing"
