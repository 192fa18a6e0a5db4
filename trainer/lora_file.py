"""A trained LoRA as a file: kohya's names, the real alpha, and proof that every key has a place.

kohya's names (sd-scripts, networks/lora.py) are the ones that every program reads. A UNet's module
is `lora_unet_` and its path with underscores, where SDXL's path is the original one
(`input_blocks_4_1_...`), as in sd-scripts; a text encoder's is `lora_te_`, in SDXL `lora_te1_` and
`lora_te2_`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..core.errors import ModelFileError
from ..core.files import replacing, storage_errors
from ..starter.ldm_names import ldm_name

if TYPE_CHECKING:
    import torch

Part = Literal["unet", "text_encoder", "text_encoder_2"]

_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64",
    "int32": "I32", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
"""torch's names of what LoRAs and optimizers hold, and those of the safetensors format."""

_SDXL_PREFIX = {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}


@dataclass(frozen=True)
class Pair:
    """The two matrices of a module: `down` (rank x in x ...) and `up` (out x rank x ...)."""

    down: torch.Tensor
    up: torch.Tensor


def kohya_module(part: Part, module: str, family: str) -> str:
    """kohya's name of a module; `module`: its path in diffusers or transformers, with dots."""
    if part == "unet":
        path = ldm_name(module) if family == "sdxl" else module
        return "lora_unet_" + path.replace(".", "_")
    prefix = _SDXL_PREFIX[part] if family == "sdxl" else "lora_te_"
    # Newer transformers dropped the "text_model." level that LoRA files still name.
    return f"{prefix}text_model_{module.removeprefix('text_model.').replace('.', '_')}"


def kohya_tensors(
    pairs: Mapping[tuple[Part, str], Pair], family: str, alpha: float, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """The tensors of the file, on the CPU, by name. `alpha` is written as it was trained with.

    Where nothing has to be converted they are those of the training, and go on with it.
    """
    import torch

    tensors: dict[str, torch.Tensor] = {}
    for (part, module), pair in pairs.items():
        name = kohya_module(part, module, family)
        for end, value in ((".lora_down.weight", pair.down), (".lora_up.weight", pair.up)):
            tensors[name + end] = value.detach().to("cpu", dtype)
        tensors[name + ".alpha"] = torch.tensor(alpha, dtype=dtype)
    return dict(sorted(tensors.items()))


def tensor_hash(data: bytes) -> str:
    """sha256 of what follows a safetensors file's header: the weights, whatever is said of them."""
    length = int.from_bytes(data[:8], "little")
    return sha256(memoryview(data)[8 + length :]).hexdigest()


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write the file whole or not at all. Raises StorageError.

    Piece by piece: safetensors' own `save` would hold all of it twice more, in the midst of a
    training, and its `save_file` leaves files of its own behind when it is killed.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in _in_order(tensors):
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        dtype = _DTYPES[str(tensor.dtype).removeprefix("torch.")]
        header[name] = {
            "dtype": dtype,
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in _in_order(tensors):
            file.write(_bytes_of(tensors[name]))


def hash_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """`tensor_hash` of the file that would hold these tensors."""
    digest = sha256()
    for name in _in_order(tensors):
        digest.update(_bytes_of(tensors[name]))
    return digest.hexdigest()


def _in_order(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Large numbers first, so that each lies at a multiple of its size; then by name."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    # An array is a buffer, which its types in Python 3.11 do not say.
    array: Any = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return memoryview(array)


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a file. Raises ModelFileError `model_file_damaged`."""
    from safetensors import SafetensorError, safe_open

    try:
        with storage_errors(path), safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise ModelFileError("model_file_damaged", f"{path.name} cannot be read.") from error


def check(path: Path, weights: Mapping[str, torch.Tensor], base: str) -> int:
    """How many modules the file has, all of which have a place in the base model.

    `weights`: the base's, or their shapes, by kohya name (DrawModel.lora_weights). The file is
    read by the loader that draws with it. Raises ModelFileError `lora_other_family` if a single
    one does not fit.
    """
    from ..drawing.loras import match, read_lora

    modules = read_lora(path)
    found = match(modules, weights)
    if found.matched < found.total:
        message = (
            f"Of the {found.total} parts of {path.name}, "
            f"{found.total - found.matched} have no place in {base}."
        )
        raise ModelFileError("lora_other_family", message)
    return found.total
