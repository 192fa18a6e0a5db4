"""The base model for a training: drawing's own, in the precision that was planned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ... import language
from ...drawing.memory import Placement, release

if TYPE_CHECKING:
    from ...drawing.model import DrawModel
    from ..plan import TrainingPlan

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_base(plan: TrainingPlan, device: torch.device, *, unet: bool = True) -> DrawModel:
    """The frozen base; `unet` False: a large one is left to `read_unet`. Raises ModelFileError."""
    if plan.base.path is None:
        from ...drawing.starter_model import StarterModel

        model: DrawModel = StarterModel(plan.base.name, device)
    else:
        from ...drawing.stable_diffusion import StableDiffusionModel

        placement = Placement(device, _TYPES[plan.precision], offload=False)
        folder = Path(plan.base.path)
        model = StableDiffusionModel(plan.base.name, plan.family, folder, placement, unet=unet)
    return model


def let_go_of_encoders(model: DrawModel, *, texts: bool) -> None:
    """What was cached needs no encoder any more. `texts`: of the texts, too."""
    pipe = getattr(model, "pipe", None)
    if pipe is not None:
        pipe.vae = None
        if texts:
            pipe.text_encoder = None
            pipe.text_encoder_2 = None
    elif texts:
        # The starter's; its autoencoder has two megabytes.
        language.release()
    release()


def prepare(model: DrawModel, *, checkpointing: bool) -> None:
    """Ready for gradients: in the layout that convolutions are fastest in."""
    torch.nn.Module.to(model.unet, memory_format=torch.channels_last)  # pyright: ignore
    # Training mode is what gradient checkpointing looks at; these networks have no dropout.
    model.unet.train()
    if checkpointing:
        model.unet.enable_gradient_checkpointing()
