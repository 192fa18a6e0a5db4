from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kizy.core.plan import InputPicture, ModelFile, Plan, PlannedLora, PlannedStart, Reason

PlanBuilder = Callable[..., Plan]
SHA = "ab" * 32


def lora(path: str | None, sha256: str | None = SHA) -> PlannedLora:
    file = ModelFile(name="fox", path=path, sha256=sha256)
    return PlannedLora(file=file, model_weight=1, clip_weight=1)


def start(path: str, sha256: str = SHA) -> PlannedStart:
    return PlannedStart(picture=InputPicture(path=path, sha256=sha256), strength=0.5)


def test_the_same_values_have_the_same_digest(make_plan: PlanBuilder) -> None:
    assert make_plan().digest() == make_plan().digest()


def test_where_known_files_lie_does_not_count(make_plan: PlanBuilder) -> None:
    here = make_plan(loras=(lora("/a/fox.safetensors"),), start=start("/a/1.png"))
    there = make_plan(loras=(lora("/b/fox.safetensors"),), start=start("/b/1.png"))
    assert here.digest() == there.digest()


def test_the_path_of_a_file_of_unknown_content_counts(make_plan: PlanBuilder) -> None:
    here, there = (ModelFile(name="m", path=path) for path in ("/a", "/b"))
    assert make_plan(model=here).digest() != make_plan(model=there).digest()


def test_another_content_is_another_plan(make_plan: PlanBuilder) -> None:
    one, other = (make_plan(start=start("/1.png", sha)) for sha in (SHA, "cd" * 32))
    assert one.digest() != other.digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"prompt": "a blue fox"},
        {"negative": "blurry"},
        {"width": 136},
        {"steps": 21},
        {"guidance": 3.5},
        {"sampler": "heun"},
        {"scheduler": "karras"},
        {"count": 2},
        {"stages": ()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_decides_the_pixels_counts(make_plan: PlanBuilder, changes: dict[str, Any]) -> None:
    assert make_plan(**changes).digest() != make_plan().digest()


def test_reasons_do_not_count(make_plan: PlanBuilder) -> None:
    reasons = (Reason(choice="seed", value="1", why="rolled"),)
    assert make_plan(reasons=reasons).digest() == make_plan().digest()


def test_each_picture_of_a_count_has_its_own_seed(make_plan: PlanBuilder) -> None:
    alone = make_plan(count=4, seed=10).for_picture(3)
    assert (alone.count, alone.seed) == (1, 13)


def test_a_plan_survives_json(make_plan: PlanBuilder) -> None:
    plan = make_plan(loras=(lora("/a"),), start=start("/a/1.png"))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
