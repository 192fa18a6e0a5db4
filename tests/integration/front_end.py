"""ComfyUI's page in a headless Chromium, driven by Playwright; neither is a dependency of Kizy.

pip install playwright          (only the driver; no browser is downloaded)
apt-get install chromium        (or set KIZY_TEST_CHROMIUM to a Chromium or Chrome)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# Read now: no test sees variables that begin with KIZY_.
CHROMIUM = os.environ.get("KIZY_TEST_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

READY = """() => window.app?.graph && window.app.extensionManager?.setting
    && window.LiteGraph?.registered_node_types?.KSampler"""

BOXES = """() => app.graph.nodes.map(node => {
    const box = node.getBounding(new Float32Array(4));
    return {id: node.id, type: node.type, title: node.title, least: [...node.computeSize()],
            size: [...node.size], box: [...box]};
})"""

# Widgets with text stand over the canvas; from afar the page leaves them out.
CUT_TEXTS = """async () => {
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [100, 100];
    app.canvas.setDirty(true, true);
    await new Promise(resolve => setTimeout(resolve, 500));
    const texts = '.dom-widget .tiptap, .dom-widget textarea.comfy-multiline-input';
    const shown = [...document.querySelectorAll(texts)].filter(text => text.clientHeight > 0);
    return [shown.length, shown.filter(text => text.scrollHeight > text.clientHeight)
        .map(text => text.value ?? text.innerText)];
}"""

# At one go: a message that fades away meanwhile would be waited for.
DIALOGS = """() => [...document.querySelectorAll('.p-dialog, .comfy-modal, .p-toast-message-error')]
    .filter(shown => shown.checkVisibility() && shown.getClientRects().length > 0)
    .map(shown => shown.innerText)"""

# Frames the graph with a border, whatever panels the page shows at its sides.
SHOW_ALL = """([left, top, right, bottom]) => {
    let box = [Infinity, Infinity, -Infinity, -Infinity];
    const around = ([x, y, w, h]) => {
        box = [Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x + w),
               Math.max(box[3], y + h)];
    };
    app.graph.nodes.forEach(node => around(node.getBounding(new Float32Array(4))));
    app.graph.groups.forEach(group => around(group._bounding));
    const canvas = app.canvas.canvas.getBoundingClientRect();
    left -= canvas.left; top -= canvas.top;
    const width = window.innerWidth - canvas.left - left - right;
    const height = window.innerHeight - canvas.top - top - bottom;
    const scale = Math.min(width / (box[2] - box[0]), height / (box[3] - box[1]));
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [
        (left + width / 2) / scale - (box[0] + box[2]) / 2,
        (top + height / 2) / scale - (box[1] + box[3]) / 2];
    app.canvas.setDirty(true, true);
}"""


class FrontEnd:
    """A page that shows ComfyUI. `errors`: what its scripts threw since it was open."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []

    def open(self) -> None:
        """Load the page, and wait until it knows the server's nodes."""
        self.page.goto(self.url)
        self.page.wait_for_function(READY, timeout=120_000)
        self.page.wait_for_function("() => !document.querySelector('.p-blockui-mask')")
        self.page.wait_for_load_state("networkidle")
        self.close_dialogs()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def set(self, setting: str, value: Any) -> None:
        """Change one of the page's settings; the server keeps it."""
        change = "([name, value]) => app.extensionManager.setting.set(name, value)"
        self.page.evaluate(change, [setting, value])

    def load(self, workflow: Mapping[str, Any]) -> None:
        """Show a workflow in UI format, as opening its file does."""
        self.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        # Frames are drawn, pictures fetched and warnings shown behind that.
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_timeout(300)

    def dialogs(self) -> list[str]:
        """The texts of open dialogs and error messages."""
        return self.page.evaluate(DIALOGS)

    def close_dialogs(self) -> None:
        """As with the Escape key."""
        for _ in range(5):
            if not self.dialogs():
                return
            self.page.keyboard.press("Escape")
            self.page.wait_for_timeout(300)

    def boxes(self) -> list[dict[str, Any]]:
        """Of each node: id, type, title, `least` and real `size`, `box` (x, y, width, height)."""
        return self.page.evaluate(BOXES)

    def texts(self) -> tuple[int, list[str]]:
        """How many texts near the graph's beginning can be read, and those that are cut."""
        shown, cut = self.page.evaluate(CUT_TEXTS)
        return shown, cut

    def prompt(self) -> dict[str, dict[str, Any]]:
        """The API graph that the page makes of what it shows."""
        return self.page.evaluate("async () => (await app.graphToPrompt()).output")

    def show_all(self, border: tuple[int, int, int, int] = (20, 20, 20, 20)) -> None:
        """Fit the whole graph in. `border`: pixels at the left, top, right and bottom."""
        self.page.evaluate(SHOW_ALL, list(border))
        self.page.wait_for_timeout(500)


@contextmanager
def front_end(
    playwright: Any, url: str, size: tuple[int, int] = (1500, 1000)
) -> Iterator[FrontEnd]:
    """An opened page of that size in pixels. `playwright`: what `sync_playwright()` gives."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
    try:
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        found = FrontEnd(page, url)
        found.open()
        yield found
    finally:
        browser.close()
