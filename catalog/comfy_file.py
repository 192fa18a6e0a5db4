"""LoRA files in the form that ComfyUI reads: written once, kept by content in Kizy's cache."""

from __future__ import annotations

import json
import os
import shutil
from functools import lru_cache
from pathlib import Path

from ..core.errors import KizyError
from ..core.files import replacing, storage_errors
from ..core.home import cache_folder
from .comfy_form import ComfyForm, comfy_form, shape_there
from .formats.safetensors_header import Header, header_text, read_header
from .index.hashes import file_sha256

FOLDER = "comfyui-loras-1"
"""In the cache; the number goes up when files are written otherwise."""


def form_of(path: Path, family: str | None) -> ComfyForm | None:
    """How ComfyUI reads the LoRA file; None if that cannot be told."""
    try:
        facts = path.stat()
        return _form_of(path, facts.st_size, facts.st_mtime_ns, family)
    except (KizyError, OSError, ValueError):
        return None


@lru_cache(maxsize=512)
def _form_of(path: Path, _size: int, _changed: int, family: str | None) -> ComfyForm | None:
    return comfy_form(read_header(path), family)


def name_there(path: Path, family: str | None) -> str | None:
    """The name under which the file goes to a ComfyUI in a form that is read there, by its
    content; None if it is read as it is. Raises UnknownNameError `file_missing`.
    """
    form = form_of(path, family)
    if form is None or not form.converts:
        return None
    return f"{path.stem}-{file_sha256(path)[:8]}.safetensors"


def readable_file(path: Path, family: str | None) -> Path:
    """The file itself, or one with the same weights under the names that ComfyUI reads.

    Raises UnknownNameError `file_missing`, ModelFileError, StorageError.
    """
    name, form = name_there(path, family), form_of(path, family)
    if name is None or form is None:
        return path
    target = cache_folder() / FOLDER / file_sha256(path)[:16] / name
    if not target.is_file():
        with storage_errors(target), replacing(target) as temporary:
            _write(read_header(path), form, temporary)
    return target


def _write(header: Header, form: ComfyForm, target: Path) -> None:
    text, _ = header_text(header.path)
    values = json.loads(text)
    told = values.pop("__metadata__", None)
    renamed = {} if told is None else {"__metadata__": told}
    for name, value in values.items():
        shape = list(shape_there(name, header.tensors))
        renamed[form.names[name]] = {**value, "shape": shape}
    new = json.dumps(renamed, ensure_ascii=False, separators=(",", ":")).encode()
    # The format's own alignment: tensors begin at a multiple of eight bytes.
    new += b" " * (-len(new) % 8)
    with header.path.open("rb") as source, target.open("wb") as file:
        source.seek(8 + len(text))
        file.write(len(new).to_bytes(8, "little") + new)
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
