"""Planning asks a snapshot: a server that hangs holds up nobody who does not need it.

The hung server is the fake with `mute`: it takes connections and answers nothing. Where a test says
that something does not wait for it, its limits are so long that it would never end if it did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import EngineError
from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App
from kizy.orchestrator.comfy_side import ComfySide
from kizy.orchestrator.jobs import listings
from kizy.orchestrator.planning import inventory
from kizy.orchestrator.settings import ComfyuiSettings, ServerSettings, Settings
from kizy.orchestrator.shelf import Shelf
from kizy.orchestrator.storage.pictures import PictureFolder

from tests.fakes.comfyui import FakeComfyUI

SD15, SDXL = "v1-5-pruned-emaonly-fp16.safetensors", "sd_xl_base_1.0.safetensors"
WAIT = 30.0
"""Seconds after which a test that hangs fails."""
FOREVER = 10_000.0


def files(checkpoint: str) -> dict[str, list[str]]:
    return {"checkpoints": [checkpoint], "diffusion_models": [], "loras": []}


@pytest.fixture
def good() -> Iterator[FakeComfyUI]:
    with FakeComfyUI(models=files(SD15)) as server:
        yield server


@pytest.fixture
def hung() -> Iterator[FakeComfyUI]:
    with FakeComfyUI(models=files(SDXL)) as server:
        server.faults.mute = True
        yield server


@pytest.fixture
def app_on(tmp_path: Path) -> Iterator[Callable[..., App]]:
    """app_on(good=fake, ...): an App with these servers."""
    made: list[App] = []

    def make(**fakes: FakeComfyUI) -> App:
        servers = tuple(ServerSettings(name=name, url=fake.url) for name, fake in fakes.items())
        settings = Settings.model_validate({"engine": "auto", "servers": servers})
        made.append(App(pictures=tmp_path / "out", settings=settings))
        return made[-1]

    yield make
    for app in made:
        app.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(4)
    yield pool
    pool.shutdown(wait=False)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is waited for without end; nobody waits for one beside another."""
    monkeypatch.setattr(inventory, "READ", FOREVER)
    monkeypatch.setattr(inventory, "LIMIT", FOREVER)
    monkeypatch.setattr(inventory, "GRACE", 0.0)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "READ", 1.5)


def wish(**values: Any) -> GenerationRequest:
    return GenerationRequest.model_validate({"prompt": "a red fox", "seed": 1, **values})


@pytest.mark.usefixtures("endless")
def test_plans_for_others_do_not_wait_for_a_server_that_hangs(
    app_on: Callable[..., App],
    good: FakeComfyUI,
    hung: FakeComfyUI,
    threads: ThreadPoolExecutor,
) -> None:
    app = app_on(hung=hung, good=good)
    # This one needs it, and waits.
    needs_it = threads.submit(app.plan, wish(engine="comfyui", model=SDXL))
    others: list[Future[Any]] = [
        threads.submit(app.plan, wish(engine="embedded")),
        threads.submit(app.plan, wish(engine="comfyui", model=SD15)),
        threads.submit(app.plan, wish()),
    ]
    drawn_by = [one.result(WAIT).engine for one in others]
    assert drawn_by == ["embedded", "comfyui", "comfyui"]
    assert not needs_it.done()
    hung.faults.mute = False
    assert needs_it.result(WAIT).model.name == SDXL


@pytest.mark.usefixtures("short")
def test_a_plan_that_needs_a_server_that_hangs_alone_is_refused_in_plain_words(
    app_on: Callable[..., App], hung: FakeComfyUI
) -> None:
    app = app_on(hung=hung)
    with pytest.raises(EngineError, match=r"hung .* does not answer") as caught:
        app.plan(wish(engine="comfyui"))
    assert caught.value.code == "server_unreachable"
    # Nor is it waited for where this machine can draw.
    assert app.plan(wish()).engine == "embedded"


@pytest.mark.usefixtures("short")
def test_a_server_that_hangs_later_is_left_out_and_taken_up_when_it_answers(
    app_on: Callable[..., App],
    good: FakeComfyUI,
    hung: FakeComfyUI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inventory, "AGAIN", 0.0)
    app = app_on(hung=hung, good=good)
    hung.faults.mute = False
    assert app.plan(wish(engine="comfyui", model=SDXL)).model.name == SDXL
    hung.faults.mute = True
    while "hung" not in app.comfy.snapshot(patient=True).errors:
        pass
    assert app.plan(wish(engine="comfyui")).model.name == SD15
    hung.faults.mute = False
    assert app.plan(wish(engine="comfyui", model=SDXL)).model.name == SDXL


