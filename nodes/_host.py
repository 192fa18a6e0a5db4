"""The only file that imports ComfyUI.

What nodes need of `comfy_api` is imported at once. The rest, which promises less to stay as it
is, is imported when somebody asks for it: where it has moved, the nodes still load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from comfy_api.latest import ComfyExtension, io

__all__ = ["ComfyExtension", "add_model_family", "add_models_folder", "io"]

PREVIEW_SIDE = 512
"""Pixels of the longer side of a preview."""

# Name -> the module that has it, in ComfyUI 0.3.64.
_PARTS = {
    "BASE": "comfy.supported_models_base",
    "BertModel": "comfy.text_encoders.bert",
    "ClipTarget": "comfy.supported_models_base",
    "LatentFormat": "comfy.latent_formats",
    "ModelType": "comfy.model_base",
    "SD1ClipModel": "comfy.sd1_clip",
    "SD1Tokenizer": "comfy.sd1_clip",
    "SDClipModel": "comfy.sd1_clip",
    "SDTokenizer": "comfy.sd1_clip",
}


def __getattr__(name: str) -> Any:
    """A part of ComfyUI's by its own name. Raises AttributeError, or ImportError if it moved."""
    if name not in _PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PARTS[name]), name)


def add_model_family(family: type) -> None:
    """Let ComfyUI's loaders recognise a family; does nothing if one of that name is known."""
    models = import_module("comfy.supported_models").models
    if all(known.__name__ != family.__name__ for known in models):
        models.append(family)


def add_models_folder(kind: str, folder: Path) -> None:
    """List a folder's files under a kind of model ("checkpoints", ...), behind the others."""
    import_module("folder_paths").add_model_folder_path(kind, str(folder))


def models_folders(kind: str) -> tuple[Path, ...]:
    """The folders in which ComfyUI looks for a kind of model ("loras", ...)."""
    return tuple(Path(folder) for folder in import_module("folder_paths").get_folder_paths(kind))


def models_listed(kind: str) -> tuple[str, ...]:
    """The files of a kind as ComfyUI's lists show them."""
    return tuple(import_module("folder_paths").get_filename_list(kind))


def output_place(prefix: str, width: int, height: int) -> tuple[Path, str, int, str]:
    """Folder, beginning of the name, next number and sub folder for a file that is kept.

    Raises what ComfyUI raises for a prefix that leads out of its output folder.
    """
    paths = import_module("folder_paths")
    folder, name, counter, below, _ = paths.get_save_image_path(
        prefix, paths.get_output_directory(), width, height
    )
    return Path(folder), name, counter, below


def input_folder() -> Path:
    """Where pictures lie that LoadImage shows."""
    return Path(import_module("folder_paths").get_input_directory())


def addresses() -> tuple[str, ...]:
    """The addresses that ComfyUI listens on."""
    listen = import_module("comfy.cli_args").args.listen or "127.0.0.1"
    return tuple(part.strip() for part in listen.split(",") if part.strip())


def route_table() -> Any | None:
    """ComfyUI's table of HTTP routes; None where there is no server."""
    server = getattr(import_module("server").PromptServer, "instance", None)
    return getattr(server, "routes", None)


def metadata_is_off() -> bool:
    """Whether ComfyUI was started with --disable-metadata."""
    return bool(import_module("comfy.cli_args").args.disable_metadata)


def denoiser_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a MODEL's denoiser, in the original's names."""
    # A quantized file's tensors may have a shape of their own beside the stored one.
    return {
        name: tuple(getattr(tensor, "tensor_shape", None) or tensor.shape)
        for name, tensor in model.model.diffusion_model.state_dict().items()
        if hasattr(tensor, "shape")
    }


@dataclass(frozen=True)
class Applied:
    """A MODEL and CLIP with a LoRA in them, and how many of their tensors it changes."""

    model: Any
    clip: Any
    tensors: int


def apply_lora(
    model: Any,
    clip: Any | None,
    file: Path,
    model_weight: float,
    clip_weight: float,
    names: Mapping[str, tuple[str, tuple[int, ...]]] | None = None,
) -> Applied:
    """As ComfyUI's LoraLoader does it (comfy/sd.py, load_lora_for_models), with the counting.

    `names`: tensors of the file -> what ComfyUI calls them, and their shape there.
    """
    lora = import_module("comfy.lora")
    tensors = import_module("comfy.utils").load_torch_file(str(file), safe_load=True)
    if names is not None:
        tensors = {there: tensors[name].reshape(shape) for name, (there, shape) in names.items()}
    keys: Mapping[str, Any] = lora.model_lora_keys_unet(model.model, {})
    if clip is not None:
        keys = lora.model_lora_keys_clip(clip.cond_stage_model, keys)
    converted = import_module("comfy.lora_convert").convert_lora(tensors)
    patches = lora.load_lora(converted, keys, log_missing=False)
    changed = model.clone()
    held = set(changed.add_patches(patches, model_weight))
    changed_clip = None
    if clip is not None:
        changed_clip = clip.clone()
        held |= set(changed_clip.add_patches(patches, clip_weight))
    return Applied(changed, changed_clip, len(held))


def progress_bar(total: int, node: str | None = None) -> Callable[..., None]:
    """ComfyUI's bar on a node; called with how many are done, and perhaps a picture's path.

    It raises ComfyUI's own exception when the person interrupts.
    """
    bar = import_module("comfy.utils").ProgressBar(total, node_id=node)

    def show(done: int, picture: Path | None = None) -> None:
        preview = None
        if picture is not None:
            from PIL import Image

            with Image.open(picture) as opened:
                preview = ("PNG", opened.convert("RGB"), PREVIEW_SIDE)
        bar.update_absolute(done, total, preview)

    return show


def raise_if_interrupted() -> None:
    """ComfyUI's own exception, if the person pressed its button."""
    import_module("comfy.model_management").throw_exception_if_processing_interrupted()


