"""The servers of an App that lives for long: they come and go. ComfyUI is the fake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import EngineError
from kizy.orchestrator.backends.comfyui.launcher import users
from kizy.orchestrator.comfy_side import ComfySide
from kizy.orchestrator.planning.inventory import OLD
from kizy.orchestrator.settings import ComfyuiSettings, Settings
from kizy.orchestrator.shelf import Shelf
from kizy.orchestrator.storage.pictures import PictureFolder

from tests.fakes.comfyui import FakeComfyUI
from tests.unit.orchestrator.comfy.builders import CHECKPOINT, end_of, plan_of


class World:
    """What runs, and what time it is."""

    def __init__(self) -> None:
        self.there: list[Address] = []
        self.started: list[Address] = []
        self.starts = 0
        self.now = 0.0

    def later(self) -> None:
        self.now += OLD

    def start(self, options: Any) -> list[Address]:
        self.starts += 1
        return list(self.started)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make(world: World, tmp_path: Path) -> Iterator[Callable[..., ComfySide]]:
    made: list[ComfySide] = []

    def make(**settings: Any) -> ComfySide:
        values = Settings(**settings)
        side = ComfySide(
            values,
            PictureFolder(tmp_path / "pictures", "0"),
            Shelf(values),
            find=lambda settings: list(world.there),
            start=world.start,
            clock=lambda: world.now,
        )
        made.append(side)
        return side

    yield make
    for side in made:
        side.close()


@pytest.fixture
def fake() -> Iterator[FakeComfyUI]:
    with FakeComfyUI(models={"checkpoints": [CHECKPOINT]}) as server:
        yield server


def names(side: ComfySide) -> list[str]:
    return [client.address.name for client in side.clients()]


def test_a_server_that_comes_later_is_found_and_one_that_goes_is_not_used(
    world: World, make: Callable[..., ComfySide]
) -> None:
    side = make()
    assert not side.there
    world.there = [Address("one", "http://127.0.0.1:1")]
    assert not side.there
    world.later()
    assert side.there and names(side) == ["one"]
    (kept,) = side.clients()
    world.there.append(Address("two", "http://127.0.0.1:2"))
    world.later()
    assert names(side) == ["one", "two"] and side.clients()[0] is kept
    world.there = world.there[1:]
    world.later()
    assert names(side) == ["two"]
    world.there = []
    world.later()
    assert not side.there
    with pytest.raises(EngineError) as caught:
        side.clients()
    assert caught.value.code == "server_unreachable"


def test_the_engine_draws_on_a_server_that_came_later(
    world: World, make: Callable[..., ComfySide], fake: FakeComfyUI
) -> None:
    side = make()
    with FakeComfyUI() as other:
        world.there = [Address("other", other.url)]
        engine = side.engine()
        world.there.append(Address("fake", fake.url))
        world.later()
        assert side.engine() is engine
        job_id = "7b0c8f2e-45a5-4c39-9a2f-2f6e1c5b7d10"
        handle = engine.start(plan_of(), job_id)
        assert end_of(list(engine.follow(handle))).state == "succeeded"
    assert fake.ran(job_id) == 1


def test_an_engine_that_lives_is_given_though_no_server_is_there(
    world: World, make: Callable[..., ComfySide], fake: FakeComfyUI
) -> None:
    """Its jobs go on, and wait for a server that restarts."""
    side = make()
    world.there = [Address("fake", fake.url)]
    engine = side.engine()
    world.there = []
    world.later()
    assert side.engine() is engine


def test_a_folder_that_is_set_is_started_and_asked_for_again(
    world: World, make: Callable[..., ComfySide], tmp_path: Path
) -> None:
    """The ComfyUI that another process started may have ended with it."""
    side = make(comfyui=ComfyuiSettings(folder=tmp_path))
    assert side.there and world.starts == 0
    world.started = [Address("comfyui-1", "http://127.0.0.1:1")]
    assert names(side) == ["comfyui-1"]
    world.started = [Address("comfyui-2", "http://127.0.0.1:2")]
    assert names(side) == ["comfyui-2"]


def test_it_counts_as_a_user_until_it_is_closed(
    world: World, make: Callable[..., ComfySide], tmp_path: Path
) -> None:
    world.started = [Address("comfyui-1", "http://127.0.0.1:1")]
    side = make(comfyui=ComfyuiSettings(folder=tmp_path))
    assert not users.anybody()
    side.clients()
    assert users.anybody()
    side.close()
    assert not users.anybody()
