from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kizy.trainer.dataset import DataSet, Dropped, Example
from kizy.trainer.report import TILES, WIDTH, draw_report
from kizy.trainer.report_text import shortened, width_of, wrapped
from PIL import Image


def examples(folder: Path, count: int, caption: str = "mimicat, a cat") -> tuple[Example, ...]:
    folder.mkdir()
    found = []
    for number in range(count):
        name = f"{number:04d}.png"
        Image.new("RGB", (64, 48), (number % 256, 200, 40)).save(folder / name)
        found.append(
            Example(
                picture=name,
                caption=caption,
                width=64,
                height=48,
                source=f"photos/{name}",
                sha256="0" * 64,
                has_alpha=False,
                held_out=number == 0,
            )
        )
    return tuple(found)


def drawn(tmp_path: Path, data: DataSet) -> np.ndarray:
    draw_report("Mimi the cat", data, tmp_path / "pictures", tmp_path / "report.png")
    with Image.open(tmp_path / "report.png") as sheet:
        assert sheet.format == "PNG"
        return np.asarray(sheet.convert("RGB"))


def test_every_picture_is_on_the_sheet(tmp_path: Path) -> None:
    data = DataSet(trigger="mimicat", examples=examples(tmp_path / "pictures", 9))
    sheet = drawn(tmp_path, data)
    assert sheet.shape[1] == WIDTH
    for number in range(9):
        assert (sheet == (number, 200, 40)).all(axis=2).sum() > 1000


def test_warnings_and_what_was_left_out_make_it_longer(tmp_path: Path) -> None:
    plain = DataSet(trigger="mimicat", examples=examples(tmp_path / "pictures", 2))
    dropped = tuple(Dropped(source=f"{n}.png", why="is too small") for n in range(3))
    full = plain.model_copy(update={"warnings": ("Only 2 pictures.",), "dropped": dropped})
    assert drawn(tmp_path, full).shape[0] > drawn(tmp_path, plain).shape[0] + 150


def test_a_large_set_stays_within_one_sheet(tmp_path: Path) -> None:
    dropped = tuple(Dropped(source=f"{n}.png", why="is too small") for n in range(900))
    data = DataSet(
        trigger="mimicat",
        examples=examples(tmp_path / "pictures", TILES + 60),
        dropped=dropped,
        warnings=("Something is to be said.",) * 300,
    )
    assert drawn(tmp_path, data).shape[0] < 12_000


@pytest.mark.parametrize("text", ["猫" * 200, "x" * 500, "😀 " * 50, "", "\u202e abc", "a" * 9999])
def test_no_caption_or_name_breaks_it(tmp_path: Path, text: str) -> None:
    data = DataSet(
        trigger="mimicat",
        examples=examples(tmp_path / "pictures", 1, caption=text),
        dropped=(Dropped(source=text, why=text),),
        warnings=(text,),
    )
    assert drawn(tmp_path, data).shape[0] < 2000


def test_lines_are_broken_to_fit() -> None:
    text = "a long caption of many words that does not fit on one line of the card at all"
    lines = wrapped(text, 16, 150, 3)
    assert len(lines) == 3
    assert all(width_of(line, 16) <= 150 for line in lines)
    assert lines[-1].endswith("…")
    assert wrapped("short", 16, 200, 3) == ["short"]
    assert len(wrapped("x" * 300, 16, 200, 2)) == 2


def test_long_names_keep_their_beginning_and_end() -> None:
    name = "holiday pictures of last summer/IMG_20240811_1234.png"
    found = shortened(name, 13, 150)
    assert width_of(found, 13) <= 150
    assert found.startswith("ho")
    assert found.endswith("34.png")
    assert shortened("a.png", 13, 150) == "a.png"
