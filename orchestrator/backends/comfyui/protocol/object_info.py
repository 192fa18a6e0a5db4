"""What a server has (/object_info), kept on disk and asked again in the background.

/object_info takes seconds to minutes on servers with many node packs: nobody should wait for it
twice. The files can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .....core import home
from .....core.comfyui_address import Address
from .....core.errors import EngineError, KizyError
from .....core.files import replacing
from ..workflows.server_facts import ServerFacts
from . import connection_errors as reach
from .http import OBJECT_INFO, Http
from .timeouts import Timing

_log = logging.getLogger(__name__)


def server_folder(address: Address) -> Path:
    """The cache folder of one server, in KIZY_HOME/cache/comfyui. It need not exist yet."""
    url = address.url.encode()
    slug = re.sub(r"[^a-z0-9]+", "-", address.url.partition("://")[2].lower()).strip("-")[:40]
    return home.cache_folder() / "comfyui" / f"{slug}-{hashlib.sha256(url).hexdigest()[:8]}"


class FactsCache:
    """The facts of one server. `version`: asks the server for its version."""

    def __init__(
        self, address: Address, http: Http, timing: Timing, version: Callable[[], str]
    ) -> None:
        self._address = address
        self._http = http
        self._timing = timing
        self._version = version
        self._folder = server_folder(address)
        # Guards the three below: threads that plan and draw read them, the one that asks the
        # server writes them. The server is asked without it.
        self._lock = threading.Lock()
        self._facts: ServerFacts | None = None
        self._fresh_at = 0.0
        self._work: _Fetch | None = None

    @property
    def known(self) -> ServerFacts | None:
        """What is in memory, without asking anybody."""
        return self._facts

    def get(self) -> ServerFacts:
        """What is known; asked again in the background if it is not fresh.

        Waits only for a server and version that were never asked before. Raises EngineError.
        """
        facts = self._facts
        if facts is None:
            facts = self._stored(self._version())
            if facts is None:
                return self.refresh()
            self._facts = facts
        if time.monotonic() - self._fresh_at > self._timing.facts_fresh:
            self._fetch()
        return facts

    def stored(self, version: str) -> ServerFacts | None:
        """What a server of this version had when it was last asked; asks nobody."""
        if self._facts is None:
            self._facts = self._stored(version)
        return self._facts if self._facts and self._facts.version == version else None

    def refresh(self) -> ServerFacts:
        """Ask the server now and wait for it. Raises EngineError."""
        work = self._fetch()
        # In slices: a wait without end would keep Ctrl-C from the main thread on Windows.
        while not work.ended.wait(self._timing.slice):
            pass
        if work.error is not None:
            raise work.error
        assert work.facts is not None
        return work.facts

    def _fetch(self) -> _Fetch:
        """The request under way, or a new one. All who ask meanwhile share it."""
        with self._lock:
            if self._work is None:
                self._work = _Fetch()
                thread = threading.Thread(
                    target=self._run, args=(self._work,), name="kizy-object-info", daemon=True
                )
                thread.start()
            return self._work

    def _run(self, work: _Fetch) -> None:
        try:
            version = self._version()
            found = self._http.get("/object_info", limit=OBJECT_INFO, read=self._timing.object_info)
            if not isinstance(found, dict):
                raise reach.malformed(self._address, "/object_info", str(found)[:2000])
            work.facts = self._facts = ServerFacts(self._address.url, version, found)
            self._fresh_at = time.monotonic()
            self._store(version, found)
        except KizyError as error:
            work.error = error
            self._fresh_at = time.monotonic()
            _log.debug("object_info of %s: %s", self._address.name, error)
        except Exception as failure:
            # Those who wait for this thread would wait for an answer that never comes.
            _log.exception("object_info of %s", self._address.name)
            text = f"What {self._address.name} has could not be read ({type(failure).__name__})."
            work.error = EngineError("server_failed", text)
        finally:
            with self._lock:
                self._work = None
            work.ended.set()

    def _file(self, version: str) -> Path:
        safe = re.sub(r"[^A-Za-z0-9.]+", "-", version)[:40] or "unknown"
        return self._folder / f"object_info-{safe}.json"

    def _stored(self, version: str) -> ServerFacts | None:
        file = self._file(version)
        with contextlib.suppress(OSError, ValueError, RecursionError, TypeError, KeyError):
            if file.stat().st_size <= OBJECT_INFO:
                stored = json.loads(file.read_text(encoding="utf-8"))
                same = (stored["url"], stored["version"]) == (self._address.url, version)
                if same and isinstance(stored["object_info"], dict):
                    return ServerFacts(self._address.url, version, stored["object_info"])
        return None

    def _store(self, version: str, found: dict[str, Any]) -> None:
        document = {"url": self._address.url, "version": version, "object_info": found}
        file = self._file(version)
        try:
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(document), encoding="utf-8")
            for old in self._folder.glob("object_info-*.json"):
                if old != file:
                    old.unlink(missing_ok=True)
        except (KizyError, OSError) as error:
            _log.debug("object_info of %s was not kept: %s", self._address.name, error)


class _Fetch:
    """One request for /object_info and what came of it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.facts: ServerFacts | None = None
        self.error: KizyError | None = None
