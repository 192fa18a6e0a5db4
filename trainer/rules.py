"""From a request, its data set, its base and the machine to a plan, with a reason for each choice.

Pure. The numbers stand in rules.toml, each with its source.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..catalog.index.models import ModelEntry
from ..core.errors import InputError
from ..core.plan import ModelFile, Reason
from ..core.request import TrainingRequest
from .engines.builtin import FAMILIES as BUILTIN_FAMILIES
from .engines.kohya_command import SCRIPTS
from .goal import infer_goal
from .limits import DEFAULT, Limits
from .memory import GIB, SMALL_GIB, Machine
from .plan import EngineName, Goal, Optimizer, Precision, TrainingPlan
from .table import FamilyRules, Rules, Tier, load_rules

if TYPE_CHECKING:
    from .dataset import DataSet

_A: dict[Goal, str] = {"character": "a character", "style": "a style", "object": "an object"}

MAX_SLUG = 60
MAX_SAMPLE_SEED = 2**32


def decide(
    request: TrainingRequest,
    data: DataSet,
    base: ModelEntry,
    machine: Machine,
    *,
    parts: dict[str, ModelFile] | None = None,
    why_base: str = "you named it",
) -> TrainingPlan:
    """Everything decided. `parts`: the other files of a base in several files.

    Raises InputError `trainer_cannot` if nothing trains this base on this machine.
    """
    return _Choice(load_rules(), request, data, base, machine).plan(parts or {}, why_base)


def picture_limits(request: TrainingRequest, base: ModelEntry) -> Limits:
    """How large pictures stay that are prepared for this training."""
    row = load_rules().family.get(base.family or "")
    longest = row.longest_side if row is not None else DEFAULT.longest_side
    if request.resolution != "auto":
        longest = max(longest, 4 * request.resolution)
    return replace(DEFAULT, longest_side=longest)


def slug(name: str) -> str:
    """A name as a file's name: small letters, digits and hyphens; never empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_SLUG].strip("-") or "lora"


def engine_for(request: TrainingRequest, base: ModelEntry) -> tuple[EngineName, str]:
    """What trains, and why. Raises InputError `trainer_cannot` for a name that no engine has."""
    if request.engine == "builtin" or request.engine == "kohya":
        return request.engine, "you asked for it"
    if request.engine != "auto":
        message = f'No training engine is called "{request.engine}". There is: builtin, kohya.'
        raise InputError("trainer_cannot", message, fix="Leave --engine out.")
    if base.family in BUILTIN_FAMILIES and base.kind in ("builtin", "diffusers"):
        return "builtin", "it needs nothing else, and trains this model"
    if base.family in BUILTIN_FAMILIES:
        return "kohya", "the model is one file, and the built-in engine trains diffusers folders"
    return "kohya", f"the built-in engine does not train {base.family or 'this family'}"


