"""What all tests share: none of them touches the person's own folders or settings."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# A shell starts what runs in its background deaf to Ctrl-C, and processes of tests inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def kizy_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Kizy's folder for one test: `tmp_path`. Settings of the environment do not reach it.

    Nor does a ComfyUI that happens to run on this machine: who wants one says so. Nothing is
    learned about LoRAs in a process of its own.
    """
    for name in [name for name in os.environ if name.startswith("KIZY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KIZY_HOME", str(tmp_path))
    monkeypatch.setenv("KIZY_ENGINE", "embedded")
    monkeypatch.setenv("KIZY_LORAS__BACKGROUND", "false")
    return tmp_path
