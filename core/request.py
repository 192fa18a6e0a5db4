"""What somebody asks for: everything but the prompt may be left out, or be "auto"."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from .errors import InputError
from .numbers import read_number
from .seeds import MAX_SEED
from .surrogates import whole

MAX_PROMPT = 10_000
MAX_SIDE = 16_384

Auto = Literal["auto"]
Prompt = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT)
]
OptionalText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_PROMPT)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


def _encoding(value: str) -> str:
    try:
        codecs.lookup(value)
        "a".encode(value)
    except (LookupError, ValueError, TypeError):
        raise ValueError("no text encoding of that name is known") from None
    return value


Encoding = Annotated[Name, AfterValidator(_encoding)]
"""A text encoding by a name that Python knows, such as "shift_jis", "gbk" or "cp1251"."""


def _number(value: Any) -> Any:
    return read_number(value) if isinstance(value, str) else value


Weight = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False), BeforeValidator(_number)]
"""Of a LoRA; a text is read as `read_number` reads it."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


_OPENAIS = re.compile(r"(?:[\w.-]+[/:])*(?:dall-e-\d|(?:chat)?gpt-image-)[\w.-]*", re.IGNORECASE)


def is_openais(model: str) -> bool:
    """Whether a model's name is one of OpenAI's for pictures, with or without its provider.

    Clients that know nothing else send them ("openai/gpt-image-1", "dall-e-3").
    """
    return _OPENAIS.fullmatch(model.strip()) is not None


def _free_model(model: str) -> str:
    return "auto" if is_openais(model) else model


def _free_seed(seed: int | str) -> int | str:
    return "auto" if seed == -1 else seed


ModelName = Annotated[Name | Auto, AfterValidator(_free_model)]
"""A model's name; those of OpenAI's leave the choice to Kizy."""
Seed = Annotated[Annotated[int, Field(ge=-1, le=MAX_SEED)] | Auto, AfterValidator(_free_seed)]
"""-1 means "auto", as in A1111."""


