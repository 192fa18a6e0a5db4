"""What the tests of LoRAs' and models' commands share: the command, and files to try it on."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kizy.orchestrator import shelf
from kizy.orchestrator.cli.failures import exit_status_of
from kizy.orchestrator.cli.main import app

OLD = 1_600_000_000
XL = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
SDXL = {f"{XL}.lora_down.weight": (4, 2048), f"{XL}.lora_up.weight": (640, 4)}


@dataclass
class Outcome:
    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one document on stdout."""
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """All that was said, on one line."""
        return " ".join((self.out + self.err).split())


Kizy = Callable[..., Outcome]
Writer = Callable[..., Path]


@pytest.fixture
def kizy(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Kizy:
    """The command, in a wide terminal, without the runtime for the language weights."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(shelf, "_language_is_there", lambda: False)

    def called(*arguments: object) -> Outcome:
        words = [str(argument) for argument in arguments]
        status = exit_status_of(lambda: app(words, standalone_mode=False), words)
        outcome = Outcome(status, *capsys.readouterr())
        assert "Traceback" not in outcome.out + outcome.err
        assert "Kizy made a mistake" not in outcome.err, outcome.err
        return outcome

    return called


@pytest.fixture
def write() -> Writer:
    """write(path, shapes, cut=0, **metadata): a safetensors file; its data are zeros."""

    def made(
        path: Path, shapes: dict[str, tuple[int, ...]] = SDXL, cut: int = 0, **metadata: str
    ) -> Path:
        header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
        position = 0
        for name, shape in shapes.items():
            size = 2 * math.prod(shape)
            offsets = [position, position + size]
            header[name] = {"dtype": "F16", "shape": shape, "data_offsets": offsets}
            position += size
        text = json.dumps(header).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        data = struct.pack("<Q", len(text)) + text + bytes(position)
        path.write_bytes(data[: len(data) - cut])
        os.utime(path, (OLD, OLD))
        return path

    return made
