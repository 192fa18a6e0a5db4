"""The built-in trainer's parts: noise and its weights, batches, learning rate, cached pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kizy.starter.architecture import SCHEDULER_CONFIG, alphas_and_sigmas
from kizy.trainer import curves
from kizy.trainer.best import Check
from kizy.trainer.builtin.batches import Batches
from kizy.trainer.builtin.cached import cache_pictures, fitted
from kizy.trainer.builtin.objective import Schedule, noised, spread_timesteps, squared_error
from kizy.trainer.builtin.optimizers import make_optimizer, share_of_rate
from kizy.trainer.dataset import PICTURES, load
from PIL import Image

from tests.unit.drawing.builders import FakeModel
from tests.unit.trainer.run_builders import run_folder, training_plan

SD = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def test_the_starters_noise_is_that_of_its_own_training() -> None:
    schedule = Schedule.of(SCHEDULER_CONFIG)
    signal, noise = alphas_and_sigmas()
    assert schedule.prediction == "v_prediction"
    assert torch.allclose(schedule.signal, signal, atol=1e-4)
    assert torch.allclose(schedule.noise, noise, atol=1e-4)


def test_min_snr_where_noise_is_predicted() -> None:
    schedule = Schedule.of(SD)
    weights = schedule.weights(5.0)
    high, low = schedule.snr > 5, schedule.snr <= 5
    assert torch.allclose(weights[high], 5 / schedule.snr[high])
    assert torch.allclose(weights[low], torch.ones(int(low.sum())))


def test_min_snr_where_v_is_predicted() -> None:
    schedule = Schedule.of(SD | {"prediction_type": "v_prediction"})
    expected = schedule.snr.clamp(max=5) / (schedule.snr + 1)
    assert torch.allclose(schedule.weights(5.0), expected)


def test_without_any_signal_a_step_still_counts() -> None:
    schedule = Schedule.of(SCHEDULER_CONFIG)
    assert float(schedule.snr[-1]) == 0
    assert float(schedule.weights(5.0)[-1]) == pytest.approx(1)
    assert bool((schedule.weights(None) == 1).all())


@pytest.mark.parametrize("config", [SD, SCHEDULER_CONFIG])
def test_the_target_leads_back_to_the_picture(config) -> None:
    schedule = Schedule.of(config)
    latents, noise = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    t = torch.tensor([10, 400, 900])
    made = noised(schedule, schedule.weights(None), latents, noise, t)
    a, s = (values[t].view(-1, 1, 1, 1) for values in (schedule.signal, schedule.noise))
    if schedule.prediction == "epsilon":
        back = (made.latents - s * made.target) / a
    else:
        back = a * made.latents - s * made.target
    assert torch.allclose(back, latents, atol=1e-4)


def test_timesteps_are_spread_evenly() -> None:
    found = spread_timesteps(4, 1000, torch.Generator().manual_seed(1))
    assert sorted((found // 250).tolist()) == [0, 1, 2, 3]


def test_an_error_counts_where_the_mask_is() -> None:
    said, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    target[..., :2] = 3.0
    mask = torch.ones(1, 1, 4, 4)
    mask[..., :2] = 0
    assert float(squared_error(said, target, mask)) == 0
    assert float(squared_error(said, target, 1 - mask)) == pytest.approx(9)
    assert float(squared_error(said, target, None)) == pytest.approx(4.5)


def test_each_picture_is_seen_once_an_epoch_with_pictures_of_its_size() -> None:
    sizes = ["a"] * 5 + ["b"] * 2
    batches = Batches(sizes, 2, seed=1)
    assert batches.per_epoch == 4
    for epoch in range(3):
        found = [batches.at(epoch * 4 + number) for number in range(4)]
        assert sorted(index for batch in found for index in batch) == list(range(7))
        assert all(len({sizes[index] for index in batch}) == 1 for batch in found)


def test_batches_depend_on_seed_and_number_alone() -> None:
    one, other = (Batches(["a"] * 9, 2, seed=4) for _ in range(2))
    assert [one.at(n) for n in range(20)] == [other.at(n) for n in reversed(range(20))][::-1]
    assert [one.at(n) for n in range(5)] != [one.at(n) for n in range(5, 10)]


def test_the_learning_rate_rises_then_falls() -> None:
    shares = [share_of_rate(step, 100, 10, "cosine") for step in range(100)]
    assert shares[0] == pytest.approx(0.1) and max(shares) == pytest.approx(1.0)
    assert shares[10:] == sorted(shares[10:], reverse=True) and shares[-1] < 0.01
    assert share_of_rate(99, 100, 10, "constant") == 1
    restarts = [share_of_rate(step, 90, 0, "cosine_with_restarts") for step in (0, 29, 30, 89)]
    assert restarts[0] == restarts[2] == 1 and restarts[1] < 0.01


def test_an_optimizer_whose_package_is_missing_is_named() -> None:
    from importlib.util import find_spec

    from kizy.core.errors import EngineError

    if find_spec("prodigyopt") is not None:
        pytest.skip("prodigyopt is installed")
    with pytest.raises(EngineError, match="prodigyopt") as caught:
        make_optimizer("prodigy", [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 1.0}])
    assert caught.value.code == "local_missing"


def test_a_picture_is_cut_to_its_bucket_without_being_stretched() -> None:
    picture = Image.new("RGB", (100, 50), "white")
    picture.paste("red", (0, 0, 25, 50))
    found = fitted(picture, (32, 32))
    assert found.size == (32, 32)
    # The outer quarters of the width hang over.
    assert found.getpixel((8, 16)) == (255, 255, 255)


def test_transparent_parts_have_no_weight(tmp_path: Path) -> None:
    plan = training_plan(None)
    folder = run_folder(tmp_path / "run", plan, alpha=True)
    examples = load(folder).examples
    found = cache_pictures(
        FakeModel(), folder / PICTURES, examples, plan.resolution, plan.multiple, masked=True
    )
    mask = found[0].mask
    assert mask is not None and mask.shape == (1, 8, 8)
    assert float(mask[0, :, 0].max()) == 0 and float(mask[0, :, -1].min()) == 1
    assert [picture.size for picture in found] == [(64, 64), (64, 64), (96, 32), (64, 64)]


def test_the_curve_and_the_grid_are_drawn(tmp_path: Path) -> None:
    losses = [(step, 1 / step, 1 / step) for step in range(1, 50)]
    curves.loss_curve(tmp_path / "loss.png", losses, [Check(20, 0.2), Check(40, 0.1)], 40)
    curves.loss_curve(tmp_path / "empty.png", [], [], None)
    pictures = {}
    for step in (0, 20, 40):
        for index in (0, 1):
            pictures[step, index] = tmp_path / f"{step}-{index}.png"
            Image.new("RGB", (512, 384), (step, 90, 100 * index)).save(pictures[step, index])
    pictures[60, 0] = tmp_path / "missing.png"
    assert curves.sample_grid(tmp_path / "grid.png", pictures, ["a", "a long prompt " * 9], 40)
    for name in ("loss.png", "empty.png", "grid.png"):
        with Image.open(tmp_path / name) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 1
    assert not curves.sample_grid(tmp_path / "none.png", {}, [], None)


def test_a_loss_that_is_no_number_does_not_spoil_the_curve(tmp_path: Path) -> None:
    losses = [(1, 0.5, 0.5), (2, float("nan"), 0.5), (3, 0.4, float("inf"))]
    curves.loss_curve(tmp_path / "loss.png", losses, [], None)
    assert (tmp_path / "loss.png").exists()
