"""The pack's few HTTP routes: what LoRAs this ComfyUI has, and how new ones reach it.

| route | does |
|---|---|
| GET /kizy/catalog | the LoRAs as Kizy reads them, as JSON |
| POST /kizy/loras?name=NAME | takes a .safetensors LoRA as the body, into the loras folder |
| GET /kizy/pictures | 204 if whoever asks may send pictures: asked before a large one is sent |
| POST /kizy/pictures?set=SET&name=NAME | takes a zip or picture for training, into input |

ComfyUI's own rules about origins hold for them. Where it listens beyond loopback they want a key:
`Authorization: Bearer KEY`, the value of KIZY_COMFYUI_KEY in ComfyUI's environment.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import CODES, KizyError
from .lora_shelf import LoraShelf, listed_name
from .uploads import FOLDER, PICTURES, SET, tidy_now_and_then

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

KEY_VARIABLE = "KIZY_COMFYUI_KEY"
MAX_LORA = 8 << 30
"""Bytes of a LoRA file; the largest that trainers write are about half of it."""
MAX_PICTURES = 4 << 30
"""Bytes of an archive with pictures."""
SPARE = 1 << 30
"""Bytes that stay free on the disk."""
SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSAFE = re.compile(r"[^\w .()+\[\]-]+")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
LETTERS = 120


@dataclass(frozen=True)
class Place:
    """What the routes need of the ComfyUI that they are part of.

    `listed`: LoRAs' names as its lists show them; `input`: its input folder; `addresses`: those
    that it listens on; `key`: what others have to send.
    """

    shelf: LoraShelf
    listed: Callable[[], tuple[str, ...]]
    input: Callable[[], Path]
    addresses: Callable[[], tuple[str, ...]]
    key: Callable[[], str | None] = lambda: os.environ.get(KEY_VARIABLE) or None


class RefusedError(Exception):
    """An answer with a status, what happened, and what to do."""

    def __init__(self, status: int, message: str, fix: str) -> None:
        super().__init__(message)
        self.status, self.message, self.fix = status, message, fix


def add_routes(routes: web.RouteTableDef, place: Place) -> None:
    """Add them to ComfyUI's table, before it starts to listen."""
    from aiohttp import web

    def answering(handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                check_access(request, place)
                answered = await handler(request)
                await asyncio.to_thread(tidy_now_and_then, place.input())
                return answered
            except RefusedError as refused:
                values = {"message": refused.message, "fix": refused.fix}
                return web.json_response({"error": values}, status=refused.status)
            except KizyError as error:
                status = 507 if error.code == "disk_full" else 400
                return web.json_response({"error": error.as_dict()}, status=status)

        return answer

    @routes.get("/kizy/catalog")
    @answering
    async def catalog(request: web.Request) -> web.StreamResponse:
        text = await asyncio.to_thread(catalog_json, place)
        etag = hashlib.sha256(text.encode()).hexdigest()[:32]
        if etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers={"ETag": f'"{etag}"'})
        return web.json_response(text=text, headers={"ETag": f'"{etag}"'})

    @routes.post("/kizy/loras")
    @answering
    async def loras(request: web.Request) -> web.StreamResponse:
        name = file_name(request.query.get("name", ""), (".safetensors",))
        folders = place.shelf.folders()
        if not folders:
            raise RefusedError(409, "This ComfyUI has no folder for LoRAs.", "Give it one.")
        folder = folders[0]
        with_hash = await received(request, folder, MAX_LORA)
        taken, new = await asyncio.to_thread(keep_lora, *with_hash, folder, name)
        sha256 = with_hash[1]
        values = {"name": listed_name(taken, place.listed()), "sha256": sha256, "new": new}
        return web.json_response(values, status=201 if new else 200)

    @routes.get("/kizy/pictures")
    @answering
    async def takes_pictures(request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    @routes.post("/kizy/pictures")
    @answering
    async def pictures(request: web.Request) -> web.StreamResponse:
        name = file_name(request.query.get("name", ""), PICTURES)
        together = request.query.get("set", "")
        if not SET.fullmatch(together):
            raise RefusedError(400, "The upload has no set.", "Send set=, 8 to 32 hex digits.")
        folder = place.input() / FOLDER / together
        temporary, sha256 = await received(request, folder, MAX_PICTURES)
        path = folder / f"{sha256[:8]}-{name}"
        await asyncio.to_thread(_moved, temporary, path)
        below = f"{FOLDER}/{together}"
        values = {"name": f"{below}/{path.name}", "folder": below, "sha256": sha256}
        return web.json_response(values, status=201)


def check_access(request: web.Request, place: Place) -> None:
    """Raises RefusedError: 401 or 403 where a key is wanted and is not there."""
    if all(map(is_loopback, place.addresses())):
        return
    key = place.key()
    if key is None:
        raise RefusedError(
            403,
            "This ComfyUI can be reached from other machines, and Kizy has no key for that.",
            f"Start ComfyUI with {KEY_VARIABLE} set to a long random text, and give Kizy the same "
            "text as the server's key.",
        )
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), key.encode())
    if scheme.lower() != "bearer" or not right:
        raise RefusedError(
            401, "The key is missing or wrong.", f"Send the value of {KEY_VARIABLE} as the key."
        )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"


