"""Hugging Face: what a repository holds, with sizes, hashes and licence, before a byte of it comes.

Asked through the library huggingface_hub, which knows the person's token (HF_TOKEN, or `hf auth
login`); the files themselves come as all others do, see download.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ...core.errors import HubError, InputError, UnknownNameError
from ..formats.diffusers_folder import INDEX_FILE
from ..formats.published_facts import (
    MAX_NAME,
    MAX_TAG,
    MAX_TAGS,
    MAX_TRIGGERS,
    Facts,
    RemoteFile,
    clean_sha256,
)
from ..words.civitai_words import format_of_file
from ..words.descriptions import one_line
from .hub import (
    TRANSIENT,
    Caller,
    Hub,
    Persistence,
    TroubleError,
    require_safe,
    retry_after,
    same_place,
    wants_key,
)

SITE = "https://huggingface.co"

KEY_HELP = (
    "Accept its conditions on its page, make a token at https://huggingface.co/settings/tokens and "
    "set HF_TOKEN to it."
)

_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REPO = re.compile(rf"{_PART}/{_PART}\Z")
_NOT_MODELS = ("datasets", "spaces", "api", "docs", "collections", "settings", "blog")
_TEXT_FILES = (".json", ".txt")
_LICENCES: Mapping[str, str] = {
    "apache-2.0": "Apache 2.0: free for business, too.",
    "mit": "MIT: free for business, too.",
    "openrail": "OpenRAIL: free for business, too, but for the forbidden uses that it lists.",
    "openrail++": "OpenRAIL++: free for business, too, but for the forbidden uses that it lists.",
    "creativeml-openrail-m": (
        "CreativeML OpenRAIL-M: free for business, too, but for the forbidden uses that it lists."
    ),
    "cc0-1.0": "CC0: free for everything.",
    "cc-by-4.0": "CC BY 4.0: free for business, too; name the author.",
    "cc-by-sa-4.0": "CC BY-SA 4.0: name the author, and share what is made of it likewise.",
    "cc-by-nc-4.0": "CC BY-NC 4.0: not for business; name the author.",
    "cc-by-nc-sa-4.0": "CC BY-NC-SA 4.0: not for business; name the author, share likewise.",
}


@dataclass(frozen=True)
class Place:
    """A repository, or a file in it. `file`: its path there."""

    repo: str
    file: str | None = None
    revision: str | None = None


def site() -> str:
    """HF_ENDPOINT, else the public one."""
    return os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or SITE


def parse_place(text: str) -> Place | None:
    """The place that "owner/repo", "owner/repo/file" or an address names; None if it is none."""
    text = text.strip()
    if "://" not in text and not text.lower().startswith(_HOSTS):
        parts = text.split("/")
        return _place("/".join(parts[:2]), "/".join(parts[2:]) or None, None)
    try:
        address = urlsplit(text if "://" in text else f"https://{text}")
        known = address.hostname in _HOSTS or same_place(text, site())
    except ValueError:
        return None
    parts = [unquote(part) for part in address.path.split("/") if part]
    if not known or len(parts) < 2 or parts[0] in _NOT_MODELS:
        return None
    rest = parts[2:]
    if rest and rest[0] in ("blob", "resolve", "raw", "tree"):
        file = "/".join(rest[2:]) if rest[0] != "tree" else ""
        return _place("/".join(parts[:2]), file or None, rest[1] if len(rest) > 1 else None)
    return _place("/".join(parts[:2]), None, None)


class HuggingFace:
    """`endpoint`: HF_ENDPOINT or the public one unless given."""

    def __init__(self, endpoint: str | None = None, *, caller: Caller | None = None) -> None:
        self._site = (endpoint or site()).rstrip("/")
        self._caller = caller or Caller()

    def hub(self) -> Hub:
        """The service with the person's token, for downloads."""
        return Hub("Hugging Face", self._site, _library().get_token(), KEY_HELP)

    def resolve(self, text: str) -> Facts:
        """Facts of a repository, or of one file in it; `files` are those to download.

        A repository without a named file gives its diffusers model, or its only safetensors file.
        Raises InputError `request_invalid` (which file?), `feature_unavailable` (the library is
        missing) or `download_refused`; UnknownNameError `hub_unknown`; HubError.
        """
        place = parse_place(text)
        if place is None:
            message = "That names nothing on Hugging Face."
            raise InputError(
                "request_invalid", message, fix="Give owner/repository, or its address."
            )
        hub = self.hub()
        require_safe(hub.url, hub)
        info = Persistence(hub, self._caller).until_done(lambda: _info(hub, place))
        return _facts(info, place, hub)


