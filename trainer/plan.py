"""Everything decided about a training: data that is shown, stored and read by the engines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..core.plan import ModelFile, Reason
from ..core.request import Frozen

Goal = Literal["character", "style", "object"]
EngineName = Literal["builtin", "kohya"]
Optimizer = Literal["adamw", "adamw8bit", "adafactor", "prodigy"]
Schedule = Literal["constant", "cosine", "cosine_with_restarts"]
Precision = Literal["fp32", "bf16", "fp16"]

PLAN_VERSION = 1


class TrainingPlan(Frozen):
    """A decided training.

    One step shows `batch` x `accumulate` pictures and changes the weights once. `repeats`: how
    often each picture is seen, on average. `resolution`: pixels of a side of a square with the
    area that pictures are trained at; sides are multiples of `multiple`.
    `text_encoder_learning_rate` None: the text encoders are not trained. `min_snr` None: every
    timestep counts alike. `warmup` in steps. `validate_every` 0: nothing is held out.
    `parts`: the files that belong to a base in several files ("clip_l", "t5xxl", "ae", ...).
    `threads` None: as many as torch takes. `weight`: the strength that is recommended for drawing.
    """

    version: Literal[1] = PLAN_VERSION
    name: str
    slug: str
    about: str
    trigger: str
    goal: Goal
    family: str
    base: ModelFile
    parts: dict[str, ModelFile] = Field(default_factory=dict)
    engine: EngineName
    rank: int = Field(ge=1, le=512)
    alpha: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    text_encoder_learning_rate: float | None = Field(default=None, gt=0)
    steps: int = Field(ge=1)
    warmup: int = Field(ge=0)
    batch: int = Field(ge=1)
    accumulate: int = Field(default=1, ge=1)
    repeats: int = Field(ge=1)
    resolution: int = Field(ge=64)
    multiple: int = Field(ge=8)
    optimizer: Optimizer
    schedule: Schedule
    precision: Precision
    min_snr: float | None = Field(default=None, gt=0)
    noise_offset: float = Field(default=0.0, ge=0)
    caption_dropout: float = Field(default=0.0, ge=0, le=1)
    masked_loss: bool = False
    gradient_checkpointing: bool = False
    cache_latents: bool = True
    cache_text: bool = True
    blocks_to_swap: int = Field(default=0, ge=0)
    fp8_base: bool = False
    seed: int = Field(ge=0)
    threads: int | None = Field(default=None, ge=1)
    sample_prompts: tuple[str, ...] = ()
    sample_seed: int = Field(default=0, ge=0)
    sample_every: int = Field(ge=1)
    validate_every: int = Field(ge=0)
    save_every: int = Field(ge=1)
    weight: float = 1.0
    reasons: tuple[Reason, ...] = ()
