"""Civitai's public API: facts by hash in batches, by version, and by whatever names a version.

Routes and shapes: https://developer.civitai.com/site/reference and github.com/civitai/civitai,
src/pages/api/v1.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ...core.errors import HubError, InputError, UnknownNameError
from ..formats.published_facts import CIVITAI, Facts, RemoteFile, clean_sha256, from_civitai
from .hub import Caller, Http, Hub, Persistence, is_loopback

MAX_HASHES = 100
"""Of one request to `/model-versions/by-hash` (its schema says so)."""

ADULT_SITE = "https://civitai.red"
"""The same service with everything; civitai.com has lately only what is safe to show."""

KEY_HELP = (
    "Make a key at https://civitai.com/user/account (API Keys) and set CIVITAI_API_KEY to it. "
    "If it is set, the account may lack the right to this file."
)

_KEY_NAMES = ("KIZY_CIVITAI_KEY", "CIVITAI_API_KEY")
_FILE_WORDS = ("fileId", "type", "format", "size", "fp")
_HOST = re.compile(r"(?:www\.)?civitai\.(com|red|green)\Z", re.IGNORECASE)
_AIR = re.compile(
    r"(?:urn:)?(?:air:)?(?:[\w.-]+:)?(?:[\w.-]+:)?civitai:(?P<model>\d{1,12})"
    r"(?:@(?P<version>\d{1,12}))?(?:\+(?P<file>\d{1,12}))?(?:\.\w+)?\Z",
    re.IGNORECASE,
)
_MODEL_PATH = re.compile(r"/(?:api/v1/)?models/(\d{1,12})(?:/|\Z)")
_VERSION_PATH = re.compile(
    r"/(?:api/download/models|api/v1/model-versions|model-versions)/(\d{1,12})(?:/|\Z)"
)


@dataclass(frozen=True)
class Reference:
    """What names a version on Civitai: a model, a version, or both. `site`: None if not told.

    `file`: words that pick one of its files (`fileId`, `type`, `format`, `size`, `fp`).
    """

    model: int | None = None
    version: int | None = None
    site: str | None = None
    file: tuple[tuple[str, str], ...] = ()


def civitai_key() -> str | None:
    """The key in KIZY_CIVITAI_KEY or CIVITAI_API_KEY."""
    found = (os.environ.get(name, "").strip() for name in _KEY_NAMES)
    return next((key for key in found if key), None)


def civitai_hub(site: str = CIVITAI) -> Hub:
    """Civitai at that address, with the key of the environment."""
    return Hub("Civitai", site.rstrip("/"), civitai_key(), KEY_HELP)


def parse_reference(text: str) -> Reference | None:
    """What a page's or download's address, an AIR, or a version id names; None if it is none.

    A bare number is a version id; an address of another site gives None.
    """
    text = text.strip()
    if text.isdecimal() and len(text) <= 12:
        return Reference(version=int(text))
    air = _AIR.match(text)
    if air:
        file = (("fileId", air["file"]),) if air["file"] else ()
        version = int(air["version"]) if air["version"] else None
        return Reference(int(air["model"]), version, None, file)
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host = _HOST.match(parts.hostname or "")
    except ValueError:
        return None
    if host is None or parts.scheme not in ("http", "https"):
        return None
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    # Never the query as it is: a download's address may hold somebody's key.
    file = tuple((key, query[key]) for key in _FILE_WORDS if key in query)
    site = f"https://civitai.{host[1].lower()}"
    of_version, of_model = _VERSION_PATH.match(parts.path), _MODEL_PATH.match(parts.path)
    if of_version:
        return Reference(None, int(of_version[1]), site, file)
    if not of_model:
        return None
    given = query.get("modelVersionId", "")
    asked = int(given) if given.isdecimal() and len(given) <= 12 else None
    return Reference(int(of_model[1]), asked, site, file)


class Civitai:
    """One service, from one thread. `adult`: ask where adult content is listed too.

    Every call raises HubError `hub_unreachable`, `hub_wants_key` or `hub_failed`, and
    CancelledError.
    """

    def __init__(
        self, hub: Hub | None = None, *, adult: bool = False, caller: Caller | None = None
    ) -> None:
        self._hub = hub or civitai_hub(ADULT_SITE if adult else CIVITAI)
        self._caller = caller or Caller()

    def by_hashes(self, hashes: Iterable[str]) -> dict[str, Facts]:
        """sha256 in lower case -> facts, of those files that Civitai knows.

        A request for 100 hashes, and one for what is told of their models as a whole (tags,
        description, permissions); if that one is refused, the facts come without it.
        """
        wanted = list(dict.fromkeys(filter(None, map(clean_sha256, hashes))))
        found: dict[str, Facts] = {}
        for batch in _batches(wanted, MAX_HASHES):
            upper = [value.upper() for value in batch]
            answer = self._ask("POST", "/api/v1/model-versions/by-hash", json=upper)
            # A version without a file of its own is null in the answer.
            versions = [entry for entry in _list(answer, self._hub) if isinstance(entry, dict)]
            models = self._models({_id(entry.get("modelId")) for entry in versions})
            for version in versions:
                facts = self._facts(version, models.get(_id(version.get("modelId"))))
                for sha256 in (file.sha256 for file in facts.files):
                    if sha256 is not None and sha256 in batch:
                        found.setdefault(sha256, facts)
        return found

    def by_hash(self, value: str) -> Facts | None:
        """Facts of the version that a file of this hash (sha256, AutoV2, ...) belongs to."""
        if not re.fullmatch(r"[0-9a-fA-F]{8,64}", value):
            return None
        try:
            version = self._mapping(f"/api/v1/model-versions/by-hash/{value}")
        except UnknownNameError:
            return None
        return self._facts(version, self._model_of(version))

    def version(self, version_id: int) -> Facts:
        """Facts of a version. Raises UnknownNameError `hub_unknown`."""
        version = self._mapping(f"/api/v1/model-versions/{version_id}")
        return self._facts(version, self._model_of(version))

    def resolve(self, text: str) -> Facts:
        """Facts of what an address, an AIR or a version id names; of a model, its newest version.

        Of its files, `primary` is the one that was asked for. Raises InputError `request_invalid`,
        UnknownNameError `hub_unknown`.
        """
        reference = parse_reference(text)
        if reference is None:
            message = "That names nothing on Civitai."
            fix = "Give the address of a model's page there, or the id of a version."
            raise InputError("request_invalid", message, fix=fix)
        site = self
        if reference.site and not is_loopback(self._hub.url) and reference.site != self._hub.url:
            # Adult content is listed on one of the sites only: ask the one that was named.
            site = Civitai(civitai_hub(reference.site), caller=self._caller)
        facts = site._of_reference(reference)
        return facts.model_copy(update={"files": _picked(facts.files, dict(reference.file))})

    def _of_reference(self, reference: Reference) -> Facts:
        if reference.version is not None:
            facts = self.version(reference.version)
            if reference.model not in (None, facts.model_id):
                message = f"Version {reference.version} belongs to another model on Civitai."
                raise UnknownNameError("hub_unknown", message)
            return facts
        model = self._mapping(f"/api/v1/models/{reference.model}")
        listed = model.get("modelVersions")
        versions = [v for v in listed if isinstance(v, dict)] if isinstance(listed, list) else []
        if not versions:
            raise UnknownNameError("hub_unknown", "Civitai lists no version of that model.")
        newest = {"modelId": reference.model, **versions[0]}
        return self._facts(newest, model)

    def _facts(self, version: Mapping[str, Any], model: Mapping[str, Any] | None) -> Facts:
        return from_civitai(version, model, site=self._hub.url)

    def _model_of(self, version: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The whole model; None if it cannot be had: the version alone says enough."""
        model_id = version.get("modelId")
        if type(model_id) is not int:
            return None
        try:
            return self._mapping(f"/api/v1/models/{model_id}")
        except (UnknownNameError, HubError) as error:
            if error.code == "hub_unreachable":
                raise
            return None

    def _models(self, ids: set[int]) -> dict[int, Mapping[str, Any]]:
        wanted = sorted(ids - {0})
        if not wanted:
            return {}
        words = {"ids": ",".join(map(str, wanted)), "nsfw": "true", "limit": str(MAX_HASHES)}
        try:
            answer = self._ask("GET", "/api/v1/models", params=words)
        except (UnknownNameError, HubError) as error:
            if error.code == "hub_unreachable":
                raise
            return {}
        items = answer.get("items") if isinstance(answer, dict) else None
        listed = items if isinstance(items, list) else []
        models = [item for item in listed if isinstance(item, dict)]
        return {model["id"]: model for model in models if type(model.get("id")) is int}

    def _mapping(self, path: str) -> Mapping[str, Any]:
        answer = self._ask("GET", path)
        if not isinstance(answer, dict):
            raise HubError("hub_failed", f"{self._hub.name} answered in another form than it says.")
        return answer

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        http = Http(self._hub, self._caller.patience)
        try:
            return Persistence(self._hub, self._caller).until_done(
                lambda: http.json(method, path, **options)
            )
        finally:
            http.close()


