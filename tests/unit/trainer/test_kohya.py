"""The kohya engine: files and command line, what it makes of output and results, its failures."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.catalog.formats.safetensors_header import read_header
from kizy.catalog.index.loras import read_lora
from kizy.core.plan import ModelFile
from kizy.trainer import supervise
from kizy.trainer.dataset import PICTURES, DataSet
from kizy.trainer.engines.kohya import KohyaEngine, KohyaSettings, environment
from kizy.trainer.engines.kohya_command import launch_words, script_words
from kizy.trainer.engines.kohya_failures import explain_kohya
from kizy.trainer.engines.kohya_files import data_toml, prompts_text, write_pictures
from kizy.trainer.engines.kohya_state import newest_state
from kizy.trainer.events import (
    CheckpointEvent,
    EndEvent,
    NoticeEvent,
    StepEvent,
    TrainingEvent,
    ValidationEvent,
)
from kizy.trainer.memory import Machine
from kizy.trainer.plan import TrainingPlan
from kizy.trainer.rules import decide
from kizy.trainer.run_folder import RunFolder
from kizy.trainer.supervise import Waits
from kizy.trainer.train import Trainer
from PIL import Image

from tests.fakes.sd_scripts import make_sd_scripts, tell
from tests.fakes.training import cpu, data_set, gpu, model, request, save_pictures

PARTS = {name: ModelFile(name=name, path=f"/models/{name}") for name in ("clip_l", "t5xxl", "ae")}


def decided(
    family: str, machine: Machine, data: DataSet | None = None, **wish: Any
) -> TrainingPlan:
    parts = PARTS if family.startswith("flux") else {}
    base = model(family)
    return decide(request(**wish), data or data_set(), base, machine, parts=parts)


def options(plan: TrainingPlan, **how: Any) -> dict[str, str]:
    """Each option with what follows it, up to the next one."""
    chosen = {"validate": True, "draw": False, **how}
    words = script_words(plan, Path("/run"), Path("/tokenizers"), **chosen)
    found: dict[str, list[str]] = {}
    for word in words[1:]:
        if word.startswith("--"):
            found[word] = []
        else:
            found[next(reversed(found))].append(word)
    return {name: " ".join(values) for name, values in found.items()} | {"script": words[0]}


@pytest.mark.parametrize(
    ("family", "script", "module"),
    [
        ("sd15", "train_network.py", "networks.lora"),
        ("sdxl", "sdxl_train_network.py", "networks.lora"),
        ("sd35", "sd3_train_network.py", "networks.lora_sd3"),
        ("flux1-dev", "flux_train_network.py", "networks.lora_flux"),
    ],
)
def test_each_family_has_its_script_and_module(family: str, script: str, module: str) -> None:
    found = options(decided(family, gpu(40)))
    assert (found["script"], found["--network_module"]) == (script, module)


def test_flux_is_told_what_its_documentation_asks_for() -> None:
    found = options(decided("flux1-dev", gpu(11.5, packages=("bitsandbytes",))))
    assert found["--guidance_scale"] == "1.0"
    assert found["--timestep_sampling"] == "flux_shift"
    assert found["--model_prediction_type"] == "raw"
    assert (found["--blocks_to_swap"], found["--optimizer_type"]) == ("16", "AdamW8bit")
    assert {"--fp8_base", "--cache_text_encoder_outputs", "--network_train_unet_only"} <= set(found)
    assert [found[f"--{part}"] for part in PARTS] == [f"/models/{part}" for part in PARTS]
    assert "--min_snr_gamma" not in found and "--noise_offset" not in found


def test_sd15_trains_its_text_encoder_and_keeps_no_text() -> None:
    found = options(decided("sd15", gpu(12)))
    assert found["--text_encoder_lr"] == "5e-05"
    assert "--cache_text_encoder_outputs" not in found
    assert "--network_train_unet_only" not in found
    assert (found["--min_snr_gamma"], found["--network_dim"]) == ("5", "32")


def test_adafactor_gets_the_arguments_of_the_documentation() -> None:
    found = options(decided("sdxl", gpu(9.5)))
    assert "relative_step=False" in found["--optimizer_args"]
    assert found["--max_grad_norm"] == "0"


def test_nothing_held_out_is_not_validated() -> None:
    assert not any("validat" in name for name in options(decided("sd15", cpu()), validate=False))


def test_it_goes_on_from_a_state() -> None:
    found = options(decided("sd15", cpu()), state=Path("/run/state"))
    assert found["--resume"] == "/run/state" and "--skip_until_initial_step" in found


def test_the_cpu_is_said_to_accelerate() -> None:
    on_cpu = launch_words(Path("python"), decided("sd15", cpu()))
    on_gpu = launch_words(Path("python"), decided("sd15", gpu(12)))
    assert "--cpu" in on_cpu and "--cpu" not in on_gpu
    assert on_gpu[on_gpu.index("--num_cpu_threads_per_process") + 1] == "1"


def test_a_folder_that_predicts_velocity_is_told(tmp_path: Path) -> None:
    (tmp_path / "scheduler").mkdir()
    config = tmp_path / "scheduler" / "scheduler_config.json"
    config.write_text('{"prediction_type": "v_prediction"}')
    base = model("sd15", "diffusers", tmp_path)
    plan = decide(request(engine="kohya"), data_set(), base, cpu())
    assert "--v_parameterization" in options(plan)


def test_the_data_set_holds_training_and_held_out_pictures() -> None:
    data = data_set(alpha=True)
    plan = decided("sd15", cpu(), data)
    found = tomllib.loads(data_toml(Path('/a "b" folder'), plan, data, held_out=True))
    train, held_out = found["datasets"]
    assert train["subsets"][0]["image_dir"] == '/a "b" folder/kohya/train'
    assert train["subsets"][0]["alpha_mask"] is True
    assert held_out["validation_split"] == 1.0
    assert found["general"]["bucket_reso_steps"] == 64


def test_one_epoch_holds_all_steps() -> None:
    plan = decided("sd15", cpu(), steps=100)
    found = tomllib.loads(data_toml(Path("/run"), plan, data_set(), held_out=True))
    subset = found["datasets"][0]["subsets"][0]
    assert subset["num_repeats"] * 11 // plan.batch >= plan.steps


@pytest.mark.parametrize(("resolution", "kept"), [(512, True), (64, False)])
def test_pictures_smaller_than_a_bucket_are_enlarged(resolution: int, kept: bool) -> None:
    # sd-scripts divides by zero otherwise.
    plan = decided("sd15", cpu(), resolution=resolution)
    found = tomllib.loads(data_toml(Path("/run"), plan, data_set(), held_out=True))
    assert found["general"]["bucket_no_upscale"] is kept


def test_a_prompt_cannot_bring_options_of_its_own() -> None:
    plan = decided("sdxl", gpu(24)).model_copy(update={"sample_prompts": ("a fox --w 9999",)})
    line = prompts_text(plan)
    assert "a fox -w 9999 --w 1024 --h 1024" in line and line.count("--w ") == 1


def test_pictures_and_captions_are_laid_out(tmp_path: Path) -> None:
    data = data_set(3, alpha=True)
    save_pictures(tmp_path, data)
    write_pictures(tmp_path, tmp_path / PICTURES, data, decided("sd15", cpu(), data, goal="style"))
    train = tmp_path / "kohya" / "train"
    assert (train / "0002.txt").read_text() == "mimicat, number 2"
    assert sorted(path.name for path in train.glob("*.png")) == ["0002.png", "0003.png"]
    # What is transparent becomes white where no mask is used.
    with Image.open(tmp_path / "kohya" / "held_out" / "0001.png") as picture:
        assert (picture.mode, picture.getpixel((0, 0))) == ("RGB", (255, 255, 255))


def test_its_python_does_not_see_kizys_libraries() -> None:
    found = environment({"PYTHONPATH": "/kizy", "HOME": "/me"})
    assert "PYTHONPATH" not in found and found["HOME"] == "/me"


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory.", "out_of_memory", "Memory"),
        ("train.py: error: unrecognized arguments: --sdpa", "kohya_invalid", "--sdpa"),
        ("voluptuous.error.MultipleInvalid: extra keys not allowed", "kohya_invalid", "extra"),
        ("ModuleNotFoundError: No module named 'bitsandbytes'", "kohya_invalid", "bitsandbytes"),
        ("OSError: Can't load tokenizer for 'openai/clip'", "kohya_failed", "tokenizer"),
        ("safetensors_rust.SafetensorError: bad header", "model_file_damaged", "base"),
        ("OSError: [Errno 28] No space left on device", "disk_full", "disk"),
        ("ValueError: fp16 mixed precision requires a GPU (not 'cpu').", "kohya_failed", "a GPU"),
        ("ValueError: odd\nsubprocess.CalledProcessError: 'x'", "kohya_failed", "odd"),
    ],
)  # fmt: skip
def test_its_failures_are_told_in_plain_words(said: str, code: str, told: str) -> None:
    error = explain_kohya(1, f"Traceback (most recent call last):\n{said}\n")
    assert error.code == code and told in error.message


def test_a_kill_is_told_as_one() -> None:
    assert explain_kohya(-signal.SIGKILL, "").code == "training_killed"


def test_a_state_that_is_not_whole_is_passed_over(tmp_path: Path) -> None:
    state = tmp_path / "mimi-step00000010-state"
    state.mkdir()
    (state / "train_state.json").write_text('{"current_step": 10}')
    (state / "random_states_0.pkl").write_bytes(b"PK\x03\x04 cut short")
    assert newest_state(tmp_path, "mimi") is None


# With a stand-in for sd-scripts


class Studio:
    """A run of the kohya engine with a stand-in for sd-scripts."""

    def __init__(self, folder: Path) -> None:
        self.scripts, python = make_sd_scripts(folder / "sd-scripts")
        self.engine = KohyaEngine(KohyaSettings(self.scripts, python))
        base = folder / "base.safetensors"
        base.touch()
        self.run = RunFolder.create(request())
        data = data_set()
        plan = decide(request(steps=40), data, model("sd15", path=base), cpu())
        self.run.write("plan.json", plan)
        self.run.write("dataset.json", data)
        save_pictures(self.run.path, data)

    def train(self) -> list[TrainingEvent]:
        return list(supervise.follow(supervise.start(self.run, self.engine), Waits(poll=0.02)))

    def called(self) -> list[str]:
        return json.loads((self.scripts / "called.json").read_text())


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    yield Studio(tmp_path)


def end_of(events: list[TrainingEvent]) -> EndEvent:
    assert isinstance(events[-1], EndEvent)
    return events[-1]


def test_its_log_and_files_become_events_and_a_lora(studio: Studio) -> None:
    tell(studio.scripts, checks={"10": 0.9, "20": 0.4, "30": 0.6, "40": 0.8})
    events = studio.train()
    end = end_of(events)
    assert (end.state, end.error) == ("succeeded", None)
    assert [e.step for e in events if isinstance(e, StepEvent)] == list(range(1, 41))
    checks = [(e.step, round(e.loss, 4)) for e in events if isinstance(e, ValidationEvent)]
    assert checks == [(10, 0.9), (20, 0.4), (30, 0.6), (40, 0.8)]
    assert [e.step for e in events if isinstance(e, CheckpointEvent)] == [10, 20, 30, 40]
    assert end.best_step in (20, 30) and end.result is not None
    assert (studio.run.path / "loss.png").exists()


def test_the_lora_says_what_it_is_for(studio: Studio) -> None:
    result = end_of(studio.train()).result
    assert result is not None
    entry = read_lora(Path(result))
    assert (entry.name, entry.family, entry.triggers) == ("mimi", "sd15", ("mimicat",))
    said = read_header(Path(result)).metadata
    assert said["modelspec.description"] == "my grey cat"
    assert said["ss_network_dim"] == "4"
    assert json.loads(said["kizy"])["kind"] == "subject"


def test_a_failure_is_told_and_what_was_saved_goes_on(studio: Studio) -> None:
    tell(studio.scripts, die=25)
    first = end_of(studio.train())
    assert first.error is not None and first.error.code == "kohya_failed"
    assert "no more pencils" in first.error.message
    events = studio.train()
    assert end_of(events).state == "succeeded"
    assert [e.step for e in events if isinstance(e, StepEvent)] == list(range(21, 41))
    assert "step00000020-state" in studio.called()[studio.called().index("--resume") + 1]
    assert any(isinstance(e, NoticeEvent) and e.code == "resumed" for e in events)


def test_what_a_dry_run_prints_can_be_typed(studio: Studio) -> None:
    command = Trainer(engines={"kohya": studio.engine}).command(studio.run)
    assert all(path.read_text() == text for path, text in command.files.items())
    assert (studio.run.path / "kohya" / "train" / "0002.txt").exists()
    env = environment(dict(os.environ))
    done = subprocess.run(command.argv, cwd=command.folder, env=env, capture_output=True)
    assert done.returncode == 0
    # What was trained by hand is published by who goes on with it.
    assert end_of(studio.train()).state == "succeeded"


def test_stop_publishes_what_was_saved(studio: Studio) -> None:
    tell(studio.scripts, pause=0.15)
    handle = supervise.start(studio.run, studio.engine)
    events = []
    for event in supervise.follow(handle, Waits(poll=0.02)):
        events.append(event)
        if isinstance(event, CheckpointEvent):
            supervise.stop(handle)
    assert end_of(events).state == "stopped"
    assert end_of(events).result is not None


def test_a_loss_that_is_no_number_for_long_ends_it(studio: Studio) -> None:
    tell(studio.scripts, losses={str(step): math.inf for step in range(5, 41)})
    error = end_of(studio.train()).error
    assert error is not None and error.code == "training_diverged"


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    missing = KohyaEngine(KohyaSettings(tmp_path)).missing()
    assert missing is not None and missing.code == "kohya_invalid"
    none = KohyaEngine(KohyaSettings()).missing()
    assert none is not None and "[trainer]" in none.fix


def test_a_family_that_it_does_not_know_is_refused(studio: Studio) -> None:
    plan = studio.run.plan().model_copy(update={"family": "starter"})
    refusal = studio.engine.refusal(plan)
    assert refusal is not None and refusal.code == "trainer_cannot"