class Frozen(BaseModel):
    """Base of the words that every room speaks: unchangeable, and strict about unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )


class Asked(Frozen):
    """Base of what somebody asks for: half a character in a text becomes U+FFFD."""

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, values: Any) -> Any:
        return whole_texts(values)


def whole_texts(values: Any) -> Any:
    """The values of a request, of whole characters (core/surrogates.py).

    Raises ValueError if nothing of a text is left then.
    """
    made = whole(values)
    for name, text in made.items() if isinstance(made, dict) and made != values else ():
        if isinstance(text, str) and text and not text.strip("\ufffd \n"):
            raise ValueError(f"{name} holds nothing but half a character")
    return made


class LoraChoice(Frozen):
    """A LoRA by name or path. `clip_weight` is the model's weight unless given.

    The name "auto" stands for those that Kizy picks by itself, beside the ones that are named.
    """

    name: Name
    model_weight: Weight | Auto = "auto"
    clip_weight: Weight | Auto = "auto"


class StartPicture(Frozen):
    """A picture to begin with. `strength`: 0 keeps it as it is, 1 draws all anew."""

    picture: Name
    strength: Share | Auto = "auto"


class Mask(Frozen):
    """White is drawn anew, black stays. `feather`: width of the soft border, in pixels."""

    picture: Name
    feather: Annotated[int, Field(ge=0, le=512)] | Auto = "auto"


class Control(Frozen):
    """A map that steers the drawing from `start` to `end` (shares of the steps)."""

    kind: Name
    picture: Name
    strength: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 1.0
    start: Share = 0.0
    end: Share = 1.0


class Improve(Frozen):
    """What to draw again in detail: the faces, or everything in `mask`, which is white there.

    `prompts`: a line for each face or part of the mask, from left to right; empty ones for those
    that follow the request's prompt.
    """

    what: Literal["faces", "mask"] = "faces"
    amount: Literal["subtle", "normal", "strong"] = "normal"
    mask: Name | None = None
    prompts: Annotated[tuple[OptionalText, ...], Field(max_length=1000)] = ()

    @model_validator(mode="after")
    def _mask_if_masked(self) -> Improve:
        if (self.what == "mask") != (self.mask is not None):
            raise ValueError('what = "mask" needs a mask, and "faces" takes none')
        return self


class Enlarge(Frozen):
    """How many times larger each side becomes than it would be saved without this."""

    factor: Annotated[float, Field(ge=1, le=8, allow_inf_nan=False)] = 2.0


class Video(Frozen):
    """Reserved: a moving picture of some seconds."""

    seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)]
    fps: Annotated[int, Field(ge=1, le=120)] = 24


class GenerationRequest(Asked):
    """One wish. Sizes are words ("square") or "WIDTHxHEIGHT" in pixels of the saved picture.

    `enlarge`: that many times what would be saved without it; "auto": the family's own, which is
    part of what `size` names; None: what is drawn is saved.
    """

    prompt: Prompt
    negative: OptionalText | Auto = "auto"
    model: ModelName = "auto"
    loras: tuple[LoraChoice, ...] | Literal["auto", "none"] = "auto"
    style: Name | Auto = "auto"
    size: Name | Auto = "auto"
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    seed: Seed = "auto"
    steps: Annotated[int, Field(ge=1, le=1000)] | Auto = "auto"
    guidance: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | Auto = "auto"
    sampler: Name | Auto = "auto"
    quality: Literal["draft", "balanced", "best"] = "balanced"
    start: StartPicture | None = None
    mask: Mask | None = None
    controls: tuple[Control, ...] = ()
    improve: tuple[Improve, ...] = ()
    enlarge: Enlarge | Auto | None = "auto"
    video: Video | None = None
    engine: Name | Auto = "auto"
    owner: Name = "local"
    priority: Annotated[int, Field(ge=-100, le=100)] = 0

    def with_pictures(self, rename: Callable[[str], str]) -> GenerationRequest:
        """The same with every picture that it names called otherwise, such as an id by its path."""

        def renamed(part: Any, field: str = "picture") -> Any:
            name = getattr(part, field, None)
            return part if name is None else part.model_copy(update={field: rename(name)})

        return self.model_copy(
            update={
                "start": renamed(self.start),
                "mask": renamed(self.mask),
                "controls": tuple(renamed(control) for control in self.controls),
                "improve": tuple(renamed(improve, "mask") for improve in self.improve),
            }
        )


class TrainingRequest(Asked):
    """Pictures and a name that become a LoRA. `files`: pictures, folders, zips or videos.

    `captions_encoding`: of caption files that are no UTF-8; "auto": told by all of them together.
    """

    files: Annotated[tuple[Name, ...], Field(min_length=1)]
    name: Name
    about: OptionalText = ""
    goal: Literal["character", "style", "object"] | Auto = "auto"
    base: Name | Auto = "auto"
    quality: Literal["draft", "balanced", "best"] = "balanced"
    engine: Name | Auto = "auto"
    steps: Annotated[int, Field(ge=1, le=1_000_000)] | Auto = "auto"
    rank: Annotated[int, Field(ge=1, le=512)] | Auto = "auto"
    resolution: Annotated[int, Field(ge=64, le=4096)] | Auto = "auto"
    seed: Seed = "auto"
    captions_encoding: Auto | Encoding = "auto"
    owner: Name = "local"


Request = TypeVar("Request", GenerationRequest, TrainingRequest)


def parse_request(kind: type[Request], values: dict[str, Any]) -> Request:
    """A request from plain values.

    Raises InputError: `prompt_empty`, `prompt_too_long`, `size_invalid` or, for every other
    value that is out of range or of a wrong kind, `request_invalid`.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _input_error(first) from None


def _input_error(detail: Any) -> InputError:
    field = str(detail["loc"][0]) if detail["loc"] else "request"
    if field in ("prompt", "negative"):
        if detail["type"] == "string_too_long":
            length = len(str(detail["input"]))
            message = f"The {field} is {length:,} characters long; {MAX_PROMPT:,} is the limit."
            return InputError("prompt_too_long", message)
        if detail["type"] in ("string_too_short", "missing"):
            return InputError("prompt_empty", "The prompt is empty.")
    shown = str(detail["input"]).encode("utf-8", "backslashreplace").decode()
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    reason = detail["msg"][:1].lower() + detail["msg"][1:]
    return InputError("request_invalid", f"{field} = {shown}: {reason}.")