def file_name(given: str, suffixes: tuple[str, ...]) -> str:
    """A name without a folder that every system takes. Raises RefusedError."""
    name = given.replace("\\", "/").rpartition("/")[2].strip()
    name = _UNSAFE.sub("_", name).lstrip(". ")
    stem, suffix = Path(name).stem[:LETTERS].strip(" ."), Path(name).suffix.lower()
    if not stem or suffix not in suffixes or _RESERVED.match(name):
        which = ", ".join(suffixes)
        raise RefusedError(400, f'"{given[:80]}" is no name for this.', f"It ends in {which}.")
    return stem + suffix


async def received(request: web.Request, folder: Path, limit: int) -> tuple[Path, str]:
    """The body in a hidden file of the folder, and its sha256. Nothing is left if it fails."""
    announced = request.content_length
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    _check_size(announced or 0, folder, limit)
    wanted = request.headers.get("X-Kizy-Sha256", "").lower()
    handle, name = tempfile.mkstemp(dir=folder, prefix=".kizy.", suffix=".part")
    temporary, whole = Path(name), False
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(handle, "wb") as file:
            async for chunk in request.content.iter_chunked(1 << 20):
                size += len(chunk)
                _check_size(size if announced is None else 0, folder, limit)
                if size > limit:
                    raise _too_large(limit)
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
        if size == 0 or (announced is not None and size != announced):
            raise RefusedError(400, "The file did not arrive whole.", "Send it again.")
        if SHA256.fullmatch(wanted) and wanted != digest.hexdigest():
            raise RefusedError(400, "The file changed on its way.", "Send it again.")
        whole = True
        return temporary, digest.hexdigest()
    except OSError as error:
        fix = "Make space on ComfyUI's disk, or let it write to the folder."
        raise RefusedError(507, f"The file could not be kept: {error.strerror}.", fix) from error
    finally:
        if not whole:
            temporary.unlink(missing_ok=True)


def keep_lora(temporary: Path, sha256: str, folder: Path, name: str) -> tuple[Path, bool]:
    """Name the received file, if it is a LoRA; (where it lies, whether it is new).

    Raises RefusedError, ModelFileError. The temporary file is gone in any case.
    """
    from ..catalog.formats.lora_names import layers, parts
    from ..catalog.formats.safetensors_header import read_header

    try:
        header = read_header(temporary)
        if not layers(parts(header), header.tensors):
            fix = "Send a LoRA: a file with lora_up and lora_down, or what LyCORIS writes."
            raise RefusedError(400, "This is no LoRA.", fix)
        stem = Path(name).stem
        for number in range(1, 1000):
            path = folder / (name if number == 1 else f"{stem}-{number}.safetensors")
            if path.is_file() and _same(path, temporary, sha256):
                return path, False
            if not path.exists():
                _moved(temporary, path)
                return path, True
        raise RefusedError(409, f'Too many files are called "{stem}".', "Choose another name.")
    except KizyError as error:
        # The temporary name tells nobody anything.
        error.args = (error.message.replace(temporary.name, name),)
        error.message = error.args[0]
        raise
    finally:
        temporary.unlink(missing_ok=True)


def catalog_json(place: Place) -> str:
    """Every LoRA that ComfyUI lists, with what its header and sidecars say."""
    from ..core.version import VERSION

    records = {record.path: record for record in place.shelf.files()}
    folders = place.shelf.folders()
    found: list[dict[str, Any]] = []
    for name in place.listed():
        paths = (folder / name for folder in folders)
        record = next((records[path] for path in paths if path in records), None)
        if record is None:
            continue
        card = record.card.model_dump(mode="json", exclude={"key"})
        card["problem"] = card["problem"] or unread_by_comfyui(record.path, record.card.family)
        found.append(
            card
            | {
                "file": name.replace("\\", "/"),
                "sha256": record.sha256,
                "rank": record.rank,
                "form": record.form,
                "made_for": record.made_for,
                "health": record.health,
            }
        )
    return json.dumps({"version": 1, "kizy": VERSION, "loras": found})


def unread_by_comfyui(path: Path, family: str | None) -> str | None:
    """Why whoever draws here with ComfyUI's LoraLoader should not take the LoRA."""
    from ..catalog.comfy_file import form_of

    form = form_of(path, family)
    if form is None or not form.converts:
        return None
    return (
        f"ComfyUI's LoraLoader reads {form.read} of its {form.layers} layers, as their names are "
        "PEFT's or diffusers'; Kizy LoRA by Intent reads them all."
    )


def _same(path: Path, other: Path, sha256: str) -> bool:
    from ..core.files import sha256_of

    return path.stat().st_size == other.stat().st_size and sha256_of(path) == sha256


def _moved(temporary: Path, path: Path) -> None:
    try:
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _check_size(size: int, folder: Path, limit: int) -> None:
    if size > limit:
        raise _too_large(limit)
    if size and shutil.disk_usage(folder).free - size < SPARE:
        fix = "Make space on ComfyUI's disk."
        raise RefusedError(507, CODES["disk_full"].meaning, fix)


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, f"The file is larger than {limit >> 30} GB.", "Send a smaller one.")
