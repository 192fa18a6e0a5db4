"""Kizy's nodes in the real front end: what they show, and what a person does with them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kizy.tools.workflows.write_bundled import WORKFLOWS_FOLDER
from PIL import Image, ImageFilter

from tests.integration.front_end import CHROMIUM, FrontEnd, front_end
from tests.integration.node_graphs import crowd

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
# The node's height while it runs, what it says, and whether a preview was shown.
WATCH = f"""() => {{
    const node = {NODE}, seen = {{first: node.size[1], most: 0, told: []}};
    const look = () => {{
        const shown = node.widgets;
        seen.last = node.size[1];
        seen.most = Math.max(seen.most, node.size[1]);
        seen.pictured ||= shown.some(widget => widget.name === '$$canvas-image-preview');
        const told = shown.find(widget => widget.name === 'kizy_told').value;
        if (told !== seen.told.at(-1)) seen.told.push(told);
    }};
    window.kizySeen = seen;
    clearInterval(window.kizyWatch);
    window.kizyWatch = setInterval(look, 20);
    look();
}}"""
SEEN = "() => window.kizySeen"
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


@pytest.fixture
def squares(tmp_path: Path) -> list[Path]:
    """Four pictures to train on."""
    paths = []
    for number in range(4):
        picture = Image.new("RGB", (160, 160), (40 * number, 90, 200))
        picture.paste((250, 220, 60), (20 + 9 * number, 20, 110, 130 - 12 * number))
        paths.append(tmp_path / f"{number}.png")
        picture.save(paths[-1])
    return paths


def choose(page: FrontEnd, files: list[Path]) -> None:
    """Press the button of Kizy Train LoRA and choose these files."""
    with page.page.expect_file_chooser() as chosen:
        page.page.evaluate(PRESS, "kizy_choose")
    chosen.value.set_files(files)


def wait_for_files(page: FrontEnd) -> str:
    """What stands in the field `files` once they have arrived."""
    page.page.wait_for_function(f"() => {NODE}.widgets.find(w => w.name === 'files').value")
    return widgets(page)["files"]["value"]


def test_pictures_that_are_chosen_become_a_lora(
    page: FrontEnd, comfyui: RunningComfyUI, squares: list[Path]
) -> None:
    load(page, "Train a LoRA from photos")
    choose(page, squares)
    folder = comfyui.base / "input" / wait_for_files(page)
    assert len(list(folder.iterdir())) == len(squares)
    about = {"name": "Page Squares", "about": "flat squares", "goal": "style"}
    page.page.evaluate(SET, about | {"base": "starter", "quality": "draft", "steps": 2})
    page.page.evaluate(WATCH)
    assert run(page, comfyui)["status"]["status_str"] == "success"
    seen = page.page.evaluate(SEEN)
    assert seen["pictured"]
    assert any("step 2 of 2" in text for text in seen["told"])
    assert seen["most"] == seen["first"]
    assert "page-squares is ready" in widgets(page)["kizy_told"]["value"]
    listed = comfyui.get("/object_info/LoraLoader").json()["LoraLoader"]["input"]["required"]
    assert "page-squares.safetensors" in listed["lora_name"][0]


@pytest.mark.parametrize("status", [401, 403])
def test_where_kizys_route_wants_a_key_pictures_go_through_comfyuis_own(
    page: FrontEnd, comfyui: RunningComfyUI, squares: list[Path], status: int
) -> None:
    load(page, "Train a LoRA from photos")
    asked: list[str] = []

    def refuse(route: Any) -> None:
        asked.append(route.request.method)
        route.fulfill(status=status, json={"error": {"message": "no key", "fix": ""}})

    page.page.route("**/kizy/pictures*", refuse)
    try:
        choose(page, squares)
        folder = wait_for_files(page)
    finally:
        page.page.unroute("**/kizy/pictures*")
    assert asked == ["GET"]
    kept = sorted((comfyui.base / "input" / folder).iterdir())
    assert [file.name for file in kept] == [path.name for path in squares]
    assert [file.read_bytes() for file in kept] == [path.read_bytes() for path in squares]


def test_what_does_not_arrive_is_said(page: FrontEnd, squares: list[Path]) -> None:
    load(page, "Train a LoRA from photos")
    page.page.route("**/kizy/pictures*", lambda route: route.fulfill(status=403))
    page.page.route("**/upload/image", lambda route: route.fulfill(status=413, body="too large"))
    try:
        choose(page, squares[:1])
        page.page.wait_for_selector(".p-toast-message-error")
        shown = "".join(page.dialogs())
    finally:
        page.page.unroute("**/kizy/pictures*")
        page.page.unroute("**/upload/image")
    assert "The pictures did not arrive" in shown
    assert "--max-upload-size" in shown
    assert widgets(page)["files"]["value"] == ""
    page.close_dialogs()


def test_previews_do_not_make_the_detailer_larger(page: FrontEnd, comfyui: RunningComfyUI) -> None:
    picture = crowd(2, 1, 256).filter(ImageFilter.GaussianBlur(3))
    comfyui.put_input(picture, "example.png")
    load(page, "Fix faces")
    page.page.evaluate(SET, {"amount": "strong", "steps": 60})
    page.page.evaluate(WATCH)
    assert run(page, comfyui)["status"]["status_str"] == "success"
    page.page.wait_for_timeout(2000)
    seen = page.page.evaluate(SEEN)
    assert seen["pictured"]
    assert seen["most"] == seen["first"] == seen["last"]
    shown = widgets(page)
    assert "2 faces found, 2 drawn again." in shown["kizy_told"]["value"]
    # What the sampler showed last is gone.
    assert "$$canvas-image-preview" not in shown


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


@pytest.mark.parametrize(
    ("language", "choose", "quality"),
    [("de", "Bilder oder Zip auswählen", "Qualität"), ("zh", "选择图片或 zip", "质量")],
)
def test_the_page_speaks_other_languages(
    language: str, choose: str, quality: str, page: FrontEnd
) -> None:
    page.set("Comfy.Locale", language)
    try:
        page.open()
        load(page, "Train a LoRA from photos")
        shown = widgets(page)
        assert shown["kizy_choose"]["label"] == choose
        assert shown["quality"]["label"] == quality
        assert shown["about"]["hint"] == shown["about"]["label"] != "about"
    finally:
        page.set("Comfy.Locale", "en")
        page.open()


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "Draws faces again"), ("de", "Zeichnet Gesichter"), ("zh", "重新细画人脸")],
)
def test_the_page_shows_a_nodes_help_in_its_language(
    language: str, words: str, page: FrontEnd
) -> None:
    page.set("Comfy.Locale", language)
    try:
        page.open()
        load(page, "Fix faces")
        page.page.evaluate(f"() => app.canvas.selectNode({NODE})")
        page.page.get_by_test_id("info-button").click()
        page.page.get_by_text(words).first.wait_for(timeout=30_000)
    finally:
        page.set("Comfy.Locale", "en")
        page.open()
