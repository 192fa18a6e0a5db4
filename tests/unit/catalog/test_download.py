"""Downloads from a fake service and its store, with everything that goes wrong on the way."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.catalog.downloads.download import Progress, download, safe_name
from kizy.catalog.downloads.hub import Caller, Hub
from kizy.catalog.downloads.partial import partial
from kizy.catalog.formats.published_facts import RemoteFile
from kizy.core.errors import CancelledError, KizyError, StorageError

from tests.fakes.model_hub import FakeModelHub
from tests.fakes.model_hub_answers import SDXL_LORA, digest, safetensors_bytes

KEY = "a-key-that-nobody-may-see"
DATA = safetensors_bytes(SDXL_LORA)
OTHER = safetensors_bytes(SDXL_LORA, seed=1)
NAME = "lanterns.safetensors"


class Setting:
    """A fake with one file, a folder, and a clock that only sleeping moves."""

    def __init__(self, fake: FakeModelHub, folder: Path) -> None:
        self.fake = fake
        self.folder = folder
        self.now = 0.0
        self.said: list[str] = []
        self.told: list[Progress] = []
        self.cancelled: Callable[[], bool] = lambda: False
        self.offer(DATA)

    def offer(self, data: bytes) -> None:
        """What the service has from now on."""
        self.fake.files["/store/a"] = data
        self.fake.downloads["/api/download/models/456"] = "/store/a"

    def file(self, data: bytes = DATA, **changes: Any) -> RemoteFile:
        url = f"{self.fake.url}/api/download/models/456"
        values = {"name": NAME, "size": len(data), "sha256": digest(data), "url": url}
        return RemoteFile.model_validate(values | {"format": "safetensors"} | changes)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def tell(self, progress: Progress) -> None:
        self.told.append(progress)
        self.now += 0.3

    def get(self, file: RemoteFile | None = None, **options: Any) -> Path:
        caller = Caller(
            say=self.said.append,
            cancelled=lambda: self.cancelled(),
            sleep=self.sleep,
            clock=self.clock,
        )
        hub = Hub("Civitai", self.fake.url, KEY, "Set the key.")
        return download(
            file or self.file(),
            self.folder / NAME,
            hub=hub,
            caller=caller,
            progress=self.tell,
            **{"free": lambda _folder: 10**12, **options},
        )

    def clock(self) -> float:
        self.now += 0.3
        return self.now

    def refusal(self, file: RemoteFile | None = None, **options: Any) -> KizyError:
        with pytest.raises(KizyError) as caught:
            self.get(file, **options)
        assert KEY not in f"{caught.value} {caught.value.fix} {caught.value.raw}"
        assert "Signature" not in f"{caught.value} {caught.value.fix} {caught.value.raw}"
        return caught.value

    def left(self) -> list[str]:
        """Names in the folder."""
        return sorted(path.name for path in self.folder.iterdir())

    def ranges(self) -> list[str | None]:
        return [one.headers.get("Range") for one in self.fake.seen("store")]


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Setting]:
    with FakeModelHub() as fake:
        yield Setting(fake, tmp_path / "loras")


def test_a_file_arrives_whole_under_its_name(at: Setting) -> None:
    path = at.get()
    assert path.read_bytes() == DATA
    assert at.left() == [NAME]
    assert at.told[-1] == Progress(len(DATA), len(DATA), 0.0)
    assert any(now.left for now in at.told[:-1])


def test_the_key_goes_to_the_service_and_not_to_the_store(at: Setting) -> None:
    at.fake.faults.wants_key = KEY
    at.get()
    assert [one.headers.get("Authorization") for one in at.fake.seen("hub")] == [f"Bearer {KEY}"]
    assert ["Authorization" in one.headers for one in at.fake.seen("store")] == [False]


def test_a_broken_connection_is_taken_up_where_it_broke(at: Setting) -> None:
    at.fake.faults.cut_after = [49_152, 1]
    assert at.get().read_bytes() == DATA
    assert at.ranges()[0] is None
    assert at.ranges()[1] == "bytes=49152-"
    assert at.ranges()[2] == "bytes=49152-"
    assert all(one.headers.get("If-Range") for one in at.fake.seen("store")[1:])
    assert "Civitai" in at.said[0]
    assert "trying again in 1 second." in at.said[0]


def test_a_later_process_takes_up_what_an_earlier_one_left(at: Setting) -> None:
    at.fake.faults.cut_after = [65_536]
    at.cancelled = lambda: len(at.said) > 0
    with pytest.raises(CancelledError):
        at.get()
    assert f".{NAME}.part" in at.left()
    assert NAME not in at.left()
    at.cancelled = lambda: False
    assert at.get().read_bytes() == DATA
    assert at.ranges() == [None, "bytes=65536-"]
    assert at.left() == [NAME]


def test_what_was_left_whole_needs_no_byte_again(at: Setting) -> None:
    with pytest.raises(RuntimeError):
        at.get(settle=stop_with_runtime_error)
    sent = len(at.fake.seen("store"))
    assert at.get().read_bytes() == DATA
    assert at.ranges()[sent:] == [f"bytes={len(DATA)}-"]


def stop_with_runtime_error(_header: object, _path: Path) -> Path:
    raise RuntimeError("stopped")


def test_a_file_that_changes_in_between_comes_anew(at: Setting) -> None:
    at.fake.faults.cut_after = [49_152]
    at.fake.faults.after_cut = lambda: at.offer(OTHER)
    file = at.file(OTHER, sha256=None)
    assert at.get(file).read_bytes() == OTHER
    assert at.ranges() == [None, "bytes=49152-"]
    assert any("changed there" in text for text in at.said)


def test_a_mix_of_two_files_is_noticed_by_its_sha256(at: Setting) -> None:
    at.fake.faults.no_etag = True
    at.fake.faults.cut_after = [49_152]
    at.fake.faults.after_cut = lambda: at.offer(OTHER)
    assert at.get(at.file(OTHER)).read_bytes() == OTHER
    assert any("changed in between" in text for text in at.said)


def test_without_etag_and_sha256_a_break_means_to_begin_anew(at: Setting) -> None:
    at.fake.faults.no_etag = True
    at.fake.faults.cut_after = [49_152]
    assert at.get(at.file(sha256=None)).read_bytes() == DATA
    assert at.ranges() == [None, None]


def test_a_store_without_ranges_sends_it_all_again(at: Setting) -> None:
    at.fake.faults.no_range = True
    at.fake.faults.cut_after = [49_152]
    assert at.get().read_bytes() == DATA
    assert any("cannot be continued" in text for text in at.said)


def test_a_store_that_always_breaks_at_the_same_place_is_given_up(at: Setting) -> None:
    at.fake.faults.no_range = True
    at.fake.faults.cut_after = [49_152] * 1000
    assert at.refusal().code == "hub_unreachable"
    assert len(at.fake.seen("store")) < 60


def test_bytes_of_another_file_are_not_continued(at: Setting) -> None:
    at.fake.faults.cut_after = [49_152]
    at.cancelled = lambda: len(at.said) > 0
    with pytest.raises(CancelledError):
        at.get()
    at.cancelled = lambda: False
    at.offer(OTHER)
    assert at.get(at.file(OTHER)).read_bytes() == OTHER
    assert at.ranges()[-1] is None


def test_a_damaged_note_beside_the_bytes_means_to_begin_anew(at: Setting) -> None:
    at.folder.mkdir()
    (at.folder / f".{NAME}.part").write_bytes(b"x" * 100)
    (at.folder / f".{NAME}.part.json").write_text('{"url": 3')
    assert at.get().read_bytes() == DATA
    assert at.ranges() == [None]


def test_the_note_holds_no_key_and_no_signed_address(at: Setting) -> None:
    at.fake.faults.cut_after = [49_152]
    at.cancelled = lambda: len(at.said) > 0
    with pytest.raises(CancelledError):
        at.get()
    text = (at.folder / f".{NAME}.part.json").read_text()
    assert json.loads(text)["sha256"] == digest(DATA)
    assert KEY not in text
    assert "Signature" not in text


def test_a_wrong_hash_is_damage_and_leaves_nothing(at: Setting) -> None:
    error = at.refusal(at.file(sha256="0" * 64))
    assert error.code == "download_damaged"
    assert at.left() == []


def test_a_longer_file_than_announced_is_stopped(at: Setting) -> None:
    error = at.refusal(at.file(size=1000))
    assert error.code == "download_damaged"
    at.fake.faults.no_length = True
    assert at.refusal(at.file(size=1000)).code == "download_damaged"
    assert at.left() == []


def test_a_file_without_a_length_arrives(at: Setting) -> None:
    at.fake.faults.no_length = True
    assert at.get(at.file(size=None)).read_bytes() == DATA


def test_rounded_sizes_are_no_damage(at: Setting) -> None:
    assert at.get(at.file(size=len(DATA) - 40)).read_bytes() == DATA


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"PK\x03\x04" + b"x" * 5000, "download_refused"),
        (b"\x80\x02}q\x00" + b"x" * 5000, "download_refused"),
        (b"x" * 5000, "download_damaged"),
        (DATA[:-10], "download_damaged"),
        (DATA + b"more", "download_damaged"),
    ],
)
def test_what_is_no_safetensors_file_inside_is_refused(at: Setting, data: bytes, code: str) -> None:
    at.offer(data)
    error = at.refusal(at.file(data, sha256=None))
    assert error.code == code
    assert NAME in error.message
    assert at.left() == []


@pytest.mark.parametrize("length", [60, 640, 15_392, 0x4B50])
def test_a_header_whose_length_looks_like_something_else_is_no_harm(
    at: Setting, length: int
) -> None:
    """Its first bytes are "<", a pickle's two, a space before "<", and a ZIP's "PK"."""
    data = struct.pack("<Q", length) + b"{}".ljust(length)
    at.offer(data)
    assert at.get(at.file(data)).read_bytes() == data


@pytest.mark.parametrize("name", ["a.ckpt", "a.pt", "a.bin", "a.zip", "a", "a.safetensors.exe"])
def test_what_is_no_safetensors_file_by_name_is_not_even_asked_for(at: Setting, name: str) -> None:
    assert at.refusal(at.file(name=name)).code == "download_refused"
    assert at.fake.requests == []


def test_the_page_to_log_in_means_that_a_key_is_wanted(at: Setting) -> None:
    at.fake.faults.wants_key = "another"
    error = at.refusal()
    assert (error.code, error.fix) == ("hub_wants_key", "Set the key.")
    at.fake.faults.wants_key_with_401 = True
    assert "logged in" in at.refusal().message


def test_early_access_is_told_as_such(at: Setting) -> None:
    at.fake.faults.download = [(403, {"said": "Early Access"})]
    error = at.refusal()
    assert error.code == "download_refused"
    assert "early access" in error.message


def test_rate_limits_and_outages_are_waited_out(at: Setting) -> None:
    at.fake.faults.download = [(429, {"Retry-After": "30"})]
    at.fake.faults.store = [(503, {}), (403, {})]
    assert at.get().read_bytes() == DATA
    assert at.said[0] == "Civitai asks to wait; trying again in 30 seconds."
    assert "status 503" in at.said[1]
    assert "refuses the file" in at.said[2]


def test_a_page_in_place_of_the_file_is_waited_for_but_not_kept(at: Setting) -> None:
    at.fake.faults.page = 2
    assert at.get().read_bytes() == DATA
    (at.folder / NAME).unlink()
    at.fake.faults.page = 1000
    assert at.refusal().code == "hub_unreachable"
    assert at.left() == []


@pytest.mark.parametrize(
    "place",
    [
        "http://example.org/a.safetensors",
        "ftp://example.org/a.safetensors",
        "file:///etc/passwd",
        "https://user@example.org/a.safetensors",
    ],
)
def test_redirects_to_places_without_tls_are_refused(at: Setting, place: str) -> None:
    at.fake.faults.redirect = place
    error = at.refusal()
    assert error.code == "download_refused"


def test_a_circle_of_redirects_ends(at: Setting) -> None:
    at.fake.faults.redirect = "/api/download/models/456"
    assert at.refusal().code == "hub_failed"


def test_what_is_gone_is_said(at: Setting) -> None:
    at.fake.downloads.clear()
    assert at.refusal().code == "hub_unknown"


def test_a_full_disk_is_told_before_the_bytes_come(at: Setting) -> None:
    error = at.refusal(free=lambda _folder: 100_000_000)
    assert isinstance(error, StorageError)
    assert error.code == "disk_full"
    assert "0.2 GB of free space" in error.message
    assert at.get().read_bytes() == DATA


def test_a_cancel_in_the_middle_keeps_what_arrived(at: Setting) -> None:
    at.cancelled = lambda: len(at.told) > 2
    with pytest.raises(CancelledError):
        at.get()
    kept = (at.folder / f".{NAME}.part").stat().st_size
    assert 0 < kept < len(DATA)
    at.cancelled = lambda: False
    assert at.get().read_bytes() == DATA
    assert at.ranges()[-1] == f"bytes={kept}-"


def test_a_file_that_is_there_already_is_left_alone(at: Setting) -> None:
    at.get()
    asked = len(at.fake.requests)
    assert at.get().read_bytes() == DATA
    assert len(at.fake.requests) == asked
    error = at.refusal(at.file(OTHER))
    assert error.code == "download_refused"
    assert (at.folder / NAME).read_bytes() == DATA


def test_two_at_once_do_not_write_into_one_file(at: Setting) -> None:
    at.folder.mkdir()
    with partial(at.folder / NAME, at.file()):
        error = at.refusal()
    assert "already" in error.message
    assert at.get().read_bytes() == DATA


def test_where_it_goes_is_decided_from_its_header(at: Setting, tmp_path: Path) -> None:
    tensors: list[int] = []

    def settle(header: Any, target: Path) -> Path:
        tensors.append(len(header.tensors))
        return tmp_path / "elsewhere" / target.name

    path = at.get(settle=settle)
    assert path == tmp_path / "elsewhere" / NAME
    assert path.read_bytes() == DATA
    assert tensors == [len(SDXL_LORA)]
    assert at.left() == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a b.safetensors", "a b.safetensors"),
        ("../../etc/passwd.safetensors", "passwd.safetensors"),
        ("..\\..\\windows\\a.safetensors", "a.safetensors"),
        ("/abs/olute.SafeTensors", "olute.safetensors"),
        ("a:b|c?.safetensors", "a_b_c_.safetensors"),
        ("a\x00\n\u202eb.safetensors", "a___b.safetensors"),
        (".hidden.safetensors", "hidden.safetensors"),
        ("...safetensors", "model.safetensors"),
        (".safetensors", "model.safetensors"),
        ("CON.safetensors", "_CON.safetensors"),
        ("紙ランタン.safetensors", "紙ランタン.safetensors"),
        ("x" * 500 + ".safetensors", "x" * 150 + ".safetensors"),
    ],
)
def test_names_from_a_service_lead_nowhere(given: str, kept: str) -> None:
    assert safe_name(given) == kept