def _place(repo: str, file: str | None, revision: str | None) -> Place | None:
    if not _REPO.match(repo) or ".." in repo:
        return None
    if file is not None and (".." in file.split("/") or len(file) > 400):
        return None
    return Place(repo, file, revision)


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        message = "Hugging Face needs the library huggingface_hub, which is not installed."
        fix = "Install it: python -m pip install huggingface_hub"
        raise InputError("feature_unavailable", message, fix=fix) from error
    return huggingface_hub


def _info(hub: Hub, place: Place) -> Any:
    """huggingface_hub's ModelInfo with the files' sizes and hashes."""
    library = _library()
    from huggingface_hub import errors

    api = library.HfApi(endpoint=hub.url, token=hub.key or False)
    try:
        return api.model_info(place.repo, revision=place.revision, files_metadata=True, timeout=30)
    except errors.GatedRepoError as error:
        raise wants_key(hub, "its author wants conditions to be accepted", str(error)) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        # Private repositories answer in the same way.
        message = f"Hugging Face has no model {place.repo}, or it is private."
        raise UnknownNameError("hub_unknown", message, raw=str(error)) from error
    except errors.HfHubHTTPError as error:
        raise _trouble(hub, error) from error
    except errors.OfflineModeIsEnabled as error:
        message = "Hugging Face is switched off by HF_HUB_OFFLINE."
        raise HubError("hub_unreachable", message, fix="Unset HF_HUB_OFFLINE.") from error
    except OSError as error:
        raise TroubleError("does not answer") from error
    except Exception as error:
        # The library's own transport has had other error classes in each generation.
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "requests"):
            raise TroubleError("does not answer") from error
        raise


def _trouble(hub: Hub, error: Any) -> Exception:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    if status in (401, 403):
        return wants_key(hub, "", str(error))
    if status in (404, 410):
        return UnknownNameError("hub_unknown", "Hugging Face has nothing there.", raw=str(error))
    if status not in TRANSIENT:
        message = f"Hugging Face answered with the status {status}."
        return HubError("hub_failed", message, raw=str(error))
    headers = response.headers if response is not None else {}
    seconds = retry_after(headers.get("Retry-After"))
    why = "asks to wait" if status == 429 else f"is out of order (status {status})"
    return TroubleError(why, seconds)


def _facts(info: Any, place: Place, hub: Hub) -> Facts:
    card: Mapping[str, Any] = {}
    if info.card_data is not None:
        card = info.card_data.to_dict()
    tags = tuple(one_line(tag, MAX_TAG).lower() for tag in info.tags or () if ":" not in tag)
    lora = "lora" in tags or place.repo.lower().count("lora") > 0
    listed = {s.rfilename: s for s in info.siblings or () if _is_usable_path(s.rfilename)}
    files = [_file(listed[name], info.sha, place, hub, lora) for name in _chosen(listed, place)]
    base = card.get("base_model")
    trigger = card.get("instance_prompt")
    name = place.file or place.repo
    return Facts(
        title=one_line(PurePosixPath(name).stem if place.file else name.split("/")[1], MAX_NAME),
        version=one_line(info.sha or "", 12),
        author=one_line(place.repo.split("/")[0], MAX_NAME),
        triggers=tuple(filter(None, [one_line(trigger, 100)]))[:MAX_TRIGGERS],
        tags=tags[:MAX_TAGS],
        base_model=one_line(base[0] if isinstance(base, list) and base else base, 100) or None,
        kind="lora" if lora else "checkpoint",
        mature="not-for-all-audiences" in tags or "nsfw" in tags,
        licence=_licence(card),
        url=f"{hub.url}/{place.repo}",
        files=tuple(files),
        source="huggingface",
        early_access="until its conditions are accepted" if info.gated and not hub.key else None,
    )


