"""The App: which engine a wish goes to, and why. ComfyUI is the fake."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from kizy.core.errors import EngineError, InputError, UnknownNameError
from kizy.core.plan import Plan
from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App
from kizy.orchestrator.comfy_side import ComfySide
from kizy.orchestrator.settings import ServerSettings, Settings

from tests.fakes.comfyui import FakeComfyUI
from tests.unit.drawing.builders import save_kohya_lora

SD15, STARTER = "v1-5-pruned-emaonly-fp16.safetensors", "kizy-starter.safetensors"


@dataclass
class Made:
    apps: list[App] = field(default_factory=list)

    def __call__(self, tmp_path: Path, *fakes: FakeComfyUI, **settings: Any) -> App:
        names = ("first", "second")
        servers = tuple(
            ServerSettings(name=name, url=fake.url)
            for name, fake in zip(names, fakes, strict=False)
        )
        values = {"engine": "auto", **settings}
        app = App(pictures=tmp_path / "out", settings=Settings(servers=servers, **values))
        if not fakes:
            # Whatever else runs on this machine is not looked for.
            app.comfy = ComfySide(app.settings, app.pictures, app.shelf, find=lambda settings: [])
        self.apps.append(app)
        return app


@pytest.fixture
def app_on(tmp_path: Path) -> Iterator[Callable[..., App]]:
    """app_on(fake, ..., engine=...): an App with these servers; without any if none is named."""
    made = Made()
    yield lambda *fakes, **settings: made(tmp_path, *fakes, **settings)
    for app in made.apps:
        app.close()


@pytest.fixture
def fake() -> Iterator[FakeComfyUI]:
    with FakeComfyUI(models={"checkpoints": [SD15, STARTER], "loras": []}) as server:
        yield server


def wish(**values: Any) -> GenerationRequest:
    return GenerationRequest.model_validate({"prompt": "a red fox", "seed": 1, **values})


def reason(plan: Plan, choice: str) -> str:
    return next(reason.why for reason in plan.reasons if reason.choice == choice)


def draw(app: App, plan: Plan) -> list[Any]:
    return list(app.follow(app.start(plan)))


def test_auto_takes_comfyui_where_a_server_can_serve_it(
    app_on: Callable[..., App], fake: FakeComfyUI
) -> None:
    plan = app_on(fake).plan(wish(model=SD15))
    assert (plan.engine, plan.model.name, plan.family) == ("comfyui", SD15, "sd15")
    assert reason(plan, "engine") == "on first"
    assert reason(plan, "model") == "you named it"


def test_what_was_planned_for_comfyui_is_drawn_there(
    app_on: Callable[..., App], fake: FakeComfyUI
) -> None:
    app = app_on(fake)
    events = draw(app, app.plan(wish(model=SD15, size="64x64", steps=2)))
    assert events[-1].state == "succeeded"
    (artifact,) = [event.artifact for event in events if event.kind == "artifact"]
    plan = app.plan_of(Path(artifact.path))
    assert draw(app, plan)[-1].state == "succeeded"


def test_without_any_server_it_is_drawn_here_and_says_why(app_on: Callable[..., App]) -> None:
    plan = app_on().plan(wish())
    assert plan.engine == "embedded"
    assert reason(plan, "engine") == "no ComfyUI is set up or runs here"


def test_a_server_that_is_down_is_named_when_it_is_drawn_here_instead(
    app_on: Callable[..., App], fake: FakeComfyUI
) -> None:
    fake.stop()
    plan = app_on(fake).plan(wish())
    fake.start()
    assert plan.engine == "embedded"
    assert reason(plan, "engine").startswith("ComfyUI cannot: ") and "first" in reason(
        plan, "engine"
    )


def test_one_server_that_answers_is_enough(app_on: Callable[..., App], fake: FakeComfyUI) -> None:
    with FakeComfyUI() as other:
        other.stop()
        plan = app_on(other, fake).plan(wish(model=SD15))
        other.start()
    assert (plan.engine, reason(plan, "engine")) == ("comfyui", "on second")


def test_who_asks_for_comfyui_is_told_when_it_is_down(
    app_on: Callable[..., App], fake: FakeComfyUI
) -> None:
    fake.stop()
    with pytest.raises(EngineError) as caught:
        app_on(fake).plan(wish(engine="comfyui"))
    fake.start()
    assert caught.value.code == "server_unreachable"


def test_who_asks_for_comfyui_is_told_when_there_is_none(app_on: Callable[..., App]) -> None:
    with pytest.raises(EngineError, match="No ComfyUI server is set up") as caught:
        app_on().plan(wish(engine="comfyui"))
    assert caught.value.code == "server_unreachable"


def test_a_plan_for_comfyui_that_is_drawn_again_without_any_is_refused(
    app_on: Callable[..., App],
) -> None:
    app = app_on()
    plan = app.plan(wish()).model_copy(update={"engine": "comfyui"})
    with pytest.raises(EngineError) as caught:
        app.start(plan)
    assert caught.value.code == "server_unreachable"


@pytest.mark.parametrize("by", ["wish", "settings"])
def test_the_embedded_engine_can_be_asked_for(
    app_on: Callable[..., App], fake: FakeComfyUI, by: str
) -> None:
    if by == "wish":
        plan = app_on(fake).plan(wish(engine="embedded"))
        assert reason(plan, "engine") == "you asked for it"
    else:
        plan = app_on(fake, engine="embedded").plan(wish())
        assert reason(plan, "engine") == "your settings say so"
    assert plan.engine == "embedded"
    assert fake.requests == []


def test_an_engine_that_does_not_exist_is_told(app_on: Callable[..., App]) -> None:
    with pytest.raises(InputError, match="auto, comfyui, embedded"):
        app_on().plan(wish(engine="paint"))


def test_the_starter_is_drawn_here_where_the_server_lacks_the_node_pack(
    app_on: Callable[..., App],
) -> None:
    with FakeComfyUI(models={"checkpoints": [SD15]}) as plain:
        plan = app_on(plain).plan(wish(model="starter"))
    assert plan.engine == "embedded"
    assert "node pack" in reason(plan, "engine")


def test_a_name_that_nothing_has_is_told_with_the_servers_nearest(
    app_on: Callable[..., App], fake: FakeComfyUI
) -> None:
    with pytest.raises(UnknownNameError, match='Did you mean "v1-5-pruned-emaonly-fp16"') as caught:
        app_on(fake).plan(wish(model="v1-5-pruned-emaonly"))
    assert caught.value.code == "model_unknown"


def test_a_name_that_may_be_on_a_server_that_is_down_is_not_called_unknown(
    app_on: Callable[..., App], fake: FakeComfyUI
) -> None:
    fake.stop()
    with pytest.raises(EngineError) as caught:
        app_on(fake).plan(wish(model="sdxl"))
    fake.start()
    assert caught.value.code == "server_unreachable"


def test_a_model_that_came_a_moment_ago_is_found(
    app_on: Callable[..., App], fake: FakeComfyUI
) -> None:
    app_on(fake).plan(wish(model=SD15))
    fake.models["checkpoints"].append("sd_xl_base_1.0.safetensors")
    fake.models["loras"].append("nadia.safetensors")
    # Another App: what the server had is kept on disk.
    plan = app_on(fake).plan(wish(model="sd_xl_base_1.0", loras=[{"name": "nadia"}]))
    assert (plan.engine, plan.family) == ("comfyui", "sdxl")
    assert plan.loras[0].file.name == "nadia.safetensors"


def lora(home: Path, name: str, *, context: int) -> None:
    """A LoRA in Kizy's own folder; SD 1.5's context is 768 wide, the starter's 384."""
    module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    pairs = {module: (torch.zeros(64, 4), torch.zeros(4, context))}
    (home / "loras").mkdir(exist_ok=True)
    save_kohya_lora(home / "loras" / f"{name}.safetensors", pairs, alpha=4.0)