@pytest.mark.usefixtures("endless")
def test_lists_tell_what_is_known_without_a_server_that_hangs(
    app_on: Callable[..., App], good: FakeComfyUI, hung: FakeComfyUI, threads: ThreadPoolExecutor
) -> None:
    app = app_on(hung=hung, good=good)
    app.plan(wish(engine="comfyui", model=SD15))
    found = threads.submit(listings.all_models, app).result(WAIT)
    assert SD15 in [model.entry.name for model in found.on_servers]
    assert found.notes == ("hung has not answered yet.",)
    assert threads.submit(listings.loras, app).result(WAIT) == ()
    assert threads.submit(lambda: app.comfy.count).result(WAIT) == 2


@pytest.mark.usefixtures("short")
def test_the_servers_list_says_which_one_hangs(
    app_on: Callable[..., App], good: FakeComfyUI, hung: FakeComfyUI
) -> None:
    _, bad, well = listings.servers(app_on(hung=hung, good=good))
    assert "does not answer" in bad.state and bad.url == hung.url
    assert (well.state, well.queue, well.version) == ("ready", 0, "0.3.64")


def test_what_a_server_has_is_kept_while_it_is_asked_anew(
    app_on: Callable[..., App], good: FakeComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_on(good=good)
    app.plan(wish(engine="comfyui"))
    monkeypatch.setattr(inventory, "LISTS", 0.0)
    good.faults.object_info_held = True
    before = good.requests.count("GET /object_info")
    for _ in range(3):
        assert app.plan(wish(engine="comfyui")).model.name == SD15
    good.faults.object_info_held = False
    assert good.requests.count("GET /object_info") <= before + 1


def test_a_server_that_tells_slowly_what_it_has_is_waited_for_where_there_is_no_other(
    app_on: Callable[..., App], good: FakeComfyUI, threads: ThreadPoolExecutor
) -> None:
    good.faults.object_info_held = True
    plan = threads.submit(app_on(good=good).plan, wish(engine="comfyui"))
    while "GET /object_info" not in good.requests:
        assert not plan.done()
    good.faults.object_info_held = False
    assert plan.result(WAIT).model.name == SD15


def test_nobody_is_asked_for_an_embedded_plan(
    app_on: Callable[..., App], good: FakeComfyUI
) -> None:
    app_on(good=good).plan(wish(engine="embedded"))
    assert good.requests == []


def test_how_many_servers_there_are_is_told_while_they_are_looked_for(
    tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    """The dispatcher asks with its lock held."""
    looking, go = threading.Event(), threading.Event()

    def find(_settings: Settings) -> list[Address]:
        looking.set()
        assert go.wait(WAIT)
        return [Address("one", "http://127.0.0.1:9")]

    settings = Settings()
    side = ComfySide(settings, PictureFolder(tmp_path, "0"), Shelf(settings), find=find)
    assert threads.submit(lambda: side.count).result(WAIT) == 0
    assert looking.wait(WAIT)
    assert threads.submit(lambda: side.count).result(WAIT) == 0
    go.set()
    assert side.there and side.count == 1
    side.close()


def test_a_comfyui_that_is_being_started_holds_up_no_other_server(
    tmp_path: Path, good: FakeComfyUI, threads: ThreadPoolExecutor
) -> None:
    starting, go = threading.Event(), threading.Event()

    def start(_options: Any) -> list[Address]:
        starting.set()
        assert go.wait(WAIT)
        return []

    settings = Settings(comfyui=ComfyuiSettings(folder=tmp_path), engine="auto")
    app = App(pictures=tmp_path / "out", settings=settings)
    app.comfy = ComfySide(
        settings,
        app.pictures,
        app.shelf,
        find=lambda _settings: [Address("good", good.url)],
        start=start,
    )
    assert threads.submit(app.plan, wish(model=SD15)).result(WAIT).engine == "comfyui"
    assert starting.wait(WAIT)
    assert threads.submit(app.plan, wish(engine="embedded")).result(WAIT).engine == "embedded"
    go.set()
    app.close()
