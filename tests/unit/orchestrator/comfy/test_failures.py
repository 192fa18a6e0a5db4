"""ComfyUI's errors become plain words, a code and a fix."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.catalog.families.family import SourceFile
from kizy.orchestrator.backends.comfyui.protocol.failures import Context, failed_job, refused_graph

from tests.fakes.comfyui_graphs import drawing_graph, node


def not_in_list(
    node_class: str, input_name: str, value: str, choices: list[str] | None = None
) -> dict[str, Any]:
    config = None if choices is None else [choices, {}]
    extra = {"input_name": input_name, "input_config": config, "received_value": value}
    error = {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": f"{input_name}: '{value}' not in {choices}",
        "extra_info": extra,
    }
    return refusal(node_class, error)


def refusal(node_class: str, *errors: dict[str, Any]) -> dict[str, Any]:
    entry = {"errors": list(errors), "dependent_outputs": ["7"], "class_type": node_class}
    about = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed"}
    return {"error": about, "node_errors": {"1": entry}}


def failure(kind: str, message: str, node_type: str = "KSampler", **more: Any) -> dict[str, Any]:
    return {
        "node_id": "5",
        "node_type": node_type,
        "exception_type": kind,
        "exception_message": message,
        "traceback": ["  File x"],
        **more,
    }


STUDIO = Context("studio", drawing_graph())


# Graphs that are refused


def test_a_missing_node_class_as_0_3_64_says_it() -> None:
    message = "Cannot execute because node SuperSampler does not exist."
    answer = {"error": {"type": "invalid_prompt", "message": message}, "node_errors": []}
    error = refused_graph(answer, STUDIO)
    assert error.code == "server_node_missing"
    assert error.message == "ComfyUI on studio has no node SuperSampler."
    assert "SuperSampler" in error.fix


def test_a_missing_node_class_as_newer_versions_say_it() -> None:
    extra = {"node_id": "9", "class_type": "SuperSampler", "node_title": "Nice title"}
    message = "Node 'Nice title' not found. The custom node may not be installed."
    answer = {"error": {"type": "missing_node_type", "message": message, "extra_info": extra}}
    error = refused_graph(answer, STUDIO)
    assert (error.code, "SuperSampler" in error.message) == ("server_node_missing", True)


def test_a_node_of_our_own_names_our_pack() -> None:
    answer = {"error": {"message": "Cannot execute because node KizyEnlarge does not exist."}}
    assert "node pack Kizy" in refused_graph(answer, STUDIO).fix


def test_a_missing_model_brings_the_nearest_name_and_its_folder() -> None:
    choices = ["sd_xl_base_1.0_0.9vae.safetensors", "v1-5-pruned.safetensors"]
    answer = not_in_list(
        "CheckpointLoaderSimple", "ckpt_name", "sd_xl_base_1.0.safetensors", choices
    )
    error = refused_graph(answer, STUDIO)
    assert error.code == "server_model_missing"
    assert '"sd_xl_base_1.0.safetensors" in models/checkpoints' in error.message
    assert 'Did you mean "sd_xl_base_1.0_0.9vae.safetensors"?' in error.message
    assert "models/checkpoints" in error.fix


def test_a_long_list_is_taken_from_what_is_known_of_the_server() -> None:
    context = Context("studio", choices=lambda c, i: (f"{c}-{i}-file.safetensors",))
    answer = not_in_list("VAELoader", "vae_name", "VAELoader-vae_name-fil.safetensors")
    assert "Did you mean" in refused_graph(answer, context).message


def test_a_well_known_file_says_where_it_comes_from() -> None:
    file = SourceFile(
        folder="checkpoints",
        name="x.safetensors",
        repo="acme/x",
        path="a/x.safetensors",
        size=7 * 10**9,
    )
    context = Context("studio", files=(file,))
    answer = not_in_list("CheckpointLoaderSimple", "ckpt_name", "sub\\x.safetensors", [])
    fix = refused_graph(answer, context).fix
    assert "a/x.safetensors (7.0 GB)" in fix
    assert "acme/x" in fix
    assert "models/checkpoints" in fix


def test_a_file_of_a_pack_names_the_pack() -> None:
    file = SourceFile(folder="checkpoints", name="s.safetensors", pack="ComfyUI-Kizy")
    answer = not_in_list("CheckpointLoaderSimple", "ckpt_name", "s.safetensors", [])
    assert "ComfyUI-Kizy" in refused_graph(answer, Context("studio", files=(file,))).fix


@pytest.mark.parametrize(
    ("node_class", "input_name", "folder"),
    [
        ("UNETLoader", "unet_name", "diffusion_models"),
        ("LoraLoader", "lora_name", "loras"),
        ("DualCLIPLoader", "clip_name2", "text_encoders"),
        ("CLIPVisionLoader", "clip_name", "clip_vision"),
        ("ControlNetLoader", "control_net_name", "controlnet"),
        ("UpscaleModelLoader", "model_name", "upscale_models"),
    ],
)
def test_every_kind_of_model_has_its_folder(node_class: str, input_name: str, folder: str) -> None:
    error = refused_graph(not_in_list(node_class, input_name, "x", []), STUDIO)
    assert error.code == "server_model_missing"
    assert f"models/{folder}" in error.fix


def test_a_sampler_that_is_not_known_there_means_an_old_version() -> None:
    answer = not_in_list("KSampler", "sampler_name", "res_5s", ["euler"])
    error = refused_graph(answer, STUDIO)
    assert (error.code, "res_5s" in error.message) == ("server_too_old", True)


def test_a_picture_that_is_gone_can_be_sent_again() -> None:
    details = "image - Invalid image file: kizy/abc.png"
    error = {"type": "custom_validation_failed", "message": "Custom", "details": details}
    found = refused_graph(refusal("LoadImage", error), STUDIO)
    assert "kizy/abc.png" in found.message
    assert "again" in found.fix


def test_an_input_that_another_version_wants() -> None:
    error = {"type": "required_input_missing", "message": "Required", "details": "shift"}
    found = refused_graph(refusal("ModelSampling", error), STUDIO)
    assert "ModelSampling" in found.message
    assert "shift" in found.message


def test_the_model_that_is_missing_comes_before_what_follows_from_it() -> None:
    answer = not_in_list("CheckpointLoaderSimple", "ckpt_name", "x", [])
    other = {"type": "return_type_mismatch", "message": "Return type", "details": "samples"}
    answer["node_errors"] = {
        "0": {"errors": [other], "class_type": "VAEDecode"},
        **answer["node_errors"],
    }
    assert refused_graph(answer, STUDIO).code == "server_model_missing"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"error": None},
        {"error": "x"},
        {"node_errors": [1]},
        {"node_errors": {"1": {"errors": [4]}}},
    ],
)
def test_a_refusal_of_a_strange_form_is_told_all_the_same(answer: dict[str, Any]) -> None:
    assert refused_graph(answer, STUDIO).code == "server_failed"


# Jobs that fail


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("torch.OutOfMemoryError", "Allocation on device 0 would exceed allowed memory."),
        ("RuntimeError", "Could not allocate tensor with 58982400 bytes. "
         "There is not enough GPU video memory available!"),
        ("RuntimeError", "HostBuffer.read_file_slice failed"),
        ("RuntimeError", "Invalid buffer size: 19.38 GiB"),
        ("OSError", "The paging file is too small for this operation to complete. (os error 1455)"),
        ("MemoryError", ""),
    ],
)  # fmt: skip
def test_out_of_memory_has_many_words(kind: str, message: str) -> None:
    error = failed_job(failure(kind, message), STUDIO)
    assert error.code == "out_of_memory"
    assert "KSampler" in error.message


def test_what_helps_against_one_kind_of_it_is_told() -> None:
    error = failed_job(failure("OSError", "El archivo de paginación (os error 1455)"), STUDIO)
    assert "paging file" in error.fix


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("OSError", "[Errno 28] No space left on device"),
        ("OSError", "[WinError 112] There is not enough space on the disk"),
        ("safetensors_rust.SafetensorError", 'Os { code: 28, message: "No space left on device" }'),
        ("OSError", "[Errno 122] Disk quota exceeded"),
    ],
)
def test_a_full_disk_there(kind: str, message: str) -> None:
    assert failed_job(failure(kind, message, "SaveImage"), STUDIO).code == "server_disk_full"


def test_a_model_that_vanished_meanwhile() -> None:
    message = "Model in folder 'loras' with filename 'fox.safetensors' not found."
    error = failed_job(failure("FileNotFoundError", message, "LoraLoader"), STUDIO)
    assert error.code == "server_model_missing"
    assert "models/loras" in error.fix


@pytest.mark.parametrize(
    "message",
    [
        "HeaderTooLarge\n\nFile path: x\n\nThe safetensors file is corrupt or invalid. Make sure",
        "MetadataIncompleteBuffer\n\nThe safetensors file is incomplete. Check the file size",
    ],
)
def test_a_damaged_model_is_named(message: str) -> None:
    detail = failure("ValueError", message, "CheckpointLoaderSimple", node_id="1")
    error = failed_job(detail, STUDIO)
    assert error.code == "model_file_damaged"
    assert "sd_xl_base_1.0.safetensors" in error.message


MISMATCH = "mat1 and mat2 shapes cannot be multiplied (77x2048 and 768x320)"


def test_a_lora_of_another_family_is_named() -> None:
    context = Context("studio", drawing_graph(lora="fox.safetensors"))
    error = failed_job(failure("RuntimeError", MISMATCH), context)
    assert error.code == "lora_other_family"
    assert "fox.safetensors" in error.message


def test_with_a_controlnet_it_may_be_that_one() -> None:
    graph = {**drawing_graph(lora="fox.safetensors"), "9": node("ControlNetApplyAdvanced")}
    error = failed_job(failure("RuntimeError", MISMATCH), Context("studio", graph))
    assert (error.code, "ControlNet" in error.fix) == ("server_failed", True)


def test_files_of_several_families() -> None:
    error = failed_job(failure("RuntimeError", MISMATCH), STUDIO)
    assert (error.code, "do not fit" in error.message) == ("server_failed", True)


def test_a_checkpoint_without_its_parts() -> None:
    message = "ERROR: clip input is invalid: None\n\nIf the clip is from a checkpoint loader node"
    error = failed_job(failure("RuntimeError", message, "CLIPTextEncode"), STUDIO)
    assert "holds no text encoder" in error.message


def test_an_unknown_error_is_told_in_its_own_words() -> None:
    error = failed_job(failure("ValueError", "something\nodd. TIPS: read this"), STUDIO)
    assert error.code == "server_failed"
    assert error.message == "ComfyUI on studio failed in the node KSampler: something odd."


def test_an_error_without_anything_is_told_all_the_same() -> None:
    assert failed_job({}, STUDIO).code == "server_failed"


# The raw error


def test_the_raw_error_is_kept_with_its_traceback() -> None:
    raw = failed_job(failure("ValueError", "odd"), STUDIO).raw
    assert raw is not None
    assert "ValueError" in raw
    assert "File x" in raw


def test_the_raw_error_holds_neither_keys_nor_prompts() -> None:
    context = Context("studio", secrets=("s3cr3t-key",))
    detail = failure(
        "ValueError",
        "sent s3cr3t-key and Authorization: Bearer abcdef and api_key='xyz123'",
        current_inputs={"text": ["a private prompt"], "api_key_comfy_org": ["k"]},
    )
    raw = failed_job(detail, context).raw
    assert raw is not None
    for secret in ("s3cr3t-key", "abcdef", "xyz123", "private prompt"):
        assert secret not in raw


def test_the_raw_error_has_an_end() -> None:
    raw = failed_job(failure("ValueError", "x" * 1_000_000), STUDIO).raw
    assert raw is not None
    assert len(raw) < 30_000
