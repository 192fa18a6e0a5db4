"""Where a run stands, in one file, from which it goes on as if it had never stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..lora_file import read, write

FILE = "state.safetensors"


@dataclass
class Progress:
    """`step`: how many are done. `started`: ISO time at which it began."""

    step: int = 0
    started: str = ""


def save(
    folder: Path, adapter: dict[str, torch.Tensor], optimizer: Any, scaler: Any, progress: Progress
) -> None:
    """Write the state whole or not at all. Raises StorageError."""
    tensors = {f"adapter.{name}": value.detach() for name, value in adapter.items()}
    numbers: dict[str, Any] = {}
    state = optimizer.state_dict()
    for index, fields in state["state"].items():
        for field, value in fields.items():
            name = f"optimizer.{index}.{field}"
            if isinstance(value, torch.Tensor):
                tensors[name] = value
            else:
                numbers[name] = value
    groups = [{k: v for k, v in g.items() if k != "params"} for g in state["param_groups"]]
    kept = {
        "progress": vars(progress),
        "numbers": numbers,
        "groups": groups,
        "scaler": scaler.state_dict(),
    }
    write(folder / FILE, tensors, {"kizy": json.dumps(kept)})


def load(folder: Path, adapter: Any, optimizer: Any, scaler: Any) -> Progress | None:
    """Take up the saved state; None if there is none.

    Raises ModelFileError `model_file_damaged`; KeyError, ValueError if it is of another training.
    """
    if not (folder / FILE).exists():
        return None
    tensors, metadata = read(folder / FILE)
    kept = json.loads(metadata["kizy"])
    adapter.load(_below(tensors, "adapter."))
    state: dict[int, dict[str, Any]] = {}
    for name, value in (
        _below(tensors, "optimizer.") | _below(kept["numbers"], "optimizer.")
    ).items():
        index, _, field = name.partition(".")
        state.setdefault(int(index), {})[field] = value
    groups = optimizer.state_dict()["param_groups"]
    for group, saved in zip(groups, kept["groups"], strict=True):
        group.update({k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()})
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    # Empty where the steps before were taken on a CPU, which has no half precision to scale for.
    if kept["scaler"]:
        scaler.load_state_dict(kept["scaler"])
    return Progress(**kept["progress"])


def _below(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
