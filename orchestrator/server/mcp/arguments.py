"""What each tool takes. Descriptions are written for a language model, which reads nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ....core.errors import InputError
from ....core.request import MAX_PROMPT, Weight
from .inputs import MAX_TEXT
from .lenient_arguments import as_meant

MAX_COUNT = 16
"""Pictures that one call draws at most."""

MAX_WAIT = 45.0
"""Seconds that a call waits at most: clients give up after 60."""

_MAX_SAFE_SEED = 2**53 - 1
"""Larger numbers do not survive JSON in JavaScript."""

_FRESH = "Draw anew, although the very same was drawn before; otherwise that is given back at once."
_WAIT = (
    f"Wait up to {MAX_WAIT:.0f} seconds for the pictures (what takes longer goes on, and job_status"
    " gives it later). With false the job's id comes back at once."
)

Picture = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_TEXT,
        description="A picture: the id of one that Kizy drew or was given (64 hexadecimal digits,"
        " or kizy://artifacts/ID), or a data: URL with its file (PNG, JPEG, ...) in base64 of at"
        " most 16 MB. A path of a file only where Kizy runs on the person's own machine and may"
        " read that folder. Nothing is fetched from the web.",
    ),
]
Text = Annotated[str, Field(max_length=MAX_PROMPT)]
Name = Annotated[str, Field(min_length=1, max_length=300)]
Quality = Annotated[
    Literal["draft", "balanced", "best"],
    Field(description="How much time to spend: draft is quickest."),
]


class Arguments(BaseModel):
    """Base of all: a name that a model made up is refused, with its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LoraWish(Arguments):
    """A LoRA by name."""

    name: Annotated[Name, Field(description="Its name, as find_loras gives it.")]
    weight: Annotated[
        Weight | None,
        Field(description="How strongly; left out, its own (usually 0.6 to 1)."),
    ] = None


class Control(Arguments):
    """A picture that steers the drawing."""

    kind: Annotated[Name, Field(description="What it shows, such as canny, depth or pose.")]
    picture: Picture
    strength: Annotated[float, Field(ge=0, le=10)] = 1.0


class Means(Arguments):
    """With what it is drawn: all of it may be left to Kizy."""

    model: Annotated[
        Name | None,
        Field(description="A model by name. Leave it out: Kizy picks the best one here."),
    ] = None
    loras: Annotated[
        tuple[LoraWish, ...],
        Field(max_length=10, description="LoRAs to use. Leave it out unless one is wanted."),
    ] = ()
    auto_loras: Annotated[
        bool,
        Field(description="Whether Kizy adds LoRAs that fit the prompt, beside those named."),
    ] = True
    seed: Annotated[
        int | None,
        Field(
            ge=-1,
            le=_MAX_SAFE_SEED,
            description="The same seed with the same words draws the same picture. Left out, or"
            " -1, it is rolled, and told with the picture.",
        ),
    ] = None
    enlarge: Annotated[
        float | None,
        Field(
            ge=1, le=8, description="How many times larger it is saved than it would be without."
        ),
    ] = None


class Manner(Means):
    """How it is drawn."""

    negative: Annotated[Text | None, Field(description="What must not be seen.")] = None
    style: Annotated[
        Name | None, Field(description="A style, such as cartoon, watercolor or 3d render.")
    ] = None
    size: Annotated[
        Name | None,
        Field(
            description="square, portrait, landscape, wide or tall; or WIDTHxHEIGHT in pixels,"
            " such as 1024x768. Left out, the model's own size."
        ),
    ] = None
    quality: Quality = "balanced"
    steps: Annotated[
        int | None, Field(ge=1, le=1000, description="Sampler steps. Better left out.")
    ] = None
    guidance: Annotated[
        float | None,
        Field(ge=0, le=100, description="How closely to follow the prompt. Better left out."),
    ] = None


class Waiting(Arguments):
    """Whether the call waits for what it began."""

    fresh: Annotated[bool, Field(description=_FRESH)] = False
    wait: Annotated[bool, Field(description=_WAIT)] = True


class Wanted(Manner):
    """A picture in words."""

    prompt: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_PROMPT,
            description="What is to be seen, in plain words: subject, surroundings, light, manner."
            " The person's own words do well.",
        ),
    ]
    count: Annotated[
        int, Field(ge=1, le=MAX_COUNT, description="How many pictures, with seeds in a row.")
    ] = 1
    controls: Annotated[
        tuple[Control, ...],
        Field(max_length=8, description="Pictures that steer the drawing (on ComfyUI alone)."),
    ] = ()


class Generate(Waiting, Wanted):
    """`generate`."""


class ExplainPlan(Wanted):
    """`explain_plan`."""


