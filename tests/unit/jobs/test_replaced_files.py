"""The store of finished work goes by content: what was replaced under its name is drawn anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from kizy.catalog.index import hashes
from kizy.catalog.index.hashes import file_sha256, model_sha256
from kizy.core.job import Job
from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App
from kizy.orchestrator.jobs.service import QueueService, local_service
from kizy.orchestrator.settings import ServerSettings, Settings
from safetensors.torch import load_file, save_file

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.diffusers_folders import sd15_folder
from tests.unit.drawing.builders import save_kohya_lora

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

SD15 = "v1-5-pruned-emaonly-fp16.safetensors"


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sd15_folder(tmp_path_factory.mktemp("models") / "tiny15")


@pytest.fixture
def tiny(made_once: Path, kizy_home: Path) -> Path:
    """A diffusers folder of tiny random weights among the models."""
    return Path(shutil.copytree(made_once, kizy_home / "models" / "tiny15"))


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is hashed in the background."""

    class Never:
        def add(self, _paths: list[Path]) -> None: ...

    monkeypatch.setattr(hashes, "_background", Never)


@pytest.fixture
def service_of(tmp_path: Path) -> Iterator[Callable[..., QueueService]]:
    made: list[QueueService] = []

    def make(*fakes: FakeComfyUI) -> QueueService:
        servers = tuple(ServerSettings(name=f"s{n}", url=f.url) for n, f in enumerate(fakes))
        engine = "comfyui" if fakes else "embedded"
        made.append(local_service(Settings(engine=engine, servers=servers), tmp_path / "store"))
        return made[-1]

    yield make
    for service in made:
        service.close(1.0)


def drawn(service: QueueService, **values: Any) -> Job:
    """The job when it is over."""
    wish = {"prompt": "a fox", "seed": 1, "size": "64x64", "steps": 2, **values}
    job = service.generate(GenerationRequest.model_validate(wish))
    for _ in service.follow(job.id):
        pass
    over = service.job(job.id)
    assert over.state == "succeeded", over.error
    return over


def pixels(service: QueueService, job: Job) -> bytes:
    from PIL import Image

    with Image.open(service.artifact(job.artifacts[0].id).path) as picture:
        return picture.tobytes()


def change(file: Path) -> None:
    """Other weights of the same shapes: the file keeps its size."""
    size = file.stat().st_size
    other = {name: one + 0.05 for name, one in load_file(file).items()}
    save_file(other, file, metadata={"format": "pt"})
    assert file.stat().st_size == size


@pytest.mark.usefixtures("unread")
def test_a_folder_is_stored_under_its_content_and_only_when_that_is_known(
    service_of: Callable[..., QueueService], tiny: Path
) -> None:
    service = service_of()
    first = drawn(service, model="tiny15")
    assert first.plan is not None and first.plan.model.sha256 is None
    assert not drawn(service, model="tiny15").from_store
    known = model_sha256(tiny)
    third, fourth = drawn(service, model="tiny15"), drawn(service, model="tiny15")
    assert third.plan is not None and third.plan.model.sha256 == known
    assert (third.from_store, fourth.from_store) == (False, True)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_folder_that_is_replaced_in_place_is_drawn_anew(
    service_of: Callable[..., QueueService], tiny: Path, part: str
) -> None:
    service = service_of()
    model_sha256(tiny)
    before = drawn(service, model="tiny15")
    assert drawn(service, model="tiny15").from_store
    (weights,) = (tiny / part).glob("*.safetensors")
    change(weights)
    after = drawn(service, model="tiny15")
    assert not after.from_store and pixels(service, after) != pixels(service, before)
    model_sha256(tiny)
    assert not drawn(service, model="tiny15").from_store
    again = drawn(service, model="tiny15")
    assert again.from_store and pixels(service, again) == pixels(service, after)


@pytest.mark.usefixtures("unread")
def test_what_is_replaced_while_it_is_drawn_is_not_stored(
    service_of: Callable[..., QueueService], tiny: Path
) -> None:
    service = service_of()
    model_sha256(tiny)
    engine: Any = service._shared.app.engine("embedded")
    save = engine._save

    def replaced_meanwhile(plan: Any, picture: Any) -> Any:
        engine._save = save
        (weights,) = (tiny / "unet").glob("*.safetensors")
        change(weights)
        model_sha256(tiny)
        return save(plan, picture)

    engine._save = replaced_meanwhile
    first = drawn(service, model="tiny15")
    second = drawn(service, model="tiny15")
    assert not second.from_store and pixels(service, second) != pixels(service, first)


def test_a_lora_that_is_replaced_in_place_is_drawn_anew(
    service_of: Callable[..., QueueService], kizy_home: Path
) -> None:
    module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    file = kizy_home / "loras" / "nadia.safetensors"
    file.parent.mkdir()

    def write(value: float) -> None:
        pairs = {module: (torch.full((64, 4), value), torch.full((4, 384), value))}
        save_kohya_lora(file, pairs, alpha=4.0)

    write(0.1)
    service = service_of()
    wish = {"model": "starter", "loras": [{"name": "nadia"}]}
    before = drawn(service, **wish)
    assert before.plan is not None and before.plan.loras[0].file.sha256 == file_sha256(file)
    assert drawn(service, **wish).from_store
    write(0.3)
    after = drawn(service, **wish)
    assert not after.from_store and pixels(service, after) != pixels(service, before)
    assert drawn(service, **wish).from_store


