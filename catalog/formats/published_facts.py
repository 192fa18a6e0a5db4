"""What a service for models, or a file left by another program, says about a model or LoRA.

All texts are untrusted: data to match and to show. The keys are those of Civitai's answers,
which programs such as Lora-Manager and Civitai Helper store beside the file as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, Literal, TypeGuard
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import Field

from ...core.request import Frozen
from ..words.civitai_words import (
    RemoteFormat,
    RemoteKind,
    format_of_file,
    is_adult,
    is_safe_picture,
    kind_of_file,
    kind_of_model,
    licence_in_words,
)
from ..words.descriptions import one_line, recommended_weight, text_of_html

CIVITAI = "https://civitai.com"

MAX_NAME = 200
MAX_ABOUT = 4000
MAX_TRIGGERS = 16
MAX_TRIGGER = 200
MAX_TAGS = 40
MAX_TAG = 60
MAX_EXAMPLES = 5
MAX_EXAMPLE = 600
MAX_PARTS = 500
"""Entries of a list in an answer that are looked at."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_LORA_TAG = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>", re.IGNORECASE)
_DOWNLOAD_PATH = re.compile(r"/api/download/models/\d{1,12}\Z")
_DOWNLOAD_WORDS = ("type", "format", "size", "fp", "fileId")


class RemoteFile(Frozen):
    """A file that can be downloaded. `name`: the service's, never to be used as a path as it is.

    `size` in bytes as announced (Civitai rounds it). `sha256` in lower case. `url` holds no key.
    `folder`: below the target's folder, for models of several files. `precision`: "fp16", ...;
    `pruned`: None if not told. `flagged`: the service's scanner found something in it.
    """

    name: str
    size: int | None = Field(default=None, ge=0)
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    url: str = ""
    format: RemoteFormat = "other"
    kind: RemoteKind = "other"
    primary: bool = False
    precision: str | None = None
    pruned: bool | None = None
    flagged: bool = False
    folder: str = ""
    id: int | None = None


class Facts(Frozen):
    """What is told of one version of a model. `base_model`: in the service's own word.

    `about`: plain text. `triggers`: words that the prompt should hold, each entry as its author
    wrote it. `examples`: prompts of example pictures that are safe to show, without LoRA tags.
    `weight`, `weight_range`: what the author recommends, else (`weight` only) what the author's
    own examples use. `mature`: marked as adult. `minor`: marked as showing somebody young.
    `real_person`: marked as showing one. `licence`: in plain words. `url`: of its page.
    `held_back`: why nobody can download it. `early_access`: until when only buyers can.
    """

    title: str
    version: str = ""
    author: str = ""
    about: str = ""
    triggers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    base_model: str | None = None
    kind: RemoteKind | None = None
    examples: tuple[str, ...] = ()
    weight: float | None = None
    weight_range: tuple[float, float] | None = None
    mature: bool = False
    minor: bool = False
    real_person: bool = False
    licence: str | None = None
    url: str | None = None
    files: tuple[RemoteFile, ...] = ()
    held_back: str | None = None
    early_access: str | None = None
    source: Literal["civitai", "huggingface"] = "civitai"
    model_id: int | None = None
    version_id: int | None = None


def from_civitai(
    version: Mapping[str, Any],
    model: Mapping[str, Any] | None = None,
    *,
    site: str = CIVITAI,
) -> Facts:
    """Facts from a model version as `/api/v1/model-versions/...` gives it.

    `model`: the answer of `/api/v1/models/{id}`, which alone holds tags, description and
    permissions; what other programs put into `version["model"]` counts as well. Whatever is
    missing or of a wrong kind is left out. `site`: where the files are downloaded from.
    """
    part = _mapping(version.get("model"))
    whole = {**part, **{key: value for key, value in (model or {}).items() if value is not None}}
    kind = kind_of_model(whole.get("type"))
    version_id = _number(version.get("id"))
    model_id = _number(version.get("modelId")) or _number(whole.get("id"))
    about = _about(whole, version)
    images = [_mapping(image) for image in _list(version.get("images"))]
    weight, weight_range = _weight(version, about, images, version_id)
    creator = _mapping(whole.get("creator")) or _mapping(version.get("creator"))
    return Facts(
        title=one_line(whole.get("name"), MAX_NAME) or one_line(version.get("name"), MAX_NAME),
        version=one_line(version.get("name"), MAX_NAME),
        author=one_line(creator.get("username"), MAX_NAME),
        about=about,
        triggers=_triggers(version),
        tags=_tags(whole.get("tags")),
        base_model=one_line(version.get("baseModel"), 60) or None,
        kind=kind,
        examples=_examples(images),
        weight=weight,
        weight_range=weight_range,
        mature=is_adult(whole, version),
        minor=whole.get("minor") is True,
        real_person=whole.get("poi") is True,
        licence=licence_in_words(whole),
        url=_page(site, model_id, version_id),
        files=_files(version, kind, version_id, site),
        held_back=_held_back(whole, version),
        early_access=_early_access(version),
        model_id=model_id,
        version_id=version_id,
    )


def clean_sha256(value: Any) -> str | None:
    """A sha256 in lower case; None if it is none."""
    return value.lower() if isinstance(value, str) and _SHA256.match(value) else None


