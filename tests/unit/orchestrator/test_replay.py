"""What a Plan inside a picture tells of is found again, and nothing else is opened for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from kizy.catalog.index.loras import file_sha256
from kizy.core.errors import KizyError
from kizy.core.picture_files import png_bytes
from kizy.core.plan import InputPicture, ModelFile, Plan, PlannedLora, PlannedStart
from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App
from kizy.orchestrator.settings import Settings
from PIL import Image

from tests.fakes.draws import plan_of
from tests.unit.orchestrator.test_lora_choice import lora


def app() -> App:
    return App(settings=Settings(engine="embedded"))


def picture(folder: Path, **changes: Any) -> Path:
    plan = plan_of(GenerationRequest(prompt="a fox", seed=1), **changes)
    path = folder / "drawn.png"
    path.write_bytes(png_bytes(Image.new("RGB", (16, 16)), plan, "1"))
    return path


def with_lora(folder: Path, file: ModelFile, **changes: Any) -> Path:
    planned = PlannedLora(file=file, model_weight=1, clip_weight=1)
    return picture(folder, loras=(planned,), **changes)


def found(path: Path) -> ModelFile:
    plan: Plan = app().plan_of(path)
    return plan.loras[0].file


def refusal(path: Path) -> str:
    with pytest.raises(KizyError) as caught:
        app().plan_of(path)
    return caught.value.code


def test_a_lora_is_found_where_it_lay(kizy_home: Path, tmp_path: Path) -> None:
    path = lora(tmp_path / "elsewhere", "mine")
    file = ModelFile(name="mine", path=str(path), sha256=file_sha256(path))
    assert found(with_lora(tmp_path, file)) == file


def test_of_two_of_its_name_the_one_with_its_content_is_found(
    kizy_home: Path, tmp_path: Path
) -> None:
    lora(kizy_home / "loras" / "a", "ink", about="one")
    path = lora(kizy_home / "loras" / "b", "ink", about="two")
    file = ModelFile(name="ink", sha256=file_sha256(path))
    assert found(with_lora(tmp_path, file)).path == str(path)
    assert refusal(with_lora(tmp_path, ModelFile(name="ink"))) == "name_ambiguous"


def test_a_path_without_the_content_that_was_drawn_with_counts_for_nothing(
    kizy_home: Path, tmp_path: Path
) -> None:
    path = lora(tmp_path / "private", "mine")
    for sha256 in (None, "0" * 64):
        file = ModelFile(name="mine", path=str(path), sha256=sha256)
        assert refusal(with_lora(tmp_path, file)) == "lora_unknown"
    assert refusal(with_lora(tmp_path, ModelFile(name=str(path)))) == "lora_unknown"


def test_no_file_of_this_machine_goes_to_a_server_for_a_strangers_plan(
    kizy_home: Path, tmp_path: Path
) -> None:
    path = lora(tmp_path / "private", "mine")
    told = ModelFile(name="mine.safetensors", path=str(path))
    assert found(with_lora(tmp_path, told, engine="comfyui")).path is None
    ours = told.model_copy(update={"sha256": file_sha256(path)})
    assert found(with_lora(tmp_path, ours, engine="comfyui")) == ours


@pytest.mark.parametrize("engine", ["embedded", "comfyui"])
@pytest.mark.parametrize("share", ["\\\\evil\\share\\x.safetensors", "//evil/share/x.safetensors"])
def test_no_other_machine_is_asked_for_a_path_in_a_picture(
    kizy_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, share: str
) -> None:
    looked: list[str] = []
    stat = Path.stat

    def watched(path: Path, **options: Any) -> Any:
        looked.append(str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", watched)
    file = ModelFile(name="x", path=share, sha256="0" * 64)
    start = PlannedStart(picture=InputPicture(path=share, sha256="/" * 64), strength=1)
    drawn = with_lora(
        tmp_path, file, engine=engine, model=ModelFile(name="m", path=share), start=start
    )
    with pytest.raises(KizyError):
        app().plan_of(drawn)
    assert not [path for path in looked if "evil" in path]


def test_a_model_that_moved_is_found_by_its_name_and_a_path_is_none(
    kizy_home: Path, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "models", ignore_errors=True)
    for name in ("/models/xl", "../xl", "gone"):
        model = ModelFile(name=name, path="/gone/xl")
        assert refusal(picture(tmp_path, model=model, family="sdxl")) == "model_unknown"
