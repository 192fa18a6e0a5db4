"""The bundled workflows in the real front end: they open, and run from the page."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests
from kizy.tools.workflows.bundled import Bundled, bundled_workflows
from kizy.tools.workflows.write_bundled import WORKFLOWS_FOLDER
from PIL import Image, ImageDraw

from tests.integration.front_end import CHROMIUM, FrontEnd, front_end

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = pytest.mark.integration

BUNDLED = {work.name: work for work in bundled_workflows()}
# What trains needs pictures first: test_nodes_on_the_page.py.
STARTER = [n for n, work in BUNDLED.items() if not work.files and n != "Train a LoRA from photos"]
PICTURE = "example.png"
SIZE = (320, 256)
"""Of the picture that takes the place of ComfyUI's own example."""

RUN_SECONDS = 300.0

SHOWN = """name => [...document.querySelectorAll('.p-dialog img')].some(
    picture => picture.alt === name && picture.naturalWidth === 600)"""


@pytest.fixture(scope="module")
def page(comfyui: RunningComfyUI) -> Iterator[FrontEnd]:
    driver = pytest.importorskip("playwright.sync_api", reason="needs Playwright for Python")
    if CHROMIUM is None:
        pytest.skip("needs Chromium, see front_end.py")
    comfyui.put_input(example(), PICTURE)
    with driver.sync_playwright() as playwright, front_end(playwright, comfyui.url) as found:
        yield found


@pytest.fixture
def models(comfyui: RunningComfyUI) -> Iterator[None]:
    """The files that the workflows ask to download, with nothing in them."""
    made = []
    for wanted in {file for work in BUNDLED.values() for file in work.files}:
        path = comfyui.base / "models" / wanted.folder / wanted.name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            made.append(path)
    yield
    for path in made:
        path.unlink()


def example() -> Image.Image:
    """Not square, as most people's pictures."""
    picture = Image.new("RGB", SIZE, "royalblue")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((90, 40, 230, 180), fill="gold")
    draw.rectangle((0, 200, *SIZE), fill="green")
    return picture


