"""Which checkpoint is the best, by made-up losses on held-out pictures."""

from __future__ import annotations

from kizy.trainer.best import Check, choose, overfits


def checks(*losses: float) -> list[Check]:
    """A check every 100 steps."""
    return [Check(100 * (index + 1), loss) for index, loss in enumerate(losses)]


def steps_of(found: list[Check]) -> list[int]:
    return [check.step for check in found]


FALLING = checks(0.9, 0.7, 0.6, 0.55, 0.52, 0.5)
RISING = checks(0.9, 0.6, 0.5, 0.55, 0.62, 0.7, 0.8)


def test_while_the_loss_falls_the_last_checkpoint_is_the_best() -> None:
    best = choose(steps_of(FALLING), FALLING)
    assert best.step == 600 and "last" in best.why


def test_once_it_rises_the_checkpoint_at_the_lowest_loss_is_the_best() -> None:
    best = choose(steps_of(RISING), RISING)
    assert best.step == 300
    assert "of 700 steps" in best.why and "held-out" in best.why


def test_a_single_lucky_check_does_not_win() -> None:
    lucky = checks(0.9, 0.45, 0.8, 0.55, 0.52, 0.5, 0.49)
    assert choose(steps_of(lucky), lucky).step == 700


def test_of_checkpoints_as_good_as_each_other_the_later_one_is_taken() -> None:
    flat = checks(0.6, 0.5, 0.499, 0.501, 0.5, 0.501)
    assert choose(steps_of(flat), flat).step == 600


def test_without_held_out_pictures_the_last_one_is_taken_and_it_says_so() -> None:
    best = choose([100, 200], [])
    assert best.step == 200 and "no pictures were held out" in best.why


def test_only_what_was_saved_can_be_chosen() -> None:
    assert choose([100, 500, 700], RISING).step == 500


def test_overfitting_is_a_loss_that_rises_over_several_checks() -> None:
    assert overfits(RISING)
    assert not overfits(FALLING)


def test_noise_is_no_overfitting() -> None:
    assert not overfits(checks(0.5, 0.6, 0.5, 0.6, 0.5, 0.6, 0.5))
    assert not overfits(checks(0.5, 0.501, 0.502, 0.503, 0.504))


def test_a_few_checks_prove_nothing() -> None:
    assert not overfits(checks(0.5, 0.7, 0.9))
