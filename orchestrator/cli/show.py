"""`kizy show`: how a picture was made, and why."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...catalog.families.family import load_families
from ...core.picture_files import read_plan
from .console import document, shown


def show(picture: Path, *, as_json: bool) -> None:
    """The Plan inside a picture. Raises PictureError."""
    plan = read_plan(picture)
    if as_json:
        document(plan.model_dump(mode="json"))
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
        table.add_row(Text(name), Text(shown(value)))
    for reason in plan.reasons:
        table.add_row(
            Text(f"Why {shown(reason.choice)}"), Text(shown(f"{reason.value}: {reason.why}"))
        )
    Console().print(table)