@dataclass
class _Choice:
    """The choices of one training, each written down as it is made."""

    rules: Rules
    request: TrainingRequest
    data: DataSet
    base: ModelEntry
    machine: Machine

    def __post_init__(self) -> None:
        self.reasons: list[Reason] = []
        self.trained = [x for x in self.data.examples if not x.held_out]

    def because(self, choice: str, value: object, why: str) -> None:
        self.reasons.append(Reason(choice=choice, value=str(value), why=why))

    def plan(self, parts: dict[str, ModelFile], why_base: str) -> TrainingPlan:
        row = self._row()
        self.because("base", self.base.name, why_base)
        goal = self._goal()
        engine, why = engine_for(self.request, self.base)
        self.because("engine", engine, why)
        tier, gpu = self._tier(row)
        rank = self._rank(row, goal, tier)
        alpha = max(rank * row.alpha_share, 1.0)
        self.because("alpha", f"{alpha:g}", _alpha_words(row))
        text_rate = self._text_rate(row, goal)
        batch = self._batch(tier)
        steps = self._steps(row, goal, batch)
        dropout = self._dropout(row, engine, text_rate)
        pace = self._pace(steps)
        masked = self._masked(goal)
        held_out = len(self.data.examples) - len(self.trained)
        prompts = self._prompts(goal, gpu)
        seed = self._seed()
        self.because("learning rate", f"{row.learning_rate:g}", f"usual for {row.name}")
        self._say_savings(tier)
        self._say_text_encoder(parts)
        return TrainingPlan(
            name=self.request.name,
            slug=slug(self.request.name),
            about=self.request.about,
            trigger=self.data.trigger,
            goal=goal,
            family=self.base.family or "",
            base=ModelFile(
                name=self.base.name,
                path=str(self.base.path.resolve()) if self.base.path is not None else None,
            ),
            parts=parts,
            engine=engine,
            rank=rank,
            alpha=alpha,
            learning_rate=row.learning_rate,
            text_encoder_learning_rate=text_rate,
            steps=steps,
            warmup=round(row.warmup * steps),
            batch=batch,
            repeats=max(1, math.ceil(steps * batch / max(len(self.trained), 1))),
            resolution=self._resolution(row),
            multiple=row.multiple,
            optimizer=self._optimizer(tier),
            schedule=row.schedule,
            precision=self._precision(gpu),
            min_snr=row.min_snr or None,
            noise_offset=row.noise_offset,
            caption_dropout=dropout,
            masked_loss=masked,
            gradient_checkpointing=tier.gradient_checkpointing,
            cache_text=text_rate is None,
            blocks_to_swap=tier.blocks_to_swap,
            fp8_base=tier.fp8_base,
            seed=seed,
            threads=None if gpu else self.machine.cores,
            sample_prompts=prompts,
            sample_seed=seed % MAX_SAMPLE_SEED,
            sample_every=self._sample_pace(pace, steps, gpu),
            validate_every=pace if held_out else 0,
            save_every=pace,
            weight=row.weight,
            reasons=tuple(self.reasons),
        )

    def _row(self) -> FamilyRules:
        row = self.rules.family.get(self.base.family or "")
        if row is None:
            known = ", ".join(x.name for x in self.rules.family.values())
            message = f"Kizy trains no LoRAs for {self.base.name}."
            raise InputError("trainer_cannot", message, fix=f"It trains: {known}.")
        return row

    def _goal(self) -> Goal:
        if self.request.goal != "auto":
            self.because("goal", self.request.goal, "you asked for it")
            return self.request.goal
        goal, why = infer_goal(self.request.name, self.request.about)
        self.because("goal", goal, why)
        return goal

    def _tier(self, row: FamilyRules) -> tuple[Tier, bool]:
        free = self.machine.free / GIB
        if self.machine.device == "cpu":
            if row.cpu is None:
                message = f"{row.name} cannot be trained without a GPU."
                fix = "Use a machine with a GPU, or train a smaller model: --base starter"
                raise InputError("trainer_cannot", message, fix=fix)
            tier, where = row.cpu, "the computer's memory"
        else:
            fitting = (tier for tier in row.gpu if tier.least_gib <= free)
            tier, where = next(fitting, row.gpu[-1]), f"the GPU's memory ({self.machine.name})"
        if tier.least_gib > free:
            message = (
                f"{row.name} needs about {tier.least_gib:.1f} GiB of {where} to be trained; "
                f"{free:.1f} GiB are free."
            )
            fix = "Close other programs, or train a smaller model: --base starter"
            raise InputError("trainer_cannot", message, fix=fix)
        self.because("memory", f"{free:.1f} GiB free", f"in {where}; it decides what follows")
        if self.machine.device == "cpu" and self.base.kind != "builtin":
            self.because("time", "hours to days", "there is no GPU; the starter takes minutes")
        return tier, self.machine.device == "cuda"

    def _rank(self, row: FamilyRules, goal: Goal, tier: Tier) -> int:
        if self.request.rank != "auto":
            self.because("rank", self.request.rank, "you asked for it")
            return self.request.rank
        rank, why = row.rank[goal], f"usual for {_A[goal]} on {row.name}"
        if len(self.data.examples) < self.rules.few.pictures:
            rank = max(rank // 2, 4)
            why += f", halved for fewer than {self.rules.few.pictures} pictures"
        if tier.most_rank is not None and rank > tier.most_rank:
            rank, why = tier.most_rank, "as much as the memory takes"
        self.because("rank", rank, why)
        return rank

    def _text_rate(self, row: FamilyRules, goal: Goal) -> float | None:
        rate = row.text_encoder_learning_rate.get(goal)
        if rate is None:
            why = "the text encoder stays as it is, which saves time and memory"
            self.because("trained", "the drawing network alone", why)
        else:
            why = f"{_A[goal]} has a name, which the text encoder learns at {rate:g}"
            self.because("trained", "the drawing network and the text encoder", why)
        return rate

    def _batch(self, tier: Tier) -> int:
        batch = min(tier.batch, max(len(self.trained), 1))
        few = ", and there are no more pictures" if batch < tier.batch else ""
        self.because("batch", batch, f"what fits into the memory{few}")
        return batch

    def _steps(self, row: FamilyRules, goal: Goal, batch: int) -> int:
        if self.request.steps != "auto":
            self.because("steps", self.request.steps, "you asked for it")
            return self.request.steps
        rule, count = self.rules.views, max(len(self.trained), 1)
        quality = self.request.quality
        wanted = max(rule.least, rule.each * count) * row.views
        wanted *= rule.goal[goal] * rule.quality[quality]
        views = min(wanted, rule.most_each * count)
        steps = round(views / batch)
        why = f"{count} pictures, each seen about {views / count:.0f} times, {batch} at a time"
        if views < wanted:
            why += "; more would learn them by heart"
        if steps > rule.most_steps:
            steps, why = rule.most_steps, "the most that is of use"
        elif steps < rule.least_steps:
            steps, why = rule.least_steps, "fewer change nothing that can be seen"
        if quality != "balanced":
            why += f" (quality {quality})"
        self.because("steps", steps, why)
        return steps

    def _resolution(self, row: FamilyRules) -> int:
        if self.request.resolution != "auto":
            given = self.request.resolution
            used = max(given // row.multiple, 1) * row.multiple
            why = "you asked for it"
            if used != given:
                why += f" ({given}); it must be a multiple of {row.multiple}"
            self.because("resolution", used, why)
            return used
        used = row.resolution[self.request.quality]
        why = "what the model draws at" if used == max(row.resolution.values()) else "saves time"
        self.because("resolution", used, why)
        return used

    def _optimizer(self, tier: Tier) -> Optimizer:
        if tier.optimizer != "adamw8bit":
            self.because("optimizer", tier.optimizer, "the field's usual one; memory suffices")
            return tier.optimizer
        if "bitsandbytes" in self.machine.packages:
            self.because("optimizer", "adamw8bit", "a quarter of AdamW's memory")
            return "adamw8bit"
        why = "it needs little memory; AdamW in 8 bits needs bitsandbytes, which is not installed"
        self.because("optimizer", "adafactor", why)
        return "adafactor"

    def _precision(self, gpu: bool) -> Precision:
        if not gpu:
            self.because("precision", "fp32", "the fastest on a CPU, and exact")
            return "fp32"
        if self.machine.bf16:
            self.because("precision", "bf16", "the GPU computes in it, and it never overflows")
            return "bf16"
        self.because("precision", "fp16", "the GPU has no bf16")
        return "fp16"

    def _dropout(self, row: FamilyRules, engine: EngineName, text_rate: float | None) -> float:
        if row.caption_dropout == 0:
            return 0.0
        script = SCRIPTS.get(self.base.family or "")
        if engine == "kohya" and text_rate is None and script is not None and script.caches_text:
            self.because("caption dropout", 0, "sd-scripts has none while it keeps the text")
            return 0.0
        why = "now and then without a caption, so that guidance still works"
        self.because("caption dropout", f"{row.caption_dropout:g}", why)
        return row.caption_dropout

    def _masked(self, goal: Goal) -> bool:
        if not any(example.has_alpha for example in self.data.examples):
            return False
        if goal == "style":
            self.because("masked loss", "no", "a style is learned from the whole picture")
            return False
        self.because("masked loss", "yes", "some pictures are cut out: only what is seen counts")
        return True

    def _prompts(self, goal: Goal, gpu: bool) -> tuple[str, ...]:
        written = [x.replace("{trigger}", self.data.trigger) for x in self.rules.samples[goal]]
        return tuple(written if gpu or self.base.kind == "builtin" else written[:1])

    def _pace(self, steps: int) -> int:
        rule = self.rules.pace
        pace = min(max(round(steps * rule.share), rule.least), rule.most, steps)
        self.because("saved every", f"{pace} steps", "so little is lost if it is stopped")
        return pace

    def _sample_pace(self, pace: int, steps: int, gpu: bool) -> int:
        if gpu:
            return pace
        # Without a GPU a sample of the starter costs as much as some six steps, one of a larger
        # model as much as all of its steps.
        return min(2 * pace, steps) if self.base.kind == "builtin" else steps

    def _seed(self) -> int:
        if self.request.seed != "auto":
            self.because("seed", self.request.seed, "you asked for it")
            return self.request.seed
        text = "\n".join([self.request.name, *sorted(x.sha256 for x in self.data.examples)])
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        self.because("seed", seed, "made from the pictures: the same ones train the same LoRA")
        return seed

    def _say_savings(self, tier: Tier) -> None:
        savings = [
            ("gradient checkpointing", "yes", tier.gradient_checkpointing, "less memory"),
            ("fp8", "yes", tier.fp8_base, "the base in 8 bits takes half the memory"),
            (
                "blocks to swap",
                tier.blocks_to_swap,
                tier.blocks_to_swap > 0,
                "the rest waits in the computer's memory",
            ),
        ]
        for choice, value, used, why in savings:
            if used:
                self.because(choice, value, why)

    def _say_text_encoder(self, parts: dict[str, ModelFile]) -> None:
        encoder = parts.get("t5xxl")
        if encoder is None:
            return
        if "fp8" in encoder.name:
            self.because("text encoder", encoder.name, "in 8 bits, which takes half the memory")
        elif self.machine.free < SMALL_GIB * GIB:
            why = "t5xxl_fp8_e4m3fn.safetensors beside it would take half the memory"
            self.because("text encoder", encoder.name, why)


def _alpha_words(row: FamilyRules) -> str:
    if row.alpha_share == 1:
        return "as the rank: the learning rate counts as it is"
    return f"{row.alpha_share:g} of the rank: steadier steps"