class Edit(Waiting, Manner):
    """`edit`."""

    picture: Picture
    prompt: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_PROMPT,
            description="What the new picture shows: describe all of it, not the change alone.",
        ),
    ]
    mask: Annotated[
        Picture | None,
        Field(
            description="Where to draw: white is drawn anew, black stays. Of the picture's shape;"
            " given like `picture`."
        ),
    ] = None
    strength: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="0 keeps the picture, 1 draws all anew. Left out: 0.6, inside a mask 1.",
        ),
    ] = None
    count: Annotated[int, Field(ge=1, le=MAX_COUNT, description="How many pictures.")] = 1


class Improve(Waiting, Means):
    """`improve`."""

    picture: Picture
    mask: Annotated[
        Picture | None,
        Field(
            description="What to draw again, white on black, given like `picture`. Left out: the"
            " faces."
        ),
    ] = None
    amount: Annotated[
        Literal["subtle", "normal", "strong"], Field(description="How much is drawn anew.")
    ] = "normal"
    prompt: Annotated[
        Text | None,
        Field(description="What is to be seen. Left out: what the picture was drawn from."),
    ] = None
    parts: Annotated[
        tuple[Text, ...],
        Field(
            max_length=100,
            description="Words for each face or part of the mask, from left to right; an empty one"
            " follows `prompt`.",
        ),
    ] = ()


class Train(Arguments):
    """`train`."""

    name: Annotated[Name, Field(description="What the LoRA is called; prompts use it later.")]
    pictures: Annotated[
        tuple[Picture, ...],
        Field(
            min_length=1,
            max_length=500,
            description="5 to 50 good pictures of what is to be learned. Each is given like"
            " `picture` elsewhere; also the id of a zip that was uploaded, or, where paths may be"
            " read, a folder of pictures.",
        ),
    ]
    about: Annotated[Text, Field(description="What the pictures show, in a sentence.")] = ""
    goal: Annotated[
        Literal["character", "style", "object"] | None,
        Field(description="What is to be learned. Left out, Kizy tells it from name and about."),
    ] = None
    base: Annotated[Name | None, Field(description="The model to train on. Better left out.")] = (
        None
    )
    quality: Quality = "balanced"
    steps: Annotated[
        int | None, Field(ge=1, le=100_000, description="Training steps. Better left out.")
    ] = None
    captions_encoding: Annotated[
        Name | None,
        Field(description="Of caption files that are no UTF-8, such as shift_jis. Left out, told."),
    ] = None


class FindLoras(Arguments):
    """`find_loras`."""

    query: Annotated[
        str,
        Field(
            max_length=1000,
            description="What it should do, in plain words, such as: loose ink drawing. Empty:"
            " all of them, by name.",
        ),
    ] = ""
    family: Annotated[
        Name | None, Field(description="Only for models of this family, such as sdxl.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=100, description="How many at most.")] = 10


class JobStatus(Arguments):
    """`job_status`."""

    job_id: Annotated[Name, Field(description="The id that the first answer gave.")]
    wait_seconds: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_WAIT,
            description="Wait so long for its end before answering. Better than asking often.",
        ),
    ] = 0.0
    show: Annotated[
        bool, Field(description="Whether the pictures themselves come back, once it is done.")
    ] = True


class CancelJob(Arguments):
    """`cancel_job`."""

    job_id: Annotated[Name, Field(description="The id that the first answer gave.")]


def read(kind: type[Arguments], values: dict[str, Any] | None) -> Any:
    """The arguments of a call. Raises InputError `request_invalid`, which names what is wrong."""
    try:
        return kind.model_validate(as_meant(kind, values or {}))
    except ValidationError as error:
        # Not shown: what was given may be a whole picture.
        details = error.errors(include_url=False, include_input=False, include_context=False)
        words = [f"{_place(one['loc'])}: {one['msg'][:200]}" for one in details[:5]]
        raise InputError("request_invalid", "; ".join(words) + ".") from None


def schema(kind: type[Arguments]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, as plain as clients need it.

    Without references, titles and `null`: what may be left out is simply not required. What must
    be given comes first.
    """
    full = kind.model_json_schema()
    plain = _plain(full, full.get("$defs", {}))
    plain.pop("description", None)
    required = plain.get("required", [])
    first = {name: plain["properties"][name] for name in required}
    return {**plain, "properties": {**first, **plain["properties"]}}


def _plain(value: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_plain(one, definitions) for one in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        found = definitions[value["$ref"].rpartition("/")[2]]
        return _plain({**found, **{k: v for k, v in value.items() if k != "$ref"}}, definitions)
    if "anyOf" in value:
        kinds = [one for one in value["anyOf"] if one.get("type") != "null"]
        if len(kinds) == 1:
            rest = {k: v for k, v in value.items() if k not in ("anyOf", "default")}
            return _plain({**kinds[0], **rest}, definitions)
    return {
        key: {name: _plain(one, definitions) for name, one in inner.items()}
        if key == "properties"
        else _plain(inner, definitions)
        for key, inner in value.items()
        if key not in ("title", "$defs")
    }


def _place(where: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:60] for part in where) or "arguments"
