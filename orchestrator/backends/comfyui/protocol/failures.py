"""From ComfyUI's errors to words that say what to do. Pure.

Shapes of 0.3.64: `execution.validate_prompt` for graphs that are refused, the message
`execution_error` for jobs that fail; newer servers have `missing_node_type` besides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .....catalog.families.family import SourceFile
from .....core.errors import EngineError, KizyError, ModelFileError, nearest
from .....core.out_of_memory import fix_for, says_out_of_memory
from .connection_errors import scrubbed
from .graphs import Graph

Choices = Callable[[str, str], tuple[str, ...]]
"""(node class, input name) -> what the server offers there."""

_FOLDERS = {
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "vae_name": "vae",
    "lora_name": "loras",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "clip_name3": "text_encoders",
    "clip_name4": "text_encoders",
    "control_net_name": "controlnet",
    "style_model_name": "style_models",
    "gligen_name": "gligen",
    "hypernetwork_name": "hypernetworks",
}
_FOLDERS_OF_CLASS = {
    ("UpscaleModelLoader", "model_name"): "upscale_models",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("DiffusersLoader", "model_path"): "diffusers",
}
_DISK = re.compile(
    r"no space left on device|errno 28\b|not enough space on the disk|winerror 112\b|"
    r"disk quota exceeded|disk full",
    re.IGNORECASE,
)
_SHAPES = re.compile(
    r"shapes cannot be multiplied|size of tensor a|is invalid for input of size|size mismatch|"
    r"sizes of tensors must match|expected .* channels, but got|shape mismatch",
    re.IGNORECASE,
)
_DAMAGED = re.compile(
    r"safetensors file is (corrupt|incomplete)|error while deserializing header|"
    r"HeaderTooLarge|InvalidHeader|MetadataIncompleteBuffer|PytorchStreamReader failed",
    re.IGNORECASE,
)
_MISSING_FILE = re.compile(r"Model in folder '([^']*)' with filename '([^']*)' not found")
_MISSING_CLASS = re.compile(r"node (.+?) does not exist|Node '(.+?)' not found")


@dataclass(frozen=True)
class Context:
    """What is known around an error. `server`: its name. `secrets`: taken out of what is shown."""

    server: str
    graph: Graph = field(default_factory=dict)
    choices: Choices = lambda _node_class, _input: ()
    files: Sequence[SourceFile] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def raw(self, data: object) -> str:
        """ComfyUI's own words, without prompts, pictures and keys."""
        return scrubbed(json.dumps(_shown(data), ensure_ascii=False, default=str), *self.secrets)


def _shown(data: object) -> object:
    """Without what is long and says nothing: lists of choices, the inputs of nodes."""
    hidden = ("input_config", "current_inputs", "current_outputs", "executed")
    if isinstance(data, Mapping):
        return {key: _shown(value) for key, value in data.items() if key not in hidden}
    if isinstance(data, list):
        return [_shown(item) for item in data]
    return data


def refused_graph(answer: Mapping[str, Any], context: Context) -> KizyError:
    """From the answer to POST /prompt: `error` and `node_errors`; either may be empty."""
    raw = context.raw(answer)
    error = answer.get("error")
    about = error if isinstance(error, Mapping) else {"message": str(error or "")}
    missing = _missing_class(about)
    if missing is not None:
        return _node_missing(missing, context, raw)
    for node_class, problem in _problems(answer.get("node_errors")):
        known = _known_problem(node_class, problem, context, raw)
        if known is not None:
            return known
    for node_class, problem in _problems(answer.get("node_errors")):
        said = f"{problem.get('message', '')}: {problem.get('details', '')}"
        message = f"ComfyUI on {context.server} refuses the node {node_class}: {_short(said)}."
        fix = "Update ComfyUI and its node packs there; if they are up to date, report this."
        return EngineError("server_failed", message, fix=fix, raw=raw)
    said = _short(f"{about.get('message', '')} {about.get('details', '')}".strip())
    message = f"ComfyUI on {context.server} refuses the graph: {said or 'it does not say why'}."
    return EngineError("server_failed", message, raw=raw)


