"""What sd-scripts reads: a folder of pictures with captions, the data set's TOML, sample prompts.

sd-scripts, docs/config_README-en.md and docs/validation.md: pictures lie directly in `image_dir`,
captions beside them; `validation_split = 1.0` keeps a whole data set for the validation loss. The
schema of library/config_util.py takes it for a data set, not for a subset.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ...catalog.families.family import family
from ...core.files import replacing, storage_errors
from ..plan import TrainingPlan

if TYPE_CHECKING:
    from ..dataset import DataSet, Example

FOLDER = "kohya"
TRAIN, HELD_OUT = "train", "held_out"
DATA_FILE, PROMPTS_FILE = "data.toml", "prompts.txt"


def data_toml(folder: Path, plan: TrainingPlan, data: DataSet, *, held_out: bool) -> str:
    """The data set's TOML for a run's folder.

    One epoch holds all steps: sd-scripts counts steps of a resumed training within an epoch.
    """
    smallest = max(plan.resolution // 2 // plan.multiple, 1) * plan.multiple
    enlarged = not all(_fits(example, plan) for example in data.examples)
    lines = [
        "[general]",
        'caption_extension = ".txt"',
        "enable_bucket = true",
        f"bucket_reso_steps = {plan.multiple}",
        f"min_bucket_reso = {smallest}",
        f"max_bucket_reso = {plan.resolution * 2}",
        f"bucket_no_upscale = {'false' if enlarged else 'true'}",
        "",
        "[[datasets]]",
        f"resolution = {plan.resolution}",
        f"batch_size = {plan.batch}",
        "",
        "  [[datasets.subsets]]",
        f"  image_dir = {_text(folder / FOLDER / TRAIN)}",
        f"  num_repeats = {plan.repeats + 1}",
        f"  caption_dropout_rate = {plan.caption_dropout}",
    ]
    if plan.masked_loss:
        lines.append("  alpha_mask = true")
    if held_out:
        lines += [
            "",
            "[[datasets]]",
            f"resolution = {plan.resolution}",
            "batch_size = 1",
            "validation_split = 1.0",
            "",
            "  [[datasets.subsets]]",
            f"  image_dir = {_text(folder / FOLDER / HELD_OUT)}",
            "  num_repeats = 1",
        ]
        if plan.masked_loss:
            lines.append("  alpha_mask = true")
    return "\n".join(lines) + "\n"


def _fits(example: Example, plan: TrainingPlan) -> bool:
    """Whether a picture fills a bucket without being enlarged.

    Where one does not, sd-scripts divides by zero (library/train_util.py, select_bucket).
    """
    scale = min(1.0, plan.resolution / math.sqrt(example.width * example.height))
    return min(example.width, example.height) * scale >= plan.multiple


def prompts_text(plan: TrainingPlan) -> str:
    """The sample prompts, a line each, in sd-scripts' own form (gen_img: --w --h --s --l --d)."""
    facts = family(plan.family)
    width, height = facts.sizes["square"]
    options = f"--w {width} --h {height} --s {facts.steps['balanced']} --d {plan.sample_seed}"
    if facts.guidance_kind == "cfg":
        options += f" --l {facts.guidance:g}"
    elif facts.guidance_kind == "distilled":
        options += f" --g {facts.guidance:g}"
    if facts.default_negative:
        options += f" --n {facts.default_negative}"
    # Behind two hyphens an option would begin.
    return "".join(f"{x.replace('--', '-')} {options}\n" for x in plan.sample_prompts)


def write_pictures(folder: Path, pictures: Path, data: DataSet, plan: TrainingPlan) -> None:
    """Lay pictures and captions where sd-scripts looks for them. Raises StorageError."""
    for name, examples in (
        (TRAIN, [example for example in data.examples if not example.held_out]),
        (HELD_OUT, [example for example in data.examples if example.held_out]),
    ):
        target = folder / FOLDER / name
        with storage_errors(target / "picture"):
            if target.exists():
                shutil.rmtree(target)
            target.mkdir(parents=True)
            for example in examples:
                _lay(pictures / example.picture, target / example.picture, example, plan)
                caption = (target / example.picture).with_suffix(".txt")
                caption.write_text(example.caption, encoding="utf-8")


def _lay(source: Path, target: Path, example: Example, plan: TrainingPlan) -> None:
    if example.has_alpha and not plan.masked_loss:
        # sd-scripts drops the alpha channel, and what lies beneath it is anything.
        from PIL import Image

        with Image.open(source) as picture:
            ground = Image.new("RGBA", picture.size, "white")
            ground.alpha_composite(picture.convert("RGBA"))
            ground.convert("RGB").save(target)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_texts(files: dict[Path, str]) -> None:
    """Write each file whole or not at all. Raises StorageError."""
    for path, text in files.items():
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _text(path: Path) -> str:
    """A path as a TOML string: JSON's rules for quotes are TOML's, too."""
    return json.dumps(str(path), ensure_ascii=False)
