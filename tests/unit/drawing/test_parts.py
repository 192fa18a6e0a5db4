"""The small parts of drawing: meter, cache, cancel, preview, schedulers, masks, memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from kizy.core.errors import CancelledError, InputError
from kizy.drawing import masks, memory
from kizy.drawing.cache import ModelCache
from kizy.drawing.cancel import CancelToken
from kizy.drawing.meter import Meter
from kizy.drawing.preview import SIDE, preview_picture
from kizy.drawing.schedulers import ZERO_SNR_SAMPLERS, make_scheduler, sampler_names
from kizy.starter.architecture import SCHEDULER_CONFIG
from PIL import Image, ImageDraw

from tests.unit.drawing.builders import FakeModel

# torch and NumPy disagree inside diffusers' schedulers.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

CPU = torch.device("cpu")
SD_CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


def meter(*seconds: float, **parts: int) -> Meter:
    """A meter whose clock shows these times, one at each part."""
    clock: Iterator[float] = iter((0.0, *seconds))
    return Meter(parts, {"load": 3.0, "step": 0.1}, lambda: next(clock))


def test_before_anything_was_done_the_time_left_is_unknown() -> None:
    assert meter(load=1, step=4).left is None


def test_before_anything_was_done_the_fraction_is_zero() -> None:
    assert meter(load=1, step=4).fraction == 0


def test_when_all_is_done_nothing_is_left() -> None:
    counted = meter(1.0, 2.0, 3.0, step=3)
    for _ in range(3):
        counted.done("step")
    assert (counted.fraction, counted.left) == (1.0, 0.0)


def test_the_time_left_is_learned_from_the_parts_done() -> None:
    counted = meter(2.0, 4.0, step=5)
    counted.done("step")
    counted.done("step")
    assert counted.left == pytest.approx(6.0)


def test_the_guess_is_scaled_by_what_was_seen() -> None:
    counted = meter(6.0, load=1, step=10)
    counted.done("load")
    assert counted.left == pytest.approx(2.0)


@pytest.mark.parametrize("times", [(9.0, 9.1, 30.0, 60.0), (0.0, 0.0, 0.0, 0.0), (1, 2, 50, 51)])
def test_the_fraction_never_goes_back(times: tuple[float, ...]) -> None:
    counted = meter(*times, load=1, step=3)
    seen = []
    for part in ("load", "step", "step", "step"):
        counted.done(part)
        seen.append(counted.fraction)
    assert seen == sorted(seen)
    assert all(0 <= fraction <= 1 for fraction in seen)


def test_a_part_more_than_planned_does_no_harm() -> None:
    counted = meter(1.0, 2.0, 3.0, step=2)
    for _ in range(3):
        counted.done("step")
    assert (counted.fraction, counted.left) == (1.0, 0.0)


def test_an_unset_token_lets_pass() -> None:
    CancelToken().check()


def test_a_set_token_stops() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        token.check()


class Shelf:
    """A cache over a machine that has room for some models of size 1."""

    def __init__(self, room: float) -> None:
        self.room, self.loaded = room, []
        self.cache = ModelCache(lambda device: self._free())

    def _free(self) -> int:
        used = sum(not model.unloaded for model in self.loaded)
        return round((self.room - used) / memory.RESERVE * 100)

    def take(self, name: str) -> FakeModel:
        def load() -> FakeModel:
            self.loaded.append(FakeModel(name))
            return self.loaded[-1]

        return self.cache.get((name,), 100, CPU, load)

    def kept(self) -> list[str]:
        return [model.name for model in self.loaded if not model.unloaded]


def test_a_model_is_loaded_once() -> None:
    shelf = Shelf(room=2)
    assert shelf.take("a") is shelf.take("a")
    assert len(shelf.loaded) == 1


def test_models_stay_while_there_is_room() -> None:
    shelf = Shelf(room=3)
    for name in "abc":
        shelf.take(name)
    assert shelf.kept() == ["a", "b", "c"]


def test_the_least_recently_used_goes_first() -> None:
    shelf = Shelf(room=2)
    for name in ("a", "b", "a", "c"):
        shelf.take(name)
    assert shelf.kept() == ["a", "c"]


def test_a_model_that_went_is_loaded_anew() -> None:
    shelf = Shelf(room=1)
    first = shelf.take("a")
    shelf.take("b")
    assert shelf.take("a") is not first


def test_a_model_that_needs_all_room_is_loaded_all_the_same() -> None:
    assert Shelf(room=0).take("a").name == "a"


def test_dropping_the_oldest_of_none_says_so() -> None:
    assert ModelCache().drop_oldest() is False


def test_keep_only_unloads_the_others() -> None:
    shelf = Shelf(room=3)
    shelf.take("a")
    kept = shelf.take("b")
    assert shelf.cache.keep_only(kept) is True
    assert shelf.kept() == ["b"]


def test_keep_only_says_when_there_was_nothing_else() -> None:
    shelf = Shelf(room=1)
    assert shelf.cache.keep_only(shelf.take("a")) is False


@pytest.mark.parametrize(
    ("latents", "size"), [((16, 16), (128, 128)), ((8, 32), (128, 32)), ((40, 20), (64, 128))]
)
def test_a_preview_is_small_and_keeps_the_shape(latents, size) -> None:
    rows = [[0.1, 0.1, 0.1]] * 5
    picture = preview_picture(torch.zeros(1, 4, *latents), rows)
    assert picture.size == size
    assert max(picture.size) == SIDE


def test_a_preview_shows_the_linear_map() -> None:
    rows = [[0.5, 0.0, 0.0], [0.0, 0.25, 0.0], [0.0, 0.0, 1.0]]
    latents = torch.ones(1, 2, 4, 4)
    assert preview_picture(latents, rows).getpixel((5, 5)) == (128, 64, 255)


@pytest.mark.parametrize("sampler", sampler_names())
def test_every_sampler_can_be_made(sampler: str) -> None:
    scheduler = make_scheduler(sampler, "normal", SD_CONFIG)
    scheduler.set_timesteps(4)
    assert scheduler.timesteps[0] > scheduler.timesteps[-1]


@pytest.mark.parametrize("sampler", ZERO_SNR_SAMPLERS)
def test_with_zero_snr_the_first_step_is_pure_noise(sampler: str) -> None:
    scheduler = make_scheduler(sampler, "simple", SCHEDULER_CONFIG)
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [999, 799, 599, 399, 199]
    assert scheduler.alphas_cumprod[999] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("sampler", "schedule", "config", "hint"),
    [
        ("dpmp_2m", "normal", SD_CONFIG, '"dpmpp_2m"'),
        ("euler", "karas", SD_CONFIG, '"karras"'),
        ("uni_pc", "simple", SCHEDULER_CONFIG, "euler"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(sampler, schedule, config, hint) -> None:
    with pytest.raises(InputError, match=hint) as caught:
        make_scheduler(sampler, schedule, config)
    assert caught.value.code == "request_invalid"


def mask_with(box: tuple[int, int, int, int], size=(100, 80), grey: int = 255) -> Image.Image:
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rectangle(box, fill=grey)
    return mask


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("feather", [0, 1, 5, 30])
def test_a_mask_is_softened_inwards_only(feather: int) -> None:
    mask = mask_with((30, 20, 69, 59))
    soft = np.asarray(masks.soft_mask(mask, mask.size, feather))
    assert soft[np.asarray(mask) == 0].max() == 0


def test_a_soft_mask_rises_from_its_border() -> None:
    soft = np.asarray(masks.soft_mask(mask_with((30, 0, 99, 79)), (100, 80), 12))[40]
    assert soft[30] < soft[34] < soft[40] and soft[60] == 255


@pytest.mark.parametrize("side", [8, 16, 30, 60])
def test_a_painted_area_smaller_than_the_feather_is_drawn_anew_all_the_same(side: int) -> None:
    mask = mask_with((200, 200, 199 + side, 199 + side), size=(512, 512))
    assert np.asarray(masks.soft_mask(mask, mask.size, 32)).max() > 250


def test_without_feather_a_mask_is_black_and_white() -> None:
    mask = masks.soft_mask(mask_with((10, 10, 50, 50), grey=200), (100, 80), 0)
    assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_a_dark_grey_is_not_drawn_anew() -> None:
    mask = masks.soft_mask(mask_with((10, 10, 50, 50), grey=100), (100, 80), 4)
    assert np.asarray(mask).max() == 0


def test_a_mask_takes_the_pictures_size() -> None:
    assert masks.soft_mask(mask_with((0, 0, 9, 9)), (333, 217), 3).size == (333, 217)


def test_white_painted_on_transparent_ground_counts() -> None:
    mask = Image.new("RGBA", (20, 20), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (5, 5, 10, 10))
    hard = np.asarray(masks.soft_mask(mask, (20, 20), 0))
    assert (hard[7, 7], hard[15, 15]) == (255, 0)


def test_a_latent_mask_has_the_latents_size_and_range() -> None:
    small = masks.latent_mask(mask_with((0, 0, 49, 79)), 64, 32, 8)
    assert small.shape == (1, 1, 4, 8)
    assert (small[..., 0].min(), small[..., -1].max()) == (1.0, 0.0)


def test_outside_the_mask_the_original_comes_back_bit_for_bit() -> None:
    drawn, original, mask = noise(33, 21, 1), noise(33, 21, 2), Image.new("L", (33, 21), 0)
    mask.paste(128, (3, 3, 9, 9))
    outside = np.asarray(mask) == 0
    back = np.asarray(masks.put_back(drawn, original, mask))
    assert (back[outside] == np.asarray(original)[outside]).all()


def test_inside_the_mask_the_drawn_picture_is_seen() -> None:
    drawn, original, mask = noise(33, 21, 1), noise(33, 21, 2), Image.new("L", (33, 21), 255)
    assert masks.put_back(drawn, original, mask).tobytes() == drawn.tobytes()


def test_half_a_mask_mixes_half_and_half() -> None:
    black, white = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "white")
    mixed = masks.put_back(white, black, Image.new("L", (4, 4), 51))
    assert mixed.getpixel((0, 0)) == (51, 51, 51)


def test_pixels_come_back_as_the_picture_they_were() -> None:
    picture = noise(24, 16)
    assert masks.to_picture(masks.to_pixels(picture, 24, 16)).tobytes() == picture.tobytes()


def test_pixels_are_minus_one_to_one() -> None:
    pixels = masks.to_pixels(Image.new("L", (8, 8), 255), 16, 8)
    assert pixels.shape == (1, 3, 8, 16)
    assert (pixels.min(), pixels.max()) == (1.0, 1.0)


def test_what_is_transparent_becomes_white() -> None:
    assert masks.on_white(Image.new("RGBA", (2, 2), (9, 9, 9, 0))).getpixel((0, 0)) == (255,) * 3


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_every_form_of_memory_running_out_is_known(error: BaseException) -> None:
    assert memory.is_out_of_memory(error)


def test_another_error_is_not_taken_for_it() -> None:
    assert not memory.is_out_of_memory(RuntimeError("shapes differ"))


@pytest.mark.parametrize(("free", "dtype"), [(100, torch.float32), (20, torch.bfloat16)])
def test_a_cpu_takes_float32_where_it_fits(free: int, dtype: torch.dtype) -> None:
    assert memory.place(10, CPU, free) == memory.Placement(CPU, dtype, offload=False)


@pytest.mark.parametrize(("free", "offload"), [(100, False), (11, True)])
def test_a_gpu_keeps_only_what_runs_where_all_does_not_fit(free: int, offload: bool) -> None:
    gpu = torch.device("cuda")
    assert memory.place(10, gpu, free) == memory.Placement(gpu, torch.float16, offload=offload)
