"""Kizy's whole way on a real ComfyUI: a request is planned, drawn there, fetched and saved.

With the starter and with a full-size SD 1.5 of random weights: KIZY_TEST_SD15 names its file;
without it one is made (see random_sd15.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests
import torch
from kizy.core.errors import InputError
from kizy.core.job import Artifact, Event, new_job_id
from kizy.core.picture_files import open_picture, read_plan
from kizy.core.plan import DrawStage, EnlargeStage, Plan, SecondPassStage, Stage
from kizy.core.request import Enlarge, GenerationRequest, StartPicture
from kizy.orchestrator.app import App
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.client_events import Done
from kizy.orchestrator.backends.comfyui.workflows.compile import compile_plan
from kizy.orchestrator.backends.comfyui.workflows.library import template_for
from kizy.orchestrator.planning.planner import ENLARGER
from kizy.orchestrator.settings import ServerSettings, Settings
from PIL import Image, ImageDraw, PngImagePlugin
from safetensors.torch import save_file

from tests.unit.drawing.builders import save_kohya_lora

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# Read now: no test sees variables that begin with KIZY_.
COMFYUI = os.environ.get("KIZY_TEST_COMFYUI")
PYTHON = os.environ.get("KIZY_TEST_COMFYUI_PYTHON", sys.executable)
SD15 = os.environ.get("KIZY_TEST_SD15")

SIZE = 64
SD15_FILE = "sd15-random.safetensors"
CONTROL_FILE = "control_sd15_canny_random.safetensors"
MAKE_SECONDS = 600


@dataclass(frozen=True)
class Model:
    """`name`: as a request names it. `channels`, `context`: of the UNet's first attention."""

    name: str
    channels: int
    context: int
    text_encoder: bool


MODELS = {
    "starter": Model("starter", 64, 384, text_encoder=False),
    "sd15": Model("sd15-random", 320, 768, text_encoder=True),
}


@pytest.fixture(scope="module")
def sd15(comfyui: RunningComfyUI) -> Iterator[None]:
    """A full-size checkpoint and a small ControlNet for it among the server's files."""
    checkpoint = comfyui.base / "models" / "checkpoints" / SD15_FILE
    control = comfyui.base / "models" / "controlnet" / CONTROL_FILE
    if SD15 is not None:
        checkpoint.symlink_to(Path(SD15).resolve())
    else:
        script = Path(__file__).with_name("random_sd15.py").resolve()
        command = [PYTHON, str(script), str(checkpoint)]
        subprocess.run(command, cwd=COMFYUI, check=True, timeout=MAKE_SECONDS, capture_output=True)
    control.parent.mkdir(exist_ok=True)
    save_file(control_tensors(), control)
    yield
    checkpoint.unlink()
    control.unlink()
    body = {"unload_models": True, "free_memory": True}
    requests.post(f"{comfyui.url}/free", json=body, timeout=60).raise_for_status()


def control_tensors() -> dict[str, torch.Tensor]:
    """What a ControlNet of SD 1.5 has beside the UNet's own weights, random.

    A control LoRA (Stability AI's form; comfy/controlnet.py, ControlLora) takes the others from the
    model that it steers, so that the file is small.
    """
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {"lora_controlnet": torch.tensor([])}

    def convolution(name: str, out: int, inside: int, kernel: int) -> None:
        shape = (out, inside, kernel, kernel)
        drawn = torch.randn(shape, generator=generator) * (inside * kernel**2) ** -0.5
        tensors[f"{name}.weight"] = drawn.half()
        tensors[f"{name}.bias"] = torch.zeros(out).half()

    hint = (3, 16, 16, 32, 32, 96, 96, 256, 320)
    for index, (inside, out) in enumerate(pairwise(hint)):
        convolution(f"input_hint_block.{2 * index}", out, inside, 3)
    for index, channels in enumerate([320] * 4 + [640] * 3 + [1280] * 5):
        convolution(f"zero_convs.{index}.0", channels, channels, 1)
    convolution("middle_block_out.0", 1280, 1280, 1)
    return tensors


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest) -> Model:
    if request.param == "sd15":
        request.getfixturevalue("sd15")
    return MODELS[request.param]


