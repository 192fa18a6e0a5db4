"""A training run that can be stopped at any moment and goes on where it was.

The state (weights, optimizer, step) is one safetensors file, written under a temporary name and
renamed, and says what the run was begun with: it goes on with that alone. The losses are lines of
JSON in `log.jsonl` beside it. Random numbers are seeded anew for every step, so a resumed run takes
the steps that an uninterrupted one would have taken.

On a CPU a step is shared by `workers` threads of one core each (start with OMP_NUM_THREADS=1): each
draws its own batch and their gradients are averaged. That is faster than one batch on all cores,
and than processes, which have to send their gradients. With `bf16` convolutions and matrix
products are computed in bfloat16, weights and updates stay float32; on a CPU with AVX-512 BF16 a
step then takes half the time, on one without such instructions longer.
"""

from __future__ import annotations

import json
import logging
import math
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ...core.files import replacing

log = logging.getLogger(__name__)

Placed = TypeVar("Placed", bound=torch.nn.Module)


def cosine(step: int, steps: int, *, warmup: int, floor: float = 0.02) -> float:
    """Share of the peak learning rate: linear warm-up, then half a cosine down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file whole or not at all. Raises StorageError."""
    plain = {k: v.detach().contiguous().cpu() for k, v in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata)


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and metadata of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


def load_metadata(path: Path) -> dict[str, str]:
    """The metadata alone of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def placed(module: Placed, device: str = "cpu") -> Placed:
    """The module itself, moved to a device, in the layout that convolutions are fastest in."""
    torch.nn.Module.to(module, device=device, memory_format=torch.channels_last)  # pyright: ignore
    return module


class Ema:
    """Exponential moving average of a module's parameters (half life grows with the run)."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        values = list(module.state_dict().values())
        torch._foreach_lerp_(list(self.shadow.values()), values, 1 - decay)


