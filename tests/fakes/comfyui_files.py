"""The fake's routes for files and facts: downloads, uploads, /object_info, /system_stats."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from .comfyui_faults import Faults, Life
from .comfyui_nodes import Disk

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
FEATURES = {"supports_preview_metadata": True, "max_upload_size": 104857600}


def broken(request: web.Request) -> web.Response:
    """Break the connection of a request without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


class Files:
    """Files and facts of one life of the server."""

    def __init__(
        self,
        *,
        life: Life,
        faults: Faults,
        disk: Disk,
        object_info: Callable[[], Mapping[str, Any]],
        models: Mapping[str, list[str]],
        model_files: Callable[[str], Mapping[str, tuple[int, float]] | None],
        version: str,
    ) -> None:
        self._life = life
        self._faults = faults
        self._disk = disk
        self._object_info = object_info
        self._models = models
        self._model_files = model_files
        self._version = version

    def table(self) -> list[tuple[str, str, Handler]]:
        """Method, path and handler of each route."""
        return [
            ("GET", "/object_info", self._get_object_info),
            ("GET", "/object_info/{name}", self._get_object_info),
            ("GET", "/models", self._get_models),
            ("GET", "/models/{folder}", self._get_models_of),
            ("GET", "/experiment/models/{folder}", self._get_model_files),
            ("GET", "/view_metadata/{folder}", self._get_metadata),
            ("GET", "/view", self._view),
            ("POST", "/upload/image", self._upload),
            ("POST", "/upload/mask", self._upload),
            ("GET", "/system_stats", self._stats),
            ("GET", "/features", self._features),
            ("GET", "/workflow_templates", self._templates),
        ]

    async def _get_object_info(self, request: web.Request) -> web.Response:
        while self._faults.object_info_held and not self._life.over:
            await asyncio.sleep(0.005)
        found = self._object_info()
        name = request.match_info.get("name")
        if name is not None:
            found = {name: found[name]} if name in found else {}
        return web.json_response(found)

    async def _get_models(self, _request: web.Request) -> web.Response:
        return web.json_response(list(self._models))

    async def _get_models_of(self, request: web.Request) -> web.Response:
        folder = request.match_info["folder"]
        if folder not in self._models:
            return web.Response(status=404)
        return web.json_response(self._models[folder])

    async def _get_model_files(self, request: web.Request) -> web.Response:
        """As app/model_manager.py: every file with size and times."""
        listed = self._model_files(request.match_info["folder"])
        if listed is None or self._faults.no_model_files:
            return web.Response(status=404)
        files = [
            {"name": name, "pathIndex": 0, "modified": changed, "created": changed, "size": size}
            for name, (size, changed) in listed.items()
        ]
        return web.json_response(files)

    async def _get_metadata(self, _request: web.Request) -> web.Response:
        return web.Response(status=404)

    async def _view(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        name = query.get("filename", "")
        if not name:
            return web.Response(status=404)
        if name.startswith("/") or ".." in name:
            return web.Response(status=400)
        place = query.get("type", "output")
        file = self._disk.file(place, query.get("subfolder", ""), PurePosixPath(name).name)
        if file is None:
            return web.Response(status=403)
        if not file.is_file():
            return web.Response(status=404)
        if request.method == "GET" and self._faults.takes("short_downloads"):
            response = web.StreamResponse(headers={"Content-Length": str(file.stat().st_size)})
            await response.prepare(request)
            await response.write(file.read_bytes()[: file.stat().st_size // 2])
            await asyncio.sleep(0.01)
            broken(request)
            return response
        return web.FileResponse(file, headers={"Content-Disposition": f'filename="{file.name}"'})

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        image = form.get("image")
        place, folder = str(form.get("type", "input")), str(form.get("subfolder", ""))
        if not isinstance(image, web.FileField) or not image.filename:
            return web.Response(status=400)
        content, name = image.file.read(), image.filename
        target = self._disk.file(place, folder, name)
        if target is None:
            return web.Response(status=400)
        target.parent.mkdir(parents=True, exist_ok=True)
        first, number = target, 1
        while form.get("overwrite") not in ("true", "1") and target.exists():
            if target.read_bytes() == content:
                break
            target = first.with_name(f"{first.stem} ({number}){first.suffix}")
            number += 1
        if not self._faults.loses_uploads:
            target.write_bytes(content)
        return web.json_response({"name": target.name, "subfolder": folder, "type": place})

    async def _stats(self, _request: web.Request) -> web.Response:
        gigabyte = 1_000_000_000
        system = {
            "os": "posix",
            "ram_total": 32 * gigabyte,
            "ram_free": 16 * gigabyte,
            "comfyui_version": self._version,
            "python_version": sys.version,
            "pytorch_version": "2.8.0",
            "embedded_python": False,
            "argv": ["main.py"],
        }
        device = {
            "name": "cuda:0 Fake",
            "type": "cuda",
            "index": 0,
            "vram_total": 24 * gigabyte,
            "vram_free": 20 * gigabyte,
            "torch_vram_total": 0,
            "torch_vram_free": 0,
        }
        return web.json_response({"system": system, "devices": [device]})

    async def _features(self, _request: web.Request) -> web.Response:
        return web.json_response(FEATURES)

    async def _templates(self, _request: web.Request) -> web.Response:
        return web.json_response({})
