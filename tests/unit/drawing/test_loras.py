"""LoRAs: naming, the product that is added, and the weights as they were before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kizy.core.errors import ModelFileError
from kizy.drawing.drawer import Drawer
from kizy.drawing.loras import AppliedLoras, LoraModule, kohya_weights, match, read_lora
from kizy.drawing.starter_model import StarterModel
from kizy.starter.architecture import build_unet
from kizy.starter.ldm_names import diffusers_name, ldm_name
from safetensors.torch import save_file

from tests.fakes.drawer import Listener, plan_of
from tests.unit.drawing.builders import (
    CPU,
    OneModel,
    draw,
    lora_pairs,
    planned_lora,
    save_kohya_lora,
)

ALPHA = 2.0
RANK = 4


@pytest.fixture(scope="module")
def starter() -> StarterModel:
    return StarterModel("starter", CPU)


@pytest.fixture(scope="module")
def drawer(starter: StarterModel) -> Drawer:
    return Drawer(CPU, OneModel(starter))


@pytest.fixture(scope="module")
def lora_file(starter: StarterModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For every attention layer and convolution of the starter, as sd-scripts writes it."""
    chosen = {n: w for n, w in starter.lora_weights().items() if "attentions" in n or "conv" in n}
    path = tmp_path_factory.mktemp("loras") / "fox.safetensors"
    return save_kohya_lora(path, lora_pairs(chosen, RANK), ALPHA)


def copied(weights) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in weights.items()}


def same(one, other) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_added_is_alpha_by_rank_times_up_times_down(
    starter: StarterModel, lora_file: Path
) -> None:
    weights, modules = starter.lora_weights(), read_lora(lora_file)
    before, applied = copied(weights), AppliedLoras(weights)
    applied.add(modules, model_weight=0.5, clip_weight=0.0)
    try:
        for name, module in modules.items():
            up, down = module.up.double().flatten(1), module.down.double().flatten(1)
            expected = 0.5 * ALPHA / RANK * (up @ down).reshape(before[name].shape)
            added = weights[name].double() - before[name].double()
            assert torch.allclose(added, expected, atol=1e-5), name
            assert expected.abs().max() > 0.01
    finally:
        applied.remove()


def test_weights_without_a_part_in_the_lora_stay(starter: StarterModel, lora_file: Path) -> None:
    weights, modules = starter.lora_weights(), read_lora(lora_file)
    before, applied = copied(weights), AppliedLoras(weights)
    applied.add(modules, model_weight=1.0, clip_weight=1.0)
    changed = {id(weights[name]) for name in modules}
    others = {name: w.clone() for name, w in weights.items() if id(w) not in changed}
    applied.remove()
    assert others and same(others, before)


def test_removing_puts_the_weights_back_bit_for_bit(starter: StarterModel, lora_file: Path) -> None:
    weights = starter.lora_weights()
    before, applied = copied(weights), AppliedLoras(weights)
    for weight in (0.7, -1.3):
        applied.add(read_lora(lora_file), model_weight=weight, clip_weight=weight)
    changed = not same(before, weights)
    applied.remove()
    assert changed and same(before, weights)


def test_two_loras_add_up(starter: StarterModel, lora_file: Path) -> None:
    weights, modules = starter.lora_weights(), read_lora(lora_file)
    name, module = next(iter(modules.items()))
    before, applied = weights[name].clone(), AppliedLoras(weights)
    for weight in (0.5, 0.25):
        applied.add({name: module}, model_weight=weight, clip_weight=0.0)
    added = weights[name] - before
    applied.remove()
    assert torch.allclose(added, 0.75 * module.delta(), atol=1e-5)


def test_a_stop_between_two_modules_can_be_undone(starter: StarterModel, lora_file: Path) -> None:
    weights = starter.lora_weights()
    before, applied = copied(weights), AppliedLoras(weights)
    checks = iter([None, None, None])
    with pytest.raises(StopIteration):
        applied.add(
            read_lora(lora_file), model_weight=1.0, clip_weight=1.0, check=lambda: next(checks)
        )
    applied.remove()
    assert same(before, weights)


def test_text_encoder_parts_take_the_text_weight() -> None:
    weights = {"lora_unet_a": torch.zeros(2, 2), "lora_te_a": torch.zeros(2, 2)}
    module = LoraModule(torch.ones(2, 1), torch.ones(1, 2), 1.0)
    AppliedLoras(weights).add(
        {"lora_unet_a": module, "lora_te_a": module}, model_weight=1.0, clip_weight=3.0
    )
    assert (weights["lora_unet_a"][0, 0], weights["lora_te_a"][0, 0]) == (1.0, 3.0)


