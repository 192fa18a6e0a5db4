"""LoRAs in the namings of all trainers: how much of each ComfyUI reads, and what it draws."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from kizy.catalog.comfy_file import readable_file
from kizy.catalog.comfy_form import ComfyForm, comfy_form
from kizy.catalog.formats.safetensors_header import Header, TensorInfo
from safetensors.torch import save_file

from tests.fakes.lora_files import STARTER
from tests.unit.catalog.test_lora_namings import PROVEN

from .conftest import FOLDER, PYTHON
from .test_trained_lora_in_comfyui import lora_graph

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = pytest.mark.integration

CASES = {
    name: case
    for name, case in PROVEN.items()
    # Made-up files of SD 3.5 change the text's way in the last block, too, which ends there.
    if case[0] != "starter" and not (case[0].startswith("sd35") and "joint_blocks" in str(case[1]))
}
ALSO_READ_BY_NEWER = {"flux, no prefix"}


def form(name: str) -> ComfyForm:
    family, shapes = CASES[name]
    tensors = {key: TensorInfo("F16", shape, 0) for key, shape in shapes.items()}
    found = comfy_form(Header(Path("x.safetensors"), tensors), family)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def counted() -> dict[str, int]:
    """How many layers ComfyUI's loader finds, of each file as it is and converted ("> NAME")."""
    if FOLDER is None:
        pytest.skip("KIZY_TEST_COMFYUI names no folder of a ComfyUI")
    cases = {name: [family, shapes] for name, (family, shapes) in CASES.items()}
    for name, (family, shapes) in CASES.items():
        names = form(name).names
        cases[f"> {name}"] = [family, {names[key]: shape for key, shape in shapes.items()}]
    script = Path(__file__).with_name("comfyui_lora_reading.py")
    done = subprocess.run(
        [PYTHON, str(script)],
        cwd=FOLDER,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CASES)
def test_comfyui_reads_as_much_as_kizy_says(counted: dict[str, int], name: str) -> None:
    found = form(name)
    assert counted[f"> {name}"] == found.layers
    if name not in ALSO_READ_BY_NEWER:
        assert counted[name] == found.read


NAMINGS: dict[str, Callable[[str], tuple[str, str]]] = {
    "kohya": lambda name: ("lora_unet_" + name.replace(".", "_"), "lora_{}.weight"),
    "diffusers": lambda name: ("unet." + name, "lora_{}.weight"),
    "PEFT": lambda name: ("base_model.model." + name, "lora_{}.default.weight"),
    "bare": lambda name: (name, "lora_{}.weight"),
    "old diffusers": lambda name: ("unet." + name, "lora_linear_layer.{}.weight"),
    "SimpleTuner": lambda name: ("lycoris_" + name.replace(".", "_"), "lora_{}.weight"),
}


def written(folder: Path, naming: str) -> Path:
    """One and the same LoRA of the starter, in this naming."""
    generator = torch.Generator().manual_seed(5)
    tensors: dict[str, torch.Tensor] = {}
    for name, inputs, outputs in STARTER:
        module, end = NAMINGS[naming](name)
        down = torch.randn(4, inputs, generator=generator) * 0.05
        up = torch.randn(outputs, 4, generator=generator) * 0.05
        if name.endswith(("proj_in", "proj_out")):
            continue
        words = ("A", "B") if naming in ("diffusers", "PEFT", "bare") else ("down", "up")
        for word, tensor in zip(words, (down, up), strict=True):
            tensors[f"{module}.{end.format(word)}"] = tensor
    path = folder / f"{naming.replace(' ', '-')}.safetensors"
    save_file(tensors, path)
    return path


def drawn(comfyui: RunningComfyUI, file: Path | None) -> np.ndarray:
    name = comfyui.put_model("loras", file) if file is not None else None
    (picture,) = comfyui.pictures(lora_graph(name))
    return np.asarray(picture).astype(int)


def test_one_lora_in_all_namings_draws_one_picture(
    comfyui: RunningComfyUI, kizy_home: Path, tmp_path: Path
) -> None:
    without = drawn(comfyui, None)
    before = len(comfyui.log.read_text(errors="replace"))
    pictures = {
        naming: drawn(comfyui, readable_file(written(tmp_path, naming), "starter"))
        for naming in NAMINGS
    }
    assert np.abs(pictures["kohya"] - without).max() > 5
    for naming, picture in pictures.items():
        assert np.array_equal(picture, pictures["kohya"]), naming
    assert "lora key not loaded" not in comfyui.log.read_text(errors="replace")[before:]


def test_in_pefts_names_comfyui_itself_draws_as_without(
    comfyui: RunningComfyUI, kizy_home: Path, tmp_path: Path
) -> None:
    file = written(tmp_path, "PEFT").rename(tmp_path / "as-it-is.safetensors")
    assert np.array_equal(drawn(comfyui, file), drawn(comfyui, None))
