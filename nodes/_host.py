"""The only file that imports ComfyUI.

What nodes need of `comfy_api` is imported at once. The rest, which promises less to stay as it
is, is imported when somebody asks for it: where it has moved, the nodes still load.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from comfy_api.latest import ComfyExtension, io

__all__ = ["ComfyExtension", "add_model_family", "add_models_folder", "io"]

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
