from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from kizy.core.errors import StorageError
from kizy.core.files import replacing, write_new


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder"


def failing(number: int) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_the_first_name_in_a_new_folder(folder: Path) -> None:
    assert write_new(folder, ["a.png", "b.png"], b"data") == folder / "a.png"
    assert (folder / "a.png").read_bytes() == b"data"
    assert names_in(folder) == ["a.png"]


def test_a_taken_name_is_left_alone(folder: Path) -> None:
    write_new(folder, ["a.png"], b"old")
    assert write_new(folder, ["a.png", "b.png"], b"new") == folder / "b.png"
    assert (folder / "a.png").read_bytes() == b"old"


def test_no_free_name_is_an_error_and_leaves_nothing(folder: Path) -> None:
    write_new(folder, ["a.png"], b"old")
    with pytest.raises(StorageError):
        write_new(folder, ["a.png"], b"new")
    assert names_in(folder) == ["a.png"]
    assert (folder / "a.png").read_bytes() == b"old"


def test_others_may_read_a_new_file(folder: Path) -> None:
    assert write_new(folder, ["a.png"], b"").stat().st_mode & 0o777 == 0o644


def test_without_links_a_file_still_takes_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    write_new(folder, ["a.png"], b"old")
    assert write_new(folder, ["a.png", "b.png"], b"new") == folder / "b.png"
    assert names_in(folder) == ["a.png", "b.png"]
    assert (folder / "a.png").read_bytes() == b"old"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_while_linking_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", failing(number))
    with pytest.raises(StorageError) as caught:
        write_new(folder, ["a.png"], b"data")
    assert caught.value.code == "disk_full"
    assert names_in(folder) == []


def test_a_disk_that_fills_while_writing_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fdopen

    def full(handle: int, mode: str) -> Any:
        file = real(handle, mode)
        file.close()
        return open("/dev/full", mode, buffering=0)  # noqa: PTH123

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(StorageError) as caught:
        write_new(folder, ["a.png"], b"data")
    assert caught.value.code == "disk_full"
    assert names_in(folder) == []


def test_a_disk_that_is_full_for_the_folder_is_an_error_of_storage(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "mkdir", failing(errno.ENOSPC))
    with pytest.raises(StorageError) as caught:
        write_new(folder, ["a.png"], b"data")
    assert caught.value.code == "disk_full"


@pytest.mark.parametrize("write", ["write_new", "replacing"])
def test_a_file_where_the_folder_should_be_is_an_error_of_storage(
    tmp_path: Path, write: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError) as caught:
            if write == "write_new":
                write_new(folder, ["a.png"], b"data")
            else:
                with replacing(folder / "a.png"):
                    pass
        assert caught.value.code == "folder_not_writable"


def test_replacing_makes_the_folder_and_the_file(folder: Path) -> None:
    with replacing(folder / "a.bin") as temporary:
        temporary.write_bytes(b"new")
    assert (folder / "a.bin").read_bytes() == b"new"
    assert names_in(folder) == ["a.bin"]


def test_the_old_file_stays_until_the_block_ends(folder: Path) -> None:
    with replacing(folder / "a.bin") as temporary:
        temporary.write_bytes(b"old")
    with replacing(folder / "a.bin") as temporary:
        temporary.write_bytes(b"new")
        assert (folder / "a.bin").read_bytes() == b"old"
    assert (folder / "a.bin").read_bytes() == b"new"


def test_the_old_file_stays_when_the_block_fails(folder: Path) -> None:
    with replacing(folder / "a.bin") as temporary:
        temporary.write_bytes(b"old")

    def fail() -> None:
        with replacing(folder / "a.bin") as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert (folder / "a.bin").read_bytes() == b"old"
    assert names_in(folder) == ["a.bin"]


def test_a_disk_that_fills_in_the_block_leaves_the_old_file(folder: Path) -> None:
    with replacing(folder / "a.bin") as temporary:
        temporary.write_bytes(b"old")
    with pytest.raises(StorageError) as caught, replacing(folder / "a.bin"):
        failing(errno.ENOSPC)()
    assert caught.value.code == "disk_full"
    assert (folder / "a.bin").read_bytes() == b"old"
    assert names_in(folder) == ["a.bin"]


def test_a_replaced_file_may_be_read_by_others_as_a_new_one(folder: Path) -> None:
    with replacing(folder / "a.bin") as temporary:
        temporary.write_bytes(b"x")
    assert (folder / "a.bin").stat().st_mode & 0o777 == 0o644


def test_errors_of_the_system_that_are_not_about_storage_pass_through(folder: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(folder / "a.bin"):
        (folder / "gone").read_bytes()


def test_a_folder_that_no_system_makes_is_not_writable() -> None:
    nowhere = Path("/proc/nowhere/deep/a.bin")
    if not nowhere.parents[2].is_dir():
        pytest.skip("this system has no /proc")
    with pytest.raises(StorageError) as caught, replacing(nowhere):
        pass
    assert caught.value.code == "folder_not_writable"
