"""A service that models come from, with the routes of Civitai and Hugging Face, and its store.

    with FakeModelHub() as fake:
        fake.add_civitai(data)                 # version 456 of model 123
        fake.faults.cut_after = [1000]         # the first download breaks after 1000 bytes
        ...

Two servers on 127.0.0.1: the service, which knows the key, and the store that it redirects
downloads to. Another port is another origin, as another host is.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from aiohttp import web

from .model_hub_answers import (
    civitai_file,
    civitai_model,
    civitai_version,
    digest,
    huggingface_model,
)

PATIENCE = 20.0
PAGE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>"


@dataclass(frozen=True)
class Seen:
    """A request. `place`: "hub" or "store"."""

    place: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None


@dataclass
class Faults:
    """All off. Lists are used up from their start, an entry for each request that it is about."""

    api: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Statuses and headers in place of an answer of the API."""
    download: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """The same for downloads, at the service."""
    store: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """The same at the store, after the redirect."""
    cut_after: list[int] = field(default_factory=list)
    """The store's connection breaks after so many bytes."""
    after_cut: Callable[[], None] | None = None
    """Called when a connection was cut."""
    api_page: int = 0
    """So many answers of the API are a web page with status 200."""
    page: int = 0
    """So many downloads are a web page with status 200."""
    no_range: bool = False
    """The store knows no Range and sends the whole file."""
    no_etag: bool = False
    no_length: bool = False
    """The store sends no Content-Length."""
    redirect: str | None = None
    """Downloads lead there in place of the store."""
    wants_key: str | None = None
    """Downloads need this bearer key; without it they lead to the page to log in, as Civitai's."""
    wants_key_with_401: bool = False
    """Without the key: status 401, as with an account that lacks the right."""
    forget_key_at_store: bool = True
    """The store refuses requests with a key, as signed addresses do."""


