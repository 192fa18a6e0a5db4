"""rules.toml as data: read once, checked as it is read."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from ..catalog.families.family import Quality
from ..core.request import Frozen
from .plan import Goal, Optimizer, Schedule

RULES_FILE = Path(__file__).parent / "rules.toml"


class Views(Frozen):
    """How many pictures are shown in all; see the table."""

    least: int
    each: int
    most_each: int
    most_steps: int
    least_steps: int
    goal: dict[Goal, float]
    quality: dict[Quality, float]


class Pace(Frozen):
    """How often it is saved, sampled and validated."""

    share: float
    most: int
    least: int


class Few(Frozen):
    """Below `pictures` the rank is halved."""

    pictures: int


class Tier(Frozen):
    """What fits into `least_gib` GiB of free memory."""

    least_gib: float
    batch: int
    gradient_checkpointing: bool = False
    optimizer: Optimizer = "adamw"
    fp8_base: bool = False
    blocks_to_swap: int = 0
    most_rank: int | None = None


class FamilyRules(Frozen):
    """A family's row. `gpu`: the largest memory first; `cpu` None: a GPU is needed.

    `longest_side`: pixels that larger pictures are scaled down to before anything else.
    """

    name: str
    rank: dict[Goal, int]
    alpha_share: float
    learning_rate: float
    text_encoder_learning_rate: dict[Goal, float] = Field(default_factory=dict)
    min_snr: float
    noise_offset: float
    caption_dropout: float
    resolution: dict[Quality, int]
    multiple: int
    longest_side: int = 2048
    schedule: Schedule
    warmup: float
    weight: float
    views: float
    gpu: tuple[Tier, ...]
    cpu: Tier | None = None


class Rules(Frozen):
    """The whole table."""

    views: Views
    pace: Pace
    few: Few
    samples: dict[Goal, tuple[str, ...]]
    family: dict[str, FamilyRules]


@lru_cache(maxsize=1)
def load_rules() -> Rules:
    """The table. A row with `like` takes what it does not say from another one."""
    values = tomllib.loads(RULES_FILE.read_text(encoding="utf-8"))
    rows = values["family"]
    for row in rows.values():
        if "like" in row:
            row.update({**rows[row["like"]], **row})
            del row["like"]
    return Rules.model_validate(values)