def _about(model: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    texts = [text_of_html(values.get("description"), MAX_ABOUT) for values in (model, version)]
    return "\n".join(dict.fromkeys(text for text in texts if text))[:MAX_ABOUT]


def _triggers(version: Mapping[str, Any]) -> tuple[str, ...]:
    words = version.get("trainedWords")
    if isinstance(words, str):
        words = [words]
    kept = (one_line(_LORA_TAG.sub(" ", w), MAX_TRIGGER) for w in _list(words) if _is_text(w))
    trimmed = (word.strip(" ,") for word in kept)
    return tuple(dict.fromkeys(word for word in trimmed if word))[:MAX_TRIGGERS]


def _tags(values: Any) -> tuple[str, ...]:
    words = (value.get("name") if isinstance(value, dict) else value for value in _list(values))
    kept = (one_line(word, MAX_TAG).lower() for word in words)
    return tuple(dict.fromkeys(word for word in kept if word))[:MAX_TAGS]


def _examples(images: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    found = []
    for image in images:
        prompt = _meta(image).get("prompt")
        if _is_text(prompt) and is_safe_picture(image):
            text = one_line(_LORA_TAG.sub(" ", prompt), MAX_EXAMPLE).strip(" ,")
            if text:
                found.append(text)
    return tuple(dict.fromkeys(found))[:MAX_EXAMPLES]


def _meta(image: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = _mapping(image.get("meta"))
    # Some answers wrap it once more: {"id": ..., "meta": {...}}.
    return _mapping(meta.get("meta")) or meta


def _weight(
    version: Mapping[str, Any],
    about: str,
    images: Iterable[Mapping[str, Any]],
    version_id: int | None,
) -> tuple[float | None, tuple[float, float] | None]:
    settings = _mapping(version.get("settings"))
    told = _float(settings.get("strength"))
    low, high = _float(settings.get("minStrength")), _float(settings.get("maxStrength"))
    span = (low, high) if low is not None and high is not None and low < high else None
    if told is not None:
        return told, span
    weight, written = recommended_weight(about)
    if weight is None and span is None:
        weight = _usual_weight(images, version_id)
    return weight, written or span


def _usual_weight(images: Iterable[Mapping[str, Any]], version_id: int | None) -> float | None:
    """The middle one of the weights in example pictures that name this very version."""
    used = []
    for image in images:
        for resource in map(_mapping, _list(_meta(image).get("civitaiResources"))):
            weight = _float(resource.get("weight"))
            same = version_id is not None and resource.get("modelVersionId") == version_id
            if same and weight is not None and 0 < weight <= 2:
                used.append(weight)
    return round(median(used), 3) if len(used) > 1 else None


def _files(
    version: Mapping[str, Any], kind: RemoteKind | None, version_id: int | None, site: str
) -> tuple[RemoteFile, ...]:
    found = [
        _file(_mapping(entry), kind, version_id, site) for entry in _list(version.get("files"))
    ]
    return tuple(file for file in found if file is not None)


def _file(
    entry: Mapping[str, Any], kind: RemoteKind | None, version_id: int | None, site: str
) -> RemoteFile | None:
    name = one_line(entry.get("name"), MAX_NAME)
    if not name:
        return None
    metadata, hashes = _mapping(entry.get("metadata")), _mapping(entry.get("hashes"))
    size = _float(entry.get("sizeKB"), 0, 1e10)
    scans = (entry.get("pickleScanResult"), entry.get("virusScanResult"))
    return RemoteFile(
        name=name,
        size=round(size * 1024) if size is not None else None,
        sha256=clean_sha256(hashes.get("SHA256")),
        url=_download_url(entry.get("downloadUrl"), version_id, site),
        format=format_of_file(name, metadata.get("format")),
        kind=kind_of_file(entry.get("type"), kind),
        primary=entry.get("primary") is True,
        precision=one_line(metadata.get("fp"), 20) or None,
        pruned={"pruned": True, "full": False}.get(str(metadata.get("size")).lower()),
        flagged="Danger" in scans,
        id=_number(entry.get("id")),
    )


def _download_url(value: Any, version_id: int | None, site: str) -> str:
    """The file's address on `site`: the answer's host is not trusted, and was wrong at times."""
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
    except ValueError:
        parts = None
    if parts is not None and _DOWNLOAD_PATH.match(parts.path):
        words = [pair for pair in parse_qsl(parts.query) if pair[0] in _DOWNLOAD_WORDS]
        return f"{site}{parts.path}{'?' + urlencode(words) if words else ''}"
    return f"{site}/api/download/models/{version_id}" if version_id else ""


def _held_back(model: Mapping[str, Any], version: Mapping[str, Any]) -> str | None:
    if model.get("mode") in ("Archived", "TakenDown"):
        return "It was taken off Civitai, and its files with it."
    if version.get("usageControl") not in (None, "Download"):
        return "Its author lets it be used on Civitai's own service only."
    if version.get("availability") == "Private":
        return "It is private."
    return None


def _early_access(version: Mapping[str, Any]) -> str | None:
    if version.get("availability") != "EarlyAccess":
        return None
    until = one_line(version.get("earlyAccessEndsAt"), 40)[:10]
    return f"until {until}" if until else "for now"


def _page(site: str, model_id: int | None, version_id: int | None) -> str | None:
    if model_id is None:
        return None
    tail = f"?modelVersionId={version_id}" if version_id is not None else ""
    return f"{site}/models/{model_id}{tail}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value[:MAX_PARTS] if isinstance(value, list) else []


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < 2**53 else None


def _float(value: Any, low: float = -10, high: float = 10) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if low <= value <= high else None
