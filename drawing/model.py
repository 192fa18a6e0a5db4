"""What the sampler needs of a loaded model, whichever family it is of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from .loras import LoraModule


@dataclass(frozen=True)
class Conditioning:
    """What the prompts mean to the UNet. Each tensor has 1 row, of any number of tokens."""

    positive: torch.Tensor
    negative: torch.Tensor
    # SDXL's pooled text and sizes, for the prompt and for the negative prompt.
    positive_extra: Mapping[str, torch.Tensor] = field(default_factory=dict)
    negative_extra: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class TextStates:
    """What one text means to the UNet, 1 row each; `extra`: SDXL's pooled text and sizes."""

    states: torch.Tensor
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)


class DrawModel(ABC):
    """A model in memory: text to conditioning, one UNet call, pixels to latents and back.

    Pixels are float32 in -1 to 1, 1 x 3 x height x width; latents are scaled as the UNet wants
    them.
    """

    name: str
    family: str
    device: torch.device
    dtype: torch.dtype
    latent_channels: int
    latent_factor: int
    scheduler_config: dict[str, Any]
    preview_map: list[list[float]]
    """Rows: one for each latent channel and one for the constant; columns: RGB in 0 to 1."""
    size: int
    """Bytes of the weights in memory."""
    unet: Any
    """The network that `predict` calls: a training changes it."""

    def read_unet(self) -> None:  # noqa: B027 - most have it from the beginning
        """Read the UNet's weights, if they were left out. Raises ModelFileError."""

    @abstractmethod
    def encode(self, prompt: str, negative: str, width: int, height: int) -> Conditioning:
        """Conditioning of a prompt; width and height in pixels (SDXL is told them).

        Weights, escapes and BREAK are those of `language.prompt_syntax`. The two may differ in
        their number of tokens. Raises InputError `request_invalid`.
        """

    @abstractmethod
    def encode_caption(self, caption: str, width: int, height: int) -> TextStates:
        """What a caption means as a training shows it: letter by letter, without weights, cut at
        what the encoder reads at once.
        """

    @abstractmethod
    def predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        text: torch.Tensor,
        extra: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """One UNet call."""

    @abstractmethod
    def to_latents(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode a picture, without randomness."""

    @abstractmethod
    def to_pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents, clamped to -1 to 1."""

    @abstractmethod
    def lora_weights(self) -> Mapping[str, torch.Tensor]:
        """Every weight that a LoRA can change, by kohya name."""

    @abstractmethod
    def set_tiled_decode(self, tiled: bool) -> None:
        """Decode in tiles: less memory, a little slower."""

    def set_offload(self) -> bool:
        """Keep on the GPU only what runs; False if that is not possible here."""
        return False

    @abstractmethod
    def unload(self) -> None:
        """Let go of what the model holds outside its own tensors."""


LoraModules = Mapping[str, "LoraModule"]