def _problems(node_errors: object) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """(node class, error) of every error of every node."""
    for entry in node_errors.values() if isinstance(node_errors, Mapping) else ():
        errors = entry.get("errors") if isinstance(entry, Mapping) else None
        for error in errors if isinstance(errors, list) else ():
            if isinstance(error, Mapping):
                yield str(entry.get("class_type", "")), error


def _missing_class(error: Mapping[str, Any]) -> str | None:
    extra = error.get("extra_info")
    if isinstance(extra, Mapping) and isinstance(extra.get("class_type"), str):
        return extra["class_type"]
    found = _MISSING_CLASS.search(str(error.get("message", "")))
    return next((group for group in found.groups() if group), None) if found else None


def _node_missing(node_class: str, context: Context, raw: str) -> KizyError:
    message = f"ComfyUI on {context.server} has no node {node_class}."
    pack = "Kizy" if node_class.startswith("Kizy") else f"that brings {node_class}"
    fix = f"Install the node pack {pack} there with ComfyUI-Manager, then restart ComfyUI."
    return EngineError("server_node_missing", message, fix=fix, raw=raw)


def _known_problem(
    node_class: str, problem: Mapping[str, Any], context: Context, raw: str
) -> KizyError | None:
    extra = problem.get("extra_info")
    extra = extra if isinstance(extra, Mapping) else {}
    details, name = str(problem.get("details", "")), str(extra.get("input_name", ""))
    if problem.get("type") == "value_not_in_list":
        value = str(extra.get("received_value", ""))
        offered = _offered(extra) or context.choices(node_class, name)
        folder = _folder(node_class, name)
        if folder is not None:
            return model_missing(value, folder, offered, context, raw)
        if name == "image":
            return _picture_missing(value, context, raw)
        message = f'ComfyUI on {context.server} does not know {name} "{value}".'
        return EngineError("server_too_old", message, raw=raw)
    if problem.get("type") == "custom_validation_failed" and "invalid image file" in (
        details.lower()
    ):
        return _picture_missing(details.rpartition(": ")[2], context, raw)
    if "input_missing" in str(problem.get("type", "")):
        message = f"The node {node_class} of ComfyUI on {context.server} also wants {details}."
        fix = "Its version does not fit: update Kizy, and ComfyUI with its node packs there."
        return EngineError("server_failed", message, fix=fix, raw=raw)
    return None


def _offered(extra: Mapping[str, Any]) -> tuple[str, ...]:
    match extra.get("input_config"):
        case [list(choices), *_]:
            return tuple(str(choice) for choice in choices)
        case [_, {"options": list(choices)}]:
            return tuple(str(choice) for choice in choices)
    return ()


def _folder(node_class: str, input_name: str) -> str | None:
    own = _FOLDERS_OF_CLASS.get((node_class, input_name))
    return own or _FOLDERS.get(input_name)


def model_missing(
    value: str, folder: str, offered: Iterable[str], context: Context, raw: str | None = None
) -> KizyError:
    """A model file that a server does not list. `offered`: those that it lists."""
    message = f'ComfyUI on {context.server} has no "{value}" in models/{folder}. '
    message += nearest(value, offered) or f"Its folder models/{folder} is empty."
    base = re.split(r"[\\/]", value)[-1]
    source = next((file for file in context.files if file.name == base), None)
    if source is not None and source.pack is not None:
        fix = f"The node pack {source.pack} brings that file: install it there, and restart."
        return EngineError("server_model_missing", message, fix=fix, raw=raw)
    if source is None:
        fix = f"Put the file into models/{folder} of ComfyUI there, then try again."
        return EngineError("server_model_missing", message, fix=fix, raw=raw)
    size = f" ({source.size / 1e9:.1f} GB)" if source.size else ""
    fix = (
        f"Download {source.path}{size} from https://huggingface.co/{source.repo} and put it as "
        f"{source.name} into models/{source.folder} of ComfyUI there."
    )
    return EngineError("server_model_missing", message, fix=fix, raw=raw)