@pytest.fixture
def app(comfyui: RunningComfyUI, tmp_path: Path) -> Iterator[App]:
    app = App(pictures=tmp_path / "pictures", settings=settings_for(comfyui))
    yield app
    app.close()


def settings_for(comfyui: RunningComfyUI) -> Settings:
    return Settings(servers=(ServerSettings(name="real", url=comfyui.url),), engine="comfyui")


@dataclass(frozen=True)
class Drawn:
    """What came of one job. `classes`: of the nodes of its first graph.

    `cached`: of those among them that the server did not run.
    """

    events: list[Event]
    artifacts: list[Artifact]
    classes: list[str]
    cached: list[str]

    @property
    def pixels(self) -> np.ndarray:
        return pixels_of(self.artifacts[0].path)


class Studio:
    """Draws with one model, and sees that everything was in order."""

    def __init__(self, app: App, comfyui: RunningComfyUI, model: Model) -> None:
        self.app, self.comfyui, self.model = app, comfyui, model

    def plan(self, **wishes: Any) -> Plan:
        values: dict[str, Any] = {
            "prompt": "a red fox, 3d render",
            "model": self.model.name,
            "size": f"{SIZE}x{SIZE}",
            "seed": 7,
            "steps": 2,
            "guidance": 4.0,
            "enlarge": None,
        }
        return self.app.plan(GenerationRequest.model_validate(values | wishes))

    def draw(self, plan: Plan) -> Drawn:
        handle = self.app.start(plan)
        events = list(self.app.follow(handle))
        assert [(e.state, e.error) for e in events if e.kind == "end"] == [("succeeded", None)]
        fractions = [event.fraction for event in events if event.kind == "progress"]
        assert fractions == sorted(fractions) and fractions[-1] == 1.0
        artifacts = [event.artifact for event in events if event.kind == "artifact"]
        assert len(artifacts) == plan.count
        for artifact in artifacts:
            size = (plan.output_width, plan.output_height)
            assert (artifact.width, artifact.height) == size
            assert read_plan(Path(artifact.path)) == artifact.plan
            assert pixels_of(artifact.path).std() > 1, "a picture of one colour"
        entry = self.comfyui.get(f"/history/{handle.job_id}").json()[handle.job_id]
        graph = entry["prompt"][2]
        classes = [node["class_type"] for node in graph.values()]
        told = dict(entry["status"]["messages"])["execution_cached"]["nodes"]
        return Drawn(events, artifacts, classes, [graph[node]["class_type"] for node in told])

    def wish(self, **wishes: Any) -> Drawn:
        return self.draw(self.plan(**wishes))


@pytest.fixture
def studio(app: App, comfyui: RunningComfyUI, model: Model) -> Studio:
    return Studio(app, comfyui, model)


@pytest.fixture
def start_picture(tmp_path: Path) -> Path:
    noise = np.random.default_rng(1).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "start.png")
    return tmp_path / "start.png"