def _picked(files: tuple[RemoteFile, ...], words: Mapping[str, str]) -> tuple[RemoteFile, ...]:
    """The files, of which only the one that the words pick is `primary`.

    Without words: the primary one if it is a safetensors file, else the first one that is.
    """
    usable = [file for file in files if file.format == "safetensors"]
    candidates = [file for file in files if _fits(file, words)] if words else []
    if not candidates:
        candidates = [f for f in usable if f.primary] or usable or list(files[:1])
    chosen = next((file for file in candidates if file in usable), None) or next(
        iter(candidates), None
    )
    return tuple(file.model_copy(update={"primary": file is chosen}) for file in files)


def _fits(file: RemoteFile, words: Mapping[str, str]) -> bool:
    if "fileId" in words:
        return str(file.id) == words["fileId"]
    url = parse_qs(urlsplit(file.url).query)
    safe = words.get("format", "SafeTensor").lower().startswith("safetensor")
    return (
        ("format" not in words or safe == (file.format == "safetensors"))
        and ("size" not in words or file.pruned is (words["size"].lower() == "pruned"))
        and ("fp" not in words or (file.precision or "").lower() == words["fp"].lower())
        and ("type" not in words or url.get("type", [words["type"]])[-1] == words["type"])
    )


def _batches(values: Sequence[str], size: int) -> list[Sequence[str]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _id(value: Any) -> int:
    """A model's id; 0 if it is none."""
    return value if type(value) is int else 0


def _list(answer: Any, hub: Hub) -> list[Any]:
    if not isinstance(answer, list):
        raise HubError("hub_failed", f"{hub.name} answered in another form than it says.")
    return answer