def _picture_missing(value: str, context: Context, raw: str) -> KizyError:
    message = f'The picture "{_short(value)}" is no longer among the inputs of {context.server}.'
    fix = "Try again: Kizy sends it anew."
    return EngineError("server_failed", message, fix=fix, raw=raw)


def failed_job(detail: Mapping[str, Any], context: Context) -> KizyError:
    """From the message `execution_error`, as it stands in the history."""
    raw = context.raw(detail)
    kind, said = str(detail.get("exception_type", "")), str(detail.get("exception_message", ""))
    node_class, text = str(detail.get("node_type", "")), f"{kind}: {said}"
    where = f"ComfyUI on {context.server}"
    if _DISK.search(text):
        return EngineError("server_disk_full", f"The disk of {context.server} is full.", raw=raw)
    if says_out_of_memory(text):
        message = f"The memory of {context.server} did not suffice (in {node_class})."
        return EngineError("out_of_memory", message, fix=fix_for(text), raw=raw)
    missing = _MISSING_FILE.search(said)
    if missing:
        folder, name = missing.groups()
        return model_missing(name, folder, (), context, raw)
    if _DAMAGED.search(text):
        name = _files_named_by(detail, context) or "A model file"
        message = f"{name} on {context.server} is cut short or damaged."
        return ModelFileError("model_file_damaged", message, raw=raw)
    if "could not detect model type" in text.lower():
        message = f"{where} cannot tell what kind of model the file is."
        fix = "It may hold a part only (use the split form), or ComfyUI there is too old for it."
        return EngineError("server_failed", message, fix=fix, raw=raw)
    if re.search(r"(clip|vae) (input )?is invalid: None", text, re.IGNORECASE):
        part = "text encoder" if "clip" in text.lower() else "VAE"
        message = f"The checkpoint on {context.server} holds no {part}."
        fix = "Use a full checkpoint, or the split form with the parts in files of their own."
        return EngineError("server_failed", message, fix=fix, raw=raw)
    if _SHAPES.search(text):
        return _do_not_fit(node_class, context, raw)
    if "cuda error" in text.lower() or "hip error" in text.lower():
        message = f"The GPU of {context.server} failed: {_short(said)}."
        fix = "Restart ComfyUI there; if it comes again, update the driver."
        return EngineError("server_failed", message, fix=fix, raw=raw)
    named = f" in the node {node_class}" if node_class else ""
    message = f"{where} failed{named}: {_short(said) or kind or 'it does not say why'}."
    return EngineError("server_failed", message, raw=raw)


def _do_not_fit(node_class: str, context: Context, raw: str) -> KizyError:
    classes = {str(node.get("class_type", "")) for node in context.graph.values()}
    if "Lora" in node_class or (
        any("Lora" in name for name in classes) and not any("ControlNet" in n for n in classes)
    ):
        names = _inputs_named(context.graph, "lora_name")
        which = f"The LoRA {', '.join(names)}" if len(names) == 1 else "A LoRA"
        message = f"{which} does not fit the model on {context.server}."
        return ModelFileError("lora_other_family", message, raw=raw)
    message = f"The files that {context.server} was to draw with do not fit together."
    fix = "Take ControlNet, text encoders and VAE of the same family as the model."
    return EngineError("server_failed", message, fix=fix, raw=raw)


def _inputs_named(graph: Graph, name: str) -> list[str]:
    found = []
    for node in graph.values():
        inputs = node.get("inputs")
        value = inputs.get(name) if isinstance(inputs, Mapping) else None
        if isinstance(value, str):
            found.append(value)
    return found


def _files_named_by(detail: Mapping[str, Any], context: Context) -> str | None:
    """The file that the node which failed was to load."""
    node = context.graph.get(str(detail.get("node_id")), {})
    inputs = node.get("inputs")
    if not isinstance(inputs, Mapping):
        return None
    return next((str(v) for k, v in inputs.items() if k in _FOLDERS or k == "model_name"), None)


def _short(text: str) -> str:
    line = " ".join(text.split())
    line = re.sub(r"\s*TIPS?:.*", "", line)
    return (line if len(line) <= 300 else line[:300] + "…").rstrip(" .:")
