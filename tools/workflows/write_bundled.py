"""Writes workflows/*.json: python -m kizy.tools.workflows.write_bundled

The thumbnails beside them: tests/integration/workflow_thumbnails.py.
"""

from __future__ import annotations

import json
from pathlib import Path

from ...orchestrator.backends.comfyui.workflows.library import API_FOLDER
from .bundled import Bundled, bundled_workflows
from .ui_format import ui_workflow

WORKFLOWS_FOLDER = API_FOLDER.parent


def files() -> dict[Path, str]:
    """Path -> what belongs into it."""
    return {WORKFLOWS_FOLDER / f"{work.name}.json": text(work) for work in bundled_workflows()}


def text(work: Bundled) -> str:
    """A workflow as its file holds it."""
    page = ui_workflow(work.name, work.graph.to_api(), notes=work.notes, files=work.files)
    return json.dumps(page, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them all, and remove workflows that no longer belong there."""
    wanted = files()
    for old in set(WORKFLOWS_FOLDER.glob("*.json")) - set(wanted):
        old.unlink()
    for path, content in wanted.items():
        path.write_text(content, encoding="utf-8")
    print(f"{len(wanted)} files written")


if __name__ == "__main__":
    main()
