"""`kizy doctor`: what this machine can run, what is missing, what to do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from ...catalog.index.models import look_through
from ...catalog.index.scan import Walk
from ...core import home
from ...core.errors import InputError
from ...core.version import VERSION
from ..backends.embedded import missing_libraries
from ..settings import Settings, load_settings
from ..shelf import shelf_folders
from .console import document, plural

GIGABYTE = 1e9
MIN_FREE_DISK = 1.0
"""Gigabytes below which the disk is called nearly full."""


@dataclass(frozen=True)
class Check:
    """One line: is it well, what was found, and what to do if not."""

    name: str
    state: str
    found: str
    do: str = ""


def doctor(*, as_json: bool) -> None:
    """Print all checks; exit status 1 if drawing cannot work."""
    checks = run_checks()
    if as_json:
        document({"checks": [asdict(check) for check in checks]})
    else:
        _print(checks)
    if any(check.state == "missing" for check in checks):
        import typer

        raise typer.Exit(1)


def run_checks() -> list[Check]:
    """All checks, in the order in which they are shown."""
    settings, about_settings = _settings()
    pictures = (settings and settings.pictures) or home.pictures_folder()
    return [
        Check("Kizy", "ok", f"{VERSION}, Python {platform.python_version()} at {sys.executable}"),
        *_drawing(),
        _starter(),
        _models(),
        about_settings,
        _folder("Kizy's folder", home.home(), "set KIZY_HOME to another"),
        _folder("Pictures", pictures, "set KIZY_PICTURES, or pictures in kizy.toml, to another"),
        _loras(settings),
    ]


def _drawing() -> list[Check]:
    if missing := missing_libraries():
        do = 'python -m pip install "kizy[local]"'
        return [Check("Drawing here", "missing", f"not installed: {', '.join(missing)}", do)]
    from ...drawing.memory import best_device, device_name, free_bytes, toolkit

    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("torch", "diffusers"))
    device = best_device()
    free = free_bytes(device) / GIGABYTE
    if device.type != "cpu":
        driven = toolkit() if device.type == "cuda" else ""
        found = ", ".join(filter(None, (device_name(device), driven, f"{free:.1f} GB free")))
        return [Check("Drawing here", "ok", versions), Check("GPU", "ok", found)]
    found = f"none; the CPU draws ({os.cpu_count()} cores, {free:.1f} GB of memory free)"
    do = "the starter draws in seconds here; for SDXL and FLUX use a machine with a GPU"
    return [Check("Drawing here", "ok", versions), Check("GPU", "note", found, do)]


def _starter() -> Check:
    from ...language.encoder import MODEL_FILE, TOKENIZER_FILE
    from ...starter.checkpoint import ENLARGER_FILE, STARTER_FILE

    files = (STARTER_FILE, ENLARGER_FILE, MODEL_FILE, TOKENIZER_FILE)
    gone = [path.name for path in files if not path.is_file()]
    if gone:
        do = "install Kizy again: its package should hold them"
        return Check("Starter model", "missing", f"not there: {', '.join(gone)}", do)
    size = sum(path.stat().st_size for path in files) / 1e6
    return Check("Starter model", "ok", f"complete, {size:.0f} MB")


def _models() -> Check:
    models = look_through()
    entries = models.entries
    broken = [entry for entry in entries if entry.problem is not None]
    found = f"{len(entries) - len(broken)} ready in {home.models_folder()}"
    do = "; ".join([f"{entry.name}: {entry.problem}" for entry in broken[:5]] + [*models.notes])
    if broken:
        return Check("Models", "note", f"{found}, {len(broken)} not usable", do)
    if models.notes:
        return Check("Models", "note", found, do)
    return Check("Models", "ok", found)


def _loras(settings: Settings | None) -> Check:
    found = f"go into {home.loras_folder()}"
    if settings is None:
        return Check("LoRAs", "ok", found)
    walk = Walk(shelf_folders(settings))
    count = sum(1 for _ in walk)
    found = f"{plural(count, 'file')} in your folders; more {found}"
    return Check("LoRAs", "note" if walk.notes else "ok", found, " ".join(walk.notes))


def _settings() -> tuple[Settings | None, Check]:
    try:
        settings = load_settings()
    except InputError as error:
        return None, Check("Settings", "missing", error.message, error.fix)
    return settings, Check("Settings", "ok", "can be read")


def _folder(name: str, folder: Path, otherwise: str) -> Check:
    """`otherwise`: what to do if nothing can be written there."""
    there = next((path for path in (folder, *folder.parents) if _is_there(path)), None)
    if there is None or not there.is_dir() or not os.access(there, os.W_OK):
        return Check(name, "missing", f"{folder} cannot be written", otherwise)
    free = shutil.disk_usage(there).free / GIGABYTE
    state = "ok" if free > MIN_FREE_DISK else "note"
    return Check(
        name, state, f"{folder}, {free:.1f} GB free", "" if state == "ok" else "free space"
    )


def _is_there(path: Path) -> bool:
    """False also below a folder that may not be read."""
    try:
        return path.exists()
    except OSError:
        return False


def _print(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    signs = {"ok": ("ok     ", "green"), "note": ("note   ", "yellow")}
    for check in checks:
        sign = signs.get(check.state, ("MISSING", "bold red"))
        console.print(Text.assemble(sign, " ", (check.name, "bold"), f": {check.found}"))
        if check.do:
            console.print(Text(f"        {check.do}"))