def free_memory() -> None:
    """Take all models out of the GPU's memory."""
    management = import_module("comfy.model_management")
    management.unload_all_models()
    management.soft_empty_cache()


def model_path(kind: str, name: str) -> Path | None:
    """Where a file of ComfyUI's list lies."""
    found = import_module("folder_paths").get_full_path(kind, name)
    return Path(found) if found is not None else None


TOLD = "kizy.told"
"""The event that web/kizy.js shows on the node."""


def show_text(node: str | None, text: str) -> None:
    """A line of text on a node of Kizy's while it runs.

    ComfyUI's own (send_progress_text) makes the node larger each time it comes.
    """
    server = getattr(import_module("server").PromptServer, "instance", None)
    if node is not None and server is not None:
        client = getattr(server, "client_id", None)
        server.send_sync(TOLD, {"node": node, "text": text}, client)


def sampler_names() -> tuple[list[str], list[str]]:
    """ComfyUI's samplers and schedulers."""
    sampler = import_module("comfy.samplers").KSampler
    return list(sampler.SAMPLERS), list(sampler.SCHEDULERS)


@dataclass(frozen=True)
class SamplerSettings:
    """As KSampler has them: `steps` are those that are drawn, of `steps / denoise`."""

    steps: int
    cfg: float
    sampler: str
    scheduler: str
    denoise: float


def sample_again(
    model: Any,
    vae: Any,
    positive: Any,
    negative: Any,
    pixels: Any,
    mask: Any,
    seed: int,
    settings: SamplerSettings,
) -> Any:
    """Draw what a mask marks in a picture again: (1, height, width, 3), 0 to 1.

    `pixels`: of the same shape; `mask`: (height, width), 1 where it may change. As ComfyUI's
    nodes do it: VAEEncode, SetLatentNoiseMask, KSampler, VAEDecode.
    """
    latent = {
        "samples": vae.encode(pixels[:, :, :, :3]),
        "noise_mask": mask.reshape((-1, 1, mask.shape[-2], mask.shape[-1])),
    }
    (drawn,) = import_module("nodes").common_ksampler(
        model,
        seed,
        settings.steps,
        settings.cfg,
        settings.sampler,
        settings.scheduler,
        positive,
        negative,
        latent,
        denoise=settings.denoise,
    )
    decoded = vae.decode(drawn["samples"])
    # Models of videos decode to five dimensions.
    return decoded.reshape(-1, *decoded.shape[-3:])


def encode_text(clip: Any, text: str) -> Any:
    """A text as conditioning, as CLIPTextEncode does it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


YOLO_NODE = "UltralyticsDetectorProvider"
"""The Impact Subpack's node that loads YOLO models."""
YOLO_THRESHOLD = 0.4


def yolo_models() -> list[str]:
    """The models that find boxes, where the Impact Subpack is there to load them."""
    if YOLO_NODE not in getattr(import_module("nodes"), "NODE_CLASS_MAPPINGS", {}):
        return []
    try:
        listed = models_listed("ultralytics_bbox")
    except KeyError:
        return []
    return [f"bbox/{name}" for name in listed]


def yolo_boxes(name: str, picture: Any) -> list[tuple[tuple[float, float, float, float], float]]:
    """(left, top, right, bottom) in pixels and how sure it is, for each box that a model finds."""
    import numpy as np

    from .tensors import as_tensor

    provider = import_module("nodes").NODE_CLASS_MAPPINGS[YOLO_NODE]()
    detector = provider.doit(name)[0]
    pixels = as_tensor(picture.convert("RGB"))[None]
    _, found = detector.detect(pixels, YOLO_THRESHOLD, 0, 1.0, 1)
    boxes = []
    for one in found:
        left, top, right, bottom = (float(value) for value in one.bbox)
        boxes.append(((left, top, right, bottom), float(np.max(one.confidence))))
    return boxes


def advanced(inputs: Sequence[io.Input]) -> list[io.Input]:
    """The inputs, marked so that the page folds them away."""
    for one in inputs:
        one.extra_dict["advanced"] = True
    return list(inputs)
