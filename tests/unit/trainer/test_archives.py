"""Zip files as nobody should make them, built here byte by byte."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from kizy.core.errors import CancelledError, InputError
from kizy.trainer import archives
from kizy.trainer.archives import Unreadable
from kizy.trainer.limits import Limits, never

LIMITS = Limits()


def zipped(path: Path, *files: tuple[str | zipfile.ZipInfo, bytes], method: int = 8) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def reasons(path: Path, limits: Limits = LIMITS) -> dict[str, str | None]:
    with archives.open_archive(path, limits) as archive:
        return {e.name: e.why_not for e in archives.entries(archive, path, limits)}


def refusal(action: Callable[[], object]) -> InputError:
    with pytest.raises(InputError) as caught:
        action()
    return caught.value


def unpacked(path: Path, target: Path, *, most: int = 10**9) -> bytes:
    with archives.open_archive(path, LIMITS) as archive:
        entry = archives.entries(archive, path, LIMITS)[0]
        archives.extract(archive, entry, target, most, never)
    return target.read_bytes()


def with_sizes(path: Path, *, packed: int | None = None, plain: int | None = None) -> Path:
    """Change what the central directory declares of its first entry."""
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    if packed is not None:
        struct.pack_into("<L", data, place + 20, packed)
    if plain is not None:
        struct.pack_into("<L", data, place + 24, plain)
    path.write_bytes(bytes(data))
    return path


def test_an_ordinary_entry_comes_out_as_it_went_in(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("x/a.png", b"abc" * 1000))
    assert reasons(path) == {"x/a.png": None}
    assert unpacked(path, tmp_path / "out") == b"abc" * 1000


@pytest.mark.parametrize(
    "name",
    [
        *("../evil.png", "x/../../evil.png", "..\\evil.png", "a/..", "/etc/evil.png"),
        *("\\evil.png", "C:\\evil.png", "c:evil.png", "x\0.png"),
    ],
)
def test_names_that_lead_elsewhere_are_left_out(tmp_path: Path, name: str) -> None:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name.replace("\0", "?")
    path = zipped(tmp_path / "a.zip", (info, b"x"), ("good.png", b"x"))
    if "\0" in name:
        path.write_bytes(path.read_bytes().replace(b"x?.png", b"x\0.png"))
    found = reasons(path)
    assert found.pop("good.png") is None
    assert [why for why in found.values() if why and "name" in why] != []


@pytest.mark.parametrize("system", [3, 19], ids=["unix", "macos"])
def test_links_and_devices_are_left_out(tmp_path: Path, system: int) -> None:
    link, pipe = zipfile.ZipInfo("link.png"), zipfile.ZipInfo("pipe.png")
    link.create_system = pipe.create_system = system
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    pipe.external_attr = (stat.S_IFIFO | 0o777) << 16
    path = zipped(tmp_path / "a.zip", (link, b"/etc/passwd"), (pipe, b""))
    assert reasons(path) == {"link.png": "is a link", "pipe.png": "is no ordinary file"}


def test_a_locked_entry_is_named_and_a_locked_archive_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("locked.png", b"x"), ("open.png", b"x"))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    assert reasons(path) == {"locked.png": "is locked with a password", "open.png": None}
    alone = zipped(tmp_path / "b.zip", ("locked.png", b"x"))
    data = bytearray(alone.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    alone.write_bytes(bytes(data))
    error = refusal(lambda: reasons(alone))
    assert error.code == "archive_unusable"
    assert "password" in error.message


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_cannot_be_undone_piece_by_piece_is_left_out(
    tmp_path: Path, method: int
) -> None:
    path = zipped(tmp_path / "a.zip", ("a.png", bytes(10_000)), method=method)
    assert "packed in a way" in str(reasons(path)["a.png"])


def test_an_archive_that_declares_far_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", *((f"{i}.png", bytes(300_000)) for i in range(10)))
    error = refusal(lambda: reasons(path, Limits(archive_ratio_from=1_000_000)))
    assert error.code == "archive_unusable"
    assert "unpack" in error.message
    assert all(why is None for why in reasons(path).values())


def test_an_archive_over_the_limit_of_bytes_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.png", bytes(2000)))
    assert refusal(lambda: reasons(path, Limits(archive_bytes=1999))).code == "archive_unusable"


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.png", bytes(range(256)) * 9), method=0)
    with_sizes(path, packed=10_000_000)
    assert "overlap" in refusal(lambda: reasons(path)).message


def test_an_entry_that_unpacks_to_more_than_it_declares_is_cut_off(tmp_path: Path) -> None:
    path = with_sizes(zipped(tmp_path / "a.zip", ("a.png", bytes(5_000_000))), plain=1000)
    with pytest.raises(Unreadable):
        unpacked(path, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size <= 1000


def test_unpacking_stops_at_the_limit_whatever_was_declared(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.png", bytes(5_000_000)))
    with pytest.raises(Unreadable, match="larger than 2 MB"):
        unpacked(path, tmp_path / "out", most=2_000_000)
    assert (tmp_path / "out").stat().st_size <= 2_000_000


def test_damaged_content_is_told(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.png", b"hello hello hello" * 50), method=0)
    path.write_bytes(path.read_bytes().replace(b"hello", b"jello", 1))
    with pytest.raises(Unreadable, match="damaged"):
        unpacked(path, tmp_path / "out")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 and no more", b"no zip at all" * 100])
def test_what_is_no_whole_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    assert refusal(lambda: reasons(path)).code == "archive_unusable"


def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.png", bytes(range(256)) * 100), method=0)
    path.write_bytes(path.read_bytes()[:-30])
    assert refusal(lambda: reasons(path)).code == "archive_unusable"


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", *((f"{i}.png", b"") for i in range(12)))
    assert refusal(lambda: reasons(path, Limits(entries=11))).code == "pictures_too_many"
    assert len(reasons(path, Limits(entries=12))) == 12


@pytest.mark.parametrize("large", [False, True], ids=["zip", "zip64"])
def test_a_directory_of_millions_is_refused_before_it_is_read(tmp_path: Path, large: bool) -> None:
    """The end record alone says so; the directory that it speaks of is not even there."""
    record = b""
    if large:
        record = struct.pack(
            "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 10**7, 10**7, 46 * 10**7, 0
        ) + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    count, size = (0xFFFF, 0xFFFFFFFF) if large else (60_000, 46 * 60_000)
    record += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, 0, 0)
    path = tmp_path / "a.zip"
    path.write_bytes(record)
    assert refusal(lambda: reasons(path)).code == "pictures_too_many"


def test_unpacking_can_be_cancelled(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.png", bytes(5_000_000)))
    with archives.open_archive(path, LIMITS) as archive:
        entry = archives.entries(archive, path, LIMITS)[0]
        with pytest.raises(CancelledError):
            archives.extract(archive, entry, tmp_path / "out", 10**9, lambda: True)
