"""The built-in trainer: what it leaves, how it goes on after any end, and drawing with it."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from kizy.catalog.index.loras import read_lora
from kizy.core import launch
from kizy.core.plan import Plan
from kizy.drawing.drawer import Drawer
from kizy.drawing.memory import Placement
from kizy.drawing.stable_diffusion import StableDiffusionModel
from kizy.trainer import samples
from kizy.trainer.builtin import checkpoints
from kizy.trainer.builtin.run import Run
from kizy.trainer.events import (
    EndEvent,
    EventWriter,
    NoticeEvent,
    SampleEvent,
    StepEvent,
    ValidationEvent,
)
from kizy.trainer.lora_file import check, read
from kizy.trainer.plan import TrainingPlan
from kizy.trainer.run_folder import RunFolder
from PIL import Image

from tests.unit.drawing.builders import CPU, draw, planned_lora
from tests.unit.trainer.run_builders import (
    events_of,
    run_folder,
    sample_plan,
    sd15_folder,
    sdxl_folder,
    train,
    training_plan,
)

# torch and NumPy disagree inside diffusers' schedulers.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sd15_folder(tmp_path_factory.mktemp("bases") / "sd15")


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sdxl_folder(tmp_path_factory.mktemp("bases") / "sdxl")


def result_of(folder: Path) -> dict[str, torch.Tensor]:
    return read(folder / "result.safetensors")[0]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def half_done(folder: Path) -> list[str]:
    """Names of files that were begun and not finished."""
    return [path.name for path in folder.rglob("*") if path.name.endswith(".part")]


def test_it_leaves_a_lora_checkpoints_samples_and_curves(sd15: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", training_plan(sd15))
    end = train(folder)
    assert end.state == "succeeded" and end.result is not None
    assert Path(end.result).name == "mimi-the-cat.safetensors"
    assert list(checkpoints.noted(folder, 6)) == [2, 4, 6]
    for name in ("loss.png", "samples.png", "samples/step-000006-0.png"):
        with Image.open(folder / name) as picture:
            picture.load()
    assert not half_done(tmp_path)


def test_it_tells_each_step_and_check_and_last_of_all_the_end(sd15: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", training_plan(sd15))
    train(folder)
    events = events_of(folder)
    assert [e.step for e in events if isinstance(e, StepEvent)] == [1, 2, 3, 4, 5, 6]
    assert [e.step for e in events if isinstance(e, ValidationEvent)] == [2, 4, 6]
    assert isinstance(events[-1], EndEvent)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_every_key_has_a_place_in_the_base_and_alpha_is_the_real_one(
    family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(family)
    folder = run_folder(tmp_path / "run", training_plan(base, sample_prompts=()))
    end = train(folder)
    placement = Placement(CPU, torch.float32, offload=False)
    weights = StableDiffusionModel(family, family, base, placement).lora_weights()
    assert check(Path(str(end.result)), weights, family) > 10
    tensors = result_of(folder)
    alphas = {float(value) for name, value in tensors.items() if name.endswith(".alpha")}
    assert alphas == {2.0}
    downs = [v for name, v in tensors.items() if name.endswith("lora_down.weight")]
    assert {v.shape[0] for v in downs} == {4}
    assert any(v.abs().max() > 0 for name, v in tensors.items() if name.endswith("up.weight"))


def test_sdxl_is_named_as_sd_scripts_names_it(sdxl: Path, tmp_path: Path) -> None:
    plan = training_plan(sdxl, sample_prompts=(), text_encoder_learning_rate=1e-3)
    folder = run_folder(tmp_path / "run", plan)
    train(folder)
    beginnings = {name.rsplit("_attn", 1)[0].split("_blocks")[0] for name in result_of(folder)}
    names = set(result_of(folder))
    assert "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.alpha" in names
    assert "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.alpha" in names
    assert "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha" in names
    assert not any("down_blocks" in name for name in beginnings)


def test_a_text_encoder_is_trained_where_it_has_a_learning_rate(sd15: Path, tmp_path: Path) -> None:
    plan = training_plan(sd15, text_encoder_learning_rate=1e-2, sample_prompts=())
    folder = run_folder(tmp_path / "run", plan)
    train(folder)
    ups = {
        name: value
        for name, value in result_of(folder).items()
        if name.startswith("lora_te_") and name.endswith("lora_up.weight")
    }
    assert ups and all(value.abs().max() > 0 for value in ups.values())


def alive(kind: type) -> dict[int, object]:
    gc.collect()
    # Not isinstance: some of torch's objects warn when they are asked for their class.
    return {id(x): x for x in gc.get_objects() if issubclass(type(x), kind)}


def test_encoders_whose_work_is_cached_leave_the_memory(sd15: Path, tmp_path: Path) -> None:
    plan = training_plan(sd15, sample_prompts=())
    folder = run_folder(tmp_path / "run", plan)
    before = {kind: alive(kind) for kind in (torch.nn.Module, torch.nn.Parameter)}
    with EventWriter(folder / "events.jsonl") as events, contextlib.ExitStack() as stack:
        run = Run(folder, plan, events, lambda: False, CPU)
        run._prepare(stack)
        new = {kind: alive(kind).keys() - known for kind, known in before.items()}
        unet = run.model.unet
        assert new[torch.nn.Module] == {id(module) for module in unet.modules()}
        assert new[torch.nn.Parameter] == {id(parameter) for parameter in unet.parameters()}


@pytest.mark.parametrize("stop_after", [2, 3])
def test_a_resumed_run_ends_at_the_same_bits(sd15: Path, tmp_path: Path, stop_after: int) -> None:
    plan = training_plan(sd15, sample_prompts=(), noise_offset=0.05, accumulate=2)
    whole, parted = (run_folder(tmp_path / name, plan) for name in ("whole", "parted"))
    train(whole)
    assert train(parted, stop_after=stop_after).state == "stopped"
    assert train(parted).state == "succeeded"
    assert same(result_of(whole), result_of(parted))
    # What the stop saved is not one more to choose the best from.
    assert checkpoints.noted(whole, 6) == checkpoints.noted(parted, 6)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_every_optimizer_resumes(sd15: Path, tmp_path: Path, optimizer: str) -> None:
    plan = training_plan(sd15, sample_prompts=(), optimizer=optimizer, validate_every=0)
    whole, parted = (run_folder(tmp_path / n, plan, held_out=0) for n in ("whole", "parted"))
    train(whole)
    train(parted, stop_after=3)
    train(parted)
    assert same(result_of(whole), result_of(parted))


def test_stopping_publishes_what_there_is(sd15: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", training_plan(sd15))
    end = train(folder, stop_after=3)
    assert end.state == "stopped" and end.result is not None
    assert read_lora(Path(end.result)).family == "sd15"
    assert 3 in checkpoints.noted(folder, 3)


def test_stopped_before_the_first_step_nothing_is_published(sd15: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", training_plan(sd15))
    end = train(folder, stop_after=0)
    assert (end.state, end.result) == ("stopped", None)


def test_what_was_published_when_it_was_stopped_is_replaced_in_the_end(
    sd15: Path, tmp_path: Path
) -> None:
    folder = run_folder(tmp_path / "run", training_plan(sd15, sample_prompts=()))
    first = train(folder, stop_after=3)
    second = train(folder)
    assert first.result == second.result
    assert same(read(Path(str(second.result)))[0], result_of(folder))


def test_the_last_sample_is_what_drawing_makes_of_the_finished_lora(
    sd15: Path, tmp_path: Path
) -> None:
    plan = training_plan(sd15, sample_prompts=("mimicat", "a dog"))
    folder = run_folder(tmp_path / "run", plan)
    end = train(folder)
    told = [e for e in events_of(folder) if isinstance(e, SampleEvent)][-2:]
    assert [e.index for e in told] == [0, 1]
    for event in told:
        lora = planned_lora(Path(str(end.result)), plan.weight)
        found = sample_plan(plan, event.prompt).model_copy(update={"loras": (lora,)})
        with Image.open(event.path) as kept:
            assert draw(Drawer(CPU), found)[0].tobytes() == kept.tobytes()
        plain = found.model_copy(update={"loras": ()})
        assert draw(Drawer(CPU), plain)[0].tobytes() != draw(Drawer(CPU), found)[0].tobytes()


def test_the_plans_of_the_caller_are_drawn_with_the_lora_in_its_place(tmp_path: Path) -> None:
    plan = training_plan(None)
    other = planned_lora(tmp_path / "other.safetensors")
    own = planned_lora(tmp_path / "mimi-the-cat.safetensors", 0.7)
    made = sample_plan(plan, "mimicat").model_copy(update={"loras": (other, own)})
    samples.write_plans(tmp_path, [made])
    (read_back,) = samples.plans_of(tmp_path, plan)
    drawn = samples.with_lora(read_back, tmp_path / "step.safetensors", plan)
    assert drawn.loras[0] == other
    assert drawn.loras[1].file.path == str(tmp_path / "step.safetensors")
    assert drawn.loras[1].model_weight == 0.7
    assert samples.without_lora(read_back, plan).loras == (other,)


def test_two_threads_that_share_a_step_give_the_gradients_of_one(sd15: Path) -> None:
    from kizy.trainer.builtin.adapter import Adapter
    from kizy.trainer.builtin.base_model import load_base, prepare
    from kizy.trainer.builtin.cached import Picture, cache_texts
    from kizy.trainer.builtin.steps import Steps, cached_encoder

    plan = training_plan(sd15, batch=3)
    model = load_base(plan, CPU)
    size = (32, 32)
    generator = torch.Generator().manual_seed(0)
    pictures = [
        Picture(torch.randn(4, 4, 4, generator=generator), None, f"cat {i}", size) for i in range(3)
    ]
    wanted = [(text, size) for text in ("", *(picture.caption for picture in pictures))]
    encode = cached_encoder(cache_texts(model, wanted), CPU)
    prepare(model, checkpointing=False)
    adapter = Adapter({"unet": model.unet}, plan)
    for name, value in adapter.state().items():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1, generator=generator)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    found = []
    for workers in (1, 2):
        steps = Steps(model, plan, pictures, [], encode, workers)
        loss = steps.gradients(0, adapter.parameters(), scaler)
        steps.close()
        found.append((loss, [p.grad.clone() for p in adapter.parameters() if p.grad is not None]))
    (one, first), (two, second) = found
    assert one == pytest.approx(two, rel=1e-4)
    for a, b in zip(first, second, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5)


def test_gradient_checkpointing_changes_no_result(sd15: Path, tmp_path: Path) -> None:
    plain, saving = (
        run_folder(
            tmp_path / str(on), training_plan(sd15, sample_prompts=(), gradient_checkpointing=on)
        )
        for on in (False, True)
    )
    train(plain)
    train(saving)
    one, other = result_of(plain), result_of(saving)
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


def test_bf16_trains_and_writes_half_precision(sd15: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", training_plan(sd15, precision="bf16", sample_prompts=()))
    assert train(folder).state == "succeeded"
    assert {value.dtype for value in result_of(folder).values()} == {torch.float16}


def test_a_cpu_that_is_to_train_in_fp16_trains_in_fp32_and_says_so(
    sd15: Path, tmp_path: Path
) -> None:
    folder = run_folder(tmp_path / "run", training_plan(sd15, precision="fp16", sample_prompts=()))
    assert train(folder).state == "succeeded"
    said = [e.text for e in events_of(folder) if isinstance(e, NoticeEvent)]
    assert "A CPU has no half precision: it is trained in fp32." in said
    assert {value.dtype for value in result_of(folder).values()} == {torch.float32}


def train_in_fp16(folder: Path, stop_after: int = 6) -> Run:
    """As on a GPU without bf16, which this machine may not have: slow here, and right."""
    plan = RunFolder(folder).plan()
    with EventWriter(folder / "events.jsonl") as events:
        run = Run(folder, plan, events, lambda: run.progress.step >= stop_after, CPU)
        # A training on a CPU decides otherwise.
        run.plan = plan
        run.go()
    return run


def test_fp16_scales_its_loss_and_goes_on_with_the_same_bits(sd15: Path, tmp_path: Path) -> None:
    plan = training_plan(sd15, precision="fp16", sample_prompts=())
    whole, parted = (run_folder(tmp_path / name, plan) for name in ("whole", "parted"))
    run = train_in_fp16(whole)
    assert run.model.dtype == torch.float16 and run.scaler.get_scale() > 1
    assert {p.dtype for p in run.parameters} == {torch.float32}
    losses = [e.loss for e in events_of(whole) if isinstance(e, StepEvent)]
    assert len(losses) == 6 and all(0 < loss < 10 for loss in losses)
    train_in_fp16(parted, stop_after=3)
    train_in_fp16(parted)
    assert same(result_of(whole), result_of(parted))
    assert {value.dtype for value in result_of(whole).values()} == {torch.float16}


def test_a_gpu_goes_on_with_what_a_cpu_trained(sd15: Path, tmp_path: Path) -> None:
    plan = training_plan(sd15, precision="fp16", sample_prompts=())
    folder = run_folder(tmp_path / "run", plan)
    train(folder, stop_after=3)
    run = train_in_fp16(folder)
    assert run.progress.step == 6 and run.scaler.get_scale() > 1


def test_where_a_picture_is_transparent_is_not_learned(sd15: Path, tmp_path: Path) -> None:
    plain, masked = (
        run_folder(
            tmp_path / str(on),
            training_plan(sd15, masked_loss=on, sample_prompts=()),
            alpha=True,
        )
        for on in (False, True)
    )
    train(plain)
    train(masked)
    assert not same(result_of(plain), result_of(masked))


def test_rising_loss_on_held_out_pictures_is_noticed_and_the_best_is_published(
    sd15: Path, tmp_path: Path
) -> None:
    folder = run_folder(tmp_path / "run", training_plan(sd15, steps=12, sample_prompts=()))
    train(folder, stop_after=2)
    # Losses that fall and rise, as if they had been measured.
    train(folder, stop_after=8)
    for step, loss in ((2, 0.5), (4, 0.4), (6, 0.5), (8, 0.6)):
        checkpoints.note(folder, step, loss)
    end = train(folder)
    codes = [e.code for e in events_of(folder) if isinstance(e, NoticeEvent)]
    assert "overfitting" in codes
    assert end.best_step == 4 and "held-out" in end.why
    best = read(checkpoints.file_of(folder, 4))[0]
    assert same(best, result_of(folder))


def start(folder: Path) -> subprocess.Popen[bytes]:
    """The training's process, as it is started for a person."""
    argv = launch.command("trainer.builtin", [str(folder)])
    return subprocess.Popen(
        argv, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on_to_the_same_bits(sd15: Path, tmp_path: Path) -> None:
    plan = training_plan(sd15, steps=40, sample_prompts=("mimicat",), sample_every=10)
    whole, killed = (run_folder(tmp_path / name, plan) for name in ("whole", "killed"))
    train(whole)
    rng = random.Random(7)
    for _ in range(3):
        process = start(killed)
        target = rng.randint(1, 60)
        deadline = time.monotonic() + 120
        while len(events_of(killed)) < target and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(rng.random() * 0.1)
        process.kill()
        process.wait()
    train(killed)
    assert same(result_of(whole), result_of(killed))
    for name in ("loss.png", "samples.png"):
        with Image.open(killed / name) as picture:
            picture.load()


@pytest.mark.slow
def test_sigterm_stops_it_and_keeps_what_there_is(sd15: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", training_plan(sd15, steps=10_000, sample_prompts=()))
    process = start(folder)
    deadline = time.monotonic() + 120
    while not any(isinstance(e, StepEvent) for e in events_of(folder)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    end = events_of(folder)[-1]
    assert isinstance(end, EndEvent) and end.state == "stopped" and end.result is not None


def test_a_plain_sample_plan_is_the_planners_own(tmp_path: Path) -> None:
    from kizy.core.request import GenerationRequest
    from kizy.orchestrator.app import App

    training: TrainingPlan = training_plan(None, trigger="mimicat", weight=1.0)
    ours: Plan = samples.plain_plan(training, "mimicat, 3d render")
    request = GenerationRequest(prompt="mimicat, 3d render", seed=5, loras="none")
    theirs = App().plan(request)
    changes = {"reasons": (), "style": None, "engine": None, "prompt": ours.prompt}
    assert ours.model_copy(update=changes) == theirs.model_copy(update=changes)
