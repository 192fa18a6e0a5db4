"""Kizy's nodes, executed by a real ComfyUI with the starter."""

from __future__ import annotations

import json
import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests
import torch
from kizy.core.picture_files import read_plan
from kizy.core.request import GenerationRequest, LoraChoice
from kizy.orchestrator.app import App
from kizy.orchestrator.settings import ServerSettings, Settings
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import save_file

from tests.integration.conftest import JOB_SECONDS, ComfyUIError
from tests.integration.node_graphs import (
    CHECKPOINT,
    detail_graph,
    detailed,
    lora_file,
    node,
    smiley,
)

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def library(comfyui: RunningComfyUI, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three LoRAs: two for the starter, one for another family."""
    folder = tmp_path_factory.mktemp("loras")
    ink = lora_file(folder / "ink.safetensors", "Ink Wash", "inkwsh", "Chinese ink wash painting")
    robot = lora_file(folder / "bot.safetensors", "Rusty Robot", "rstbot", "a rusty old robot")
    other = folder / "sdxl.safetensors"
    layer = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    save_file(
        {
            f"{layer}.lora_up.weight": torch.zeros(640, 4),
            f"{layer}.lora_down.weight": torch.zeros(4, 2048),
        },
        other,
        {"modelspec.title": "Watercolor XL"},
    )
    return [comfyui.put_model("loras", file) for file in (ink, robot, other)]


def graph_of(prompt: str, **inputs: Any) -> dict[str, dict[str, Any]]:
    """A picture by LoRAs that Kizy picks, saved by Kizy."""
    given = {"scope": "everything", "how_many": 3, "strength": 1.0, "pinned": ""} | inputs
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "kizy": node(
            "KizyLoraByIntent", model=["model", 0], clip=["model", 1], prompt=prompt, **given
        ),
        "positive": node("CLIPTextEncode", clip=["kizy", 1], text=["kizy", 2]),
        "negative": node("CLIPTextEncode", clip=["kizy", 1], text="blurry"),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sampler": node(
            "KSampler",
            model=["kizy", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["latent", 0],
            seed=7,
            steps=2,
            cfg=4.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        "pixels": node("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
        "text": node("PreviewAny", source=["kizy", 3]),
        "saved": node("KizySave", images=["pixels", 0], filename_prefix="Kizy/test"),
    }


def ran(comfyui: RunningComfyUI, prompt: str, **inputs: Any) -> str:
    """The explanation."""
    return comfyui.run(graph_of(prompt, **inputs))["text"]["text"][0]


@pytest.mark.usefixtures("library")
def test_the_lora_that_fits_is_picked_and_explained(comfyui: RunningComfyUI) -> None:
    told = ran(comfyui, "a heron, ink wash painting")
    assert "Ink Wash (strength" in told
    assert "added to the prompt: inkwsh" in told
    assert "Kizy Starter" in told


@pytest.mark.usefixtures("library")
def test_where_none_fits_it_says_why(comfyui: RunningComfyUI) -> None:
    assert "No LoRA is used." in ran(comfyui, "a bowl of soup")


@pytest.mark.usefixtures("library")
def test_what_is_pinned_is_taken_with_its_weight(comfyui: RunningComfyUI) -> None:
    told = ran(comfyui, "a bowl of soup", pinned="bot:0.4", how_many=0)
    assert "Rusty Robot (strength 0.4)" in told


def test_a_lora_can_be_pinned_as_comfyuis_list_shows_it(
    comfyui: RunningComfyUI, library: list[str]
) -> None:
    folder = comfyui.base / "models" / "loras" / "people"
    folder.mkdir(exist_ok=True)
    (folder / "r2.safetensors").write_bytes(
        (comfyui.base / "models" / "loras" / library[1]).read_bytes()
    )
    told = ran(comfyui, "a bowl of soup", pinned="people\\r2.safetensors:0.3", how_many=0)
    assert "(strength 0.3)" in told


def test_each_of_two_loras_of_one_name_is_drawn_with_in_the_node_and_from_here(
    comfyui: RunningComfyUI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIZY_HOME", str(tmp_path / "home"))
    loras = comfyui.base / "models" / "loras"
    (loras / "twins").mkdir(exist_ok=True)
    lora_file(loras / "same.safetensors", "Above All", "abvall", "gold leaf")
    lora_file(loras / "twins" / "same.safetensors", "Below Two", "blwtwo", "tin foil")
    for name, title in (
        ("same", "Above All"),
        ("same.safetensors", "Above All"),
        ("twins/same", "Below Two"),
        ("twins\\same.safetensors", "Below Two"),
    ):
        assert f"{title} (strength 0.3)" in ran(
            comfyui, f"soup in {name}", pinned=f"{name}:0.3", how_many=0
        )
    app = App(
        pictures=tmp_path / "pictures",
        settings=Settings(servers=(ServerSettings(url=comfyui.url),), engine="comfyui"),
    )
    try:
        pixels = []
        for name, listed in (
            ("same", "same.safetensors"),
            ("twins/same", "twins/same.safetensors"),
        ):
            wanted = (LoraChoice(name=name, model_weight=2.0),)
            plan = app.plan(
                GenerationRequest(prompt="soup", model="starter", loras=wanted, steps=2, seed=1)
            )
            assert [lora.file.name for lora in plan.loras] == [listed]
            events = list(app.follow(app.start(plan)))
            assert events[-1].error is None
            (drawn,) = (event.artifact for event in events if event.kind == "artifact")
            pixels.append(Path(drawn.path).read_bytes())
    finally:
        app.close()
    assert pixels[0] != pixels[1]


@pytest.mark.usefixtures("library")
def test_strength_makes_all_weaker(comfyui: RunningComfyUI) -> None:
    told = ran(comfyui, "soup <lora:bot:0.8>", strength=0.5, how_many=0)
    assert "Rusty Robot (strength 0.4)" in told


@pytest.mark.usefixtures("library")
def test_a_pinned_lora_of_another_family_is_refused_in_plain_words(
    comfyui: RunningComfyUI,
) -> None:
    with pytest.raises(ComfyUIError, match="Watercolor XL") as caught:
        ran(comfyui, "soup", pinned="sdxl")
    assert "lora_other_family" in str(caught.value)


@pytest.mark.usefixtures("library")
def test_a_pinned_lora_that_is_not_there_is_named(comfyui: RunningComfyUI) -> None:
    with pytest.raises(ComfyUIError, match="Rusty Robto"):
        ran(comfyui, "soup", pinned="Rusty Robto")


@pytest.mark.usefixtures("library")
def test_the_saved_picture_holds_plan_parameters_and_workflow(comfyui: RunningComfyUI) -> None:
    outputs = comfyui.run(graph_of("a frog in ink wash"))
    (file,) = outputs["saved"]["images"]
    content = comfyui.get("/view", **file).content
    path = comfyui.base / "copy.png"
    path.write_bytes(content)
    plan = read_plan(path)
    assert plan.seed == 7
    assert plan.steps == 2
    assert plan.prompt.startswith("a frog in ink wash")
    assert "inkwsh" in plan.prompt
    assert plan.negative == "blurry"
    assert plan.family == "starter"
    assert [lora.file.name for lora in plan.loras] == ["ink"]
    with Image.open(BytesIO(content)) as picture:
        assert "Seed: 7" in picture.info["parameters"]
        assert "KizyLoraByIntent" in picture.info["prompt"]


@pytest.mark.usefixtures("library")
def test_the_same_again_is_cached_and_a_new_lora_is_heard_of(
    comfyui: RunningComfyUI, tmp_path: Path
) -> None:
    ran(comfyui, "a violet teapot on the moon")
    before = comfyui.log.read_text(errors="replace").count("loaded completely")
    ran(comfyui, "a violet teapot on the moon")
    assert comfyui.log.read_text(errors="replace").count("loaded completely") == before
    new = lora_file(tmp_path / "pot.safetensors", "Teapot", "tpt", "a violet teapot")
    comfyui.put_model("loras", new)
    assert "Teapot (strength" in ran(comfyui, "a violet teapot on the moon")


def test_a_folder_of_pictures_becomes_a_lora_that_is_listed_and_not_trained_twice(
    comfyui: RunningComfyUI, tmp_path: Path
) -> None:
    folder = comfyui.base / "input" / "shapes"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(6):
        picture = Image.new("RGB", (160, 160), (30 * number, 200, 90))
        picture.paste((250, 10 * number, 60), (20, 20 + 6 * number, 120, 100 + 6 * number))
        picture.save(folder / f"{number}.png")
    graph = {
        "train": node(
            "KizyTrainLora",
            name="Test Shapes",
            about="flat coloured shapes",
            files="shapes",
            base="starter",
            goal="style",
            quality="draft",
            steps=4,
        ),
        "text": node("PreviewAny", source=["train", 0]),
        "curve": node("PreviewImage", images=["train", 1]),
        "grid": node("PreviewImage", images=["train", 2]),
    }
    outputs = comfyui.run(graph)
    name = outputs["text"]["text"][0]
    assert "shapes" in name
    assert outputs["curve"]["images"]
    info = comfyui.get("/object_info/LoraLoader").json()
    assert name in info["LoraLoader"]["input"]["required"]["lora_name"][0]
    runs = list((comfyui.base / "kizy" / "trainings").iterdir())
    graph["train"]["inputs"]["files"] = str(folder)
    assert comfyui.run(graph)["text"]["text"] == [name]
    assert list((comfyui.base / "kizy" / "trainings").iterdir()) == runs


def test_a_training_without_pictures_says_what_to_do(comfyui: RunningComfyUI) -> None:
    graph = {
        "train": node(
            "KizyTrainLora",
            name="Nothing",
            about="",
            files="",
            base="auto",
            goal="auto",
            quality="draft",
        )
    }
    with pytest.raises(ComfyUIError, match="There are no pictures to learn from"):
        comfyui.run(graph)


def test_the_catalog_tells_the_families_proven_from_tensors(
    comfyui: RunningComfyUI, library: list[str]
) -> None:
    told = comfyui.get("/kizy/catalog").json()
    families = {lora["file"]: lora["family"] for lora in told["loras"]}
    assert families[library[0]] == "starter"


def test_a_lora_reaches_the_server_and_is_listed_at_once(
    comfyui: RunningComfyUI, tmp_path: Path
) -> None:
    file = lora_file(tmp_path / "x.safetensors", "Sent", "snt", "a sent thing")
    url = f"{comfyui.url}/kizy/loras"
    for status in (201, 200):
        answer = requests.post(url, params={"name": "../sent.safetensors"}, data=file.read_bytes())
        assert answer.status_code == status, answer.text
        assert answer.json()["name"] == "sent.safetensors"
    info = comfyui.get("/object_info/LoraLoader").json()
    assert "sent.safetensors" in info["LoraLoader"]["input"]["required"]["lora_name"][0]
    answer = requests.post(url, params={"name": "no.safetensors"}, data=b"\x80\x04pickle" * 9)
    assert answer.status_code == 400
    assert "fix" in answer.json()["error"]


def test_faces_are_drawn_again_and_nothing_else_changes(comfyui: RunningComfyUI) -> None:
    picture = Image.new("RGB", (600, 400), "#4a90d9")
    picture.paste(smiley(160), (60, 100))
    picture.paste(smiley(160), (360, 140))
    # What is as sharp as the model draws would be left.
    picture = picture.filter(ImageFilter.GaussianBlur(5))
    name = comfyui.put_input(picture, "two.png")
    result, mask, told = detailed(comfyui, detail_graph(name, prompts="a sad face\n"))
    assert "2 faces found, 2 drawn again" in told
    before = np.asarray(picture)
    assert (result[mask == 0] == before[mask == 0]).all()
    assert (result[mask > 128] != before[mask > 128]).mean() > 0.1


def test_a_picture_without_a_face_stays_as_it_is(comfyui: RunningComfyUI) -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    result, mask, told = detailed(comfyui, detail_graph(comfyui.put_input(picture, "none.png")))
    assert "No face was found" in told
    assert (result == np.asarray(picture)).all()
    assert mask.max() == 0


def test_what_a_mask_marks_is_drawn_again(comfyui: RunningComfyUI) -> None:
    picture = smiley(300)
    marked = Image.new("L", (300, 300))
    ImageDraw.Draw(marked).rectangle((200, 40, 280, 140), fill=255)
    # LoadImage's mask is what is transparent.
    cut = picture.copy()
    cut.putalpha(marked.point(lambda value: 255 - value))
    name = comfyui.put_input(cut, "marked.png")
    graph = detail_graph(name, what="everything in the mask", mask=["image", 1])
    result, mask, told = detailed(comfyui, graph)
    assert "1 part of the mask drawn again" in told
    assert (mask[np.asarray(marked) == 0] == 0).all()
    assert (result[mask == 0] == np.asarray(picture)[mask == 0]).all()


def test_a_mask_that_is_not_wired_says_what_to_do(comfyui: RunningComfyUI) -> None:
    name = comfyui.put_input(smiley(128), "alone.png")
    with pytest.raises(ComfyUIError, match="There is no mask"):
        comfyui.run(detail_graph(name, what="everything in the mask"))


@pytest.mark.usefixtures("library")
def test_a_lora_trained_here_is_picked_and_drawn_there_and_one_there_is_picked_from_here(
    comfyui: RunningComfyUI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines: the LoRAs of one are not those of the other."""
    home = tmp_path / "home"
    (home / "loras").mkdir(parents=True)
    monkeypatch.setenv("KIZY_HOME", str(home))
    lora_file(home / "loras" / "comet.safetensors", "Comet Crayon", "cmtcr", "wax crayon comets")
    app = App(
        pictures=tmp_path / "pictures",
        settings=Settings(servers=(ServerSettings(url=comfyui.url),), engine="comfyui"),
    )
    try:
        for prompt, trigger in (
            ("a fish in comet crayon style", "cmtcr"),
            ("a heron, ink wash painting", "inkwsh"),
        ):
            request = GenerationRequest(prompt=prompt, model="starter", steps=2, seed=1)
            plan = app.plan(request)
            assert trigger in plan.prompt
            events = list(app.follow(app.start(plan)))
            assert events[-1].kind == "end"
            assert events[-1].error is None
    finally:
        app.close()
    assert (comfyui.base / "models" / "loras" / "comet.safetensors").is_file()


def test_every_picture_of_a_batch_keeps_its_transparency(comfyui: RunningComfyUI) -> None:
    picture = Image.new("RGB", (300, 300), "#4a90d9")
    picture.paste(smiley(200), (50, 50))
    name = comfyui.put_input(picture.filter(ImageFilter.GaussianBlur(6)), "batch.png")
    graph = detail_graph(name)
    graph["whole"] = node("SolidMask", value=0.0, width=300, height=300)
    graph["corner"] = node("SolidMask", value=1.0, width=40, height=40)
    graph["clear"] = node(
        "MaskComposite",
        destination=["whole", 0],
        source=["corner", 0],
        x=0,
        y=0,
        operation="add",
    )
    graph["cut"] = node("JoinImageWithAlpha", image=["image", 0], alpha=["clear", 0])
    graph["two"] = node("RepeatImageBatch", image=["cut", 0], amount=2)
    graph["detail"]["inputs"]["image"] = ["two", 0]
    outputs = comfyui.run(graph)
    assert outputs["detail"]["text"][0].count("1 drawn again") == 2
    assert len(outputs["saved"]["images"]) == 2
    for file in outputs["saved"]["images"]:
        with Image.open(BytesIO(comfyui.get("/view", **file).content)) as saved:
            assert saved.mode == "RGBA"
            alpha = np.asarray(saved)[..., 3]
            assert (alpha[:40, :40] == 0).all()
            assert (alpha == 255).sum() == 300 * 300 - 40 * 40


def test_an_empty_mask_changes_nothing(comfyui: RunningComfyUI) -> None:
    name = comfyui.put_input(smiley(300), "empty.png")
    graph = detail_graph(name, what="everything in the mask", mask=["empty", 0])
    graph["empty"] = node("SolidMask", value=0.0, width=300, height=300)
    result, mask, told = detailed(comfyui, graph)
    assert "The mask marks nothing" in told
    assert (result == np.asarray(smiley(300))).all()
    assert mask.max() == 0


@pytest.mark.parametrize(
    ("at", "wire", "source"),
    [
        ("detail", "image", ["model", 0]),
        ("detail", "mask", ["image", 0]),
        ("detail", "vae", ["model", 1]),
        ("detail", "positive", ["model", 1]),
        ("kizy", "model", ["image", 0]),
        ("kizy", "clip", ["model", 2]),
        ("train", "pictures", ["model", 0]),
        ("kept", "images", ["text", 0]),
    ],
)
def test_wires_that_do_not_fit_are_refused_before_anything_runs(
    comfyui: RunningComfyUI, at: str, wire: str, source: list[Any]
) -> None:
    graph = detail_graph(comfyui.put_input(smiley(128), "wires.png"))
    graph["kizy"] = graph_of("soup")["kizy"]
    graph["told"] = node("PreviewAny", source=["kizy", 3])
    words = {"name": "x", "about": "", "files": "", "goal": "auto", "quality": "draft"}
    graph["train"] = node("KizyTrainLora", **words, base="auto")
    graph["kept"] = node("KizySave", images=["detail", 0], filename_prefix="Kizy/wires")
    graph[at]["inputs"][wire] = source
    with pytest.raises(ComfyUIError, match="mismatch"):
        comfyui.run({key: graph[key] for key in above(graph, at)})


def above(graph: dict[str, Any], at: str) -> set[str]:
    """The node, what it is fed by, and a node that has it run."""
    found, waiting = set(), [at, {"detail": "saved", "kizy": "told"}.get(at, at)]
    while waiting:
        key = waiting.pop()
        found.add(key)
        links = (value for value in graph[key]["inputs"].values() if isinstance(value, list))
        waiting += [link[0] for link in links if link[0] not in found]
    return found


def test_wires_that_are_missing_are_refused_before_anything_runs(comfyui: RunningComfyUI) -> None:
    graph = detail_graph(comfyui.put_input(smiley(128), "wires.png"))
    del graph["detail"]["inputs"]["vae"]
    with pytest.raises(ComfyUIError, match="Required input is missing"):
        comfyui.run(graph)


def test_a_training_that_is_interrupted_goes_on_where_it_was(comfyui: RunningComfyUI) -> None:
    folder = comfyui.base / "input" / "stripes"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        picture = Image.new("RGB", (160, 160), (200, 30 * number, 90))
        picture.paste((250, 250, 60), (0, 20 + 6 * number, 160, 60 + 6 * number))
        picture.save(folder / f"{number}.png")
    values = {"name": "Stripes", "about": "stripes", "files": "stripes", "goal": "style"}
    values |= {"base": "starter", "quality": "draft"}
    graph = {
        "train": node("KizyTrainLora", **values, steps=12),
        "text": node("PreviewAny", source=["train", 0]),
    }

    def steps() -> list[int]:
        told: list[int] = []
        for file in (comfyui.base / "kizy" / "trainings").glob("stripes*/events.jsonl"):
            events = map(json.loads, file.read_text().splitlines())
            told += [event["step"] for event in events if event["kind"] == "step"]
        return told

    requests.post(f"{comfyui.url}/prompt", json={"prompt": graph}, timeout=60).raise_for_status()
    end = time.monotonic() + JOB_SECONDS
    while len(steps()) < 3 and time.monotonic() < end:
        time.sleep(0.05)
    requests.post(f"{comfyui.url}/interrupt", timeout=60)
    while comfyui.get("/queue").json()["queue_running"] and time.monotonic() < end:
        time.sleep(0.05)
    assert 3 <= len(steps()) < 12
    # What there was is kept, and drawn with.
    info = comfyui.get("/object_info/LoraLoader").json()["LoraLoader"]["input"]["required"]
    assert "stripes.safetensors" in info["lora_name"][0]
    assert comfyui.run(graph)["text"]["text"] == ["stripes.safetensors"]
    assert steps() == list(range(1, 13))
