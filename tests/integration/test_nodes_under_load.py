"""Kizy Detailer in a real ComfyUI: many faces, large pictures, what they cost, and stopping it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests
from PIL import Image, ImageFilter

from tests.integration.conftest import JOB_SECONDS
from tests.integration.node_graphs import crowd, detail_graph, detailed

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

psutil = pytest.importorskip("psutil", reason="needs psutil to see ComfyUI's memory")

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MEGABYTE = 1 << 20
LEFT_BEHIND = 400 * MEGABYTE
"""What Python, torch and the allocator may keep of a run's memory."""
LARGE = (7680, 4320)
NUMBERS = 4 * LARGE[0] * LARGE[1]
"""Bytes of one channel of a picture of that size, as ComfyUI holds it."""


def memory(comfyui: RunningComfyUI) -> int:
    """Bytes that ComfyUI's process has in the machine's memory."""
    return psutil.Process(comfyui.processes[-1].pid).memory_info().rss


def free(comfyui: RunningComfyUI) -> int:
    """Have it forget models and results: bytes that are left."""
    body = {"unload_models": True, "free_memory": True}
    requests.post(f"{comfyui.url}/free", json=body, timeout=60).raise_for_status()
    least, end = memory(comfyui), time.monotonic() + 10
    while time.monotonic() < end:
        time.sleep(0.25)
        least = min(least, memory(comfyui))
    return least


def peak(comfyui: RunningComfyUI) -> int:
    """The most that it ever had."""
    status = psutil.Process(comfyui.processes[-1].pid)
    with open(f"/proc/{status.pid}/status") as file:  # noqa: PTH123
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def soft(columns: int, rows: int, side: int) -> Image.Image:
    return crowd(columns, rows, side).filter(ImageFilter.GaussianBlur(side / 100))


def test_forty_faces_are_drawn_in_one_pass_and_leave_no_memory_behind(
    comfyui: RunningComfyUI,
) -> None:
    picture = soft(8, 5, 160)
    name = comfyui.put_input(picture, "forty.png")
    detailed(comfyui, detail_graph(name, seed=0))
    before = free(comfyui)
    for seed in (1, 2):
        result, mask, told = detailed(comfyui, detail_graph(name, seed=seed))
        assert "40 faces found, 40 drawn again" in told
        assert (result[mask == 0] == np.asarray(picture)[mask == 0]).all()
    after = free(comfyui)
    print("40 faces: MB before, after:", [n // MEGABYTE for n in (before, after)])
    assert after - before < LEFT_BEHIND


def test_an_8k_picture_is_improved_within_a_few_times_its_size(comfyui: RunningComfyUI) -> None:
    picture = Image.effect_noise((LARGE[0] // 40, LARGE[1] // 40), 30).resize(LARGE).convert("RGB")
    for left, top, side in ((600, 400, 300), (5200, 2600, 1200)):
        picture.paste(soft(1, 1, side), (left, top))
    graph = detail_graph(comfyui.put_input(picture, "large.png"))
    # Of the mask and of what was found there is enough in the other tests.
    for key in ("mask", "mask_saved", "found"):
        del graph[key]
    before = free(comfyui)
    outputs = comfyui.run(graph)
    highest = peak(comfyui)
    (file,) = outputs["saved"]["images"]
    place = comfyui.base / "output" / file["subfolder"] / file["filename"]
    with Image.open(place) as saved:
        changed = (np.asarray(saved) != np.asarray(picture)).any(-1)
    after = free(comfyui)
    print("8K: MB before, at most, after:", [n // MEGABYTE for n in (before, highest, after)])
    assert "2 faces found" in outputs["detail"]["text"][0]
    rows, columns = np.nonzero(changed)
    inside = [
        ((left <= columns) & (columns < left + side) & (top <= rows) & (rows < top + side))
        for left, top, side in ((600, 400, 300), (5200, 2600, 1200))
    ]
    assert inside[0].any()
    assert (inside[0] | inside[1]).all()
    # It was loaded with three channels and a mask, comes out with three, and with what was found.
    assert highest - before < (4 + 3 + 1 + 3 + 12) * NUMBERS
    assert after - before < LEFT_BEHIND


def test_a_large_transparent_picture_keeps_its_transparency(comfyui: RunningComfyUI) -> None:
    picture = soft(4, 3, 512).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    graph = detail_graph(comfyui.put_input(picture, "clear.png"))
    graph["clear"] = {
        "class_type": "JoinImageWithAlpha",
        "inputs": {"image": ["image", 0], "alpha": ["image", 1]},
    }
    graph["detail"]["inputs"]["image"] = ["clear", 0]
    outputs = comfyui.run(graph)
    (file,) = outputs["saved"]["images"]
    with Image.open(comfyui.base / "output" / file["subfolder"] / file["filename"]) as saved:
        assert saved.mode == "RGBA"
        alpha = np.asarray(saved)[..., 3].astype(int)
    assert np.abs(alpha - np.asarray(picture)[..., 3]).max() <= 1
    # How many of the drawn faces are found is the benchmark's matter.
    assert re.search(r"[1-9]\d* faces found, [1-9]\d* drawn again", outputs["detail"]["text"][0])


def test_an_interrupt_ends_it_between_two_steps_and_the_next_run_works(
    comfyui: RunningComfyUI,
) -> None:
    name = comfyui.put_input(soft(8, 5, 160), "forty.png")
    graph = detail_graph(name, amount="strong", steps=400, seed=int(time.time()))
    answer = requests.post(f"{comfyui.url}/prompt", json={"prompt": graph}, timeout=60)
    prompt = answer.json()["prompt_id"]
    until(lambda: "detail" in drawing(comfyui, prompt))
    requests.post(f"{comfyui.url}/interrupt", timeout=60).raise_for_status()
    asked = time.monotonic()
    until(lambda: not comfyui.get("/queue").json()["queue_running"])
    assert time.monotonic() - asked < 30
    (entry,) = comfyui.get(f"/history/{prompt}").json().values()
    assert "execution_interrupted" in [kind for kind, _ in entry["status"]["messages"]]
    _, _, told = detailed(comfyui, detail_graph(name, seed=4))
    assert "40 drawn again" in told


def drawing(comfyui: RunningComfyUI, prompt: str) -> Mapping[str, Any]:
    """Nodes that draw now, by what a listener would hear: the sampler's bar in the log."""
    running = comfyui.get("/queue").json()["queue_running"]
    if not any(entry[1] == prompt for entry in running):
        return {}
    bars = comfyui.log.read_text(errors="replace").count("/240 [")
    return {"detail": bars} if bars else {}


def until(true: Any) -> None:
    end = time.monotonic() + JOB_SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
