"""`kizy improve`, and improving in `kizy generate`: in this process, with the starter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kizy.core.errors import InputError
from kizy.core.picture_files import open_picture, png_bytes, read_plan
from kizy.core.plan import ImproveStage
from kizy.orchestrator.cli import improve as improving
from PIL import Image, ImageDraw

from tests.fakes.drawer import plan_of

QUICK = ("--engine", "embedded", "--seed", "1", "--json")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZY_HOME", str(tmp_path / "home"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Coloured noise, softened, on which nobody has a face."""
    cells = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(cells).resize((200, 150), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "mask.png"
    picture = Image.new("L", (200, 150))
    ImageDraw.Draw(picture).ellipse((60, 40, 130, 110), fill=255)
    picture.save(path)
    return path


def pixels(path: Path | str) -> np.ndarray:
    return np.asarray(open_picture(Path(path)).convert("RGB"))


@pytest.mark.slow
def test_what_a_mask_marks_is_drawn_again_and_nothing_else(
    kizy: Any, photo: Path, mask: Path, tmp_path: Path
) -> None:
    outcome = kizy("improve", photo, "--what", mask, "--out", tmp_path / "out", *QUICK)
    assert outcome.status == 0, outcome.err
    assert "1 part of the mask drawn again." in outcome.json["notices"]
    (saved,) = outcome.json["pictures"]
    old, new = pixels(photo), pixels(saved["path"])
    marked = pixels(mask)[..., 0] >= 128
    assert (old[~marked] == new[~marked]).all()
    assert (old[marked] != new[marked]).any()


@pytest.mark.slow
def test_an_improvement_can_be_replayed(kizy: Any, photo: Path, mask: Path, tmp_path: Path) -> None:
    outcome = kizy("improve", photo, "--what", mask, "--out", tmp_path / "out", *QUICK)
    first = outcome.json["pictures"][0]["path"]
    photo.unlink()
    mask.unlink()
    again = kizy("replay", first, "--out", tmp_path / "again", "--json")
    assert again.status == 0, again.err
    assert (pixels(first) == pixels(again.json["pictures"][0]["path"])).all()


@pytest.mark.slow
def test_without_a_face_the_picture_stays_as_it_is_and_that_is_said(
    kizy: Any, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.png"
    Image.new("RGB", (120, 80), "teal").save(plain)
    outcome = kizy("improve", plain, "--out", tmp_path / "out", *QUICK)
    assert "No face was found: the picture stays as it is." in outcome.json["notices"]
    assert (pixels(outcome.json["pictures"][0]["path"]) == pixels(plain)).all()


@pytest.mark.slow
def test_a_picture_is_enlarged_before_it_is_improved(
    kizy: Any, photo: Path, mask: Path, tmp_path: Path
) -> None:
    options = ("--what", mask, "--enlarge", "2", "--out", tmp_path / "out", *QUICK)
    (saved,) = kizy("improve", photo, *options).json["pictures"]
    assert (saved["width"], saved["height"]) == (400, 300)


def test_a_picture_that_is_not_there_is_said(kizy: Any, tmp_path: Path) -> None:
    outcome = kizy("improve", tmp_path / "none.png", *QUICK)
    assert outcome.status == 2
    assert "none.png" in outcome.words


def test_an_amount_without_anything_to_improve_is_refused(kizy: Any) -> None:
    outcome = kizy("generate", "a girl", "--amount", "strong", "--engine", "embedded")
    assert outcome.status == 2
    assert "--improve faces" in outcome.words


def test_a_factor_that_is_no_number_is_refused(kizy: Any) -> None:
    assert kizy("generate", "a girl", "--enlarge", "much", "--engine", "embedded").status == 2


class TestWords:
    def test_masks_and_faces_become_stages(self) -> None:
        found = improving.improvements(["faces", "m.png"], "subtle", ["a king"])
        assert found == [
            {"what": "faces", "amount": "subtle", "prompts": ["a king"]},
            {"what": "mask", "mask": "m.png", "amount": "subtle", "prompts": ["a king"]},
        ]

    def test_words_for_faces_need_something_to_improve(self) -> None:
        with pytest.raises(InputError):
            improving.improvements(None, "normal", ["a king"])

    @pytest.mark.parametrize(
        ("text", "wanted"), [("auto", "auto"), ("2", {"factor": 2}), ("1", "auto")]
    )
    def test_an_enlargement_is_a_factor(self, text: str, wanted: object) -> None:
        assert improving.enlargement(text) == wanted

    def test_a_picture_of_kizys_says_what_it_was_drawn_from(self, tmp_path: Path) -> None:
        path = tmp_path / "ours.png"
        path.write_bytes(png_bytes(Image.new("RGB", (64, 64)), plan_of(style="3d"), "0"))
        assert improving.as_drawn(path) == {
            "prompt": "a red fox",
            "negative": "",
            "model": "starter",
            "loras": "none",
            "style": "3d",
        }

    def test_any_other_picture_says_nothing(self, photo: Path) -> None:
        assert improving.as_drawn(photo) == {}


@pytest.mark.slow
def test_the_plan_in_the_picture_tells_of_the_improvement(
    kizy: Any, photo: Path, mask: Path, tmp_path: Path
) -> None:
    options = ("--what", mask, "--amount", "strong", "--prompt", "a red ball")
    outcome = kizy("improve", photo, *options, "--out", tmp_path / "out", *QUICK)
    plan = read_plan(Path(outcome.json["pictures"][0]["path"]))
    assert plan.request_prompt == "a red ball"
    (stage,) = plan.stages
    assert isinstance(stage, ImproveStage)
    assert (stage.what, stage.amount, stage.strength) == ("mask", "strong", 0.6)
