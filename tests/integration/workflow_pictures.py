"""Runs Kizy's node workflows in ComfyUI's page, for thumbnails that show what they drew.

The one that trains comes first: what it makes is picked by the next. The starter draws.
"""

from __future__ import annotations

import io
import json
import math
import random
import time
from collections.abc import Mapping
from typing import Any

import requests
from PIL import Image, ImageDraw, ImageFilter

from tests.integration.front_end import FrontEnd

RUN_SECONDS = 900.0

FACES = "kizy-faces.png"
FOLDER = "kizy-blueprints"

# Workflow -> what is set on its node before it is run.
SETTINGS: dict[str, dict[str, Any]] = {
    "Train a LoRA from photos": {
        "name": "Blueprint",
        "about": "blueprint drawings: white lines on dark blue",
        "files": FOLDER,
        "base": "starter",
        "goal": "style",
        "quality": "draft",
        "steps": 60,
    },
    "Choose my LoRAs": {"prompt": "a red heart, blueprint drawing"},
    "Fix faces": {"amount": "subtle", "seed": 5},
}
DRAWN = tuple(SETTINGS)

SET = """values => {
    const node = app.graph.nodes.find(n => n.type.startsWith('Kizy') && n.type !== 'KizySave');
    for (const [name, value] of Object.entries(values))
        node.widgets.find(widget => widget.name === name).value = value;
    for (const other of app.graph.nodes) {
        const after = other.widgets?.find(widget => widget.name === 'control_after_generate');
        if (after) after.value = 'fixed';
        const image = other.type === 'LoadImage' && other.widgets.find(w => w.name === 'image');
        if (image) { image.value = 'kizy-faces.png'; image.callback?.(image.value); }
    }
}"""

# The node alone at the page's left edge, `scale` times its size: its box in the page's pixels.
SHOW_NODE = """([left, top, scale]) => {
    const node = app.graph.nodes.find(n => n.type.startsWith('Kizy') && n.type !== 'KizySave');
    const canvas = app.canvas.canvas.getBoundingClientRect();
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [(left - canvas.left) / scale - node.pos[0],
                            (top - canvas.top) / scale - node.pos[1] + 30];
    app.canvas.setDirty(true, true);
    return [left, top, node.size[0] * scale, (node.size[1] + 30) * scale];
}"""


def put(url: str, picture: Image.Image, name: str, folder: str = "") -> None:
    """Into ComfyUI's input folder."""
    data = io.BytesIO()
    picture.save(data, "PNG")
    answer = requests.post(
        f"{url}/upload/image",
        files={"image": (name, data.getvalue(), "image/png")},
        data={"subfolder": folder, "overwrite": "true"},
        timeout=60,
    )
    answer.raise_for_status()


def blueprint(number: int) -> Image.Image:
    """White lines on dark blue: nothing but shapes, so that it is the manner that is learnt."""
    chance = random.Random(number)
    picture = Image.new("RGB", (512, 512), "#10357a")
    pen = ImageDraw.Draw(picture)
    for at in range(0, 512, 64):
        pen.line((at, 0, at, 512), "#1f4a96", 2)
        pen.line((0, at, 512, at), "#1f4a96", 2)
    x, y, size = (chance.randint(200, 312), chance.randint(200, 312), chance.randint(120, 180))
    corners = number % 7 + 2
    if corners == 2:
        pen.ellipse((x - size, y - size, x + size, y + size), outline="white", width=10)
    else:
        turned = chance.random() * math.pi
        angles = [turned + 2 * math.pi * at / corners for at in range(corners + 1)]
        points = [(x + size * math.cos(a), y + size * math.sin(a)) for a in angles]
        pen.line(points, "white", 10, joint="curve")
    half = size // 3
    pen.rectangle((x - half, y - half, x + half, y + half), outline="white", width=8)
    return picture


def faces() -> Image.Image:
    """Two faces that are blurred."""
    picture = Image.new("RGB", (600, 400), "#4a90d9")
    pen = ImageDraw.Draw(picture)
    for x, y in ((60, 90), (350, 130)):
        pen.ellipse((x, y, x + 170, y + 170), fill="#ffcc33")
        for eye in (x + 50, x + 104):
            pen.ellipse((eye, y + 50, eye + 20, y + 78), fill="#40300a")
        pen.arc((x + 40, y + 50, x + 130, y + 130), 20, 160, "#40300a", 9)
    return picture.filter(ImageFilter.GaussianBlur(5))


def prepare(url: str) -> None:
    """The pictures that the workflows begin with."""
    put(url, faces(), FACES)
    for number in range(14):
        put(url, blueprint(number), f"{number}.png", FOLDER)


def run(page: FrontEnd, name: str) -> list[Image.Image]:
    """Run what the page shows: the pictures that it saved, else its previews, by their nodes."""
    page.page.evaluate(SET, SETTINGS[name])
    before = set(requests.get(f"{page.url}/history", timeout=60).json())
    page.page.evaluate("() => app.queuePrompt(0)")
    end = time.monotonic() + RUN_SECONDS
    while time.monotonic() < end:
        history = requests.get(f"{page.url}/history", timeout=60).json()
        for key in set(history) - before:
            entry = history[key]
            if entry["status"]["status_str"] != "success":
                raise RuntimeError(json.dumps(entry["status"]["messages"][-1])[:500])
            page.page.wait_for_timeout(2000)
            outputs: Mapping[str, Any] = entry["outputs"]
            files = [file for key in sorted(outputs) for file in outputs[key].get("images", ())]
            saved = [file for file in files if file["type"] == "output"]
            return [_viewed(page.url, file) for file in saved or files]
        time.sleep(0.2)
    raise RuntimeError(f"{name} is not done after {RUN_SECONDS} seconds")


def _viewed(url: str, file: Mapping[str, str]) -> Image.Image:
    answer = requests.get(f"{url}/view", params=dict(file), timeout=60)
    answer.raise_for_status()
    return Image.open(io.BytesIO(answer.content)).convert("RGB")


def node_picture(page: FrontEnd, left: int, top: int, scale: float) -> Image.Image:
    """The node as the page shows it."""
    x, y, width, height = page.page.evaluate(SHOW_NODE, [left, top, scale])
    page.page.wait_for_timeout(800)
    clip = {"x": x, "y": y, "width": width, "height": height}
    return Image.open(io.BytesIO(page.page.screenshot(clip=clip))).convert("RGB")


def composed(name: str, node: Image.Image, drawn: list[Image.Image], size: tuple[int, int]) -> Any:
    """The node at the left, what it drew at the right."""
    sheet = Image.new("RGB", size, "#202020")
    gap = size[1] // 40
    # Its upper part, if it is very high: below are previews.
    share = min(1.0, 1.7 * node.width / node.height)
    node = node.crop((0, 0, node.width, round(node.height * share)))
    height = size[1] - 2 * gap
    width = min(round(node.width * height / node.height), size[0] // 2 - 2 * gap)
    fitted = node.resize((width, round(node.height * width / node.width)), Image.Resampling.LANCZOS)
    sheet.paste(fitted, (gap, (size[1] - fitted.height) // 2))
    left, room = width + 2 * gap, size[0] - width - 3 * gap
    shown = [faces(), drawn[0]] if name == "Fix faces" else drawn[:1]
    each = (height - gap * (len(shown) - 1)) // len(shown)
    for number, picture in enumerate(shown):
        scale = min(room / picture.width, each / picture.height)
        small = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
        top = gap + number * (each + gap)
        sheet.paste(small, (left + (room - small.width) // 2, top + (each - small.height) // 2))
    return sheet
