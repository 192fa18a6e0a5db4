"""From what a program says in passing to the requests of core: paths, words and numbers go, too."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ...core.errors import InputError
from ...core.request import (
    Control,
    Enlarge,
    GenerationRequest,
    Improve,
    LoraChoice,
    Mask,
    StartPicture,
    TrainingRequest,
    parse_request,
)
from ..planning.improve_request import improvements
from .files import File

if TYPE_CHECKING:
    from PIL import Image

    PictureLike = str | PathLike[str] | bytes | File | Image.Image
    """A picture: a path or id, the bytes of a file, a Picture that was drawn, a Pillow image."""

    Start = PictureLike | StartPicture | Mapping[str, Any]
    Masked = PictureLike | Mask | Mapping[str, Any]
    Improved = PictureLike | Improve | Mapping[str, Any]

LoraLike = str | tuple[str, float] | LoraChoice | Mapping[str, Any]
Upload = Callable[[str, io.BytesIO], str]
"""(name, content) -> the id that a request names it by."""


class Wishes(TypedDict, total=False):
    """The fields of GenerationRequest but for the prompt, and shorter ways to say them.

    `loras`: names, (name, weight), or "auto" or "none". `start`, `mask`: a picture, or the
    core model. `improve`: "faces", a mask, or several. `enlarge`: a factor, or None for
    what is drawn as it is. `size`: a
    word, "768x512", or (768, 512).
    """

    negative: str
    model: str
    loras: str | Sequence[LoraLike]
    style: str
    size: str | tuple[int, int]
    count: int
    seed: int | Literal["auto"]
    steps: int | Literal["auto"]
    guidance: float | Literal["auto"]
    sampler: str
    quality: Literal["draft", "balanced", "best"]
    start: Start
    mask: Masked
    controls: Sequence[Control | Mapping[str, Any]]
    improve: Improved | Sequence[Improved]
    enlarge: float | Enlarge | Literal["auto"] | None
    video: Any
    engine: str
    owner: str
    priority: int


class TrainingWishes(TypedDict, total=False):
    """The fields of TrainingRequest but for files and name."""

    about: str
    goal: Literal["character", "style", "object", "auto"]
    base: str
    quality: Literal["draft", "balanced", "best"]
    engine: str
    steps: int | Literal["auto"]
    rank: int | Literal["auto"]
    resolution: int | Literal["auto"]
    seed: int | Literal["auto"]
    captions_encoding: str
    owner: str


def generation(prompt: str, wishes: Mapping[str, Any], upload: Upload) -> GenerationRequest:
    """The request. Raises InputError."""
    values = {"prompt": prompt} | {name: _plain(value) for name, value in wishes.items()}
    if "loras" in values:
        values["loras"] = loras(values["loras"])
    if isinstance(values.get("size"), tuple | list):
        values["size"] = "x".join(str(side) for side in values["size"])
    for name in ("start", "mask"):
        if values.get(name) is not None:
            values[name] = _holding(values[name], upload)
    if "controls" in values:
        values["controls"] = [_holding(control, upload) for control in values["controls"]]
    if "improve" in values:
        values["improve"] = improve(values["improve"], upload)
    if "enlarge" in values:
        values["enlarge"] = enlarge(values["enlarge"])
    return parse_request(GenerationRequest, values)


def training(
    files: Any, name: str, wishes: Mapping[str, Any], name_of: Callable[[File], str]
) -> TrainingRequest:
    """The request. `name_of`: how a finished file is named in it. Raises InputError."""
    many = files if isinstance(files, list | tuple | set | frozenset) else [files]
    named = [name_of(one) if isinstance(one, File) else str(one) for one in many]
    return parse_request(TrainingRequest, {**wishes, "files": named, "name": name})


def loras(given: Any) -> Any:
    """The request's `loras`."""
    if not given:
        return "none"
    if given in ("auto", "none"):
        return given
    many = [given] if isinstance(given, str | Mapping) or _is_weighted(given) else given
    return [_lora(one) for one in many]


def improve(given: Any, upload: Upload, amount: str = "normal", faces: Sequence[str] = ()) -> Any:
    """The request's `improve`: "faces", masks, core models, or several of these."""
    many = given if isinstance(given, list | tuple) else [given] if given is not None else []
    found: list[Any] = []
    for one in many:
        if isinstance(one, Improve | Mapping):
            values = _plain(one)
            if values.get("mask") is not None:
                values["mask"] = picture(values["mask"], upload)
            found.append(values)
        else:
            what = one if one == "faces" else picture(one, upload)
            found += improvements([what], amount, faces)
    return found


def enlarge(given: Any) -> Any:
    """The request's `enlarge`."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return {"factor": given} if given != 1 else "auto"
    return _plain(given)


def picture(given: Any, upload: Upload) -> str:
    """How a request names a picture. What is in memory is handed over first."""
    if isinstance(given, File):
        return given.id
    if isinstance(given, bytes):
        return upload("picture", io.BytesIO(given))
    if isinstance(given, str | PathLike):
        return str(Path(given))
    if hasattr(given, "save") and hasattr(given, "getbands"):
        buffer = io.BytesIO()
        given.save(buffer, "PNG")
        buffer.seek(0)
        return upload("picture.png", buffer)
    message = f"A {type(given).__name__} is no picture."
    fix = "Give a path, bytes, a Pillow image, or a Picture that was drawn."
    raise InputError("request_invalid", message, fix=fix)


def moment(deadline: datetime | timedelta | None) -> datetime | None:
    """A deadline as a time with its zone; a timedelta counts from now."""
    if isinstance(deadline, timedelta):
        return datetime.now(UTC) + deadline
    return deadline.astimezone() if deadline is not None else None


def _holding(given: Any, upload: Upload) -> dict[str, Any]:
    """StartPicture, Mask or Control: as it is, as a mapping, or the picture alone."""
    if isinstance(given, StartPicture | Mask | Control | Mapping):
        values = dict(_plain(given))
        if "picture" in values:
            values["picture"] = picture(values["picture"], upload)
        return values
    return {"picture": picture(given, upload)}


def _lora(given: Any) -> Any:
    if _is_weighted(given):
        return {"name": given[0], "model_weight": given[1]}
    return {"name": given} if isinstance(given, str) else _plain(given)


def _is_weighted(given: Any) -> bool:
    return (
        isinstance(given, tuple | list)
        and len(given) == 2
        and isinstance(given[0], str)
        and isinstance(given[1], int | float)
    )


def _plain(value: Any) -> Any:
    """A core model as plain values."""
    return value.model_dump() if hasattr(value, "model_dump") else value
