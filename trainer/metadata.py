"""What a LoRA file says of itself: for people's tools (`ss_...`), for catalogs (`modelspec....`),
and for Kizy (`kizy`).

`ss_...`: the keys of sd-scripts (train_network.py) that tools read. `modelspec....`: Stability's
ModelSpec 1.0.1. No path of this machine and no picture's name goes into the file.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ..catalog.families.family import family
from ..core.version import VERSION
from .buckets import assign
from .prediction import prediction_of

if TYPE_CHECKING:
    from PIL import Image

    from .best import Best, Check
    from .dataset import DataSet, Example
    from .plan import Goal, TrainingPlan

KINDS = {"character": "subject", "object": "subject", "style": "style"}
"""Goal -> what the catalog calls a LoRA of that kind."""

TAGS: dict[Goal, str] = {"character": "character", "object": "objects", "style": "style"}
"""Goal -> the category that catalogs know it by (Civitai's)."""

THUMBNAIL = 256
"""Longer side of the thumbnail, in pixels; sd-scripts writes at most 512."""


@dataclass(frozen=True)
class Facts:
    """What is known of a training besides its plan. `started`: ISO time; `hash`: of the weights.

    `modules`: how many of the base's layers it changes.
    """

    started: str
    hash: str
    modules: int
    best: Best
    checks: Sequence[Check] = ()
    thumbnail: Image.Image | None = None


def metadata(plan: TrainingPlan, data: DataSet, facts: Facts) -> dict[str, str]:
    """All of it, each value a text. The same facts give the same text."""
    learned = [example for example in data.examples if not example.held_out]
    return {
        **_modelspec(plan, facts),
        **_training(plan, learned, facts),
        "kizy": json.dumps(_own(plan, data, facts), ensure_ascii=False, sort_keys=True),
    }


def thumbnail_uri(picture: Image.Image) -> str:
    """The picture as a small JPEG in a data URI."""
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _modelspec(plan: TrainingPlan, facts: Facts) -> dict[str, str]:
    known = family(plan.family)
    architecture = next(iter(known.lora.architectures), plan.family)
    original = plan.family == "sdxl"
    values = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/lora",
        # Whose names the layers have.
        "modelspec.implementation": (
            "https://github.com/Stability-AI/generative-models" if original else "diffusers"
        ),
        "modelspec.title": plan.name,
        "modelspec.description": plan.about,
        "modelspec.trigger_phrase": plan.trigger,
        "modelspec.tags": TAGS[plan.goal],
        "modelspec.usage_hint": _hint(plan),
        "modelspec.date": facts.started,
        "modelspec.resolution": f"{plan.resolution}x{plan.resolution}",
        "modelspec.prediction_type": prediction_of(plan),
        "modelspec.hash_sha256": f"0x{facts.hash}",
    }
    if facts.thumbnail is not None:
        values["modelspec.thumbnail"] = thumbnail_uri(facts.thumbnail)
    return {key: value for key, value in values.items() if value}


def _hint(plan: TrainingPlan) -> str:
    base = plan_base(plan)
    return f'Write "{plan.trigger}" into the prompt; weight {plan.weight:g}. Made for {base}.'


def plan_base(plan: TrainingPlan) -> str:
    """The base's name without its path."""
    return PurePath(plan.base.name.replace("\\", "/")).name


def _training(plan: TrainingPlan, learned: Sequence[Example], facts: Facts) -> dict[str, str]:
    known = family(plan.family)
    per_epoch = max(1, -(-len(learned) // plan.batch))
    folder = f"{plan.repeats}_{plan.trigger}"
    values: dict[str, Any] = {
        "ss_output_name": plan.slug,
        "ss_sd_model_name": plan_base(plan),
        "ss_base_model_version": next(iter(known.lora.base_versions), plan.family),
        "ss_v2": False,
        "ss_network_module": "networks.lora",
        "ss_network_dim": plan.rank,
        "ss_network_alpha": f"{plan.alpha:g}",
        "ss_learning_rate": plan.learning_rate,
        "ss_unet_lr": plan.learning_rate,
        "ss_text_encoder_lr": plan.text_encoder_learning_rate,
        "ss_max_train_steps": plan.steps,
        "ss_steps": facts.best.step,
        "ss_epoch": -(-facts.best.step * plan.accumulate // per_epoch),
        "ss_num_epochs": -(-plan.steps * plan.accumulate // per_epoch),
        "ss_num_train_images": len(learned) * plan.repeats,
        "ss_num_reg_images": 0,
        "ss_num_batches_per_epoch": per_epoch,
        "ss_total_batch_size": plan.batch * plan.accumulate,
        "ss_gradient_accumulation_steps": plan.accumulate,
        "ss_gradient_checkpointing": plan.gradient_checkpointing,
        "ss_resolution": f"({plan.resolution}, {plan.resolution})",
        "ss_enable_bucket": True,
        "ss_bucket_info": json.dumps(_buckets(plan, learned)),
        "ss_dataset_dirs": json.dumps(
            {folder: {"n_repeats": plan.repeats, "img_count": len(learned)}}
        ),
        "ss_tag_frequency": json.dumps({folder: _tags(learned)}, ensure_ascii=False),
        "ss_optimizer": plan.optimizer,
        "ss_lr_scheduler": plan.schedule,
        "ss_lr_warmup_steps": plan.warmup,
        "ss_mixed_precision": "no" if plan.precision == "fp32" else plan.precision,
        "ss_seed": plan.seed,
        "ss_noise_offset": plan.noise_offset or None,
        "ss_min_snr_gamma": plan.min_snr,
        "ss_caption_dropout_rate": plan.caption_dropout,
        "ss_cache_latents": True,
        "ss_clip_skip": None,
        "ss_training_comment": f"trained with Kizy {VERSION}",
        "ss_training_started_at": datetime.fromisoformat(facts.started).timestamp(),
        "sshs_model_hash": facts.hash,
    }
    # sd-scripts writes None as a word, too.
    return {key: str(value) for key, value in values.items()}


def _own(plan: TrainingPlan, data: DataSet, facts: Facts) -> dict[str, Any]:
    settings = plan.model_dump(
        mode="json", exclude={"reasons", "base", "parts", "name", "slug", "about", "trigger"}
    )
    return {
        "version": 1,
        "made_by": f"Kizy {VERSION}",
        "kind": KINDS[plan.goal],
        "weight": plan.weight,
        "base": plan_base(plan),
        "step": facts.best.step,
        "why": facts.best.why,
        "modules": facts.modules,
        "pictures": sum(not example.held_out for example in data.examples),
        "held_out": sum(example.held_out for example in data.examples),
        "validation": [[check.step, round(check.loss, 6)] for check in facts.checks],
        "settings": settings,
    }


def _tags(examples: Iterable[Example]) -> dict[str, int]:
    """How often each part of a caption between commas stands there."""
    counts = Counter(
        part.strip() for example in examples for part in example.caption.split(",") if part.strip()
    )
    return dict(sorted(counts.items()))


def _buckets(plan: TrainingPlan, examples: Iterable[Example]) -> dict[str, Any]:
    sizes = Counter(assign(e.width, e.height, plan.resolution, plan.multiple) for e in examples)
    buckets = {
        str(index): {"resolution": list(size), "count": count}
        for index, (size, count) in enumerate(sorted(sizes.items()))
    }
    return {"buckets": buckets}


def now() -> str:
    """The present time in ISO form, to the second, in UTC."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()
