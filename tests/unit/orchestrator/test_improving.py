"""The request that improves a picture, from what is asked and what the picture tells."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import PictureError, UnknownNameError
from kizy.core.picture_files import png_bytes
from kizy.core.plan import ModelFile, Plan, PlannedLora
from kizy.core.request import GenerationRequest, parse_request
from kizy.orchestrator.planning.improve_request import as_drawn, improvements, improving, told_by
from PIL import Image

from tests.fakes.draws import plan_of

DRAWN = {"prompt": "a red fox", "model": "painter", "loras": [{"name": "ink"}], "style": "3d"}
FACES = improvements(["faces"])


def plan(**changes: Any) -> Plan:
    return plan_of(GenerationRequest(prompt="a red fox", seed=1), **changes)


def drawn_with(folder: Path) -> tuple[ModelFile, ModelFile]:
    """A LoRA and a model that lie there, as a Plan tells of them."""
    lora, model = folder / "ink.safetensors", folder / "xl"
    lora.write_bytes(b"ink")
    model.mkdir()
    (model / "model_index.json").write_text("{}")
    sha256 = hashlib.sha256(b"ink").hexdigest()
    return ModelFile(name="ink", path=str(lora), sha256=sha256), ModelFile(
        name="xl", path=str(model)
    )


def request(**values: Any) -> GenerationRequest:
    return parse_request(GenerationRequest, values)


def test_faces_and_masks_share_amount_and_words() -> None:
    assert improvements(["faces", "m.png"], "subtle", ["a king"]) == [
        {"what": "faces", "amount": "subtle", "prompts": ["a king"]},
        {"what": "mask", "mask": "m.png", "amount": "subtle", "prompts": ["a king"]},
    ]


def test_the_picture_is_kept_as_it_is_and_improved() -> None:
    wish = request(**improving("a.png", FACES, {}))
    assert wish.start is not None
    assert (wish.start.picture, wish.start.strength) == ("a.png", 0)
    assert [one.what for one in wish.improve] == ["faces"]


def test_without_any_words_a_face_or_a_picture_is_meant_and_no_lora() -> None:
    faces = improving("a.png", FACES, {})
    mask = improving("a.png", improvements(["m.png"]), {})
    assert (faces["prompt"], faces["loras"]) == ("a face", "none")
    assert mask["prompt"] == "a detailed picture"


def test_what_the_picture_tells_is_taken() -> None:
    values = improving("a.png", FACES, DRAWN)
    assert {name: values[name] for name in DRAWN} == DRAWN


def test_words_of_the_person_win_and_may_mean_a_lora() -> None:
    values = improving("a.png", FACES, DRAWN, prompt="a king")
    assert (values["prompt"], values["loras"]) == ("a king", "auto")
    assert "model" not in values


def test_a_model_and_loras_that_are_named_win() -> None:
    values = improving("a.png", FACES, DRAWN, model="xl", loras=[{"name": "other"}])
    assert (values["model"], values["loras"]) == ("xl", [{"name": "other"}])
    assert values["prompt"] == "a red fox"


class TestPlans:
    def test_models_and_loras_are_named_by_path_on_this_machine_alone(self, tmp_path: Path) -> None:
        file, model = drawn_with(tmp_path)
        lora = PlannedLora(file=file, model_weight=0.7, clip_weight=0.5)
        drawn = plan(loras=(lora,), model=model)
        here, there = told_by(drawn, here=True), told_by(drawn, here=False)
        assert (here["model"], here["loras"][0]["name"]) == (model.path, file.path)
        assert (there["model"], there["loras"][0]["name"]) == ("xl", "ink")
        assert there["loras"][0]["model_weight"] == 0.7

    def test_what_lies_elsewhere_now_is_named_by_its_name(self, tmp_path: Path) -> None:
        file, model = drawn_with(tmp_path)
        Path(str(file.path)).write_bytes(b"another one")
        (Path(str(model.path)) / "model_index.json").unlink()
        lora = PlannedLora(file=file, model_weight=0.7, clip_weight=0.5)
        here = told_by(plan(loras=(lora,), model=model), here=True)
        assert (here["model"], here["loras"][0]["name"]) == ("xl", "ink")

    @pytest.mark.parametrize("here", [True, False])
    def test_a_strangers_plan_names_no_file_of_this_machine(
        self, tmp_path: Path, *, here: bool
    ) -> None:
        file, _ = drawn_with(tmp_path)
        unproven = (
            ModelFile(name=str(file.path)),
            ModelFile(name="../ink", path=file.path),
            ModelFile(
                name="\\\\evil\\ink", path="\\\\evil\\share\\ink.safetensors", sha256="0" * 64
            ),
        )
        loras = (PlannedLora(file=one, model_weight=1, clip_weight=1) for one in unproven)
        values = told_by(plan(loras=tuple(loras), model=ModelFile(name="/models/xl")), here=here)
        assert (values["model"], values["loras"]) == ("auto", "none")

    def test_without_loras_none_is_picked(self) -> None:
        assert told_by(plan(), here=True)["loras"] == "none"

    def test_a_picture_of_kizys_tells_it(self, tmp_path: Path) -> None:
        path = tmp_path / "ours.png"
        path.write_bytes(png_bytes(Image.new("RGB", (16, 16)), plan(), "0"))
        assert as_drawn(path) == told_by(plan(), here=True)

    def test_any_other_picture_tells_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "other.png"
        Image.new("RGB", (16, 16)).save(path)
        assert as_drawn(path) == {}

    def test_what_is_no_picture_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "words.png").write_text("words")
        with pytest.raises(PictureError):
            as_drawn(tmp_path / "words.png")
        with pytest.raises(UnknownNameError):
            as_drawn(tmp_path / "none.png")
