"""What the training benchmark runs: a plan, the built-in trainer, and a plain diffusers loop."""

from __future__ import annotations

import json
import math
import random
import resource
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from kizy.core.plan import ModelFile
from kizy.trainer import dataset
from kizy.trainer.builtin.adapter import TARGETS
from kizy.trainer.events import EventWriter, StepEvent, TrainingEvent
from kizy.trainer.plan import Precision, TrainingPlan
from PIL import Image, ImageDraw

PICTURES = 16
WARM = 10
RANK = 16
COLOURS = ("red", "green", "blue", "orange", "purple", "pink", "brown", "black")


class Job(NamedTuple):
    """What is trained. `base`: a diffusers folder of SD 1.5; None: the starter.

    `checkpoint`: the same weights in one file, for sd-scripts. `side`: of the pictures, in pixels.
    """

    steps: int
    base: str | None = None
    checkpoint: str | None = None
    batch: int = 4
    side: int = 128
    precision: Precision = "fp32"
    threads: int | None = None


class Watch(EventWriter):
    """Notes when each step was done, by the clock and in CPU time of the process."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.steps: list[tuple[float, float, float]] = []
        self.before = 0.0

    def write(self, event: TrainingEvent) -> None:
        super().write(event)
        if isinstance(event, StepEvent):
            self.steps.append((time.perf_counter(), time.process_time(), event.loss))
            if len(self.steps) == 1:
                self.before = peak_memory()
                forget_peak()

    def summary(self) -> dict[str, float]:
        return summary(self.steps, self.before, peak_memory())


def summary(
    steps: list[tuple[float, float, float]], before: float, after: float
) -> dict[str, float]:
    """`steps`: clock, CPU time and loss at the end of each.

    `before`, `after`: most memory that was held up to the first step and behind it, in bytes.
    """
    paced = steps[min(WARM, len(steps) // 2) :]
    work = [after[1] - before[1] for before, after in pairwise(paced)]
    half = [loss for _, _, loss in steps[len(steps) // 2 :]]
    return {
        "pace": (len(paced) - 1) / (paced[-1][0] - paced[0][0]),
        "work": statistics.median(work),
        "peak": max(before, after),
        "training": after,
        "loss": statistics.mean(half),
        "noise": statistics.stdev(half) / math.sqrt(len(half)),
    }


def peak_memory() -> float:
    """Bytes: on a GPU of its memory, else of this process with all that it imports."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return 1024.0 * next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    """From here on `peak_memory` counts anew, where the system can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        # proc(5): clear_refs.
        Path("/proc/self/clear_refs").write_text("5")


def kizy(folder: Path, plan: TrainingPlan) -> dict[str, float]:
    """The built-in trainer, without samples and held-out pictures."""
    from kizy.trainer.builtin.run import Run

    watch = Watch(folder / "events.jsonl")
    Run(folder, plan, watch, lambda: False).go()
    return watch.summary()


def plain(folder: Path, plan: TrainingPlan) -> dict[str, float]:
    """What somebody would write by hand, as diffusers' train_text_to_image_lora.py does it."""
    from diffusers import DDPMScheduler
    from peft import LoraConfig

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[plan.precision]
    unet, config, latents, texts, empty = _plain_inputs(folder, plan, device, kind)
    unet.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(r=plan.rank, lora_alpha=int(plan.alpha), target_modules=[*TARGETS[plan.family]])
    )
    unet.train()
    parameters = [p for p in unet.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.data = parameter.data.float()
    optimizer = torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=1e-2)
    scaler = torch.amp.GradScaler(device.type, enabled=kind == torch.float16)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: 0.5 * (1 + math.cos(math.pi * step / plan.steps)),
    )
    noiser: Any = DDPMScheduler(**config)
    rng, watch, batch = random.Random(0), Watch(folder / "events.jsonl"), plan.batch
    torch.manual_seed(0)
    alphas = noiser.alphas_cumprod.to(device)
    order: list[int] = []
    for step in range(plan.steps):
        if len(order) < batch:
            order = rng.sample(range(PICTURES), PICTURES)
        chosen, order = order[:batch], order[batch:]
        x = torch.stack([latents[i] for i in chosen]).to(device)
        text = torch.stack([texts[i] for i in chosen]).to(device)
        text[torch.rand(batch) < plan.caption_dropout] = empty.to(device)
        noise = torch.randn_like(x)
        t = torch.randint(0, len(alphas), (batch,), device=device)
        noisy: Any = noiser.add_noise(x, noise, t)
        v = noiser.config.prediction_type == "v_prediction"
        target = noiser.get_velocity(x, noise, t) if v else noise
        with torch.autocast(device.type, dtype=kind, enabled=kind != torch.float32):
            said = unet(noisy.to(kind), t, encoder_hidden_states=text.to(kind)).sample
        snr = alphas[t] / (1 - alphas[t])
        limited = snr.clamp(min=1.0 if v else None, max=5.0)
        weight = limited / (snr + 1) if v else limited / snr
        loss = ((said.float() - target).square().mean((1, 2, 3)) * weight).mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        optimizer.zero_grad()
        value = loss.item()
        lr = float(scheduler.get_last_lr()[0])
        watch.write(StepEvent(step=step + 1, steps=plan.steps, loss=value, smoothed=value, lr=lr))
    return watch.summary()


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


def make_run(folder: Path, job: Job) -> TrainingPlan:
    """Coloured shapes with captions, and a plan that leaves out all but the steps."""
    family = "starter" if job.base is None else "sd15"
    side = job.side
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
    plan = TrainingPlan(
        name="Shapely",
        slug="shapely",
        about="",
        trigger="shapely",
        goal="style",
        family=family,
        base=ModelFile(name=family, path=job.base),
        engine="builtin",
        rank=RANK,
        alpha=RANK,
        learning_rate=1e-3 if job.base is None else 1e-4,
        steps=job.steps,
        warmup=0,
        batch=job.batch,
        repeats=max(1, math.ceil(job.steps * job.batch / PICTURES)),
        resolution=side,
        multiple=32 if job.base is None else 64,
        optimizer="adamw",
        schedule="cosine",
        precision=job.precision,
        min_snr=5.0,
        caption_dropout=0.05,
        threads=job.threads,
        seed=1,
        sample_every=job.steps,
        validate_every=0,
        save_every=job.steps,
    )
    (folder / "plan.json").write_text(json.dumps(plan.model_dump(mode="json")))
    return plan
