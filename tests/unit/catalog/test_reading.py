"""What a LoRA file says about itself."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from kizy.catalog.formats.lora_reader import Reader, Reading
from kizy.catalog.formats.training_metadata import triggers, words_of
from kizy.core.errors import ModelFileError

MODULE = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
SD15 = {f"{MODULE}.lora_down.weight": (8, 768), f"{MODULE}.lora_up.weight": (320, 8)}
TEXT = {
    "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (8, 768),
    "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": (3072, 8),
}


@pytest.fixture
def read(tmp_path: Path, write_tensors):
    """read(shapes, metadata): the reading of such a file."""

    def build(shapes, metadata=None, name: str = "a.safetensors") -> Reading:
        return Reader().read(write_tensors(tmp_path / name, shapes, metadata))

    return build


def test_family_rank_and_form_come_from_the_tensors(read) -> None:
    reading = read(SD15)
    assert (reading.what, reading.family, reading.rank, reading.form) == (
        "lora",
        "sd15",
        8,
        "lora",
    )


def test_a_trained_text_encoder_is_seen(read) -> None:
    assert not read(SD15).text_encoder
    assert read(SD15 | TEXT).text_encoder


def test_title_and_description_are_the_authors(read) -> None:
    metadata = {
        "modelspec.title": "Ink &\x1b[31m  Wash",
        "modelspec.description": "<p>For <b>ink</b></p><script>alert(1)</script>",
        "ss_output_name": "ink_v3",
    }
    reading = read(SD15, metadata)
    assert (reading.title, reading.about) == ("Ink & [31m Wash", "For ink")


@pytest.mark.parametrize("title", ["LoRA@1690000000.0", "last", "None", "pytorch_lora_weights"])
def test_a_title_that_a_trainer_made_up_gives_way_to_the_output_name(read, title: str) -> None:
    assert read(SD15, {"modelspec.title": title, "ss_output_name": "mia_v2"}).title == "mia_v2"


def test_the_same_tensors_with_other_metadata_are_read_anew(tmp_path: Path, write_tensors) -> None:
    reader = Reader()
    first = reader.read(write_tensors(tmp_path / "a.safetensors", SD15, {"modelspec.title": "é"}))
    second = reader.read(write_tensors(tmp_path / "b.safetensors", SD15, {"modelspec.title": "B"}))
    assert (first.title, second.title) == ("é", "B")
    assert first.family == second.family == "sd15"
    assert first.digest != second.digest


def test_a_file_that_is_cut_short_is_seen_although_its_tensors_are_known(
    tmp_path: Path, write_tensors
) -> None:
    reader = Reader()
    path = write_tensors(tmp_path / "a.safetensors", SD15, {"x": "y"})
    assert reader.read(path).rank == 8
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelFileError, match="3 bytes are missing"):
        reader.read(path)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", " : ")])
@pytest.mark.parametrize("first", [True, False])
def test_metadata_are_found_wherever_they_stand(
    tmp_path: Path, write_bytes, first: bool, separators: tuple[str, str]
) -> None:
    name = f"{MODULE}.lora_down.weight"
    tensor = {name: {"dtype": "U8", "shape": [1, 768], "data_offsets": [0, 768]}}
    reader = Reader()
    found = []
    for title in ("A", 'say "__metadata__": {}', "é" * 3):
        metadata = {"__metadata__": {"modelspec.title": title}}
        values = metadata | tensor if first else tensor | metadata
        text = json.dumps(values, separators=separators, ensure_ascii=False).encode()
        path = write_bytes(tmp_path / "a.safetensors", text, bytes(768))
        reading = reader.read(path)
        found.append((reading.title, reading.family))
    assert found == [("A", "sd15"), ('say "__metadata__": {}', "sd15"), ("ééé", "sd15")]


def test_metadata_that_are_said_twice_are_read_as_json_reads_them(
    tmp_path: Path, write_bytes
) -> None:
    name = f"{MODULE}.lora_down.weight"
    tensor = f'"{name}":{{"dtype":"U8","shape":[1,768],"data_offsets":[0,768]}}'
    said = '"__metadata__":{"modelspec.title":"%s"}'
    text = f"{{{said % 'one'},{tensor},{said % 'two'}}}".encode()
    path = write_bytes(tmp_path / "a.safetensors", text, bytes(768))
    assert Reader().read(path).title == "two"


@pytest.mark.parametrize("extra", [{}, {"é": "ü"}, {"long": "x" * 60_000}, {"wide": "é" * 30_000}])
def test_the_alpha_is_read_from_its_place(tmp_path: Path, write_bytes, extra) -> None:
    values = {
        "__metadata__": {"a": "b", **extra},
        f"{MODULE}.alpha": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        f"{MODULE}.lora_down.weight": {
            "dtype": "U8",
            "shape": [1, 768],
            "data_offsets": [4, 772],
        },
    }
    text = json.dumps(values, ensure_ascii=False).replace('": {"a"', '":{"a"').encode()
    path = write_bytes(tmp_path / "a.safetensors", text, struct.pack("<f", 4.0) + bytes(768))
    reader = Reader()
    assert [reader.read(path).alpha, reader.read(path).alpha] == [4.0, 4.0]


@pytest.mark.parametrize(
    ("shapes", "what"),
    [
        ({"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)}, "model"),
        ({"control_model.input_blocks.0.0.weight": (320, 4, 3, 3)}, "controlnet"),
        ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)}, "controlnet"),
        ({"emb_params": (4, 768)}, "embedding"),
        ({"clip_l": (4, 768), "clip_g": (4, 1280)}, "embedding"),
        ({"decoder.conv_in.weight": (512, 4, 3, 3)}, "vae"),
        ({"text_model.embeddings.token_embedding.weight": (9, 768)}, "text_encoder"),
        ({"ip_adapter.1.to_k_ip.weight": (320, 768)}, "adapter"),
        ({"double_blocks.0.processor.proj_lora1.down.weight": (16, 3072)}, "xlabs_lora"),
        ({"single_blocks.3.processor.qkv_lora.up.weight": (9216, 16)}, "xlabs_lora"),
        ({"transformer_blocks.0.mlp_fc1.lora_down": (3072, 32)}, "nunchaku_lora"),
        (
            {
                "single_transformer_blocks.0.qkv_proj.qweight": (9216, 1536),
                "single_transformer_blocks.0.qkv_proj.wscales": (48, 9216),
                "single_transformer_blocks.0.qkv_proj.lora_down": (3072, 32),
            },
            "nunchaku_model",
        ),
        ({"weight": (2, 2)}, "other"),
    ],
)
def test_what_lies_in_the_wrong_folder_is_named(read, shapes, what: str) -> None:
    assert read(shapes).what == what


@pytest.mark.parametrize(
    ("part", "form"),
    [("hada_w1_a", "loha"), ("lokr_w1", "lokr"), ("oft_blocks", "oft"), ("diff", "full")],
)
def test_other_forms_than_plain_loras_are_told(read, part: str, form: str) -> None:
    assert read({f"{MODULE}.{part}": (4, 768)}).form == form


def test_a_dora_is_told_from_a_plain_lora(read) -> None:
    assert read(SD15 | {f"{MODULE}.dora_scale": (320, 1)}).form == "dora"


def frequency(**folders: dict[str, int]) -> dict[str, str]:
    return {"ss_tag_frequency": json.dumps(folders)}


def test_the_class_tokens_are_the_trigger_if_the_captions_hold_them() -> None:
    datasets = [{"subsets": [{"class_tokens": "ohwx man"}, {"class_tokens": "images"}]}]
    metadata = {"ss_datasets": json.dumps(datasets)}
    captions = frequency(a={"ohwx man": 20, "solo": 20, "hat": 3})
    assert triggers({**metadata, **captions}) == ("ohwx man",)
    assert triggers({**metadata, **frequency(a={"solo": 20, "hat": 19})}) == ()


def test_without_captions_the_folders_name_is_the_trigger() -> None:
    folders = {"10_ohwx man": {"n_repeats": 10}, "1_images": {"n_repeats": 1}, "reg": {}}
    assert triggers({"ss_dataset_dirs": json.dumps(folders)}) == ("ohwx man",)


def test_the_tag_that_the_lora_is_called_by_is_the_trigger() -> None:
    metadata = frequency(a={"1girl": 30, "mirabelle": 30, "solo": 29, "hat": 12})
    assert triggers({**metadata, "ss_output_name": "Mirabelle_v2"}) == ("mirabelle",)


def test_a_common_tag_is_no_trigger_though_it_dominates() -> None:
    assert triggers(frequency(a={"1girl": 40, "hat": 3})) == ()


def test_tags_are_the_authors_and_the_frequent_ones_that_say_something() -> None:
    metadata = frequency(a={"1girl": 30, "kimono": 25, "fan": 4, "rare": 1})
    _, tags = words_of({**metadata, "modelspec.tags": "Japan, clothing"})
    assert tags == ("japan", "clothing", "kimono", "fan")


@pytest.mark.parametrize("key", ["ss_tag_frequency", "ss_datasets", "ss_dataset_dirs"])
@pytest.mark.parametrize("text", ["[", "3", '{"a": 1}', "[1]", "[" * 90_000, '[{"subsets": 3}]'])
def test_broken_metadata_say_nothing(key: str, text: str) -> None:
    assert triggers({key: text}) == ()


@pytest.mark.parametrize(
    ("said", "weight"),
    [
        ("0.7", 0.7),
        ("", None),
        ("much", None),
        ("nan", None),
        ("inf", None),
        ("-1", None),
        ("9", None),
    ],
)
def test_the_weight_that_swarmui_keeps_in_the_header_is_the_authors(read, said, weight) -> None:
    assert read(SD15, {"modelspec.lora_default_weight": said}).weight == weight