def test_without_alpha_the_rank_stands_for_it(tmp_path: Path) -> None:
    pairs = lora_pairs({"lora_unet_x": torch.zeros(6, 5)}, RANK)
    module = read_lora(save_kohya_lora(tmp_path / "l.safetensors", pairs, None))["lora_unet_x"]
    up, down = pairs["lora_unet_x"]
    assert torch.allclose(module.delta(), up @ down)


@pytest.mark.parametrize(
    ("weight", "up", "down"),
    [
        ((6, 5, 1, 1), (6, 2), (2, 5)),
        ((6, 5), (6, 2, 1, 1), (2, 5, 1, 1)),
        ((6, 5, 3, 3), (6, 2, 1, 1), (2, 5, 3, 3)),
    ],
)
def test_a_1x1_convolution_counts_as_a_matrix(weight, up, down) -> None:
    target = {"lora_unet_x": torch.zeros(weight)}
    module = LoraModule(torch.ones(up), torch.ones(down), 2.0)
    AppliedLoras(target).add({"lora_unet_x": module}, model_weight=1.0, clip_weight=1.0)
    assert torch.equal(target["lora_unet_x"], torch.full(weight, 2.0))


def test_a_lora_changes_the_picture(drawer: Drawer, lora_file: Path) -> None:
    plain = draw(drawer, plan_of())[0]
    assert draw(drawer, plan_of(loras=(planned_lora(lora_file),)))[0].tobytes() != plain.tobytes()


def test_after_a_lora_the_model_draws_as_before(drawer: Drawer, lora_file: Path) -> None:
    plain = draw(drawer, plan_of())[0]
    draw(drawer, plan_of(loras=(planned_lora(lora_file),)))
    assert draw(drawer, plan_of())[0].tobytes() == plain.tobytes()


def test_a_lora_at_weight_zero_changes_nothing(drawer: Drawer, lora_file: Path) -> None:
    plain = draw(drawer, plan_of())[0]
    silent = draw(drawer, plan_of(loras=(planned_lora(lora_file, 0.0),)))[0]
    assert silent.tobytes() == plain.tobytes()


def test_a_drawing_that_fails_leaves_the_weights_as_they_were(
    drawer: Drawer, starter: StarterModel, lora_file: Path
) -> None:
    before = copied(starter.lora_weights())
    plan = plan_of(loras=(planned_lora(lora_file),), sampler="none such")
    with pytest.raises(Exception, match="none such"):
        draw(drawer, plan)
    assert same(before, starter.lora_weights())


@pytest.mark.parametrize("width", [768, 2048])
def test_a_lora_of_another_family_is_refused_before_any_step(
    drawer: Drawer, tmp_path: Path, width: int
) -> None:
    names = [
        f"lora_unet_down_blocks_{i}_attentions_0_transformer_blocks_0_attn2_to_{k}"
        for i in range(2)
        for k in "kv"
    ]
    pairs = lora_pairs({name: torch.zeros(64, width) for name in names})
    path = save_kohya_lora(tmp_path / "other.safetensors", pairs, 4.0)
    listener = Listener()
    with pytest.raises(ModelFileError) as caught:
        draw(drawer, plan_of(loras=(planned_lora(path),)), listener)
    assert caught.value.code == "lora_other_family"
    assert listener.fractions == [0.0]


def test_parts_without_a_place_are_told(drawer: Drawer, lora_file: Path, tmp_path: Path) -> None:
    pairs = {name: (m.up, m.down) for name, m in list(read_lora(lora_file).items())[:3]}
    pairs["lora_unet_elsewhere"] = (torch.zeros(3, 4), torch.zeros(4, 3))
    path = save_kohya_lora(tmp_path / "partly.safetensors", pairs, 4.0)
    listener = Listener()
    draw(drawer, plan_of(loras=(planned_lora(path),)), listener)
    assert [code for code, _ in listener.notices] == ["lora_partly"]


