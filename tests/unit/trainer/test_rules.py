"""The choice of settings: every case of goal, pictures, memory and family, with its reasons."""

from __future__ import annotations

import pytest
from kizy.catalog.families.family import load_families
from kizy.core.errors import InputError
from kizy.core.plan import ModelFile
from kizy.trainer.memory import Machine
from kizy.trainer.plan import TrainingPlan
from kizy.trainer.rules import decide, picture_limits, slug
from kizy.trainer.table import RULES_FILE, load_rules

from tests.fakes.training import cpu, data_set, gpu, model, plan, request, starter

TEXT = RULES_FILE.read_text()


def flux(machine: Machine, **values: object) -> TrainingPlan:
    return decide(request(**values), data_set(), model("flux1-dev"), machine)


def reason(plan: TrainingPlan, choice: str) -> str:
    return next(x.why for x in plan.reasons if x.choice == choice)


def test_every_row_of_the_table_is_a_family_of_the_catalog() -> None:
    assert set(load_rules().family) <= set(load_families())


def test_the_tiers_of_a_family_go_from_much_memory_to_little() -> None:
    for row in load_rules().family.values():
        least = [tier.least_gib for tier in row.gpu]
        assert least == sorted(least, reverse=True)


def test_every_number_of_the_table_names_its_source() -> None:
    """On its line or in the comment above it; a family's amounts of memory above the first."""
    table, comment, without = "", "", []
    sourced: set[str] = set()
    for line in TEXT.splitlines():
        if line.startswith("["):
            table = line
        elif line.startswith("#"):
            comment += line
            continue
        elif line and not line.startswith(("name = ", "like = ", "object = [", "style = [")):
            if "source" in comment + line:
                sourced.add(table)
            elif not (table.endswith((".gpu]]", ".cpu]")) and table in sourced):
                without.append(f"{table} {line}")
        comment = ""
    assert without == []


@pytest.mark.parametrize(
    ("free", "batch", "swap", "fp8"),
    [(47, 2, 0, False), (23.5, 2, 0, True), (15.2, 1, 8, True), (11.5, 1, 16, True),
     (9.5, 1, 22, True), (7.5, 1, 28, True)],
)  # fmt: skip
def test_flux_follows_the_documented_tiers(free: float, batch: int, swap: int, fp8: bool) -> None:
    decided = flux(gpu(free))
    assert (decided.batch, decided.blocks_to_swap, decided.fp8_base) == (batch, swap, fp8)
    assert decided.engine == "kohya" and decided.cache_text and decided.caption_dropout == 0


def test_flux_without_enough_memory_is_refused_with_numbers() -> None:
    with pytest.raises(InputError, match=r"needs about 7.2 GiB .* 6.0 GiB are free") as caught:
        flux(gpu(6))
    assert caught.value.code == "trainer_cannot"


def test_flux_without_a_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="without a GPU"):
        flux(cpu())


def test_a_family_without_a_row_is_refused() -> None:
    with pytest.raises(InputError, match="trains no LoRAs"):
        decide(request(), data_set(), model("flux1-kontext"), gpu(40))


def test_the_same_pictures_get_the_same_plan() -> None:
    assert plan() == plan()


def test_each_choice_of_the_person_is_kept_and_told() -> None:
    decided = plan(steps=7, rank=3, resolution=100, seed=5, goal="style")
    assert (decided.steps, decided.rank, decided.resolution) == (7, 3, 96)
    assert (decided.seed, decided.goal) == (5, "style")
    assert "multiple of 32" in reason(decided, "resolution")
    assert reason(decided, "steps") == "you asked for it"


def test_more_pictures_take_more_steps() -> None:
    steps = [decide(request(), data_set(n), starter(), cpu()).steps for n in (5, 12, 40, 600)]
    assert steps == sorted(steps) and steps[0] < steps[1] < steps[3]


def test_few_pictures_halve_the_rank() -> None:
    few, many = (decide(request(), data_set(n, 0), starter(), cpu()) for n in (4, 20))
    assert few.rank * 2 == many.rank
    assert "halved" in reason(few, "rank")


def test_a_style_takes_more_steps_than_a_thing() -> None:
    def steps(goal: str) -> int:
        return decide(request(goal=goal), data_set(60), starter(), cpu()).steps

    assert steps("object") < steps("character") < steps("style")


