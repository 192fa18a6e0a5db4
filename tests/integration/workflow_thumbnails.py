"""Makes workflows/*.jpg for ComfyUI's template browser: each graph as the page shows it; of those
with Kizy's nodes the node, and what the workflow drew with the starter.

    python main.py --cpu --port 18188 --base-directory SOME_FOLDER     (in ComfyUI's folder)
    python -m tests.integration.workflow_thumbnails http://127.0.0.1:18188 [NAME ...]  (in Kizy's)

Of the server only the page is used, and `input/example.png` in its base directory; models need not
be there. Workflows with Kizy's nodes are run: there Kizy is a custom node, no LoRA is in its
folders, and KIZY_PYTHON names a Python that can train. What else is needed: front_end.py. Run it
again when a workflow changes: a test compares the workflow that each picture says it shows.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.integration import workflow_pictures
from tests.integration.front_end import FrontEnd, front_end

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SIZE = (600, 400)
MOST_BYTES = 60_000
SCALE = 4
"""Drawn at so many times the size: the page leaves texts out where nodes are small."""

BESIDE = 90
"""Pixels of the page's own bars, which are cut off."""

HIDDEN = ("Comfy.Minimap.Visible", "Comfy.Graph.CanvasMenu", "Comfy.Graph.CanvasInfo")


def digest(workflow: Path) -> str:
    """What a thumbnail says of the workflow that it shows; line ends do not count."""
    text = workflow.read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def thumbnail(page: FrontEnd, workflow: Path) -> bytes:
    """A JPEG file, with the workflow's digest as its comment."""
    page.load(json.loads(workflow.read_text(encoding="utf-8")))
    page.close_dialogs()
    large = (SIZE[0] * SCALE, SIZE[1] * SCALE)
    if workflow.stem in workflow_pictures.DRAWN:
        drawn = workflow_pictures.run(page, workflow.stem)
        node = workflow_pictures.node_picture(page, BESIDE, BESIDE, 2.0)
        shown = workflow_pictures.composed(workflow.stem, node, drawn, large)
    else:
        border = BESIDE + 10 * SCALE
        page.show_all((border, border, 10 * SCALE, 10 * SCALE))
        clip = {"x": BESIDE, "y": BESIDE, "width": large[0], "height": large[1]}
        shown = Image.open(io.BytesIO(page.page.screenshot(clip=clip))).convert("RGB")
    picture = shown.resize(SIZE, Image.Resampling.LANCZOS)
    for quality in range(90, 30, -5):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True, comment=digest(workflow))
        if file.tell() <= MOST_BYTES:
            return file.getvalue()
    raise ValueError(f"{workflow.name}: its thumbnail does not fit into {MOST_BYTES} bytes")


def main(url: str, names: Sequence[str] = ()) -> None:
    """Write those of that name or all, and remove those of workflows that are gone."""
    from playwright.sync_api import sync_playwright

    workflows = sorted(WORKFLOWS.glob("*.json"))
    # What the first one trains, the second one picks.
    order = workflow_pictures.DRAWN
    wanted = sorted(workflows, key=lambda path: path.stem in order and order.index(path.stem))
    wanted = [path for path in wanted if not names or path.stem in names]
    for old in set(WORKFLOWS.glob("*.jpg")) - {path.with_suffix(".jpg") for path in workflows}:
        old.unlink()
    size = (SIZE[0] * SCALE + BESIDE, SIZE[1] * SCALE + BESIDE)
    with sync_playwright() as playwright, front_end(playwright, url, size) as page:
        for name in HIDDEN:
            page.set(name, False)
        if any(path.stem in order for path in wanted):
            workflow_pictures.prepare(url)
        for workflow in wanted:
            content = thumbnail(page, workflow)
            workflow.with_suffix(".jpg").write_bytes(content)
            print(f"{workflow.stem}: {len(content)} bytes")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), sys.argv[2:])
