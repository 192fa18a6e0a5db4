"""The built-in trainer beside a plain diffusers and peft loop, in one run.

    python -m benchmarks.training [--steps 40] [--rounds 3] [--threads N] [--base FOLDER]
        [--precision fp32]

The same model (the starter, or a diffusers folder of SD 1.5), pictures, captions, rank, batch,
optimizer, precision and cached latents and texts; each in a process of its own, in turns. Printed:
steps a second behind the first ten (fastest round of each, and the median of the ratios), seconds
of CPU time that a step takes (with one thread each it tells the same on a busy machine), peak
memory of the process (on a GPU: of the GPU), and the mean loss of the last half of the steps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from kizy.core.plan import ModelFile
from kizy.trainer import dataset
from kizy.trainer.builtin.adapter import TARGETS
from kizy.trainer.events import EventWriter, StepEvent, TrainingEvent
from kizy.trainer.plan import Precision, TrainingPlan
from PIL import Image, ImageDraw

PICTURES = 16
WARM = 10
BATCH = 4
RANK = 16
COLOURS = ("red", "green", "blue", "orange", "purple", "pink", "brown", "black")


class Watch(EventWriter):
    """Notes when each step was done, by the clock and in CPU time of the process."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.times: list[float] = []
        self.work: list[float] = []
        self.losses: list[float] = []

    def write(self, event: TrainingEvent) -> None:
        super().write(event)
        if isinstance(event, StepEvent):
            self.times.append(time.perf_counter())
            self.work.append(time.process_time())
            self.losses.append(event.loss)


def kizy(folder: Path, plan: TrainingPlan) -> Watch:
    """The built-in trainer, without samples and held-out pictures."""
    from kizy.trainer.builtin.run import Run

    watch = Watch(folder / "events.jsonl")
    Run(folder, plan, watch, lambda: False).go()
    return watch


def plain(folder: Path, plan: TrainingPlan) -> Watch:
    """What somebody would write by hand, as diffusers' train_text_to_image_lora.py does it."""
    from diffusers import DDPMScheduler
    from peft import LoraConfig

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[plan.precision]
    unet, config, latents, texts, empty = _plain_inputs(folder, plan, device, kind)
    unet.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(r=RANK, lora_alpha=int(plan.alpha), target_modules=list(TARGETS[plan.family]))
    )
    unet.train()
    parameters = [p for p in unet.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.data = parameter.data.float()
    optimizer = torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: 0.5 * (1 + math.cos(math.pi * step / plan.steps)),
    )
    noiser: Any = DDPMScheduler(**config)
    rng, watch = random.Random(0), Watch(folder / "events.jsonl")
    torch.manual_seed(0)
    alphas = noiser.alphas_cumprod.to(device)
    order: list[int] = []
    for step in range(plan.steps):
        if len(order) < BATCH:
            order = rng.sample(range(PICTURES), PICTURES)
        chosen, order = order[:BATCH], order[BATCH:]
        x = torch.stack([latents[i] for i in chosen]).to(device)
        text = torch.stack([texts[i] for i in chosen]).to(device)
        text[torch.rand(BATCH) < plan.caption_dropout] = empty.to(device)
        noise = torch.randn_like(x)
        t = torch.randint(0, len(alphas), (BATCH,), device=device)
        noisy: Any = noiser.add_noise(x, noise, t)
        v = noiser.config.prediction_type == "v_prediction"
        target = noiser.get_velocity(x, noise, t) if v else noise
        with torch.autocast(device.type, dtype=kind, enabled=kind != torch.float32):
            said = unet(noisy.to(kind), t, encoder_hidden_states=text.to(kind)).sample
        snr = alphas[t] / (1 - alphas[t])
        limited = snr.clamp(min=1.0 if v else None, max=5.0)
        weight = limited / (snr + 1) if v else limited / snr
        loss = ((said.float() - target).square().mean((1, 2, 3)) * weight).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        value = loss.item()
        lr = float(scheduler.get_last_lr()[0])
        watch.write(StepEvent(step=step + 1, steps=plan.steps, loss=value, smoothed=value, lr=lr))
    return watch


def _plain_inputs(folder: Path, plan: TrainingPlan, device: Any, kind: torch.dtype) -> Any:
    """UNet, noise configuration, latents, texts and the empty text."""
    import numpy as np

    def pixels(name: str) -> torch.Tensor:
        with Image.open(folder / dataset.PICTURES / name) as opened:
            small = opened.convert("RGB").resize((plan.resolution, plan.resolution))
        array = np.asarray(small, dtype=np.float32) / 127.5 - 1
        return torch.from_numpy(array).permute(2, 0, 1)[None]

    examples = dataset.load(folder).examples
    with torch.no_grad():
        if plan.base.path is None:
            from diffusers import AutoencoderTiny, UNet2DConditionModel
            from kizy import language
            from kizy.starter import checkpoint
            from kizy.starter.architecture import LATENT_CHANNELS, SCHEDULER_CONFIG, UNET_CONFIG

            weights = checkpoint.load()
            unet = UNet2DConditionModel(**UNET_CONFIG)
            unet.load_state_dict(weights.unet)
            unet = unet.to(device)
            vae = AutoencoderTiny(latent_channels=LATENT_CHANNELS, scaling_factor=1.0)
            vae.load_state_dict(weights.autoencoder)
            latents = [vae.encoder(pixels(e.picture))[0] * weights.latent_scale for e in examples]
            texts = [language.encode([e.caption])[0].clone() for e in examples]
            keys = ("beta_start", "beta_end", "beta_schedule", "prediction_type")
            config = {key: SCHEDULER_CONFIG[key] for key in (*keys, "rescale_betas_zero_snr")}
            return unet, config, latents, texts, language.encode([""])[0].clone()
        from diffusers import StableDiffusionPipeline

        pipe: Any = StableDiffusionPipeline.from_pretrained(
            plan.base.path, torch_dtype=kind, safety_checker=None, feature_extractor=None
        )
        pipe = pipe.to(device)
        latents = [
            pipe.vae.encode(pixels(e.picture).to(device, kind)).latent_dist.mode()[0].float()
            * pipe.vae.config.scaling_factor
            for e in examples
        ]
        texts = [pipe.encode_prompt(e.caption, device, 1, False)[0][0] for e in examples]
        empty = pipe.encode_prompt("", device, 1, False)[0][0]
        unet = pipe.unet
        keys = ("beta_start", "beta_end", "beta_schedule")
        config = {key: pipe.scheduler.config[key] for key in keys}
    del pipe
    return unet, config, latents, texts, empty