def test_a_lora_that_only_this_machine_has_is_drawn_with_here(
    app_on: Callable[..., App], fake: FakeComfyUI, kizy_home: Path
) -> None:
    lora(kizy_home, "nadia", context=384)
    plan = app_on(fake).plan(wish(model="starter", loras=[{"name": "nadia"}]))
    assert (plan.engine, plan.loras[0].file.name) == ("embedded", "nadia")
    assert 'No server has a LoRA called "nadia"' in reason(plan, "engine")


def test_a_lora_of_another_family_is_refused_for_the_servers_model(
    app_on: Callable[..., App], fake: FakeComfyUI, kizy_home: Path
) -> None:
    lora(kizy_home, "nadia", context=384)
    fake.models["loras"].append("nadia.safetensors")
    # The same file lies there.
    size = (kizy_home / "loras" / "nadia.safetensors").stat().st_size
    fake.replace_file("loras", "nadia.safetensors", size=size)
    with pytest.raises(InputError, match=r"for Kizy Starter.*Stable Diffusion 1\.5") as caught:
        app_on(fake).plan(wish(model=SD15, loras=[{"name": "nadia"}]))
    assert caught.value.code == "lora_other_family"


def test_a_job_of_an_earlier_process_goes_on_and_saves_nothing_twice(
    app_on: Callable[..., App], fake: FakeComfyUI
) -> None:
    first = app_on(fake)
    plan = first.plan(wish(model=SD15, size="64x64", steps=2, count=2))
    handle = first.start(plan)
    before = {e.artifact.path for e in first.follow(handle) if e.kind == "artifact"}
    later = app_on(fake)
    events = list(later.follow(later.start(plan, handle.job_id, again=True)))
    assert events[-1].kind == "end" and events[-1].state == "succeeded"
    assert {e.artifact.path for e in events if e.kind == "artifact"} == before
    assert {str(path) for path in later.pictures.folder.glob("*.png")} == before
    assert fake.ran(handle.job_id) == 1


