"""Writes workflows/api/*.json and the JSON Schema.

python -m kizy.tools.workflows.write_templates
"""

from __future__ import annotations

from pathlib import Path

from ...orchestrator.backends.comfyui.workflows.build import text_to_image_templates
from ...orchestrator.backends.comfyui.workflows.fragments import (
    control,
    enlarge,
    further_part,
    lora,
    reference,
    resize,
    second_pass,
    start,
    tiled_decode,
)
from ...orchestrator.backends.comfyui.workflows.library import API_FOLDER
from ...orchestrator.backends.comfyui.workflows.mask_fragment import mask
from ...orchestrator.backends.comfyui.workflows.template import (
    SCHEMA_FILE,
    schema_json,
    template_json,
)


def files() -> dict[Path, str]:
    """Path -> what belongs into it."""
    templates = [
        *text_to_image_templates(),
        lora(),
        further_part("positive"),
        further_part("negative"),
        start(),
        reference(),
        mask(soft=False),
        mask(soft=True),
        control(),
        control(vae=True),
        control(union=True),
        second_pass(),
        tiled_decode(),
        enlarge(),
        resize(),
    ]
    written = {
        API_FOLDER / f"{template.id}.json": template_json(template) for template in templates
    }
    return {**written, SCHEMA_FILE: schema_json()}


def main() -> None:
    """Write them all, and remove templates that no longer belong there."""
    wanted = files()
    for old in set(API_FOLDER.glob("*.json")) - set(wanted):
        old.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    print(f"{len(wanted)} files written")


if __name__ == "__main__":
    main()
