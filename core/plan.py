"""Everything decided about a drawing: data that is shown, stored, hashed and replayed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from .request import MAX_SIDE, Frozen
from .seeds import MAX_SEED, seed_after

PLAN_VERSION = 1

NOTICE = "notice"
"""As a Reason's `choice`: something that the person has to know. `value` is a code that never
changes."""


class Reason(Frozen):
    """Why something was picked, in plain words. `choice` names the Plan's field."""

    choice: str
    value: str
    why: str


class ModelFile(Frozen):
    """A model or LoRA as the engine finds it. `sha256` of its content where it is known.

    `tensors_sha256`: of a safetensors file behind its header, by which A1111 and Civitai know LoRAs
    (AutoV3). It identifies nothing here.
    """

    name: str
    path: str | None = None
    sha256: str | None = None
    tensors_sha256: str | None = None


class PlannedLora(Frozen):
    """A LoRA with its weights and the trigger words that were put into the prompt."""

    file: ModelFile
    model_weight: float
    clip_weight: float
    triggers: tuple[str, ...] = ()


class InputPicture(Frozen):
    """A picture that the drawing begins with, by path and content (sha256 of the file)."""

    path: str
    sha256: str


@dataclass(frozen=True)
class PictureFacts:
    """An input picture: where it lies, its content's hash, its size in pixels.

    `brightest`: its lightest grey as a mask, 0 to 255. `note`: what of the file is left out, in
    words behind its name.
    """

    picture: InputPicture
    width: int
    height: int
    brightest: int = 255
    note: str | None = None


class PlannedStart(Frozen):
    picture: InputPicture
    strength: float


class PlannedMask(Frozen):
    picture: InputPicture
    feather: int


class PlannedControl(Frozen):
    kind: str
    picture: InputPicture
    strength: float
    start: float
    end: float


class DrawStage(Frozen):
    """Text (and a start picture) to a picture of the Plan's `width` x `height`."""

    kind: Literal["draw"] = "draw"


class SecondPassStage(Frozen):
    """Draw once more at `factor` times the sides, beginning with what was drawn, as latents.

    `steps` and `strength` as for a start picture: of `steps`, the share `strength` is drawn
    (0 keeps the enlarged latents as they are, 1 draws all anew). Follows the draw stage.
    """

    kind: Literal["second_pass"] = "second_pass"
    factor: float = Field(gt=1, le=8)
    strength: float = Field(ge=0, le=1)
    steps: int = Field(ge=1)


class ImproveStage(Frozen):
    """Draw parts of the picture again in detail: its faces, or what `mask` marks.

    Each part is drawn at about `width` x `height` pixels, sides in multiples of `multiple`, and
    `strength` of the steps anew. `enlarger` then makes it up to `reach` times larger. Part i, from
    left to right, follows line i of `prompts`; where there is none, or an empty one, the Plan's.
    """

    kind: Literal["improve"] = "improve"
    what: Literal["faces", "mask"]
    amount: Literal["subtle", "normal", "strong"]
    strength: float = Field(gt=0, le=1)
    width: int = Field(ge=8, le=MAX_SIDE)
    height: int = Field(ge=8, le=MAX_SIDE)
    multiple: int = Field(ge=1)
    mask: InputPicture | None = None
    prompts: tuple[str, ...] = ()
    reach: float = Field(default=1.0, ge=1, le=8)
    enlarger: ModelFile | None = None


class EnlargeStage(Frozen):
    """Make each side `factor` times larger with an enlarging model."""

    kind: Literal["enlarge"] = "enlarge"
    factor: float = Field(gt=1, le=64)
    model: ModelFile


Stage = Annotated[
    DrawStage | SecondPassStage | ImproveStage | EnlargeStage, Field(discriminator="kind")
]


class Plan(Frozen):
    """A decided drawing. Picture i of `count` is drawn with `seed + i`, each by itself;
    behind the highest seed comes 0.

    Without a draw stage, the later stages begin with the start picture as it is.

    `width` and `height` are pixels of the draw stage, `output_width` and `output_height` those of
    the saved picture, behind all stages. `engine`: the kind of engine that it was planned for.
    """

    version: Literal[1] = PLAN_VERSION
    engine: str | None = None
    request_prompt: str
    prompt: str
    negative: str
    family: str
    model: ModelFile
    loras: tuple[PlannedLora, ...] = ()
    style: str | None = None
    width: int = Field(ge=8, le=MAX_SIDE)
    height: int = Field(ge=8, le=MAX_SIDE)
    output_width: int = Field(ge=1, le=MAX_SIDE)
    output_height: int = Field(ge=1, le=MAX_SIDE)
    count: int = Field(ge=1)
    seed: int = Field(ge=0, le=MAX_SEED)
    steps: int = Field(ge=1)
    guidance: float = Field(ge=0)
    sampler: str
    scheduler: str
    start: PlannedStart | None = None
    mask: PlannedMask | None = None
    controls: tuple[PlannedControl, ...] = ()
    stages: tuple[Stage, ...] = (DrawStage(),)
    reasons: tuple[Reason, ...] = ()

    @property
    def draws(self) -> bool:
        """Whether a picture is drawn, rather than a given one worked on."""
        return any(isinstance(stage, DrawStage) for stage in self.stages)

    @property
    def notices(self) -> tuple[Reason, ...]:
        """The reasons that the person has to know, whatever they look at."""
        return tuple(reason for reason in self.reasons if reason.choice == NOTICE)

    def for_picture(self, index: int) -> Plan:
        """The Plan that draws picture `index` (from 0) alone."""
        return self.model_copy(update={"count": 1, "seed": seed_after(self.seed, index)})

    def without_paths(self) -> Plan:
        """The same for others to see: files by name and content alone, wherever they lie here."""
        return Plan.model_validate(_named(self.model_dump()))

    def digest(self) -> str:
        """sha256 over all that decides the pixels: neither reasons nor where files lie count."""
        values = self.model_dump(mode="json", exclude={"reasons", "request_prompt", "engine"})
        text = json.dumps(_without_paths(values), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _named(value: Any) -> Any:
    """Paths of models go; those of pictures, which must have one, become the file's name."""
    if isinstance(value, dict):
        kept = {key: _named(item) for key, item in value.items()}
        path = kept.get("path")
        if isinstance(path, str):
            kept["path"] = None if "name" in kept else re.split(r"[\\/]", path)[-1]
        return kept
    if isinstance(value, list | tuple):
        return type(value)(_named(item) for item in value)
    return value


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        identified = value.get("sha256") is not None
        return {
            key: _without_paths(item)
            for key, item in value.items()
            if not (key == "path" and identified) and key != "tensors_sha256"
        }
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return value
