"""Which LoRAs ComfyUI reads, and the files that Kizy writes where it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from kizy.catalog.comfy_file import name_there, readable_file
from kizy.catalog.comfy_form import ComfyForm, comfy_form
from kizy.catalog.formats.safetensors_header import Header, TensorInfo, read_header
from safetensors.torch import load_file, save_file

from tests.fakes.lora_files import (
    CLIP_L,
    FLUX_D,
    LARGE_D,
    SD15,
    SDXL,
    SDXL_LDM,
    T5,
    Shapes,
    dotted,
    kohya,
    named,
    plain,
    rows,
)  # fmt: skip
from tests.unit.catalog.test_lora_namings import PROVEN

KEY = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
READ = "lora_unet_" + KEY.replace(".", "_")


def form(shapes: Shapes, family: str) -> ComfyForm:
    tensors = {name: TensorInfo("F16", shape, 0) for name, shape in shapes.items()}
    found = comfy_form(Header(Path("x.safetensors"), tensors), family)
    assert found is not None
    return found


@pytest.mark.parametrize("case", PROVEN)
def test_every_naming_of_every_family_has_a_form_that_comfyui_reads(case: str) -> None:
    family, shapes = PROVEN[case]
    found = form(shapes, family)
    assert found.readable == found.layers
    assert len(set(found.names.values())) == len(shapes)


# Counted by ComfyUI's own loader, 0.3.64: see test_loras_in_every_naming in the integration tests.
@pytest.mark.parametrize(
    ("family", "shapes", "read"),
    [
        ("sd15", kohya(SD15) | kohya(CLIP_L, "lora_te_"), 1.0),
        ("sd15", dotted(SD15, "unet."), 64 / 192),
        ("sd15", dotted(SD15, "unet.base_model.model."), 0.0),
        ("sd15", dotted(SD15, "base_model.model."), 0.0),
        ("sd15", dotted(SD15), 64 / 192),
        ("sd15", kohya(SD15, "lycoris_"), 1.0),
        ("sd15", dotted(CLIP_L, "text_encoder."), 1.0),
        ("sd15", dotted(CLIP_L, "base_model.model."), 0.0),
        ("sdxl", dotted(SDXL, "unet.", named(".style")), 0.0),
        ("sdxl", dotted(SDXL_LDM, "diffusion_model."), 1.0),
        ("flux1-dev", dotted(FLUX_D, "transformer."), 1.0),
        ("flux1-kontext", dotted(FLUX_D, "base_model.model."), 0.0),
        ("flux1-dev", kohya(FLUX_D), 0.0),
        ("flux1-dev", kohya(T5, "lora_te2_"), 1.0),
        ("sd35", dotted(LARGE_D, "transformer."), 1.0),
        ("sd35", dotted(LARGE_D), 0.0),
    ],
)
def test_how_much_comfyui_reads_is_known(family: str, shapes: Shapes, read: float) -> None:
    found = form(shapes, family)
    assert found.read / found.layers == pytest.approx(read)
    assert found.converts == (read < 1)


def test_layers_that_the_model_has_not_are_counted() -> None:
    strange = kohya(rows("nothing", 30, ["x"], 8))
    found = form(kohya(SD15[:70]) | strange, "sd15")
    assert (found.read, found.layers, round(found.share, 2)) == (70, 100, 0.7)


def test_of_a_family_that_kizy_does_not_draw_nothing_is_said() -> None:
    header = Header(Path("x"), {name: TensorInfo("F16", s, 0) for name, s in dotted(SD15).items()})
    assert comfy_form(header, "wan") is None
    assert comfy_form(header, None) is None


def lora(folder: Path, name: str = "ink", end: str = "") -> Path:
    path = folder / f"{name}.safetensors"
    tensors = {
        f"unet.{KEY}.lora_A{end}.weight": torch.arange(4.0 * 768).reshape(4, 768).half(),
        f"unet.{KEY}.lora_B{end}.weight": torch.arange(320.0 * 4).reshape(320, 4),
    }
    save_file(tensors, path, {"modelspec.title": "Tinte"})
    return path


@pytest.mark.parametrize("end", ["", ".default", ".my-style"])
def test_a_file_is_written_with_the_same_weights_under_the_names_that_are_read(
    kizy_home: Path, tmp_path: Path, end: str
) -> None:
    path = lora(tmp_path, end=end)
    written = readable_file(path, "sd15")
    before, after = load_file(path), load_file(written)
    assert sorted(after) == [f"{READ}.lora_down.weight", f"{READ}.lora_up.weight"]
    for ours, theirs in (("A", "down"), ("B", "up")):
        same = before[f"unet.{KEY}.lora_{ours}{end}.weight"]
        assert torch.equal(after[f"{READ}.lora_{theirs}.weight"], same)
    assert read_header(written).metadata == {"modelspec.title": "Tinte"}
    assert name_there(written, "sd15") is None


def test_it_is_written_once_for_its_content(kizy_home: Path, tmp_path: Path) -> None:
    path = lora(tmp_path)
    first = readable_file(path, "sd15")
    when = first.stat().st_mtime_ns
    assert readable_file(path, "sd15") == first
    assert first.stat().st_mtime_ns == when
    save_file({f"unet.{KEY}.lora_A.weight": torch.ones(4, 768),
               f"unet.{KEY}.lora_B.weight": torch.ones(320, 4)}, path)  # fmt: skip
    second = readable_file(path, "sd15")
    assert second.name != first.name
    assert first.is_file()


def test_a_file_that_is_read_goes_as_it_is(kizy_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "ink.safetensors"
    shapes = kohya(SD15[:3], form=plain)
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    assert readable_file(path, "sd15") == path
    assert name_there(path, "sd15") is None


def test_the_magnitudes_of_pefts_doras_become_comfyuis(kizy_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "dora.safetensors"
    magnitude = torch.arange(320.0)
    save_file(
        {
            f"base_model.model.{KEY}.lora_A.weight": torch.ones(4, 768),
            f"base_model.model.{KEY}.lora_B.weight": torch.ones(320, 4),
            f"base_model.model.{KEY}.lora_magnitude_vector": magnitude,
        },
        path,
    )
    there = load_file(readable_file(path, "sd15"))[f"{READ}.dora_scale"]
    assert torch.equal(there, magnitude.reshape(320, 1))


def test_what_is_damaged_is_not_converted(kizy_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "ink.safetensors"
    text = json.dumps({"a": 1}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    assert readable_file(path, "sd15") == path
