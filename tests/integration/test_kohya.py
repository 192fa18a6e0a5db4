"""A LoRA trained by real sd-scripts, on Stable Diffusion 1.5's shapes, killed in between.

| variable | what it names |
|---|---|
| KIZY_TEST_SD_SCRIPTS | sd-scripts' folder; without it these tests are skipped |
| KIZY_TEST_SD_SCRIPTS_PYTHON | the interpreter that has what sd-scripts needs |
| KIZY_TEST_SD15 | a checkpoint of Stable Diffusion 1.5; random weights do (random_sd15.py) |
| KIZY_TEST_SD_SCRIPTS_TOKENIZERS | a folder as its --tokenizer_cache_dir, if it cannot download |

It runs on the CPU: some minutes, if nothing else runs there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kizy.catalog.index.loras import read_lora
from kizy.core.home import loras_folder
from kizy.core.plan import ModelFile
from kizy.core.request import TrainingRequest
from kizy.trainer.dataset import PICTURES
from kizy.trainer.engines.kohya import KohyaEngine, KohyaSettings, tokenizers_folder
from kizy.trainer.engines.kohya_files import write_pictures, write_texts
from kizy.trainer.events import CheckpointEvent, EndEvent, StepEvent, ValidationEvent
from kizy.trainer.rules import decide
from kizy.trainer.table import load_rules
from kizy.trainer.train import Trainer, TrainerSettings
from PIL import Image

from tests.fakes.training import data_set, gpu, model, request, save_pictures

# Read now: no test sees variables that begin with KIZY_.
FOLDER = os.environ.get("KIZY_TEST_SD_SCRIPTS")
PYTHON = os.environ.get("KIZY_TEST_SD_SCRIPTS_PYTHON")
BASE = os.environ.get("KIZY_TEST_SD15")
TOKENIZERS = os.environ.get("KIZY_TEST_SD_SCRIPTS_TOKENIZERS")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason="KIZY_TEST_SD_SCRIPTS names no folder"),
]
with_base = pytest.mark.skipif(BASE is None, reason="KIZY_TEST_SD15 names no checkpoint")

STEPS = 12
"""Two saves: the fewest steps between two are 10."""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        # Coarse, so that no two are alike; with grain, so that none is blurred.
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        size = (64 + 32 * (number % 3), 96)
        picture = np.asarray(coarse.resize(size), np.float32) + rng.normal(0, 12, (96, size[0], 1))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@with_base
def test_a_lora_is_trained_killed_gone_on_with_and_read(pictures: Path) -> None:
    assert FOLDER is not None and BASE is not None
    if TOKENIZERS is not None:
        shutil.copytree(TOKENIZERS, tokenizers_folder())
    python = Path(PYTHON) if PYTHON is not None else None
    trainer = Trainer(TrainerSettings(kohya=KohyaSettings(Path(FOLDER), python)))
    request = TrainingRequest(
        files=(str(pictures),), name="Noise", about="noise in the style of noise", base=BASE,
        resolution=64, steps=STEPS, rank=4, seed=1,
    )  # fmt: skip
    run = trainer.prepare(request)
    # Drawing with random weights takes longer than all else, and shows nothing.
    run.write("plan.json", run.plan().model_copy(update={"sample_prompts": ()}))

    handle, events = trainer.start(run), []
    for event in trainer.follow(handle):
        events.append(event)
        # One step behind what was saved.
        if isinstance(event, StepEvent) and event.step == 11:
            trainer.kill(handle)
    assert [e.step for e in events if isinstance(e, StepEvent)][:11] == list(range(1, 12))
    assert [e.step for e in events if isinstance(e, ValidationEvent)] == [10]
    assert not run.is_running()

    events = list(trainer.follow(trainer.resume(run)))
    end = events[-1]
    saved = [e.step for e in run.all_events() if isinstance(e, CheckpointEvent)]
    assert saved == [10, 12]
    assert isinstance(end, EndEvent) and (end.state, end.error) == ("succeeded", None)
    assert [e.step for e in events if isinstance(e, StepEvent)] == [11, 12]
    assert all(0 < e.loss < 10 for e in events if isinstance(e, StepEvent | ValidationEvent))

    entry = read_lora(loras_folder() / "noise.safetensors")
    assert (entry.family, entry.rank, entry.alpha) == ("sd15", 4, 2.0)
    assert entry.triggers == (run.plan().trigger,)
    checked = subprocess.run(
        [PYTHON or "python", "networks/check_lora_weights.py", str(entry.path)],
        env={**os.environ, "PYTHONPATH": FOLDER},
        cwd=FOLDER,
        capture_output=True,
        text=True,
    )
    # Up and down for each of the 192 modules of the UNet: a style leaves the text encoder alone.
    assert checked.returncode == 0 and "number of LoRA modules: 384" in checked.stdout


READ = """
import importlib, inspect, json, sys
from library import config_util, strategy_base, train_util
from train_network import NetworkTrainer
for script, *words in json.load(sys.stdin):
    module = importlib.import_module(script.removesuffix(".py"))
    options = train_util.read_config_from_file(
        module.setup_parser().parse_args(words), module.setup_parser()
    )
    trainer = [found for _, found in inspect.getmembers(module, inspect.isclass)
               if issubclass(found, NetworkTrainer)][-1]()
    train_util.verify_training_args(options)
    train_util.prepare_dataset_args(options, True)
    strategy_base.LatentsCachingStrategy._strategy = None
    strategy_base.LatentsCachingStrategy.set_strategy(trainer.get_latents_caching_strategy(options))
    sanitizer = config_util.ConfigSanitizer(True, True, options.masked_loss, True)
    file = config_util.load_user_config(options.dataset_config)
    blueprint = config_util.BlueprintGenerator(sanitizer).generate(file, options)
    groups = config_util.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    trainer.assert_extra_args(options, *groups)
    print("read", len(groups[0]), len(groups[1]))
"""
"""What sd-scripts does with a command line and a data set before it loads a model."""


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd35", "sd35-medium", "flux1-dev"])
def test_sd_scripts_takes_the_command_of_every_amount_of_memory(
    tmp_path: Path, family: str
) -> None:
    assert FOLDER is not None
    data = data_set(alpha=True)
    parts = {name: ModelFile(name=name, path=f"/{name}") for name in ("clip_l", "t5xxl", "ae")}
    lines = []
    for number, tier in enumerate(load_rules().family[family].gpu):
        machine = gpu(tier.least_gib + 0.1, packages=("bitsandbytes",) if number % 2 else ())
        base = model(family, path=Path("/base.safetensors"))
        plan = decide(request(), data, base, machine, parts=parts if "flux" in family else {})
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "plan.json").write_text(plan.model_dump_json())
        (folder / "dataset.json").write_text(data.model_dump_json())
        save_pictures(folder, data)
        write_pictures(folder, folder / PICTURES, data, plan)
        python = Path(PYTHON or "python")
        command = KohyaEngine(KohyaSettings(Path(FOLDER), python)).command(folder)
        write_texts(dict(command.files))
        script = next(n for n, word in enumerate(command.argv) if word.endswith("_network.py"))
        lines.append(command.argv[script:])
    done = subprocess.run(
        [PYTHON or "python", "-c", READ],
        input=json.dumps(lines),
        env={**os.environ, "PYTHONPATH": FOLDER},
        cwd=FOLDER,
        capture_output=True,
        text=True,
    )
    assert done.stdout.count("read ") == len(lines), done.stderr[-3000:]
