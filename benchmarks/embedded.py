"""Kizy's embedded engine beside a bare diffusers script on the same weights, in one run.

    python -m benchmarks.embedded [--rounds 5]

Printed: seconds per picture of both (taken in turns, the fastest round of each, and the median of
the ratios), Kizy with previews off and on; by how much of 255 the pictures differ at most; seconds
of 20 steps at 128x128; and the cold start of the command, from the shell to the saved picture.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from kizy import language
from kizy.core.request import GenerationRequest
from kizy.drawing.drawer import Drawer
from kizy.orchestrator.app import App
from kizy.starter import checkpoint
from kizy.starter.architecture import LATENT_CHANNELS, SCHEDULER_CONFIG, UNET_CONFIG
from PIL import Image

from .drawing import draw

PROMPT = "a red fox on a blue background, 3d render"


class Bare:
    """What somebody would write by hand with diffusers, and nothing else."""

    def __init__(self) -> None:
        weights = checkpoint.load()
        self.unet = UNet2DConditionModel(**UNET_CONFIG)
        self.unet.load_state_dict(weights.unet)
        self.vae = AutoencoderTiny(latent_channels=LATENT_CHANNELS, scaling_factor=1.0)
        self.vae.load_state_dict(weights.autoencoder)
        self.scale = weights.latent_scale

    @torch.inference_mode()
    def draw(self, steps: int, guidance: float, seed: int) -> Image.Image:
        scheduler: Any = DDIMScheduler(**SCHEDULER_CONFIG)
        scheduler.set_timesteps(steps)
        text = language.encode(["", PROMPT])
        x = torch.randn(1, LATENT_CHANNELS, 16, 16, generator=torch.Generator().manual_seed(seed))
        for t in scheduler.timesteps:
            out = self.unet(torch.cat([x, x]), t, encoder_hidden_states=text).sample
            negative, positive = out.chunk(2)
            x = scheduler.step(negative + guidance * (positive - negative), t, x).prev_sample
        pixels = self.vae.decoder(x / self.scale).clamp(-1, 1)
        array = ((pixels[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
        return Image.fromarray(array)


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def cold_start() -> float:
    """From the shell to the saved picture, in a process of its own."""
    code = "from kizy.orchestrator.cli.main import main; main()"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code, "generate", PROMPT, "--out", folder, "--seed", "1"]
        environment = os.environ | {"KIZY_HOME": folder}
        return seconds(
            lambda: subprocess.run(command, check=True, capture_output=True, env=environment)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    request = GenerationRequest(prompt=PROMPT, seed=1, model="starter")
    plan = App(pictures=Path(tempfile.mkdtemp())).plan(request, raw=True)
    bare, quiet, showing = Bare(), Drawer(previews=False), Drawer(previews=True)
    runs: dict[str, Callable[[], Image.Image]] = {
        "bare diffusers": lambda: bare.draw(plan.steps, plan.guidance, plan.seed),
        "kizy, previews off": lambda: draw(quiet, plan),
        "kizy, previews on": lambda: draw(showing, plan),
    }
    pictures = {name: run() for name, run in runs.items()}
    drawn = [np.asarray(picture, np.int16) for picture in pictures.values()]
    apart = max(int(np.abs(other - drawn[0]).max()) for other in drawn[1:])
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(seconds(run))
    base = taken["bare diffusers"]
    twenty = plan.model_copy(update={"steps": 20})
    twenty_steps = min(seconds(lambda: draw(quiet, twenty)) for _ in range(rounds))
    result = {
        "device": str(quiet.device),
        "threads": torch.get_num_threads(),
        "steps": plan.steps,
        "largest_difference": apart,
        "seconds_per_picture": {name: round(min(values), 3) for name, values in taken.items()},
        "times_bare": {
            name: round(statistics.median(a / b for a, b in zip(values, base, strict=True)), 3)
            for name, values in taken.items()
        },
        "seconds_20_steps_128": round(twenty_steps, 3),
        "seconds_cold_start": round(min(cold_start() for _ in range(2)), 2),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
