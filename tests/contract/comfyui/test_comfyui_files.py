"""What Kizy relies on in ComfyUI: uploads, finished files and facts."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
import requests
from PIL import Image

from tests.fakes.comfyui_graphs import (
    new_id,
    new_picture_graph,
    node,
    plain_png,
)
from tests.fakes.comfyui_raw import WAIT, get, history, post


def upload(url: str, name: str, content: bytes, **fields: str) -> dict[str, Any]:
    answer = requests.post(
        f"{url}/upload/image",
        files={"image": (name, content)},
        data={"type": "input", "subfolder": "kizy", **fields},
        timeout=WAIT,
    )
    answer.raise_for_status()
    return answer.json()


def test_the_same_picture_under_the_same_name_is_stored_once(url: str) -> None:
    name = f"{new_id()}.png"
    stored = {"name": name, "subfolder": "kizy", "type": "input"}
    assert upload(url, name, plain_png(1)) == stored
    assert upload(url, name, plain_png(1)) == stored
    assert upload(url, name, plain_png(2))["name"] == f"{name[:-4]} (1).png"
    assert upload(url, name, plain_png(3), overwrite="true") == stored
    place = {"filename": name, "subfolder": "kizy", "type": "input"}
    head = requests.head(f"{url}/view", params=place, timeout=WAIT)
    assert head.headers["Content-Length"] == str(len(plain_png(3)))


def test_an_uploaded_picture_is_loaded_by_its_name(url: str) -> None:
    prompt_id, name = new_id(), f"{new_id()}.png"
    upload(url, name, plain_png(200))
    post(url, {**new_picture_graph(), "1": node("LoadImage", image=f"kizy/{name}")}, prompt_id)
    (file,) = history(url, prompt_id)["outputs"]["2"]["images"]
    answer = requests.get(f"{url}/view", params=file, timeout=WAIT)
    with Image.open(BytesIO(answer.content)) as picture:
        assert picture.size == (8, 8)
        assert picture.convert("RGB").getpixel((0, 0)) == (200, 0, 0)


def test_files_outside_the_folders_are_not_given(url: str) -> None:
    for place in ({"filename": "../main.py"}, {"filename": "main.py", "subfolder": "../.."}):
        answer = requests.get(f"{url}/view", params=place, timeout=WAIT)
        assert answer.status_code in (400, 403)


def test_a_file_that_is_not_there_is_404(url: str) -> None:
    answer = requests.get(f"{url}/view", params={"filename": "none.png"}, timeout=WAIT)
    assert answer.status_code == 404


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_facts_have_their_routes(url: str, prefix: str) -> None:
    stats = get(url, f"{prefix}/system_stats")
    assert stats["system"]["comfyui_version"]
    assert stats["devices"][0]["vram_total"] > 0
    assert get(url, f"{prefix}/features")["supports_preview_metadata"] is True
    assert isinstance(get(url, f"{prefix}/workflow_templates"), dict)
    assert isinstance(get(url, f"{prefix}/models"), list)
    info = get(url, f"{prefix}/object_info/SaveImage")
    assert info["SaveImage"]["output_node"] is True
    assert get(url, f"{prefix}/object_info/NoSuchNode") == {}


def test_all_nodes_are_in_object_info(url: str) -> None:
    info = get(url, "/object_info")
    assert info["EmptyImage"]["output"] == ["IMAGE"]
    assert info["EmptyImage"]["input"]["required"]["width"][1]["min"] == 1
    assert isinstance(info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0], list)


def test_memory_can_be_given_back(url: str) -> None:
    body = {"unload_models": True, "free_memory": True}
    assert requests.post(f"{url}/free", json=body, timeout=WAIT).status_code == 200