def make_run(
    folder: Path,
    base: Path | None,
    steps: int,
    precision: Precision = "fp32",
    threads: int | None = None,
) -> TrainingPlan:
    """Coloured shapes with captions, and a plan that leaves out all but the steps."""
    family = "starter" if base is None else "sd15"
    side = 128 if base is None else 512
    (folder / dataset.PICTURES).mkdir(parents=True)
    examples = []
    for index in range(PICTURES):
        colour, shape = COLOURS[index % len(COLOURS)], ("circle", "square")[index // len(COLOURS)]
        picture = Image.new("RGB", (side, side), "white")
        draw = ImageDraw.Draw(picture)
        box = (side // 4, side // 4, 3 * side // 4, 3 * side // 4)
        (draw.ellipse if shape == "circle" else draw.rectangle)(box, fill=colour)
        name = f"{index:04d}.png"
        picture.save(folder / dataset.PICTURES / name)
        examples.append(
            dataset.Example(
                picture=name,
                caption=f"shapely, a {colour} {shape}",
                width=side,
                height=side,
                source=name,
                sha256="",
                has_alpha=False,
            )
        )
    data = dataset.DataSet(trigger="shapely", examples=tuple(examples))
    (folder / dataset.FILE).write_text(data.model_dump_json())
    return TrainingPlan(
        name="Shapely",
        slug="shapely",
        about="",
        trigger="shapely",
        goal="style",
        family=family,
        base=ModelFile(name=family, path=None if base is None else str(base.resolve())),
        engine="builtin",
        rank=RANK,
        alpha=RANK,
        learning_rate=1e-3 if base is None else 1e-4,
        steps=steps,
        warmup=0,
        batch=BATCH,
        repeats=1,
        resolution=side,
        multiple=32 if base is None else 64,
        optimizer="adamw",
        schedule="cosine",
        precision=precision,
        min_snr=5.0,
        caption_dropout=0.05,
        threads=threads,
        seed=1,
        sample_every=steps,
        validate_every=0,
        save_every=steps,
    )


def child(
    which: str, base: Path | None, steps: int, precision: Precision, threads: int | None
) -> None:
    """One training; prints what was measured as JSON."""
    if threads is not None:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        os.environ["KIZY_HOME"] = name
        folder = Path(name) / "run"
        plan = make_run(folder, base, steps, precision, threads)
        watch = (kizy if which == "kizy" else plain)(folder, plan)
    begin = min(WARM, len(watch.times) // 2)
    paced = watch.times[begin:]
    work = [after - before for before, after in pairwise(watch.work[begin:])]
    half = watch.losses[len(watch.losses) // 2 :]
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {
        "pace": (len(paced) - 1) / (paced[-1] - paced[0]),
        "work": statistics.median(work),
        "peak": peak,
        "loss": statistics.mean(half),
        "noise": statistics.stdev(half) / math.sqrt(len(half)),
    }
    print(json.dumps(result))


def measured(which: str, arguments: list[str]) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.training", "--child", which, *arguments]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--base", type=Path, default=None)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--child", choices=("kizy", "plain"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.base, given.steps, given.precision, given.threads)
        return
    arguments = ["--steps", str(given.steps), "--precision", given.precision]
    arguments += ["--base", str(given.base)] if given.base else []
    arguments += ["--threads", str(given.threads)] if given.threads else []
    found: dict[str, list[dict[str, float]]] = {"plain": [], "kizy": []}
    for _ in range(given.rounds):
        for which, results in found.items():
            results.append(measured(which, arguments))
            print(f"{which}: {results[-1]['pace']:.2f} steps/s", file=sys.stderr)
    print(f"{'':8}steps/s   CPU s/step   peak MB   loss of the last half")
    for which, results in found.items():
        pace, peak = max(r["pace"] for r in results), min(r["peak"] for r in results)
        work = min(r["work"] for r in results)
        loss = statistics.mean(r["loss"] for r in results)
        noise = statistics.mean(r["noise"] for r in results)
        print(f"{which:8}{pace:7.2f}{work:13.3f}{peak / 1e6:10.0f}   {loss:.4f} +- {noise:.4f}")
    for key, what in (("pace", "steps a second"), ("work", "CPU time"), ("peak", "memory")):
        pairs = zip(found["kizy"], found["plain"], strict=True)
        ratio = statistics.median(a[key] / b[key] for a, b in pairs)
        print(f"kizy / plain: {ratio:.2f} times the {what}")


if __name__ == "__main__":
    main()
