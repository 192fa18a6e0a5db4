"""Training runs on a toy: resumed runs take the steps that uninterrupted ones take."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from kizy.tools.starter.runs import Ema, Run, cosine, load_tensors, save_tensors  # noqa: E402

STEPS = 12


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """A run hears SIGINT and SIGTERM; behind each test the old handlers are back."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, old, strict=True):
        signal.signal(number, handler)


def toy() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))


def run_of(folder: Path, optimizer: str = "AdamW") -> Run:
    module = toy()
    made = getattr(torch.optim, optimizer)(module.parameters(), lr=0.02)
    ema = {"toy": Ema(module, 0.9)}
    return Run(folder, {"toy": module}, made, steps=STEPS, warmup=3, seed=7, ema=ema)


def loss_of(run: Run, stop_at: int | None = None):
    """A loss from the two generators alone; stops the run as a power cut would."""

    def loss(rng: random.Random, generator: torch.Generator) -> torch.Tensor:
        if run.step == stop_at:
            run.save()
            raise InterruptedError
        x = torch.randn(4, 3, generator=generator) * (1 + rng.random())
        return run.modules["toy"](x).square().mean()

    return loss


def finished(folder: Path, optimizer: str, stop_at: int | None = None) -> Run:
    run = run_of(folder, optimizer)
    if stop_at is not None:
        with pytest.raises(InterruptedError):
            run.go(loss_of(run, stop_at))
        run = run_of(folder, optimizer)
        assert run.resume() and run.step == stop_at
    run.go(loss_of(run))
    return run


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
@pytest.mark.parametrize("stop_at", [1, 5, STEPS - 1])
def test_a_resumed_run_ends_bit_for_bit_as_an_uninterrupted_one(
    tmp_path: Path, optimizer: str, stop_at: int
) -> None:
    whole = finished(tmp_path / "whole", optimizer)
    resumed = finished(tmp_path / "resumed", optimizer, stop_at)
    for key, value in whole.modules["toy"].state_dict().items():
        assert torch.equal(resumed.modules["toy"].state_dict()[key], value), key
        assert torch.equal(resumed.ema["toy"].shadow[key], whole.ema["toy"].shadow[key]), key


def test_training_changes_the_weights(tmp_path: Path) -> None:
    run = finished(tmp_path, "AdamW")
    assert not torch.equal(run.modules["toy"][0].weight, toy()[0].weight)


def test_without_a_state_there_is_nothing_to_resume(tmp_path: Path) -> None:
    assert run_of(tmp_path).resume() is False


def test_a_finished_run_takes_no_more_steps(tmp_path: Path) -> None:
    finished(tmp_path, "AdamW")
    again = run_of(tmp_path)
    again.resume()
    again.go(loss_of(again, stop_at=STEPS))
    assert again.step == STEPS


def test_what_was_measured_at_a_save_is_in_the_log(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.go(loss_of(run), log_every=4, on_save=lambda: {"psnr": 30.0})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12, 12]
    assert lines[-1]["psnr"] == 30.0


def test_a_failed_save_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"a": torch.ones(2)}, {"step": "1"})
    shared = torch.ones(4)
    with pytest.raises(RuntimeError):
        save_tensors(path, {"a": shared, "b": shared}, {"step": "2"})
    tensors, metadata = load_tensors(path)
    assert (tensors["a"].tolist(), metadata) == ([1.0, 1.0], {"step": "1"})


def test_the_rate_rises_then_falls_to_the_floor() -> None:
    rates = [cosine(step, 100, warmup=10, floor=0.1) for step in range(101)]
    assert rates[:11] == sorted(rates[:11]) and rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)


def test_a_run_that_is_told_to_stop_saves_its_last_step(tmp_path: Path) -> None:
    run = run_of(tmp_path)

    def loss(rng: random.Random, generator: torch.Generator) -> torch.Tensor:
        if run.step == 4:
            signal.raise_signal(signal.SIGTERM)
        return loss_of(run)(rng, generator)

    with pytest.raises(SystemExit, match="Stopped at step 5 of 12"):
        run.go(loss)
    again = run_of(tmp_path)
    assert again.resume() and again.step == 5


def test_a_run_that_died_before_its_result_was_written_writes_it(tmp_path: Path) -> None:
    finished(tmp_path, "AdamW")
    again, written = run_of(tmp_path), []
    again.resume()

    def write() -> dict[str, float]:
        written.append(again.step)
        return {}

    again.go(loss_of(again, stop_at=STEPS), on_save=write)
    assert written == [STEPS]


def test_a_run_goes_on_with_what_it_was_begun_with_alone(tmp_path: Path) -> None:
    finished(tmp_path, "AdamW")
    module = toy()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.02)
    other = Run(tmp_path, {"toy": module}, optimizer, steps=STEPS, warmup=3, seed=7, workers=2)
    with pytest.raises(ValueError, match="begun with workers 1, not 2"):
        other.resume()


def test_an_average_moves_towards_the_weights() -> None:
    module = toy()
    ema = Ema(module, 0.5)
    before = ema.shadow["0.weight"].clone()
    with torch.no_grad():
        module[0].weight.add_(1.0)
    ema.update(module, step=10**6)
    assert torch.allclose(ema.shadow["0.weight"], before + 0.5)
