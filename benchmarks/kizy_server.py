"""A `kizy serve` in a process of its own, for benchmarks and for chaos: started, killed, asked."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0
"""Seconds that a server may take to answer after its start."""

_ENTRY = "from kizy.orchestrator.cli.main import main; main()"


class KizyServer:
    """One server's address, folder and process. `settings`: more variables of its environment."""

    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = dict(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self.log = home / "serve.log"

    def start(self) -> None:
        """Start it and wait until it is ready. Raises SystemExit with its last words."""
        self.home.mkdir(parents=True, exist_ok=True)
        environment = {key: value for key, value in os.environ.items() if not _is_ours(key)}
        environment |= {"KIZY_HOME": str(self.home), **self._settings}
        words = [sys.executable, "-c", _ENTRY, "serve", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                words, cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                if requests.get(f"{self.url}/readyz", timeout=2).ok:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.02)
        raise SystemExit(f"kizy serve did not start:\n{self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """As `kill -9` does."""
        self._end(signal.SIGKILL)

    def stop(self) -> float:
        """As a system that shuts down does; the seconds that it took."""
        begun = time.monotonic()
        self._end(signal.SIGTERM)
        return time.monotonic() - begun

    def memory(self) -> float:
        """Megabytes (10^6) of its memory that are in use."""
        assert self._process is not None
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON answer. Raises requests.RequestException."""
        answer = requests.get(f"{self.url}{path}", params=parameters, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE)
            self._process = None


def servers_setting(urls: Mapping[str, str]) -> str:
    """KIZY_SERVERS for these names and addresses."""
    return json.dumps([{"name": name, "url": url} for name, url in urls.items()])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _is_ours(name: str) -> bool:
    return name.startswith("KIZY_")