class FakeModelHub:
    """See above. `requests`: all that came."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.requests: list[Seen] = []
        self.files: dict[str, bytes] = {}
        """Path in the store -> content."""
        self.downloads: dict[str, str] = {}
        """Path and query at the service -> path in the store."""
        self.versions: dict[int, dict[str, Any]] = {}
        self.models: dict[int, dict[str, Any]] = {}
        self.repos: dict[str, dict[str, Any]] = {}
        self.url = ""
        self.store_url = ""
        self._loop = asyncio.new_event_loop()
        self._runners: list[web.AppRunner] = []

    def add_civitai(
        self, data: bytes, *, file: dict[str, Any] | None = None, **version: Any
    ) -> dict[str, Any]:
        """A version with one file, and its model; the version."""
        added = civitai_version(civitai_file(data, **(file or {})), **version)
        kind = {"type": added["model"]["type"]}
        self.versions[added["id"]] = added
        self.models[added["modelId"]] = civitai_model(added, id=added["modelId"], **kind)
        self.files["/store/model.safetensors"] = data
        self.downloads[f"/api/download/models/{added['id']}"] = "/store/model.safetensors"
        return added

    def add_repo(self, repo: str, files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
        """A repository on Hugging Face; its answer."""
        self.repos[repo] = huggingface_model(repo, files, **changes)
        for path, data in files.items():
            self.files[f"/lfs/{repo}/{path}"] = data
            self.downloads[f"/{repo}/resolve/{'c' * 40}/{path}"] = f"/lfs/{repo}/{path}"
        return self.repos[repo]

    def seen(self, place: str, part: str = "") -> list[Seen]:
        """The requests to the "hub" or the "store" whose path holds `part`."""
        return [one for one in self.requests if one.place == place and part in one.path]

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(PATIENCE), "the fake did not start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        ready.set()
        self._loop.run_forever()
        for runner in self._runners:
            self._loop.run_until_complete(runner.cleanup())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _start(self) -> None:
        self.url = await self._listen(
            [
                web.post("/api/v1/model-versions/by-hash", self._by_hashes),
                web.get("/api/v1/model-versions/by-hash/{hash}", self._by_hash),
                web.get("/api/v1/model-versions/{id}", self._version),
                web.get("/api/v1/models", self._model_list),
                web.get("/api/v1/models/{id}", self._model),
                web.get("/api/models/{owner}/{name}", self._repo),
                web.get("/api/models/{owner}/{name}/revision/{revision}", self._repo),
                web.get("/login", self._page),
                web.get("/{path:.*}", self._download),
            ]
        )
        self.store_url = await self._listen([web.get("/{path:.*}", self._from_store)])

    async def _listen(self, routes: list[web.RouteDef]) -> str:
        application = web.Application(client_max_size=2**24)
        application.add_routes(routes)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _note(self, place: str, request: web.Request) -> Any:
        body = json.loads(await request.read() or b"null")
        self.requests.append(
            Seen(place, request.method, request.path, dict(request.query), request.headers, body)
        )
        return body

    async def _api(self, request: web.Request, answer: Callable[[Any], Any]) -> web.Response:
        body = await self._note("hub", request)
        if self.faults.api:
            status, headers = self.faults.api.pop(0)
            said = {"error": "Too many requests" if status == 429 else "Unavailable"}
            return web.json_response(said, status=status, headers=headers)
        if self.faults.api_page:
            self.faults.api_page -= 1
            return web.Response(text=PAGE, content_type="text/html")
        found = answer(body)
        if isinstance(found, web.Response):
            return found
        return web.json_response(found)

    async def _by_hashes(self, request: web.Request) -> web.Response:
        def answer(hashes: Any) -> Any:
            if not isinstance(hashes, list) or len(hashes) > 100:
                return _error(
                    400, "Request must include an array of SHA256 Hashes. Too many hashes"
                )
            if not all(isinstance(h, str) and len(h) == 64 and h == h.upper() for h in hashes):
                return _error(400, "Request must include an array of SHA256 Hashes. Invalid hash")
            found = [v for v in self.versions.values() if _hashes(v) & set(hashes)]
            # In no order, and null for a version whose files are gone.
            return [*reversed(found), None]

        return await self._api(request, answer)

    async def _by_hash(self, request: web.Request) -> web.Response:
        wanted = request.match_info["hash"].upper()
        found = next((v for v in self.versions.values() if wanted in _hashes(v, True)), None)
        return await self._api(request, lambda _: found or _error(404, "Model not found"))

    async def _version(self, request: web.Request) -> web.Response:
        found = self.versions.get(int(request.match_info["id"]))
        return await self._api(request, lambda _: found or _error(404, "Model not found"))

    async def _model(self, request: web.Request) -> web.Response:
        wanted = int(request.match_info["id"])
        found = self.models.get(wanted)
        return await self._api(
            request, lambda _: found or _error(404, f"No model with id {wanted}")
        )

    async def _model_list(self, request: web.Request) -> web.Response:
        ids = [int(word) for word in request.query.get("ids", "").split(",") if word]
        items = [self.models[id_] for id_ in ids if id_ in self.models]
        return await self._api(request, lambda _: {"items": items, "metadata": {}})

    async def _repo(self, request: web.Request) -> web.Response:
        repo = "/".join(request.match_info[key] for key in ("owner", "name"))
        missing = web.json_response(
            {"error": "Repository not found"},
            status=401,
            headers={"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"},
        )
        return await self._api(request, lambda _: self.repos.get(repo, missing))

    async def _page(self, request: web.Request) -> web.Response:
        await self._note("hub", request)
        return web.Response(text=PAGE, content_type="text/html")

    async def _download(self, request: web.Request) -> web.Response:
        await self._note("hub", request)
        faults = self.faults
        if faults.download:
            status, headers = faults.download.pop(0)
            return _error(status, headers.pop("said", "Unavailable"), headers)
        key = f"Bearer {faults.wants_key}"
        if faults.wants_key and request.headers.get("Authorization") != key:
            if faults.wants_key_with_401:
                said = "The creator of this asset requires you to be logged in to download it"
                return web.json_response({"error": "Unauthorized", "message": said}, status=401)
            to = "/login?returnUrl=%2Fmodels%2F123&reason=download-auth"
            return web.Response(status=307, headers={"Location": to})
        if faults.redirect is not None:
            return web.Response(status=302, headers={"Location": faults.redirect})
        path = self.downloads.get(unquote(request.path_qs))
        if path is None:
            return _error(404, "File not found")
        signed = f"{self.store_url}{path}?X-Amz-Signature=secret"
        return web.Response(status=302, headers={"Location": signed})

    async def _from_store(self, request: web.Request) -> web.StreamResponse:
        await self._note("store", request)
        faults = self.faults
        if faults.store:
            status, headers = faults.store.pop(0)
            return _error(status, "SlowDown", headers)
        if faults.forget_key_at_store and "Authorization" in request.headers:
            return _error(400, "Only one auth mechanism allowed")
        if faults.page:
            faults.page -= 1
            return web.Response(text=PAGE, content_type="text/html")
        data = self.files[request.path]
        etag = f'"{digest(data)[:32]}"'
        start = self._start_of(request, data, etag)
        if start is not None and start >= len(data):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
        headers = {"Content-Type": "application/octet-stream"}
        headers |= {} if faults.no_etag else {"ETag": etag}
        headers |= {} if faults.no_range else {"Accept-Ranges": "bytes"}
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        rest = data[start or 0 :]
        response = web.StreamResponse(status=200 if start is None else 206, headers=headers)
        if not faults.no_length:
            response.content_length = len(rest)
        await response.prepare(request)
        if faults.cut_after:
            await response.write(rest[: faults.cut_after.pop(0)])
            # What was written is sent before the connection breaks.
            await asyncio.sleep(0.05)
            if faults.after_cut is not None:
                faults.after_cut()
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(rest)
        await response.write_eof()
        return response

    def _start_of(self, request: web.Request, data: bytes, etag: str) -> int | None:
        """Where the answer begins; None if the whole file is sent."""
        wanted = request.headers.get("Range")
        if wanted is None or self.faults.no_range:
            return None
        if request.headers.get("If-Range", etag) != etag:
            return None
        return int(wanted.removeprefix("bytes=").removesuffix("-"))


def _error(status: int, said: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": said}, status=status, headers=headers)


def _hashes(version: dict[str, Any], every_kind: bool = False) -> set[str]:
    return {
        value.upper()
        for file in version["files"]
        for kind, value in file["hashes"].items()
        if every_kind or kind == "SHA256"
    }