def workflow(name: str) -> dict[str, Any]:
    return json.loads((WORKFLOWS_FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def refresh(page: FrontEnd) -> None:
    """What pressing R does: the page asks for the lists of files anew."""
    page.page.evaluate("() => app.refreshComboInNodes()")


def run(page: FrontEnd, comfyui: RunningComfyUI) -> list[Image.Image]:
    """Run what the page shows, as its button does: the saved pictures."""
    before = set(comfyui.get("/history").json())
    page.page.evaluate("() => app.queuePrompt(0)")
    end = time.monotonic() + RUN_SECONDS
    while time.monotonic() < end:
        done = {k: v for k, v in comfyui.get("/history").json().items() if k not in before}
        for entry in done.values():
            assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
            files = [f for out in entry["outputs"].values() for f in out.get("images", ())]
            return [saved(comfyui, file) for file in files if file["type"] == "output"]
        time.sleep(0.1)
    raise AssertionError(f"not done after {RUN_SECONDS} seconds")


def saved(comfyui: RunningComfyUI, file: dict[str, str]) -> Image.Image:
    assert file["subfolder"] == "Kizy"
    with Image.open(comfyui.base / "output" / file["subfolder"] / file["filename"]) as picture:
        return picture.convert("RGB")


@pytest.mark.parametrize("work", BUNDLED.values(), ids=lambda work: work.name)
def test_it_opens_and_comfyui_takes_what_the_page_makes_of_it(
    work: Bundled, page: FrontEnd, comfyui: RunningComfyUI, models: None
) -> None:
    refresh(page)
    page.load(workflow(work.name))
    assert page.dialogs() == []
    assert page.errors == []
    # What the page would send is the graph that the builder made.
    sent = {
        key: {"class_type": node["class_type"], "inputs": node["inputs"], "title": title(node)}
        for key, node in page.prompt().items()
    }
    built = {
        key: {"class_type": node["class_type"], "inputs": node["inputs"], "title": title(node)}
        for key, node in work.graph.to_api().items()
    }
    assert sent == built
    body = {"prompt": page.prompt(), "prompt_id": str(uuid.uuid4())}
    answer = requests.post(f"{comfyui.url}/prompt", json=body, timeout=60)
    drop(comfyui, body["prompt_id"])
    assert answer.status_code == 200, answer.text
    assert answer.json()["node_errors"] == {}


def title(node: dict[str, Any]) -> str:
    return node["_meta"]["title"]


def drop(comfyui: RunningComfyUI, prompt: str) -> None:
    """It was only to be looked at."""
    requests.post(f"{comfyui.url}/queue", json={"delete": [prompt]}, timeout=60)
    requests.post(f"{comfyui.url}/interrupt", json={"prompt_id": prompt}, timeout=60)
    end = time.monotonic() + RUN_SECONDS
    while time.monotonic() < end:
        queue = comfyui.get("/queue").json()
        if not queue["queue_running"] and not queue["queue_pending"]:
            return
        time.sleep(0.1)
    raise AssertionError("the queue does not become empty")


@pytest.mark.parametrize("name", BUNDLED)
def test_on_the_page_all_nodes_fit_their_places_and_texts_fit_them(
    name: str, page: FrontEnd, models: None
) -> None:
    refresh(page)
    page.load(workflow(name))
    boxes = page.boxes()
    for one in boxes:
        assert all(s >= least for s, least in zip(one["size"], one["least"], strict=True)), one
    for one, other in itertools.combinations(boxes, 2):
        (ax, ay, aw, ah), (bx, by, bw, bh) = one["box"], other["box"]
        assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay, (one, other)
    sizes = {node["title"]: node["size"] for node in workflow(name)["nodes"]}
    assert {one["title"]: one["size"] for one in boxes} == sizes
    shown, cut = page.texts()
    assert shown > 0
    assert cut == []


@pytest.mark.parametrize("name", STARTER)
def test_it_runs_at_once_with_what_the_pack_brings(
    name: str, page: FrontEnd, comfyui: RunningComfyUI
) -> None:
    page.load(workflow(name))
    assert page.dialogs() == []
    pictures = run(page, comfyui)
    large = (SIZE[0] * 4, SIZE[1] * 4)
    sizes = {"Enlarge": large, "Inpaint": SIZE, "Fix faces": SIZE}
    assert [picture.size for picture in pictures] == [sizes.get(name, (512, 512))]
    if name in ("Inpaint", "Fix faces"):
        # Nothing is painted over; there is no face.
        assert (np.asarray(pictures[0]) == np.asarray(example())).all()
    assert page.errors == []
    assert page.dialogs() == []


def test_inpaint_draws_where_the_picture_was_painted_over(
    page: FrontEnd, comfyui: RunningComfyUI
) -> None:
    painted, alpha = example(), Image.new("L", SIZE, 255)
    # As the mask editor saves it: what was painted over is transparent.
    ImageDraw.Draw(alpha).ellipse((90, 40, 230, 180), fill=0)
    painted.putalpha(alpha)
    comfyui.put_input(painted, PICTURE)
    try:
        page.load(workflow("Inpaint"))
        (picture,) = run(page, comfyui)
    finally:
        comfyui.put_input(example(), PICTURE)
    before, after = (np.asarray(p).astype(int) for p in (example(), picture))
    inside = np.asarray(alpha) == 0
    assert (after[~inside] == before[~inside]).all()
    assert np.abs(after[inside] - before[inside]).mean() > 5


def test_missing_files_are_offered_with_their_address(
    page: FrontEnd, comfyui: RunningComfyUI
) -> None:
    refresh(page)
    for name, work in BUNDLED.items():
        page.load(workflow(name))
        shown = "".join(page.dialogs())
        missing = [
            file
            for file in work.files
            if file.name not in comfyui.get(f"/models/{file.folder}").json()
        ]
        for file in missing:
            assert f"{file.folder} / {file.name}" in shown
        assert bool(shown) == bool(missing), shown
        page.close_dialogs()


def test_the_template_browser_shows_them_with_their_pictures(
    page: FrontEnd, comfyui: RunningComfyUI
) -> None:
    listed = comfyui.get("/workflow_templates").json()
    assert sorted(listed["ComfyUI-Kizy"]) == sorted(BUNDLED)
    browser, dialog = page.page, page.page.locator(".p-dialog")
    browser.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog.get_by_text("ComfyUI-Kizy", exact=True).first.click()
    for name in BUNDLED:
        answer = comfyui.get(f"/api/workflow_templates/ComfyUI-Kizy/{name}.jpg")
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.content == (WORKFLOWS_FOLDER / f"{name}.jpg").read_bytes()
        # The page keeps only the pictures that are in sight.
        dialog.get_by_text(name, exact=True).first.scroll_into_view_if_needed()
        browser.wait_for_function(SHOWN, arg=name)
    assert dialog.locator("img").count() == len(BUNDLED)
    dialog.get_by_text("First picture", exact=True).first.click()
    dialog.wait_for(state="detached")
    titles = {node["title"] for node in workflow("First picture")["nodes"]}
    browser.wait_for_function(
        "titles => app.graph.nodes.length && app.graph.nodes.every(n => titles.includes(n.title))",
        arg=sorted(titles),
    )
    assert {box["title"] for box in page.boxes()} == titles
