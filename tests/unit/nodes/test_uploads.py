"""What was uploaded goes when nobody has used it for long, and nothing else does."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from kizy.nodes import uploads
from kizy.nodes.uploads import KEPT, tidy, tidy_now_and_then, used

NOW = time.time()
OLD, NEW = NOW - KEPT - 60, NOW - KEPT + 60
SET = "0123456789abcdef"
START = f"{'ab' * 32}.png"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    (tmp_path / "input" / "kizy").mkdir(parents=True)
    return tmp_path / "input"


def put(inputs: Path, name: str, moment: float) -> Path:
    """A file below `kizy`, and the folders that it lies in, of that age."""
    path = inputs / "kizy" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (moment, moment))
    if path.parent.name != "kizy":
        os.utime(path.parent, (moment, moment))
    return path


def left(inputs: Path) -> list[str]:
    return sorted(path.relative_to(inputs / "kizy").as_posix() for path in _files(inputs))


def _files(inputs: Path) -> list[Path]:
    return [path for path in (inputs / "kizy").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", [f"{SET}/a.png", f"{SET}/b.ZIP", f"{SET}/.kizy.x1.part", START])
def test_it_goes_a_month_after_its_last_use(inputs: Path, name: str) -> None:
    put(inputs, name, NEW)
    tidy(inputs, NOW)
    assert left(inputs) == [name]
    put(inputs, name, OLD)
    tidy(inputs, NOW)
    assert left(inputs) == []
    assert list((inputs / "kizy").iterdir()) == []


def test_a_set_goes_as_a_whole_or_not_at_all(inputs: Path) -> None:
    put(inputs, f"{SET}/old.png", OLD)
    put(inputs, f"{SET}/new.png", NEW)
    tidy(inputs, NOW)
    assert left(inputs) == [f"{SET}/new.png", f"{SET}/old.png"]


@pytest.mark.parametrize("name", ["cats/a.png", "notes.txt", f"{SET}/notes.txt", "example.png"])
def test_what_is_no_upload_stays(inputs: Path, name: str) -> None:
    put(inputs, name, OLD)
    tidy(inputs, NOW)
    assert left(inputs) == [name]


def test_links_are_not_followed(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.png").write_bytes(b"x")
    os.utime(tmp_path / "mine" / "a.png", (OLD, OLD))
    os.utime(tmp_path / "mine", (OLD, OLD))
    (inputs / "kizy" / SET).symlink_to(tmp_path / "mine")
    tidy(inputs, NOW)
    assert (tmp_path / "mine" / "a.png").exists()


@pytest.mark.parametrize("name", [f"{SET}/a.png", START])
def test_what_is_used_again_stays_for_another_month(inputs: Path, name: str) -> None:
    path = put(inputs, name, OLD)
    used([path, inputs / "other" / "b.png"], inputs)
    tidy(inputs, NOW)
    assert left(inputs) == [name]


def test_a_set_may_be_named_by_its_folder(inputs: Path) -> None:
    path = put(inputs, f"{SET}/a.png", OLD)
    used([path.parent], inputs)
    tidy(inputs, NOW)
    assert left(inputs) == [f"{SET}/a.png"]


def test_it_is_looked_at_once_a_day(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    monkeypatch.setattr(uploads, "tidy", lambda folder, now: looked.append(folder))
    monkeypatch.setattr(uploads.time, "time", lambda: NOW + 86_400 * len(days))
    days: list[int] = []
    for _ in range(3):
        tidy_now_and_then(inputs)
    assert looked == [inputs]
    days.append(1)
    tidy_now_and_then(inputs)
    assert looked == [inputs] * 2


def test_where_nothing_was_uploaded_nothing_happens(tmp_path: Path) -> None:
    tidy(tmp_path / "none", NOW)


def test_the_button_offers_what_the_server_takes() -> None:
    script = (Path(uploads.__file__).parent / "web" / "kizy.js").read_text(encoding="utf-8")
    offered = re.search(r'const PICTURES =\s*"([^"]+)"', script)
    assert offered is not None
    assert tuple(offered[1].split(",")) == uploads.PICTURES


def test_a_mask_that_nobody_uses_goes_too(tmp_path: Path) -> None:
    mask = tmp_path / "kizy" / f"{'a' * 64}-mask.png"
    mask.parent.mkdir()
    mask.write_bytes(b"x")
    os.utime(mask, (NOW - 2 * KEPT, NOW - 2 * KEPT))
    tidy(tmp_path, NOW)
    assert not mask.exists()