def test_quality_scales_the_steps() -> None:
    def steps(quality: str) -> int:
        return decide(request(quality=quality), data_set(60), starter(), cpu()).steps

    assert steps("draft") < steps("balanced") < steps("best")


def test_repeats_show_the_pictures_as_often_as_the_steps_say() -> None:
    decided = plan()
    assert decided.repeats * 11 >= decided.steps * decided.batch


def test_the_batch_is_never_larger_than_the_data_set() -> None:
    assert decide(request(), data_set(2, 0), starter(), cpu()).batch == 2


def test_the_starter_on_a_cpu_is_exact_and_has_fixed_threads() -> None:
    decided = plan()
    assert (decided.engine, decided.precision, decided.threads) == ("builtin", "fp32", 2)
    assert decided.base.path is None


@pytest.mark.parametrize(("bf16", "precision"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_trains_in_half_precision(bf16: bool, precision: str) -> None:
    decided = decide(request(), data_set(), model("sdxl", "diffusers"), gpu(24, bf16=bf16))
    assert (decided.precision, decided.threads) == (precision, None)


def test_the_8_bit_optimizer_needs_its_library() -> None:
    without = decide(request(), data_set(), model("sdxl"), gpu(9.5))
    having = decide(request(), data_set(), model("sdxl"), gpu(9.5, packages=("bitsandbytes",)))
    assert (without.optimizer, having.optimizer) == ("adafactor", "adamw8bit")
    assert "bitsandbytes" in reason(without, "optimizer")


def test_sdxl_with_8_gb_has_a_small_rank() -> None:
    assert decide(request(), data_set(), model("sdxl"), gpu(7.5)).rank == 8


def test_a_text_encoder_is_trained_for_a_name_but_not_for_a_style() -> None:
    def rate(goal: str) -> float | None:
        base = model("sd15", "diffusers")
        return decide(request(goal=goal), data_set(), base, gpu(12)).text_encoder_learning_rate

    assert rate("character") == 5e-5 and rate("style") is None


def test_one_file_is_trained_by_kohya_and_a_folder_by_the_built_in_engine() -> None:
    assert decide(request(), data_set(), model("sd15"), gpu(12)).engine == "kohya"
    assert decide(request(), data_set(), model("sd15", "diffusers"), gpu(12)).engine == "builtin"


def test_an_engine_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="builtin, kohya"):
        plan(engine="onetrainer")


def test_cut_out_pictures_mask_the_loss_but_not_for_a_style() -> None:
    def masked(goal: str) -> bool:
        wish = request(goal=goal)
        return decide(wish, data_set(alpha=True), starter(), cpu()).masked_loss

    assert masked("character") and not masked("style")


def test_nothing_held_out_is_not_validated() -> None:
    assert decide(request(), data_set(5, 0), starter(), cpu()).validate_every == 0


def test_samples_on_a_slow_machine_are_drawn_once() -> None:
    decided = decide(request(), data_set(), model("sd15", "diffusers"), cpu())
    assert decided.sample_every == decided.steps and len(decided.sample_prompts) == 1
    assert "GPU" in reason(decided, "time")


def test_sample_prompts_hold_the_trigger() -> None:
    assert all("mimicat" in prompt for prompt in plan().sample_prompts)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Mimi the Cat!", "mimi-the-cat"), ("Ölbild", "olbild"), ("猫", "lora"), ("../../x", "x")],
)
def test_a_name_becomes_a_file_name(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_pictures_for_the_starter_are_scaled_down_further() -> None:
    assert picture_limits(request(), starter()).longest_side == 512
    assert picture_limits(request(resolution=256), starter()).longest_side == 1024
    assert picture_limits(request(), model("sdxl")).longest_side == 2048


@pytest.mark.parametrize(
    ("free", "name", "told"),
    [
        (24, "t5xxl_fp16.safetensors", None),
        (9.5, "t5xxl_fp16.safetensors", "would take half the memory"),
        (9.5, "t5xxl_fp8_e4m3fn.safetensors", "in 8 bits"),
    ],
)
def test_a_large_text_encoder_is_told_where_memory_is_short(
    free: float, name: str, told: str | None
) -> None:
    parts = {"t5xxl": ModelFile(name=name, path=f"/models/{name}")}
    plan = decide(request(), data_set(), model("flux1-dev"), gpu(free), parts=parts)
    reasons = [x.why for x in plan.reasons if x.choice == "text encoder"]
    assert (told in reasons[0]) if told else not reasons
