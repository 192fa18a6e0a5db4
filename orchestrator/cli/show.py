"""`kizy show` and `kizy models`."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...catalog.family import load_families
from ...catalog.models import ModelEntry, list_models
from ...core.home import models_folder
from ...core.picture_files import read_plan


def show(picture: Path, *, as_json: bool) -> None:
    """The Plan inside a picture. Raises PictureError."""
    plan = read_plan(picture)
    if as_json:
        print(plan.model_dump_json())
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "Asked for": plan.request_prompt,
        "Prompt": plan.prompt,
        "Negative": plan.negative or "none",
        "Model": f"{plan.model.name} ({load_families()[plan.family].name})"
        if plan.family in load_families()
        else plan.model.name,
        "LoRAs": ", ".join(f"{x.file.name}:{x.model_weight:g}" for x in plan.loras) or "none",
        "Size": f"{plan.output_width}x{plan.output_height}, drawn at {plan.width}x{plan.height}",
        "Seed": str(plan.seed),
        "Steps": f"{plan.steps}, {plan.sampler}, {plan.scheduler}",
        "Guidance": f"{plan.guidance:g}",
    }
    if plan.start is not None:
        rows["Start picture"] = f"{plan.start.picture.path}, strength {plan.start.strength:g}"
    if plan.mask is not None:
        rows["Mask"] = plan.mask.picture.path
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    for reason in plan.reasons:
        table.add_row(Text(f"Why {reason.choice}"), Text(f"{reason.value}: {reason.why}"))
    Console().print(table)


def models(*, as_json: bool) -> None:
    """The installed models."""
    entries = list_models()
    if as_json:
        print(json.dumps({"models": [_as_dict(entry) for entry in entries]}))
        return
    families = load_families()
    table = Table(box=None, pad_edge=False)
    for heading in ("Name", "Family", "Kind", "Size", "State"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        known = families.get(entry.family or "")
        table.add_row(
            Text(entry.name),
            Text(known.name if known else "unknown"),
            Text(entry.kind),
            Text(f"{entry.size / 1e6:,.0f} MB" if entry.size else ""),
            Text(entry.problem or "ready"),
        )
    console = Console()
    console.print(table)
    console.print(Text(f"More go into {models_folder()} (diffusers folders).", style="dim"))


def _as_dict(entry: ModelEntry) -> dict[str, object]:
    return {
        "name": entry.name,
        "family": entry.family,
        "kind": entry.kind,
        "path": str(entry.path) if entry.path is not None else None,
        "size": entry.size,
        "drawable_here": entry.drawable_here,
        "problem": entry.problem,
    }
