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

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kizy.catalog.loras import read_lora
from kizy.core.home import loras_folder
from kizy.core.request import TrainingRequest
from kizy.trainer.engines.kohya import KohyaSettings, tokenizers_folder
from kizy.trainer.events import CheckpointEvent, EndEvent, StepEvent, ValidationEvent
from kizy.trainer.train import Trainer, TrainerSettings
from PIL import Image

# Read now: no test sees variables that begin with KIZY_.
FOLDER = os.environ.get("KIZY_TEST_SD_SCRIPTS")
PYTHON = os.environ.get("KIZY_TEST_SD_SCRIPTS_PYTHON")
BASE = os.environ.get("KIZY_TEST_SD15")
TOKENIZERS = os.environ.get("KIZY_TEST_SD_SCRIPTS_TOKENIZERS")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason="KIZY_TEST_SD_SCRIPTS names no folder"),
    pytest.mark.skipif(BASE is None, reason="KIZY_TEST_SD15 names no checkpoint"),
]

STEPS = 12
"""Two saves: the fewest steps between two are 10."""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        noise = rng.integers(0, 256, (96, 64 + 32 * (number % 3), 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


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
        if isinstance(event, CheckpointEvent):
            trainer.kill(handle)
    assert [e.step for e in events if isinstance(e, CheckpointEvent)] == [10]
    assert [e.step for e in events if isinstance(e, StepEvent)][:10] == list(range(1, 11))
    assert not run.is_running()

    events = list(trainer.follow(trainer.resume(run)))
    end = events[-1]
    assert isinstance(end, EndEvent) and (end.state, end.error) == ("succeeded", None)
    assert [e.step for e in events if isinstance(e, StepEvent)] == [11, 12]
    assert all(0 < e.loss < 10 for e in events if isinstance(e, StepEvent | ValidationEvent))

    entry = read_lora(loras_folder() / "noise.safetensors")
    assert (entry.family, entry.rank, entry.alpha) == ("sd15", 4, 2.0)
    assert entry.triggers == (run.plan().trigger,)
    checked = subprocess.run(
        [PYTHON or "python", "networks/check_lora_weights.py", str(entry.path)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0 and "number of LoRA-Up modules: 192" in checked.stdout
