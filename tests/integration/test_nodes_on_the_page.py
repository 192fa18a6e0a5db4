"""Kizy's nodes in the real front end: what they show, and what a person does with them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kizy.orchestrator.templates.write_workflows import WORKFLOWS_FOLDER
from PIL import Image

from tests.integration.front_end import CHROMIUM, FrontEnd, front_end

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = pytest.mark.integration

RUN_SECONDS = 300.0

NODE = "app.graph.nodes.find(n => n.type.startsWith('Kizy') && n.type !== 'KizySave')"
WIDGETS = f"""() => {{
    const node = {NODE};
    return Object.fromEntries(node.widgets.map(widget => [widget.name, {{
        value: widget.value, label: widget.label,
        hint: widget.element?.placeholder, shown: node.isWidgetVisible(widget)}}]));
}}"""
SET = f"""values => {{
    for (const [name, value] of Object.entries(values))
        {NODE}.widgets.find(widget => widget.name === name).value = value;
}}"""
PRESS = f"name => {NODE}.widgets.find(widget => widget.name === name).callback()"
ROOM = f"() => [{NODE}.size[1], {NODE}.computeSize()[1]]"


@pytest.fixture(scope="module")
def page(comfyui: RunningComfyUI) -> Iterator[FrontEnd]:
    driver = pytest.importorskip("playwright.sync_api", reason="needs Playwright for Python")
    if CHROMIUM is None:
        pytest.skip("needs Chromium, see front_end.py")
    with driver.sync_playwright() as playwright, front_end(playwright, comfyui.url) as found:
        yield found


def load(page: FrontEnd, name: str) -> None:
    page.load(json.loads((WORKFLOWS_FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def widgets(page: FrontEnd) -> dict[str, dict[str, Any]]:
    """Of Kizy's node: value, label, hint in an empty text, and whether it is shown."""
    return page.page.evaluate(WIDGETS)


def run(page: FrontEnd, comfyui: RunningComfyUI) -> dict[str, Any]:
    """Run what the page shows: its entry in ComfyUI's history."""
    before = set(comfyui.get("/history").json())
    page.page.evaluate("() => app.queuePrompt(0)")
    end = time.monotonic() + RUN_SECONDS
    while time.monotonic() < end:
        for key, entry in comfyui.get("/history").json().items():
            if key not in before:
                page.page.wait_for_timeout(500)
                return entry
        time.sleep(0.1)
    raise AssertionError(f"not done after {RUN_SECONDS} seconds")


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("Choose my LoRAs", {"only", "adult"}),
        ("Train a LoRA from photos", {"steps"}),
        ("Fix faces", {"steps", "cfg", "sampler", "scheduler", "detector"}),
    ],
)
def test_what_few_people_need_is_folded_away_until_it_is_asked_for(
    name: str, folded: set[str], page: FrontEnd
) -> None:
    load(page, name)
    assert {key for key, one in widgets(page).items() if not one["shown"]} == folded
    before, _ = page.page.evaluate(ROOM)
    page.page.evaluate(PRESS, "kizy_more")
    assert all(one["shown"] for one in widgets(page).values())
    size, least = page.page.evaluate(ROOM)
    assert size >= least
    page.page.evaluate(PRESS, "kizy_more")
    assert page.page.evaluate(ROOM)[0] == before
    assert page.errors == []


def test_the_node_says_what_it_picked(page: FrontEnd, comfyui: RunningComfyUI) -> None:
    load(page, "Choose my LoRAs")
    assert run(page, comfyui)["status"]["status_str"] == "success"
    assert "The model is Kizy Starter." in widgets(page)["kizy_told"]["value"]


def test_pictures_that_are_chosen_become_a_lora(
    page: FrontEnd, comfyui: RunningComfyUI, tmp_path: Path
) -> None:
    paths = []
    for number in range(4):
        picture = Image.new("RGB", (160, 160), (40 * number, 90, 200))
        picture.paste((250, 220, 60), (20 + 9 * number, 20, 110, 130 - 12 * number))
        paths.append(tmp_path / f"{number}.png")
        picture.save(paths[-1])
    load(page, "Train a LoRA from photos")
    with page.page.expect_file_chooser() as chosen:
        page.page.evaluate(PRESS, "kizy_choose")
    chosen.value.set_files(paths)
    page.page.wait_for_function(f"() => {NODE}.widgets.find(w => w.name === 'files').value")
    folder = comfyui.base / "input" / widgets(page)["files"]["value"]
    assert len(list(folder.iterdir())) == len(paths)
    about = {"name": "Page Squares", "about": "flat squares", "goal": "style"}
    page.page.evaluate(SET, about | {"base": "starter", "quality": "draft", "steps": 2})
    assert run(page, comfyui)["status"]["status_str"] == "success"
    assert "page-squares is ready" in widgets(page)["kizy_told"]["value"]
    listed = comfyui.get("/object_info/LoraLoader").json()["LoraLoader"]["input"]["required"]
    assert "page-squares.safetensors" in listed["lora_name"][0]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("Train a LoRA from photos", {}, "The LoRA has no name."),
        ("Train a LoRA from photos", {"name": "x"}, "There are no pictures to learn from."),
        ("Fix faces", {"what": "everything in the mask"}, "There is no mask."),
        ("Choose my LoRAs", {"pinned": "nothing like it"}, "nothing like it"),
    ],
)
def test_errors_are_in_plain_words(
    name: str, values: dict[str, Any], words: str, page: FrontEnd, comfyui: RunningComfyUI
) -> None:
    comfyui.put_input(Image.new("RGB", (320, 256), "teal"), "example.png")
    load(page, name)
    page.page.evaluate(SET, values)
    assert run(page, comfyui)["status"]["status_str"] == "error"
    page.page.wait_for_selector(".p-dialog")
    shown = "".join(page.dialogs())
    page.close_dialogs()
    assert words in shown
    assert "Error" not in shown


def test_the_page_speaks_german(page: FrontEnd) -> None:
    page.set("Comfy.Locale", "de")
    try:
        page.open()
        load(page, "Train a LoRA from photos")
        shown = widgets(page)
        assert shown["kizy_choose"]["label"] == "Bilder oder Zip auswählen"
        assert shown["quality"]["label"] == "Qualität"
        assert shown["about"]["hint"] == shown["about"]["label"] != "about"
    finally:
        page.set("Comfy.Locale", "en")
        page.open()
