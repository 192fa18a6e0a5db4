from __future__ import annotations

from collections.abc import Callable

import pytest
from kizy.core.plan import Plan
from kizy.core.seeds import MAX_SEED, places_after, seed_after
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("seed", "number", "after"),
    [(5, 3, 8), (2**63 - 1, 1, 2**63), (MAX_SEED, 0, MAX_SEED), (MAX_SEED, 1, 0), (MAX_SEED, 3, 2)],
)
def test_seeds_are_counted_in_a_circle(seed: int, number: int, after: int) -> None:
    assert seed_after(seed, number) == after
    assert places_after(after, seed) == number


def test_the_pictures_of_a_plan_go_on_behind_the_highest_seed(
    make_plan: Callable[..., Plan],
) -> None:
    plan = make_plan(seed=MAX_SEED, count=3)
    assert [plan.for_picture(index).seed for index in range(3)] == [MAX_SEED, 0, 1]


def test_a_plan_has_no_seed_that_nothing_takes(make_plan: Callable[..., Plan]) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate(make_plan().model_dump() | {"seed": MAX_SEED + 1})
