"""A ComfyUI folder on this machine: what is in it, what runs it, and which GPUs there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .....core.errors import EngineError, InputError

Gpus = Literal["auto", "none"] | tuple[int, ...]
Runs = Callable[[Sequence[str], float], str | None]
"""run(words, seconds): what a program printed; None if it is not there or failed."""

_ASK_TORCH = (
    "import torch; "
    "print(torch.cuda.is_available() or torch.backends.mps.is_available()"
    " or (hasattr(torch, 'xpu') and torch.xpu.is_available()))"
)


@dataclass(frozen=True)
class Installation:
    """A ComfyUI folder and the Python that runs it."""

    folder: Path
    interpreter: Path
    version: str


def find_installation(folder: Path, interpreter: Path | None = None) -> Installation:
    """Check a ComfyUI folder; without `interpreter` the folder's own environment is looked for.

    Raises InputError `comfyui_folder_invalid`, EngineError `launch_failed`.
    """
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise InputError("comfyui_folder_invalid", f"There is no folder {folder}.")
    try:
        text = (folder / "comfyui_version.py").read_text(encoding="utf-8")
        if not (folder / "main.py").is_file():
            raise FileNotFoundError
    except (OSError, UnicodeDecodeError) as error:
        message = f"{folder} is no ComfyUI: it lacks main.py or comfyui_version.py."
        inside = folder / "ComfyUI"
        if (inside / "main.py").is_file():
            raise InputError("comfyui_folder_invalid", message, fix=f"Name {inside}.") from error
        raise InputError("comfyui_folder_invalid", message) from error
    found = re.search(r'__version__\s*=\s*"([^"]+)"', text)
    # Absolute, but not resolved: an environment's Python is often a link to another's.
    runs = (interpreter or default_interpreter(folder)).expanduser().absolute()
    if not runs.is_file() or not os.access(runs, os.X_OK):
        raise EngineError("launch_failed", f"The interpreter {runs} is not there.")
    return Installation(folder, runs, found[1] if found else "unknown")


def default_interpreter(folder: Path) -> Path:
    """The environment inside the folder, the portable build's Python beside it, else this one."""
    inside = ("Scripts/python.exe",) if os.name == "nt" else ("bin/python",)
    places = [folder / name / python for name in (".venv", "venv") for python in inside]
    places.append(folder.parent / "python_embeded" / "python.exe")
    return next((path for path in places if path.is_file()), Path(sys.executable))


def custom_nodes_folder(folder: Path, arguments: Sequence[str]) -> Path:
    """Where this ComfyUI looks for node packs."""
    for index, word in enumerate(arguments):
        name, _, value = word.partition("=")
        if name == "--base-directory":
            value = value or "".join(arguments[index + 1 : index + 2])
            return folder / value / "custom_nodes"
    return folder / "custom_nodes"


def has_kizy(custom_nodes: Path) -> bool:
    """Whether the Kizy pack is installed among the node packs, under whatever folder name."""
    if not custom_nodes.is_dir():
        return False
    for project in custom_nodes.glob("*/pyproject.toml"):
        if project.parent.name.endswith(".disabled"):
            continue
        try:
            name = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["name"]
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError):
            continue
        if name == "kizy":
            return True
    return False


def devices(
    gpus: Gpus,
    interpreter: Path,
    *,
    environment: Mapping[str, str] = os.environ,
    run: Runs | None = None,
) -> tuple[str, ...]:
    """What each ComfyUI process computes on: "cuda:0" and so on, ("cpu",), or ("any",).

    NVIDIA's own tool lists the GPUs, fewer where CUDA_VISIBLE_DEVICES says so. Without any, the
    interpreter's torch is asked for GPUs of other makers; "any" leaves the choice to ComfyUI.
    """
    run = run or _run
    if gpus == "none":
        return ("cpu",)
    if isinstance(gpus, tuple):
        return tuple(f"cuda:{index}" for index in gpus)
    listed = run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], 15.0)
    found = [line.strip() for line in (listed or "").splitlines() if line.strip().isdigit()]
    if found:
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        if visible is not None:
            found = [word.strip() for word in visible.split(",") if word.strip() not in ("", "-1")]
        return tuple(f"cuda:{index}" for index in found) or ("cpu",)
    answer = run([str(interpreter), "-c", _ASK_TORCH], 120.0)
    return ("cpu",) if (answer or "").strip() == "False" else ("any",)


def _run(words: Sequence[str], seconds: float) -> str | None:
    try:
        done = subprocess.run(
            list(words), capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