def test_a_replay_notices_that_its_folder_was_replaced(tiny: Path, tmp_path: Path) -> None:
    app = App(pictures=tmp_path / "out", settings=Settings(engine="embedded"))
    model_sha256(tiny)
    wish = {"prompt": "a fox", "seed": 1, "size": "64x64", "steps": 2, "model": "tiny15"}
    events = list(app.follow(app.start(app.plan(GenerationRequest.model_validate(wish)))))
    picture = next(Path(event.artifact.path) for event in events if event.kind == "artifact")
    assert not [one for one in app.plan_of(picture).reasons if one.value == "note"]
    (weights,) = (tiny / "unet").glob("*.safetensors")
    change(weights)
    plan = app.plan_of(picture)
    (note,) = [one.why for one in plan.reasons if (one.choice, one.value) == ("model", "note")]
    assert "tiny15 was replaced" in note and plan.model.sha256 == model_sha256(tiny)
    app.close()


def test_a_picture_says_the_hash_of_a_folder_that_was_read_while_it_was_drawn(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(pictures=tmp_path / "out", settings=Settings(engine="embedded"))
    monkeypatch.setattr(hashes, "_background", lambda: _Reads())
    wish = {"prompt": "a fox", "seed": 1, "size": "64x64", "steps": 2, "model": "tiny15"}
    plan = app.plan(GenerationRequest.model_validate(wish))
    events = list(app.follow(app.start(plan.model_copy(update={"model": _unhashed(plan.model)}))))
    picture = next(Path(event.artifact.path) for event in events if event.kind == "artifact")
    assert app.plan_of(picture).model.sha256 == model_sha256(tiny)
    app.close()


class _Reads:
    """Reads at once what is asked for."""

    def add(self, paths: list[Path]) -> None:
        for path in paths:
            file_sha256(path)


def _unhashed(model: Any) -> Any:
    return model.model_copy(update={"sha256": None})


# On a server, where size and time tell.

FILES = {
    "checkpoints": [SD15],
    "diffusion_models": ["flux1-schnell.safetensors"],
    "text_encoders": ["clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors"],
    "vae": ["ae.safetensors"],
    "loras": ["nadia.safetensors"],
    "controlnet": ["control_v11p_sd15_canny_fp16.safetensors"],
    "upscale_models": ["4x-UltraSharp.safetensors"],
}


@pytest.fixture
def fake() -> Iterator[FakeComfyUI]:
    with FakeComfyUI(models=FILES) as server:
        yield server


def wish_for(folder: str, tmp_path: Path) -> dict[str, Any]:
    """A wish that is drawn with the folder's file."""
    from PIL import Image

    wish: dict[str, Any] = {"model": SD15, "loras": "none"}
    if folder == "loras":
        wish["loras"] = [{"name": "nadia"}]
    if folder in ("diffusion_models", "text_encoders", "vae"):
        wish["model"] = "flux1-schnell"
    if folder == "controlnet":
        Image.new("RGB", (64, 64), "teal").save(tmp_path / "control.png")
        wish["controls"] = [{"kind": "canny", "picture": str(tmp_path / "control.png")}]
    if folder == "upscale_models":
        wish["enlarge"] = {"factor": 2}
    return wish


@pytest.mark.parametrize("folder", FILES)
def test_a_file_that_is_replaced_on_a_server_is_drawn_anew_there(
    service_of: Callable[..., QueueService], fake: FakeComfyUI, tmp_path: Path, folder: str
) -> None:
    service, wish = service_of(fake), wish_for(folder, tmp_path)
    before = drawn(service, **wish)
    assert drawn(service, **wish).from_store
    fake.replace_file(folder, FILES[folder][-1])
    after = drawn(service, **wish)
    assert not after.from_store
    # Nor does ComfyUI answer from its cache.
    loaders = {"upscale_models": "UpscaleModelLoader", "loras": "LoraLoader", "vae": "VAELoader"}
    assert fake.ran(after.id, loaders.get(folder, "KSampler")) == 1
    assert before.id != after.id and drawn(service, **wish).from_store


def test_nothing_is_stored_of_a_server_that_does_not_tell_its_files(
    service_of: Callable[..., QueueService], fake: FakeComfyUI
) -> None:
    fake.faults.no_model_files = True
    service = service_of(fake)
    assert not [drawn(service, model=SD15).from_store for _ in range(3)][-1]


def test_what_one_server_drew_is_given_where_it_could_draw_it_again(
    service_of: Callable[..., QueueService], fake: FakeComfyUI
) -> None:
    with FakeComfyUI(models=FILES) as other:
        other.replace_file("checkpoints", SD15)
        service = service_of(fake, other)
        first = drawn(service, model=SD15)
        assert drawn(service, model=SD15).from_store
        drew = fake if fake.ran(first.id) else other
        drew.replace_file("checkpoints", SD15, size=3_000_000)
        assert not drawn(service, model=SD15).from_store


def test_a_lora_that_was_replaced_is_loaded_by_another_node(
    service_of: Callable[..., QueueService], fake: FakeComfyUI, tmp_path: Path
) -> None:
    """ComfyUI's LoraLoader keeps what it read by its node."""
    service, wish = service_of(fake), wish_for("loras", tmp_path)

    def node_of(job: Job) -> str:
        steps = (step.split() for step in fake.steps)
        return next(
            node for prompt, node, name in steps if (prompt, name) == (job.id, "LoraLoader")
        )

    before = node_of(drawn(service, **wish))
    fake.replace_file("loras", "nadia.safetensors")
    assert node_of(drawn(service, **wish)) != before