def test_a_file_that_is_cut_short_is_damaged(lora_file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(lora_file.read_bytes()[:5000])
    with pytest.raises(ModelFileError) as caught:
        read_lora(cut)
    assert caught.value.code == "model_file_damaged"


PEFT_NAMES = [
    ("unet.", ".lora_A.weight", ".lora_B.weight"),
    ("base_model.model.unet.", ".lora_A.weight", ".lora_B.weight"),
    ("unet.", ".lora_A.default.weight", ".lora_B.default.weight"),
    ("unet.", ".lora.down.weight", ".lora.up.weight"),
    ("diffusion_model.", ".lora_A.weight", ".lora_B.weight"),
    ("", ".lora_A.weight", ".lora_B.weight"),
]


@pytest.mark.parametrize(("prefix", "down_name", "up_name"), PEFT_NAMES)
def test_every_naming_that_the_catalog_knows_can_be_drawn(
    starter: StarterModel, tmp_path: Path, prefix: str, down_name: str, up_name: str
) -> None:
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    stem, path = prefix + layer, tmp_path / "peft.safetensors"
    tensors = {stem + down_name: torch.ones(2, 384), stem + up_name: torch.ones(64, 2)}
    save_file(tensors, path)
    assert match(read_lora(path), starter.lora_weights()).matched == 1


def test_peft_names_of_both_text_encoders_are_understood(tmp_path: Path) -> None:
    weights = {
        f"lora_te{i}_text_model_encoder_layers_0_self_attn_q_proj": torch.zeros(8, 8)
        for i in (1, 2)
    }
    tensors = {
        f"{root}.text_model.encoder.layers.0.self_attn.q_proj.lora_{half}.weight": torch.ones(shape)
        for root in ("text_encoder", "text_encoder_2")
        for half, shape in (("A", (2, 8)), ("B", (8, 2)))
    }
    save_file(tensors, tmp_path / "peft.safetensors")
    assert match(read_lora(tmp_path / "peft.safetensors"), weights).matched == 2


def sdxl_unet() -> torch.nn.Module:
    """SDXL's real layout at a hundredth of its width."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        cross_attention_dim=32,
        attention_head_dim=(2, 2, 2),
        norm_num_groups=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,
    )


@pytest.mark.parametrize("build", [build_unet, sdxl_unet])
def test_every_layer_comes_back_from_its_original_name(build) -> None:
    layers = {name.rpartition(".")[0] for name in build().state_dict()}
    originals = {layer: ldm_name(layer) for layer in layers}
    assert len(set(originals.values())) == len(layers) > 100
    assert {diffusers_name(original): original for original in originals.values()} == originals


# From sd_xl_base_1.0.safetensors and LoRAs that sd-scripts trained on it.
SDXL_NAMES = {
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": (
        "input_blocks.4.1.transformer_blocks.0.attn1.to_q"
    ),
    "down_blocks.2.attentions.1.proj_in": "input_blocks.8.1.proj_in",
    "mid_block.attentions.0.proj_out": "middle_block.1.proj_out",
    "mid_block.resnets.1.conv1": "middle_block.2.in_layers.2",
    "up_blocks.0.attentions.2.proj_in": "output_blocks.2.1.proj_in",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
    "up_blocks.2.resnets.2.conv_shortcut": "output_blocks.8.0.skip_connection",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "add_embedding.linear_1": "label_emb.0.0",
}


@pytest.mark.parametrize("name", SDXL_NAMES)
def test_a_layer_of_sdxl_has_its_published_name(name: str) -> None:
    assert ldm_name(name) == SDXL_NAMES[name]


@pytest.mark.parametrize(
    "name",
    [
        "down_blocks.0.motion_modules.0.x",
        "down_blocks.0.resnets.0.x",
        "mid_block.resnets.0.x",
        "input_blocks.1.0.x",
        "middle_block.0.x",
        "nothing",
        "",
    ],
)
def test_an_unknown_layer_is_an_error(name: str) -> None:
    for translate in (ldm_name, diffusers_name):
        with pytest.raises(ValueError, match="no layer"):
            translate(name)


def test_sdxl_weights_are_found_under_both_names() -> None:
    weights = kohya_weights(sdxl_unet(), {})
    both = ("down_blocks_1_attentions_0_proj_in", "input_blocks_4_1_proj_in")
    assert weights[f"lora_unet_{both[0]}"] is weights[f"lora_unet_{both[1]}"]


def test_a_weight_that_two_loras_name_differently_comes_back_as_it_was() -> None:
    weights = kohya_weights(sdxl_unet(), {})
    parts = ("input_blocks_4_1_proj_in", "down_blocks_1_attentions_0_proj_in")
    names = [f"lora_unet_{part}" for part in parts]
    before = weights[names[0]].detach().clone()
    applied = AppliedLoras(weights)
    for name in names:
        module = LoraModule(torch.ones(before.shape[0], 2), torch.ones(2, before.shape[1]), 2.0)
        applied.add({name: module}, model_weight=1.0, clip_weight=1.0)
    assert torch.allclose(weights[names[0]], before + 4)
    applied.remove()
    assert torch.equal(weights[names[0]], before)


@pytest.mark.parametrize(
    "end",
    ["dora_scale", "lora_magnitude_vector", "lora_magnitude_vector.weight", "lora_mid.weight"],
)
def test_a_lora_of_another_formula_is_refused(tmp_path: Path, end: str) -> None:
    stem, path = "lora_unet_down_blocks_1_attentions_0_proj_in", tmp_path / "dora.safetensors"
    tensors = {
        f"{stem}.lora_down.weight": torch.ones(2, 8),
        f"{stem}.lora_up.weight": torch.ones(8, 2),
    }
    save_file(tensors, path)
    assert len(read_lora(path)) == 1
    save_file(tensors | {f"{stem}.{end}": torch.ones(8, 1)}, path)
    with pytest.raises(ModelFileError) as caught:
        read_lora(path)
    assert caught.value.code == "lora_form_unknown"