def pixels_of(path: str | Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def difference(one: Drawn, other: Drawn) -> float:
    return float(np.abs(one.pixels - other.pixels).mean())


def saved_there(comfyui: RunningComfyUI) -> set[Path]:
    """The finished pictures in ComfyUI's output folder."""
    return set((comfyui.base / "output" / "Kizy").glob("*.png"))


def test_text_to_image_draws_each_picture_once(studio: Studio, comfyui: RunningComfyUI) -> None:
    before = saved_there(comfyui)
    drawn = studio.wish(count=2)
    assert sorted(artifact.seed for artifact in drawn.artifacts) == [7, 8]
    assert len(saved_there(comfyui) - before) == 2
    first, second = (pixels_of(artifact.path) for artifact in drawn.artifacts)
    assert np.abs(first - second).mean() > 1
    assert any(event.kind == "preview" for event in drawn.events)


def test_the_same_plan_again_gives_the_same_pixels(studio: Studio) -> None:
    """ComfyUI has it in its cache then, and runs the output node alone."""
    plan = studio.plan(seed=11)
    assert difference(studio.draw(plan), studio.draw(plan)) == 0


def test_what_is_gone_from_the_output_folder_is_saved_again_from_the_cache(
    studio: Studio, comfyui: RunningComfyUI
) -> None:
    plan, other = studio.plan(seed=12), studio.plan(seed=13)
    first = studio.draw(plan)
    empty_output(comfyui)
    again = studio.draw(plan)
    assert difference(first, again) == 0
    assert "SaveImage" not in again.cached
    assert set(again.classes) - set(again.cached) == {"SaveImage"}
    # The numbers begin anew: the other picture gets the first one's name.
    empty_output(comfyui)
    second = studio.draw(other)
    assert difference(studio.draw(plan), first) == 0
    assert difference(second, first) > 1


def empty_output(comfyui: RunningComfyUI) -> None:
    for file in saved_there(comfyui):
        file.unlink()


def test_image_to_image_begins_with_the_picture(studio: Studio, start_picture: Path) -> None:
    start = {"picture": str(start_picture), "strength": 0.5}
    drawn = studio.wish(start=start, steps=4)
    assert "VAEEncode" in drawn.classes
    other = studio.wish(steps=4)
    assert difference(drawn, other) > 1


@pytest.mark.parametrize("feather", [0, 8])
def test_inpaint_leaves_what_is_outside_the_mask(
    studio: Studio, start_picture: Path, tmp_path: Path, feather: int
) -> None:
    mask = Image.new("L", (96, 96), 0)
    ImageDraw.Draw(mask).ellipse((20, 20, 70, 76), fill=255)
    mask.save(tmp_path / "mask.png")
    drawn = studio.wish(
        start={"picture": str(start_picture)},
        mask={"picture": str(tmp_path / "mask.png"), "feather": feather},
        size="auto",
    )
    given, outside = pixels_of(start_picture), np.asarray(mask) < 128
    assert (drawn.pixels[outside] == given[outside]).all()
    assert np.abs(drawn.pixels - given)[~outside].mean() > 10
    assert ("ImageBlur" in drawn.classes) == (feather > 0)


def lora_file(model: Model, path: Path, part: int) -> Path:
    """A small LoRA of random weights for that model, as sd-scripts names its modules."""
    block = f"lora_unet_down_blocks_{part}_attentions_0_transformer_blocks_0"
    channels = model.channels * 2**part
    modules = {f"{block}_attn2_to_{x}": (channels, model.context) for x in "kv"}
    modules[f"{block}_attn1_to_q"] = (channels, channels)
    if model.text_encoder:
        modules["lora_te_text_model_encoder_layers_0_self_attn_q_proj"] = (768, 768)
    generator = torch.Generator().manual_seed(part)
    pairs = {
        name: (
            torch.randn(out, 4, generator=generator) * 0.5,
            torch.randn(4, inside, generator=generator) * 0.5,
        )
        for name, (out, inside) in modules.items()
    }
    return save_kohya_lora(path, pairs, alpha=4.0)


def test_two_loras_change_the_picture_each(
    studio: Studio, comfyui: RunningComfyUI, tmp_path: Path
) -> None:
    paths = [tmp_path / f"lora-{part}.safetensors" for part in (0, 1)]
    files = [lora_file(studio.model, path, part) for part, path in enumerate(paths)]
    for file in files:
        comfyui.put_model("loras", file)
    try:
        # A wish for LoRAs that came a moment ago.
        names = [{"name": file.stem, "model_weight": 0.8} for file in files]
        one, both = studio.wish(loras=names[:1]), studio.wish(loras=names)
        plain = studio.wish()
    finally:
        for file in files:
            (comfyui.base / "models" / "loras" / file.name).unlink()
    assert both.classes.count("LoraLoader") == 2
    assert difference(one, plain) > 0.5
    assert difference(both, one) > 0.5
    assert "NOT LOADED" not in comfyui.log.read_text(errors="replace")


def test_a_lora_that_was_replaced_under_its_name_is_drawn_with_as_it_is_now(
    studio: Studio, comfyui: RunningComfyUI, tmp_path: Path
) -> None:
    """ComfyUI's cache goes by names, and its loader keeps the weights that it read."""
    paths = [tmp_path / f"part-{part}.safetensors" for part in (0, 1)]
    files = [lora_file(studio.model, path, part) for part, path in enumerate(paths)]
    there = comfyui.base / "models" / "loras" / "changing.safetensors"
    try:
        shutil.copyfile(files[0], there)
        plan = studio.plan(loras=[{"name": "changing", "model_weight": 0.8}], seed=17)
        before = studio.draw(plan)
        shutil.copyfile(files[1], there)
        after, again = studio.draw(plan), studio.draw(plan)
    finally:
        there.unlink(missing_ok=True)
    assert difference(after, before) > 0.5
    assert difference(again, after) == 0 and "KSampler" in again.cached


def test_a_control_map_steers_the_drawing(studio: Studio, start_picture: Path) -> None:
    control = {"kind": "canny", "picture": str(start_picture), "strength": 1.0, "end": 0.9}
    if studio.model.name == "starter":
        with pytest.raises(InputError, match="no ControlNets for"):
            studio.plan(controls=[control])
        return
    drawn = studio.wish(controls=[control])
    assert "ControlNetApplyAdvanced" in drawn.classes
    assert difference(drawn, studio.wish()) > 0.5


def larger(plan: Plan, stage: Stage) -> Plan:
    """The Plan with that stage behind drawing, which doubles the sides."""
    changes = {"output_width": 2 * plan.width, "output_height": 2 * plan.height}
    return plan.model_copy(update={**changes, "stages": (DrawStage(), stage)})


def test_the_packs_own_enlarger_enlarges(studio: Studio) -> None:
    drawn = studio.draw(larger(studio.plan(), EnlargeStage(factor=2, model=ENLARGER)))
    assert "ImageUpscaleWithModel" in drawn.classes


@pytest.mark.parametrize(("options", "side"), [({}, 1024), ({"size": "256x256"}, 512)])
def test_the_starter_is_enlarged_to_twice_what_it_is_saved_at(
    app: App, options: dict[str, Any], side: int
) -> None:
    wish = {"model": "starter", "engine": "comfyui", "steps": 2, "seed": 1, **options}
    request = GenerationRequest(prompt="a fox", enlarge=Enlarge(factor=2), **wish)
    artifacts = [e.artifact for e in events_of(app, request) if e.kind == "artifact"]
    assert [(x.width, x.height) for x in artifacts] == [(side, side)]


@pytest.mark.parametrize("factor", [1, 2])
def test_a_start_picture_of_strength_0_is_kept(app: App, tmp_path: Path, factor: int) -> None:
    given = tmp_path / "given.png"
    Image.effect_noise((90, 60), 80).convert("RGB").save(given)
    request = GenerationRequest(
        prompt="a fox",
        model="starter",
        engine="comfyui",
        start=StartPicture(picture=str(given), strength=0),
        enlarge=Enlarge(factor=factor),
    )
    (saved,) = (e.artifact.path for e in events_of(app, request) if e.kind == "artifact")
    assert pixels_of(Path(saved)).shape == (60 * factor, 90 * factor, 3)
    if factor == 1:
        assert (pixels_of(Path(saved)) == pixels_of(given)).all()


def palette(path: Path) -> Path:
    """A GIF of two frames; the second must not be seen."""
    frames = [Image.effect_noise((90, 60), 80).convert("P"), Image.new("P", (90, 60))]
    frames[0].save(path / "a.gif", save_all=True, append_images=frames[1:])
    return path / "a.gif"


def deep(path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 65536, (60, 90)).astype(np.uint16)
    Image.fromarray(values).save(path / "a.png")
    return path / "a.png"


def turned(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((90, 60), 80).convert("RGB").save(path / "a.tif", exif=exif)
    return path / "a.tif"


def wordy(path: Path) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 3_000_000, zip=True)
    Image.effect_noise((90, 60), 80).convert("RGB").save(path / "a.png", pnginfo=info)
    return path / "a.png"


def photo(path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    Image.fromarray(values).resize((90, 60)).save(path / "a.jpg", quality=90)
    return path / "a.jpg"


@pytest.mark.parametrize("make", [photo, palette, deep, turned, wordy])
def test_a_start_picture_of_any_kind_comes_as_kizy_reads_it(
    app: App, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    given = make(tmp_path)
    request = GenerationRequest(
        prompt="a fox",
        model="starter",
        engine="comfyui",
        start=StartPicture(picture=str(given), strength=0),
        enlarge=Enlarge(factor=1),
    )
    (saved,) = (e.artifact.path for e in events_of(app, request) if e.kind == "artifact")
    wanted = np.asarray(open_picture(given).convert("RGB"))
    assert np.array_equal(pixels_of(Path(saved)), wanted)


def events_of(app: App, request: GenerationRequest) -> list[Event]:
    return list(app.follow(app.start(app.plan(request))))


def test_a_second_pass_draws_at_a_larger_size(studio: Studio) -> None:
    again = SecondPassStage(factor=2, strength=0.5, steps=2)
    drawn = studio.draw(larger(studio.plan(), again))
    assert drawn.classes.count("KSampler") == 2


def test_tiled_decoding_gives_about_the_same_picture(studio: Studio, tmp_path: Path) -> None:
    """As the engine does it when memory ran out."""
    plan = studio.plan()
    plain = studio.draw(plan)
    client = ComfyClient(studio.app.settings.servers[0].address())
    try:
        facts = client.facts()
        compiled = compile_plan(plan, template_for(plan, facts), facts, tiled_decode=True)
        assert "VAEDecodeTiled" in [node["class_type"] for node in compiled.graph.values()]
        prompt_id = new_job_id()
        client.submit(compiled.graph, prompt_id)
        done = list(client.follow(prompt_id, compiled))[-1]
        assert isinstance(done, Done)
        client.download(done.outputs[0], tmp_path / "tiled.png")
    finally:
        client.close()
    assert np.abs(pixels_of(tmp_path / "tiled.png") - plain.pixels).mean() < 1


def test_a_large_picture_of_the_starter_is_planned_with_a_second_pass(
    app: App, comfyui: RunningComfyUI
) -> None:
    studio = Studio(app, comfyui, MODELS["starter"])
    drawn = studio.wish(size="224x192", steps=3)
    assert drawn.classes.count("KSampler") == 2
    assert drawn.artifacts[0].plan.width < 224


def test_the_command_line_draws_there_and_says_so(comfyui: RunningComfyUI, tmp_path: Path) -> None:
    command = "from kizy.orchestrator.cli.main import main; main()"
    options = ["--size", "square", "--steps", "2", "--seed", "3", "--json"]
    place = ["--out", str(tmp_path / "here")]
    environment = {**os.environ, "KIZY_SERVERS": comfyui.url, "KIZY_ENGINE": "auto"}
    done = subprocess.run(
        [sys.executable, "-c", command, "generate", "a red fox", *options, *place],
        env=environment,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    document = json.loads(done.stdout)
    (picture,) = document["pictures"]
    assert (picture["width"], picture["height"]) == (512, 512)
    assert document["plan"]["engine"] == "comfyui"
    assert "Engine: comfyui (on 127.0.0.1:" in done.stderr.decode()