class Run:
    """Owns the loop: learning rate, steps, log, state. The caller owns the loss.

    `loss(rng, generator)` draws its batch from the two generators alone. `begun_with`: what else
    decides the steps, by name, such as the size of a batch. (The number of steps may grow.)
    """

    def __init__(
        self,
        folder: Path,
        modules: dict[str, torch.nn.Module],
        optimizer: torch.optim.Optimizer,
        *,
        steps: int,
        warmup: int,
        seed: int = 0,
        ema: dict[str, Ema] | None = None,
        save_every: float = 300.0,
        workers: int = 1,
        bf16: bool = False,
        begun_with: Mapping[str, object] | None = None,
    ) -> None:
        self.folder, self.modules, self.optimizer = folder, modules, optimizer
        self.steps, self.warmup, self.ema, self.save_every = steps, warmup, ema or {}, save_every
        self.step = 0
        self.seed = seed
        self.workers = workers
        self.bf16 = bf16
        facts = {"seed": seed, "workers": workers, "bf16": bf16, **(begun_with or {})}
        self._begun_with = {name: str(value) for name, value in facts.items()}
        self._peaks = [group["lr"] for group in optimizer.param_groups]
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def state_file(self) -> Path:
        return self.folder / "state.safetensors"

    def resume(self) -> bool:
        """Take up the saved state; False if there is none.

        Raises ValueError if it was begun with something else.
        """
        if not self.state_file.exists():
            return False
        tensors, metadata = load_tensors(self.state_file)
        for name, value in self._begun_with.items():
            before = metadata.get(name, value)
            if before != value:
                raise ValueError(
                    f"The run in {self.folder} was begun with {name} {before}, not {value}: "
                    "go on with that, or begin in another folder."
                )
        for name, module in self.modules.items():
            module.load_state_dict(_below(tensors, f"module.{name}."))
        for name, ema in self.ema.items():
            for key, value in _below(tensors, f"ema.{name}.").items():
                ema.shadow[key].copy_(value)
        state: dict[int, dict[str, Any]] = {}
        for key, value in _below(tensors, "optimizer.").items():
            index, _, field = key.partition(".")
            state.setdefault(int(index), {})[field] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step = int(metadata["step"])
        log.info("resumed %s at step %d of %d", self.folder.name, self.step, self.steps)
        return True

    def save(self) -> None:
        tensors: dict[str, torch.Tensor] = {}
        for name, module in self.modules.items():
            tensors |= {f"module.{name}.{k}": v for k, v in module.state_dict().items()}
        for name, ema in self.ema.items():
            tensors |= {f"ema.{name}.{k}": v for k, v in ema.shadow.items()}
        for index, fields in self.optimizer.state_dict()["state"].items():
            for field, value in fields.items():
                tensors[f"optimizer.{index}.{field}"] = torch.as_tensor(value)
        save_tensors(self.state_file, tensors, {"step": str(self.step)} | self._begun_with)

    def go(
        self,
        loss: Callable[[random.Random, torch.Generator], torch.Tensor],
        *,
        clip: float = 1.0,
        log_every: int = 50,
        on_save: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        """Train to the last step. `on_save` may measure; what it returns goes into the log.

        Raises SystemExit, when all is saved, if the process is told to stop.
        """
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        smoothed, started, first = None, time.monotonic(), self.step
        saved = time.monotonic()
        if self.step >= self.steps and on_save:
            # The last process may have died between saving its state and its result.
            on_save()
        with _Stopping() as stopping, ThreadPoolExecutor(self.workers) as pool:
            while self.step < self.steps and not stopping.asked:
                share = cosine(self.step, self.steps, warmup=self.warmup)
                for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
                    group["lr"] = peak * share
                value = self._gradients(loss, parameters, pool)
                torch.nn.utils.clip_grad_norm_(parameters, clip)
                self.optimizer.step()
                self.step += 1
                for name, ema in self.ema.items():
                    ema.update(self.modules[name], self.step)
                smoothed = value if smoothed is None else 0.98 * smoothed + 0.02 * value
                if self.step % log_every == 0:
                    pace = (time.monotonic() - started) / (self.step - first)
                    left = pace * (self.steps - self.step)
                    self._log(
                        {"step": self.step, "loss": round(smoothed, 5), "left_s": round(left)}
                    )
                due = time.monotonic() - saved > self.save_every or self.step == self.steps
                if due or stopping.asked:
                    self.save()
                    self._log({"step": self.step} | (on_save() if on_save else {}))
                    saved = time.monotonic()
        if stopping.asked and self.step < self.steps:
            raise SystemExit(f"Stopped at step {self.step} of {self.steps}; run it again to go on.")

    def _gradients(
        self,
        loss: Callable[[random.Random, torch.Generator], torch.Tensor],
        parameters: list[torch.nn.Parameter],
        pool: ThreadPoolExecutor,
    ) -> float:
        """Leave the workers' mean gradient in the parameters; returns their mean loss."""

        kind = parameters[0].device.type

        def work(worker: int) -> tuple[float, tuple[torch.Tensor, ...]]:
            seed = (self.seed * 1_000_003 + self.step) * self.workers + worker
            # No cache: one that is filled without gradients would be taken with them.
            with torch.autocast(kind, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
                value = loss(random.Random(seed), torch.Generator().manual_seed(seed))
            return value.item(), torch.autograd.grad(value, parameters)

        values, gradients = zip(*pool.map(work, range(self.workers)), strict=True)
        total = list(gradients[0])
        for more in gradients[1:]:
            torch._foreach_add_(total, more)
        torch._foreach_div_(total, self.workers)
        for parameter, gradient in zip(parameters, total, strict=True):
            parameter.grad = gradient
        return sum(values) / self.workers

    def _log(self, entry: dict[str, float]) -> None:
        log.info("%s %s", self.folder.name, entry)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


class _Stopping:
    """Hears SIGTERM and SIGINT while it is entered, so that a stopped run saves its last step."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.asked = False
        self._before: list[Any] = []

    def __enter__(self) -> _Stopping:
        # Only the main thread may hear signals; elsewhere a run is stopped with its process.
        if threading.current_thread() is threading.main_thread():
            self._before = [signal.signal(number, self._hear) for number in self.SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(self.SIGNALS, self._before, strict=False):
            signal.signal(number, handler)

    def _hear(self, number: int, frame: object) -> None:
        self.asked = True


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
