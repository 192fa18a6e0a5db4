"""LoRAs in kohya naming, added to a model's weights and taken out again.

As in ComfyUI the product up x down is added to the weight itself, so drawing costs nothing more;
the weights that were there are kept and put back bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog.formats.lora_names import (
    ALPHA,
    DOWN,
    OTHER_FORMULAS,
    UP,
    lora_tensors,
    parts,
    plain_layers,
)
from ..catalog.formats.safetensors_header import read_header
from ..core.errors import ModelFileError
from ..core.out_of_memory import is_out_of_memory
from ..starter.ldm_names import ldm_name

if TYPE_CHECKING:
    import torch

MIN_MATCH = 0.5
"""A LoRA of which fewer of its modules than this share fit was made for another model."""


@dataclass(frozen=True)
class LoraModule:
    """One pair of matrices: `up` (out x rank x ...) and `down` (rank x in x ...)."""

    up: torch.Tensor
    down: torch.Tensor
    alpha: float

    def delta(self) -> torch.Tensor:
        """What is added to the weight at strength 1, float32, in the shape of the weight.

        alpha / rank x up @ down (Hu et al., 2021, "LoRA", section 4.1; alpha as kohya writes it).
        """
        up, down = self.up.float(), self.down.float()
        product = up.flatten(1) @ down.flatten(1)
        shape = (up.shape[0], *down.shape[1:])
        return (self.alpha / down.shape[0]) * product.reshape(shape)

    def fits(self, weight: torch.Tensor) -> bool:
        """Whether the product has the weight's shape (1x1 convolutions count as matrices)."""
        expected = (self.up.shape[0], *self.down.shape[1:])
        return _squeezed(expected) == _squeezed(tuple(weight.shape))


@dataclass(frozen=True)
class LoraMatch:
    """How many of a LoRA's modules have a place in the model."""

    matched: int
    total: int

    @property
    def share(self) -> float:
        return self.matched / self.total if self.total else 0.0


def read_lora(path: Path) -> dict[str, LoraModule]:
    """Modules of a LoRA file by kohya name (`lora_unet_...`, `lora_te_...`).

    Every naming that the catalog recognises is understood. Raises ModelFileError
    `model_file_damaged` or, for LoHa, LoKr, DoRA and the like, `lora_form_unknown`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header = read_header(path)
    if any(end in OTHER_FORMULAS for _, end, _ in parts(header)):
        raise ModelFileError("lora_form_unknown", f"{path.name} is no plain LoRA.")
    names = lora_tensors(header)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelFileError("model_file_damaged", f"{path.name} cannot be read.") from error
    modules: dict[str, LoraModule] = {}
    for name, source in names.items():
        module = name.removesuffix(DOWN)
        if module == name:
            continue
        down, up = tensors[source], tensors.get(names.get(module + UP, ""))
        if up is None or min(up.dim(), down.dim()) < 2 or up.shape[1] != down.shape[0]:
            continue
        alpha = tensors.get(names.get(module + ALPHA, ""))
        scale = float(alpha) if alpha is not None else float(down.shape[0])
        modules[module] = LoraModule(up, down, scale)
    if not modules:
        message = f"{path.name} holds no LoRA in a form that Kizy can draw with."
        raise ModelFileError("lora_form_unknown", message)
    return modules


def layers_of(path: Path) -> int:
    """How many layers the file changes, those in a form that is not drawn with among them.

    Raises as `read_lora`.
    """
    return plain_layers(read_header(path))[1]


def match(
    modules: Mapping[str, LoraModule], weights: Mapping[str, torch.Tensor], layers: int = 0
) -> LoraMatch:
    """Count the modules that have a weight of the right shape. `layers`: of the file, if more."""
    matched = sum(1 for name, module in modules.items() if _fits(name, module, weights))
    return LoraMatch(matched, max(len(modules), layers))


def _fits(name: str, module: LoraModule, weights: Mapping[str, torch.Tensor]) -> bool:
    weight = weights.get(name)
    return weight is not None and module.fits(weight)


def check_match(name: str, found: LoraMatch, model_name: str) -> None:
    """Raises ModelFileError `lora_other_family` if too few modules fit."""
    if found.share < MIN_MATCH:
        message = (
            f'The LoRA "{name}" does not fit {model_name}: '
            f"{found.matched} of its {found.total} parts have a place there."
        )
        raise ModelFileError("lora_other_family", message)


class AppliedLoras:
    """Adds LoRAs to weights and puts the old ones back."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        self._weights = weights
        # By weight, not by name: one weight can have two names.
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def add(
        self,
        modules: Mapping[str, LoraModule],
        *,
        model_weight: float,
        clip_weight: float,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Add one LoRA; `check` is called between modules and may raise to stop."""
        import torch

        with torch.no_grad():
            for name in sorted(modules):
                check()
                module, weight = modules[name], self._weights.get(name)
                strength = model_weight if name.startswith("lora_unet_") else clip_weight
                if weight is None or not module.fits(weight) or strength == 0:
                    continue
                if id(weight) not in self._kept:
                    self._kept[id(weight)] = (weight, weight.detach().clone())
                delta = module.delta().to(weight.device).reshape(weight.shape)
                weight.copy_((weight.float() + strength * delta).to(weight.dtype))

    def remove(self) -> None:
        """Put back the weights as they were."""
        import torch

        with torch.no_grad():
            for weight, kept in self._kept.values():
                weight.copy_(kept)
        self._kept.clear()


def kohya_weights(
    unet: torch.nn.Module, text_encoders: Mapping[str, torch.nn.Module]
) -> dict[str, torch.Tensor]:
    """Every weight that a LoRA can change, by its kohya name.

    `text_encoders`: prefix (`lora_te_`, `lora_te1_`, ...) -> module. The UNet's modules are found
    under their original names, too (`input_blocks_4_1_...`), as ComfyUI and kohya for SDXL write.
    """
    weights: dict[str, torch.Tensor] = {}
    named = dict(_weights_of(unet))
    for name, weight in named.items():
        weights["lora_unet_" + name.replace(".", "_")] = weight
        with contextlib.suppress(ValueError):
            original = ldm_name(name).replace(".", "_")
            if name.endswith("upsamplers.0.conv") and not _has_attention(name, named):
                original = original.replace("_2_conv", "_1_conv")
            weights["lora_unet_" + original] = weight
    for prefix, module in text_encoders.items():
        for name, weight in _weights_of(module):
            # Newer transformers dropped the "text_model." level that LoRA files still name.
            plain = name.removeprefix("text_model.").replace(".", "_")
            weights[f"{prefix}text_model_{plain}"] = weight
            if prefix == "lora_te1_":
                # PEFT's names do not count the first text encoder.
                weights[f"lora_te_text_model_{plain}"] = weight
    return weights


def _has_attention(upsampler: str, names: Iterable[str]) -> bool:
    """Whether the level of an upsampler has attention, which stands before it."""
    level = upsampler.partition("upsamplers")[0] + "attentions."
    return any(name.startswith(level) for name in names)


def _weights_of(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in module.named_parameters():
        if name.endswith(".weight") and parameter.dim() >= 2:
            yield name.removesuffix(".weight"), parameter


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