@pytest.mark.parametrize("engine", ["embedded", "comfyui"])
def test_the_starter_draws_other_languages_in_its_own_words_and_says_so(
    app_on: Callable[..., App], fake: FakeComfyUI, engine: str
) -> None:
    plan = app_on(fake).plan(wish(prompt="ein roter Fuchs", model="starter", engine=engine))
    assert (plan.prompt, plan.request_prompt) == ("a red fox, 3d render", "ein roter Fuchs")
    assert [notice.value for notice in plan.notices] == ["starter_other_words"]


@pytest.mark.parametrize("engine", ["embedded", "comfyui"])
def test_the_starter_says_what_it_was_not_taught(
    app_on: Callable[..., App], fake: FakeComfyUI, engine: str
) -> None:
    plan = app_on(fake).plan(wish(prompt="three foxes", model="starter", engine=engine))
    assert [notice.value for notice in plan.notices] == ["starter_not_taught"]


def test_a_style_is_heard_in_other_languages(app_on: Callable[..., App]) -> None:
    plan = app_on().plan(wish(prompt="ein Fuchs, Aufkleber", engine="embedded"))
    assert plan.style == "flat"


def test_another_model_gets_the_words_as_they_are(
    app_on: Callable[..., App], fake: FakeComfyUI
) -> None:
    plan = app_on(fake).plan(wish(prompt="ein Leuchtturm", model=SD15))
    assert plan.prompt == "ein Leuchtturm" and plan.notices == ()


def test_threads_that_come_at_once_get_one_engine_shelf_and_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kizy.orchestrator.backends import embedded

    made: list[object] = []

    class Slow:
        def __init__(self, *given: object, **named: object) -> None:
            threading.Event().wait(0.05)
            made.append(self)

    monkeypatch.setattr(embedded, "EmbeddedEngine", Slow)
    app = App(pictures=tmp_path, settings=Settings(engine="embedded"))
    together = threading.Barrier(6)

    def ask() -> tuple[int, int, int]:
        together.wait(20.0)
        return id(app.engine("embedded")), id(app.shelf), id(app.comfy)

    with ThreadPoolExecutor(6) as threads:
        found = {one.result() for one in [threads.submit(ask) for _ in range(6)]}
    assert len(made) == 1 and len(found) == 1
    app.close()
