"""What can be told of a machine's graphics cards without torch."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
from kizy.orchestrator.planning import machine

MEBIBYTE = machine.MEBIBYTE


@pytest.fixture(autouse=True)
def linux_without_amd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.sys, "platform", "linux")
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: str(path) != "/dev/kfd" and exists(path))


@pytest.mark.parametrize(
    ("build", "known"),
    [("2.9.0+cpu", 0), ("2.9.0+cu128", 0), ("2.9.0+xpu", None), ("2.9.0+rocm6.4", None)],
)
def test_where_torch_was_built_for_another_maker_a_card_is_not_ruled_out(
    monkeypatch: pytest.MonkeyPatch, build: str, known: int | None
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: build)
    assert machine.gpu_memory(lambda _words: None) == known


def test_nvidias_tool_tells_of_the_largest() -> None:
    assert machine.gpu_memory(lambda _words: "8192\n24576\n") == 24576 * MEBIBYTE
