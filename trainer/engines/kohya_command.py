"""From a plan to the command line of sd-scripts. The options are those of its docs and sources:
train_network.md, sdxl_train_network.md, sd3_train_network.md, flux_train_network.md, validation.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..plan import Optimizer, Precision, Schedule, TrainingPlan
from ..prediction import prediction_of
from .kohya_files import DATA_FILE, FOLDER, PROMPTS_FILE


class Script(NamedTuple):
    """A family's script and network module. `caches_text`: it can keep the text's states."""

    file: str
    module: str
    caches_text: bool = True


SCRIPTS = {
    "sd15": Script("train_network.py", "networks.lora", caches_text=False),
    "sdxl": Script("sdxl_train_network.py", "networks.lora"),
    # Its docs say networks.lora; the module for SD 3's layers is networks/lora_sd3.py.
    "sd35": Script("sd3_train_network.py", "networks.lora_sd3"),
    "sd35-medium": Script("sd3_train_network.py", "networks.lora_sd3"),
    "flux1-dev": Script("flux_train_network.py", "networks.lora_flux"),
    "flux1-schnell": Script("flux_train_network.py", "networks.lora_flux"),
}

_OPTIMIZERS: dict[Optimizer, str] = {
    "adamw": "AdamW",
    "adamw8bit": "AdamW8bit",
    "adafactor": "Adafactor",
    "prodigy": "Prodigy",
}
_SCHEDULES: dict[Schedule, tuple[str, ...]] = {
    "constant": ("--lr_scheduler", "constant_with_warmup"),
    "cosine": ("--lr_scheduler", "cosine"),
    "cosine_with_restarts": (
        *("--lr_scheduler", "cosine_with_restarts"),
        *("--lr_scheduler_num_cycles", "3"),
    ),
}
_PRECISIONS: dict[Precision, str] = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
NEVER = 1_000_000
"""Epochs between two validations: only those by step count."""


def on_cpu(plan: TrainingPlan) -> bool:
    """Whether the plan was made for a CPU."""
    return plan.threads is not None


def launch_words(interpreter: Path, plan: TrainingPlan) -> list[str]:
    """`accelerate launch` for one process, without the questions and the person's own defaults."""
    threads = plan.threads or 1
    words = [str(interpreter), "-m", "accelerate.commands.launch"]
    words += ["--num_processes", "1", "--num_machines", "1", "--dynamo_backend", "no"]
    words += ["--mixed_precision", _PRECISIONS[plan.precision]]
    words += ["--num_cpu_threads_per_process", str(threads)]
    return words + (["--cpu"] if on_cpu(plan) else [])


def script_words(
    plan: TrainingPlan,
    folder: Path,
    tokenizers: Path,
    *,
    validate: bool,
    draw: bool,
    state: Path | None = None,
) -> list[str]:
    """The script and its options. `draw`: it draws the samples itself; `state`: goes on from it."""
    script = SCRIPTS[plan.family]
    here = folder / FOLDER
    words = [script.file]
    words += ["--pretrained_model_name_or_path", str(plan.base.path)]
    words += ["--dataset_config", str(here / DATA_FILE)]
    words += ["--output_dir", str(here / "out"), "--output_name", plan.slug]
    words += ["--logging_dir", str(here / "logs"), "--log_with", "tensorboard"]
    words += ["--tokenizer_cache_dir", str(tokenizers)]
    words += ["--network_module", script.module]
    words += ["--network_dim", str(plan.rank), "--network_alpha", f"{plan.alpha:g}"]
    words += _learning(plan)
    words += ["--max_train_steps", str(plan.steps), "--seed", str(plan.seed % 2**32)]
    words += ["--save_model_as", "safetensors", "--save_every_n_steps", str(plan.save_every)]
    words += ["--save_precision", "bf16" if plan.precision == "bf16" else "fp16"]
    words += ["--save_state", "--save_last_n_steps_state", str(plan.save_every)]
    words += _memory(plan, script)
    words += _loss(plan)
    words += _family(plan)
    if validate:
        words += ["--validate_every_n_steps", str(plan.validate_every)]
        words += ["--validate_every_n_epochs", str(NEVER)]
    if draw and plan.sample_prompts:
        words += ["--sample_prompts", str(here / PROMPTS_FILE)]
        words += ["--sample_every_n_steps", str(plan.sample_every)]
        if not plan.family.startswith(("flux", "sd3")):
            words += ["--sample_sampler", "euler_a"]
    if state is not None:
        words += ["--resume", str(state), "--skip_until_initial_step"]
    return words


def _learning(plan: TrainingPlan) -> list[str]:
    # Prodigy finds its own rate, and takes this one as a factor.
    rate = 1.0 if plan.optimizer == "prodigy" else plan.learning_rate
    words = ["--learning_rate", f"{rate:g}", "--unet_lr", f"{rate:g}"]
    if plan.text_encoder_learning_rate is None:
        words.append("--network_train_unet_only")
    else:
        words += ["--text_encoder_lr", f"{plan.text_encoder_learning_rate:g}"]
    words += ["--optimizer_type", _OPTIMIZERS[plan.optimizer]]
    if plan.optimizer == "adafactor":
        # flux_train_network.md, 6.1
        words += ["--optimizer_args", "relative_step=False", "scale_parameter=False"]
        words += ["warmup_init=False", "--max_grad_norm", "0"]
    words += [*_SCHEDULES[plan.schedule], "--lr_warmup_steps", str(plan.warmup)]
    if plan.accumulate > 1:
        words += ["--gradient_accumulation_steps", str(plan.accumulate)]
    return words


def _memory(plan: TrainingPlan, script: Script) -> list[str]:
    words = ["--mixed_precision", _PRECISIONS[plan.precision], "--sdpa"]
    words += ["--max_data_loader_n_workers", "0"]
    if plan.cache_latents:
        words.append("--cache_latents")
    if plan.cache_text and script.caches_text:
        words.append("--cache_text_encoder_outputs")
    if plan.gradient_checkpointing:
        words.append("--gradient_checkpointing")
    if plan.fp8_base:
        words.append("--fp8_base")
    if plan.blocks_to_swap:
        words += ["--blocks_to_swap", str(plan.blocks_to_swap)]
    if plan.family == "sdxl" and plan.precision == "fp16":
        # SDXL's VAE overflows in fp16.
        words.append("--no_half_vae")
    return words


def _loss(plan: TrainingPlan) -> list[str]:
    words: list[str] = []
    if plan.min_snr is not None:
        words += ["--min_snr_gamma", f"{plan.min_snr:g}"]
    if plan.noise_offset:
        words += ["--noise_offset", f"{plan.noise_offset:g}"]
    if plan.masked_loss:
        words.append("--masked_loss")
    return words


def _family(plan: TrainingPlan) -> list[str]:
    words: list[str] = []
    for part in ("clip_l", "clip_g", "t5xxl", "ae"):
        if part in plan.parts:
            words += [f"--{part}", str(plan.parts[part].path)]
    if plan.family.startswith("flux"):
        words += ["--guidance_scale", "1.0", "--timestep_sampling", "flux_shift"]
        words += ["--model_prediction_type", "raw"]
    elif plan.family.startswith("sd35"):
        words += ["--weighting_scheme", "uniform"]
    elif prediction_of(plan) == "v":
        words.append("--v_parameterization")
    return words
