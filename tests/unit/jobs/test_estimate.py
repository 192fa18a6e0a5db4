"""How long drawings take, as learned from earlier ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kizy.core.request import GenerationRequest
from kizy.orchestrator.jobs.database import Database
from kizy.orchestrator.jobs.durations import Durations

from tests.fakes.draws import plan_of

WISH = GenerationRequest(prompt="a fox", seed=1)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


def learn(database: Database, durations: Durations, *about: Any) -> None:
    with database.writing() as connection:
        durations.learn(connection, *about)


def plan(**changes: Any) -> Any:
    return plan_of(WISH, **changes)


def test_nothing_is_expected_before_anything_was_drawn(database: Database) -> None:
    assert Durations(database).expect(plan(), "embedded") is None


def test_the_same_again_takes_as_long_for_each_picture(database: Database) -> None:
    learn(database, Durations(database), plan(), "embedded", "", 2.0)
    later = Durations(database)
    assert later.expect(plan(count=3), "embedded") == pytest.approx(6.0)
    assert later.expect(plan(), "comfyui") is None
    assert later.expect(plan(family="sdxl"), "embedded") is None


def test_other_sizes_and_steps_are_scaled(database: Database) -> None:
    durations = Durations(database)
    learn(database, durations, plan(width=512, height=512, steps=20), "comfyui", "gpu", 10.0)
    larger = plan(width=1024, height=512, steps=10)
    assert durations.expect(larger, "comfyui") == pytest.approx(10.0)


def test_new_times_count_but_not_alone_and_servers_are_apart(database: Database) -> None:
    durations = Durations(database)
    for seconds in (10.0, 20.0):
        learn(database, durations, plan(), "comfyui", "slow", seconds)
    assert durations.expect(plan(), "comfyui") == pytest.approx(13.0)
    learn(database, durations, plan(), "comfyui", "quick", 1.0)
    assert durations.expect(plan(), "comfyui") == pytest.approx(7.0)
