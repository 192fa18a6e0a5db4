"""What the drawing tests are made of: a model without weights, LoRA files, plans with pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from kizy.core.plan import InputPicture, ModelFile, Plan, PlannedLora
from kizy.drawing.cache import ModelCache
from kizy.drawing.cancel import CancelToken
from kizy.drawing.drawer import Drawer
from kizy.drawing.model import Conditioning, DrawModel, TextStates
from kizy.starter.architecture import SCHEDULER_CONFIG
from PIL import Image
from safetensors.torch import save_file

from tests.fakes.drawer import Listener

CPU = torch.device("cpu")


class FakeModel(DrawModel):
    """Predicts nothing but zeros. Runs out of memory in `out_of_memory` of its first calls."""

    family = "starter"
    device, dtype = CPU, torch.float32
    latent_channels, latent_factor = 4, 8
    preview_map = [[0.1, 0.1, 0.1]] * 5
    size = 1

    def __init__(self, name: str = "fake", *, out_of_memory: int = 0) -> None:
        self.name = name
        self.unloaded = False
        self.calls = 0
        self.batches: list[int] = []
        self.tiled = False
        self.scheduler_config = dict(SCHEDULER_CONFIG)
        self._out_of_memory = out_of_memory

    def encode(self, prompt: str, negative: str, width: int, height: int) -> Conditioning:
        return Conditioning(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))

    def encode_caption(self, caption: str, width: int, height: int) -> TextStates:
        return TextStates(torch.zeros(1, 2, 4))

    def predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        text: torch.Tensor,
        extra: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        self.calls += 1
        if self.calls <= self._out_of_memory:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot.")
        self.batches.append(latents.shape[0])
        return torch.zeros_like(latents)

    def to_latents(self, pixels: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(pixels, self.latent_factor)
        return torch.cat([small, small[:, :1]], 1)

    def to_pixels(self, latents: torch.Tensor) -> torch.Tensor:
        big = torch.nn.functional.interpolate(latents[:, :3], scale_factor=self.latent_factor)
        return big.clamp(-1, 1)

    def lora_weights(self) -> Mapping[str, torch.Tensor]:
        return {}

    def set_tiled_decode(self, tiled: bool) -> None:
        self.tiled = tiled

    def unload(self) -> None:
        self.unloaded = True


class OneModel(ModelCache):
    """Gives the same model whatever is asked for; the others are those of a real cache."""

    def __init__(self, model: DrawModel) -> None:
        super().__init__(lambda device: 10**12)
        self._model = model

    def get(
        self,
        key: tuple[str, ...],
        needed: int,
        device: torch.device,
        load: Callable[[], DrawModel],
        state: str = "",
    ) -> DrawModel:
        return super().get(("the one",), 1, device, lambda: self._model)


def draw(
    drawer: Drawer,
    plan: Plan,
    listener: Listener | None = None,
    cancel: CancelToken | None = None,
) -> list[Image.Image]:
    """The pictures of a Plan, in order."""
    pictures: dict[int, Image.Image] = {}
    drawer.draw(
        plan,
        cancel=cancel or CancelToken(),
        report=listener or Listener(),
        deliver=pictures.__setitem__,
    )
    return [pictures[index] for index in sorted(pictures)]


def kept(path: Path) -> InputPicture:
    """A picture's file as a Plan names it."""
    return InputPicture(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def planned_lora(path: Path, weight: float = 1.0) -> PlannedLora:
    file = ModelFile(name=path.stem, path=str(path))
    return PlannedLora(file=file, model_weight=weight, clip_weight=weight)


def lora_pairs(
    weights: Mapping[str, torch.Tensor], rank: int = 4, size: float = 0.3
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(up, down) for each weight, random, in the form that kohya gives linear and conv layers.

    Of several names of one weight, the first.
    """
    generator = torch.Generator().manual_seed(0)
    pairs = {}
    once = {id(weight): (name, weight) for name, weight in reversed(list(weights.items()))}
    for name, weight in reversed(list(once.values())):
        out, *inside = weight.shape
        ones = [1] * (len(inside) - 1)
        up = torch.randn(out, rank, *ones, generator=generator) * size
        down = torch.randn(rank, *inside, generator=generator) * size
        pairs[name] = (up, down)
    return pairs


def save_kohya_lora(
    path: Path, pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]], alpha: float | None
) -> Path:
    """A LoRA file as sd-scripts writes it."""
    tensors: dict[str, torch.Tensor] = {}
    for name, (up, down) in pairs.items():
        tensors[f"{name}.lora_up.weight"] = up
        tensors[f"{name}.lora_down.weight"] = down
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path)
    return path