def _is_usable_path(path: Any) -> bool:
    if not isinstance(path, str) or len(path) > 400 or "\\" in path or path.startswith("/"):
        return False
    return ".." not in path.split("/")


def _chosen(listed: Iterable[str], place: Place) -> Sequence[str]:
    names = sorted(listed)
    if place.file is not None:
        if place.file not in names:
            message = f"{place.repo} has no file {one_line(place.file, 100)}."
            raise UnknownNameError("hub_unknown", message)
        return [place.file]
    if INDEX_FILE in names:
        return _diffusers(names)
    usable = [name for name in names if format_of_file(name) == "safetensors"]
    if len(usable) == 1:
        return usable
    if not usable:
        message = f"{place.repo} has no .safetensors file."
        raise InputError("download_refused", message)
    shown = ", ".join(usable[:8]) + (", …" if len(usable) > 8 else "")
    message = f"{place.repo} has {len(usable)} files: {shown}."
    fix = f"Name one of them: {place.repo}/{usable[0]}"
    raise InputError("request_invalid", message, fix=fix)


def _diffusers(names: Iterable[str]) -> list[str]:
    """A diffusers model: its parts' settings and weights, the 16-bit form where there is one."""
    found: list[str] = [INDEX_FILE]
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.partition("/")
        if file and "/" not in file and folder != "safety_checker":
            folders.setdefault(folder, []).append(file)
    for folder, files in sorted(folders.items()):
        weights = [file for file in files if file.endswith(".safetensors")]
        half = [file for file in weights if ".fp16." in file]
        plain = [file for file in weights if file.count(".") == 1]
        texts = [file for file in files if file.endswith(_TEXT_FILES) and ".index." not in file]
        if "config.json" not in texts and not any("config" in file for file in texts):
            continue
        index = [file for file in files if ".safetensors.index." in file]
        wanted = [*texts, *(half or plain)]
        if half:
            wanted += [file for file in index if "fp16" in file]
        else:
            wanted += [file for file in index if "fp16" not in file]
        found += [f"{folder}/{file}" for file in wanted]
    return found


def _file(sibling: Any, commit: str | None, place: Place, hub: Hub, lora: bool) -> RemoteFile:
    path = PurePosixPath(sibling.rfilename)
    lfs = sibling.lfs
    digest = (lfs.get("sha256") if isinstance(lfs, dict) else getattr(lfs, "sha256", None)) or None
    revision = quote(commit or place.revision or "main", safe="")
    kind = "config" if format_of_file(path.name) == "text" else "lora" if lora else "checkpoint"
    return RemoteFile(
        name=path.name,
        size=sibling.size,
        sha256=clean_sha256(digest),
        url=f"{hub.url}/{place.repo}/resolve/{revision}/{quote(sibling.rfilename)}",
        format=format_of_file(path.name),
        kind=kind,
        primary=True,
        folder="" if place.file else str(path.parent) if str(path.parent) != "." else "",
    )


def _licence(card: Mapping[str, Any]) -> str | None:
    word = card.get("license")
    word = word[0] if isinstance(word, list) and word else word
    if not isinstance(word, str) or not word:
        return None
    if word == "other":
        name, link = (
            one_line(card.get("license_name"), 100),
            one_line(card.get("license_link"), 200),
        )
        return f"Its own licence{f' ({name})' if name else ''}: {link or 'see its page'}."
    return _LICENCES.get(word.lower(), f"{one_line(word, 60)}: see its page.")
