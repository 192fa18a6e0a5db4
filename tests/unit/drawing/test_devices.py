"""Which GPU is taken, how much memory it has, and in which precision models are held there."""

from __future__ import annotations

import psutil
import pytest
import torch
from kizy.drawing import memory
from kizy.drawing.schedulers import make_scheduler, sampler_names

from tests.fakes.scripted_torch import GIB, ScriptedTorch

# diffusers' schedulers and NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


def on(monkeypatch: pytest.MonkeyPatch, scripted: ScriptedTorch) -> torch.device:
    monkeypatch.setattr(memory, "torch", scripted)
    return memory.best_device()


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_the_gpu_that_torch_can_use_is_taken(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    assert on(monkeypatch, ScriptedTorch(kind)).type == kind


def test_without_one_the_cpu_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on(monkeypatch, ScriptedTorch(None)).type == "cpu"


def test_a_torch_that_knows_neither_intels_nor_apples_gpus_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted = ScriptedTorch(None)
    del scripted.xpu
    del scripted.backends.mps
    assert on(monkeypatch, scripted).type == "cpu"


def test_rocm_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    device = on(monkeypatch, ScriptedTorch("cuda", hip="6.4.43484"))
    assert device.type == "cuda"
    assert memory.device_name(device) == "AMD Radeon RX 7900 XT"
    assert memory.toolkit() == "ROCm 6.4.43484"


@pytest.mark.parametrize(
    ("kind", "name"), [("cuda", "NVIDIA H200"), ("xpu", "Intel(R) Arc"), ("mps", "Apple GPU")]
)
def test_every_device_has_a_name(monkeypatch: pytest.MonkeyPatch, kind: str, name: str) -> None:
    assert memory.device_name(on(monkeypatch, ScriptedTorch(kind))).startswith(name)


def test_apples_gpu_has_what_metal_leaves_of_the_computers_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = on(monkeypatch, ScriptedTorch("mps", free=12 * GIB, taken=2 * GIB))
    available = 64 * GIB
    monkeypatch.setattr(psutil, "virtual_memory", lambda: _Available(available))
    assert memory.free_bytes(device) == 10 * GIB
    monkeypatch.setattr(psutil, "virtual_memory", lambda: _Available(3 * GIB))
    assert memory.free_bytes(device) == 3 * GIB


def test_apples_gpu_that_is_full_has_no_memory_left(monkeypatch: pytest.MonkeyPatch) -> None:
    device = on(monkeypatch, ScriptedTorch("mps", free=2 * GIB, taken=5 * GIB))
    assert memory.free_bytes(device) == 0


@pytest.mark.parametrize("tells", [True, False])
def test_intels_free_memory_is_known_whether_its_driver_tells_it_or_not(
    monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    device = on(monkeypatch, ScriptedTorch("xpu", free=9 * GIB, taken=GIB, tells_free=tells))
    assert memory.free_bytes(device) == 9 * GIB


@pytest.mark.parametrize(("kind", "offload"), [("cuda", True), ("xpu", True), ("mps", False)])
def test_only_a_gpu_with_memory_of_its_own_is_relieved_of_weights(kind: str, offload: bool) -> None:
    device = torch.device(kind)
    assert memory.place(10, device, 11) == memory.Placement(device, torch.float16, offload)


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_unused_memory_goes_back_to_the_driver_of_the_gpu_at_work(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    scripted = ScriptedTorch(kind)
    on(monkeypatch, scripted)
    memory.release()
    assert scripted.emptied == [kind]


@pytest.mark.parametrize(("kind", "trains"), [("cuda", "cuda"), ("xpu", "cpu"), ("mps", "cpu")])
def test_training_stays_where_it_was_tried(
    monkeypatch: pytest.MonkeyPatch, kind: str, trains: str
) -> None:
    on(monkeypatch, ScriptedTorch(kind))
    assert memory.training_device().type == trains


@pytest.mark.parametrize("sampler", sampler_names())
def test_no_sampler_needs_numbers_of_64_bits_which_apples_gpu_lacks(sampler: str) -> None:
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler = make_scheduler(sampler, "normal", config)
    scheduler.set_timesteps(4, device="cpu")
    held = {name: one for name, one in vars(scheduler).items() if torch.is_tensor(one)}
    assert {name: one.dtype for name, one in held.items() if one.dtype == torch.float64} == {}


class _Available:
    def __init__(self, available: int) -> None:
        self.available = available
