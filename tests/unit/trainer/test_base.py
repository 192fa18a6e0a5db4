"""The base of a training: still the one that it began with, and what it predicts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kizy.core.errors import InputError
from kizy.core.plan import ModelFile
from kizy.trainer.base_mark import END, MARKS, require_same_base
from kizy.trainer.plan import TrainingPlan
from kizy.trainer.prediction import prediction_of
from kizy.trainer.rules import decide
from kizy.trainer.run_folder import RunFolder
from kizy.trainer.train import Trainer

from tests.fakes.training import FakeEngine, data_set, gpu, model, request, run_folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder as diffusers has it."""
    folder = tmp_path / "base"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "model.safetensors").write_bytes(bytes(3 * END))
    (folder / "unet" / "config.json").write_text("{}")
    return folder


def run_on(path: Path, **changes: object) -> RunFolder:
    run = run_folder()
    values = {"base": ModelFile(name="base", path=str(path)), "family": "sd15", **changes}
    run.write("plan.json", run.plan().model_copy(update=values))
    return run


def overwrite(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def changes(base: Path) -> Iterator[tuple[str, Path]]:
    weights = base / "unet" / "model.safetensors"
    overwrite(weights, 0)
    yield "the header", weights
    overwrite(weights, 0)
    overwrite(weights, 3 * END - 1)
    yield "the last tensor", weights
    overwrite(weights, 3 * END - 1)
    (base / "unet" / "config.json").write_text('{"a": 1}')
    yield "the configuration", base / "unet" / "config.json"


def test_a_training_goes_on_with_the_same_base_only(base: Path) -> None:
    run = run_on(base)
    require_same_base(run)
    for what, file in changes(base):
        with pytest.raises(InputError) as caught:
            require_same_base(run)
        assert caught.value.code == "training_base_changed", what
        assert file.name in caught.value.message
    (base / "unet" / "config.json").write_text("{}")
    require_same_base(run)


def test_a_base_that_was_only_copied_anew_is_the_same(base: Path) -> None:
    run = run_on(base)
    require_same_base(run)
    weights = base / "unet" / "model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(data)
    require_same_base(run)


def test_the_files_of_a_base_in_parts_count(tmp_path: Path) -> None:
    main, part = tmp_path / "flux.safetensors", tmp_path / "t5.safetensors"
    main.write_bytes(b"main")
    part.write_bytes(b"part")
    run = run_on(main, parts={"t5xxl": ModelFile(name="t5", path=str(part))})
    require_same_base(run)
    part.write_bytes(b"trap")
    with pytest.raises(InputError, match="t5xxl"):
        require_same_base(run)


def test_what_is_gone_is_left_to_the_engine(tmp_path: Path) -> None:
    file = tmp_path / "gone.safetensors"
    file.write_bytes(b"here")
    run = run_on(file)
    require_same_base(run)
    file.unlink()
    require_same_base(run)


def test_damaged_marks_are_made_anew(base: Path) -> None:
    run = run_on(base)
    require_same_base(run)
    (run.path / MARKS).write_text("{")
    require_same_base(run)
    assert (run.path / MARKS).read_text().startswith('{"')


def test_nothing_starts_on_another_base(base: Path) -> None:
    run = run_on(base)
    require_same_base(run)
    overwrite(base / "unet" / "model.safetensors", 0)
    trainer = Trainer(engines={"builtin": FakeEngine()})
    with pytest.raises(InputError, match="another file"):
        trainer.resume(run)
    assert run.state() == "prepared"


def decided(family: str, path: Path, kind: str = "diffusers") -> TrainingPlan:
    return decide(request(), data_set(), model(family, kind, path), gpu(24))


def test_what_a_base_predicts(tmp_path: Path) -> None:
    (tmp_path / "scheduler").mkdir()
    config = tmp_path / "scheduler" / "scheduler_config.json"
    assert prediction_of(decided("sd15", tmp_path)) == "epsilon"
    config.write_text('{"prediction_type": "v_prediction"}')
    assert prediction_of(decided("sd15", tmp_path)) == "v"
    config.write_text("[]")
    assert prediction_of(decided("sd15", tmp_path)) == "epsilon"
    assert prediction_of(decided("flux1-dev", tmp_path / "f.safetensors", "checkpoint")) is None
    assert prediction_of(decided("sd35", tmp_path / "f.safetensors", "checkpoint")) is None
    assert prediction_of(run_folder().plan()) == "v"
