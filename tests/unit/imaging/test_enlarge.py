"""The enlarger: tiles, sizes, files. Networks are small and random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from kizy.core.errors import InputError, ModelFileError, UnknownNameError  # noqa: E402
from kizy.imaging.enlarge import enlarge, enlarge_to, load_enlarger  # noqa: E402
from kizy.imaging.srvgg import SRVGGNetCompact  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


def random_model(num_feat: int = 6, num_conv: int = 2) -> SRVGGNetCompact:
    """A network whose output depends strongly on everything it can see."""
    torch.manual_seed(0)
    model = SRVGGNetCompact(num_feat, num_conv).eval()
    for layer in model.body:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, a=0.25)
    return model


def random_picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def largest_difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


def saved(tensors: dict[str, torch.Tensor], folder: Path) -> Path:
    path = folder / "enlarger.safetensors"
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("tile", [1, 7, 16, 50])
def test_tiles_equal_the_whole_picture(tile: int) -> None:
    model, picture = random_model(), random_picture(41, 29)
    whole = enlarge(picture, model, tile=64)
    assert np.asarray(whole).std() > 20
    assert largest_difference(enlarge(picture, model, tile=tile), whole) <= 1


def test_the_radius_is_all_that_the_network_can_see() -> None:
    model = random_model().double()
    x = torch.rand(1, 3, 21, 21, dtype=torch.double, requires_grad=True)
    model(x)[0, :, 40:44, 40:44].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert (int(rows.min()), int(rows.max())) == (10 - model.radius, 10 + model.radius)


def test_a_plain_picture_is_enlarged_evenly_up_to_its_edge() -> None:
    enlarged = np.asarray(enlarge(Image.new("RGB", (9, 7), (200, 120, 60)), random_model()))
    pixel = enlarged[:4, :4]
    assert np.array_equal(enlarged, np.tile(pixel, (7, 9, 1)))


def test_without_weights_the_pixels_are_repeated() -> None:
    model = random_model()
    torch.nn.init.zeros_(model.body[-1].weight)
    torch.nn.init.zeros_(model.body[-1].bias)
    picture = random_picture(5, 3)
    repeated = picture.resize((20, 12), Image.Resampling.NEAREST)
    assert largest_difference(enlarge(picture, model), repeated) == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (17, 2)])
def test_small_and_narrow_pictures_become_four_times_as_large(size: tuple[int, int]) -> None:
    enlarged = enlarge(random_picture(*size), random_model(), tile=32)
    assert enlarged.size == (size[0] * 4, size[1] * 4)
    assert enlarged.mode == "RGB"


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_modes_become_rgb(mode: str) -> None:
    assert enlarge(random_picture(4, 4).convert(mode), random_model()).mode == "RGB"


@pytest.mark.parametrize(
    ("factor", "size"),
    [
        (1.01, (13, 9)),
        (1.5, (20, 14)),
        (2, (26, 18)),
        (4, (52, 36)),
        (4.1, (53, 37)),
        (6.25, (81, 56)),
        (8, (104, 72)),
    ],
)
def test_any_factor_gives_the_exact_size(factor: float, size: tuple[int, int]) -> None:
    assert enlarge_to(random_picture(13, 9), random_model(), factor).size == size


def test_a_single_pixel_can_be_enlarged_by_any_factor() -> None:
    assert enlarge_to(random_picture(1, 1), random_model(), 1.2).size == (1, 1)
    assert enlarge_to(random_picture(1, 1), random_model(), 8).size == (8, 8)


def test_factor_four_is_the_network_alone() -> None:
    model, picture = random_model(), random_picture(9, 9)
    assert largest_difference(enlarge_to(picture, model, 4), enlarge(picture, model)) == 0


@pytest.mark.parametrize("factor", [1, 0, -2, 8.5, float("nan"), float("inf")])
def test_a_factor_out_of_range_is_refused(factor: float) -> None:
    with pytest.raises(InputError) as caught:
        enlarge_to(random_picture(4, 4), random_model(), factor)
    assert caught.value.code == "request_invalid"


def test_the_tensors_have_the_names_and_shapes_of_real_esrgan() -> None:
    shapes = {key: tuple(t.shape) for key, t in SRVGGNetCompact(5, 2).state_dict().items()}
    assert shapes == {
        "body.0.weight": (5, 3, 3, 3),
        "body.0.bias": (5,),
        "body.1.weight": (5,),
        "body.2.weight": (5, 5, 3, 3),
        "body.2.bias": (5,),
        "body.3.weight": (5,),
        "body.4.weight": (5, 5, 3, 3),
        "body.4.bias": (5,),
        "body.5.weight": (5,),
        "body.6.weight": (48, 5, 3, 3),
        "body.6.bias": (48,),
    }


def test_a_saved_network_draws_the_same(tmp_path: Path) -> None:
    model, picture = random_model(7, 3), random_picture(12, 10)
    loaded = load_enlarger(saved(model.state_dict(), tmp_path))
    assert largest_difference(enlarge(picture, loaded), enlarge(picture, model)) == 0


def test_half_precision_weights_are_loaded_in_the_wanted_dtype(tmp_path: Path) -> None:
    path = saved({k: v.half() for k, v in random_model().state_dict().items()}, tmp_path)
    assert next(load_enlarger(path).parameters()).dtype == torch.float32
    model = load_enlarger(path, dtype=torch.bfloat16)
    assert next(model.parameters()).dtype == torch.bfloat16
    assert enlarge(random_picture(6, 5), model).size == (24, 20)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"nothing\.safetensors") as caught:
        load_enlarger(tmp_path / "nothing.safetensors")
    assert caught.value.code == "file_missing"


def without(key: str) -> dict[str, torch.Tensor]:
    return {k: v for k, v in random_model().state_dict().items() if k != key}


@pytest.mark.parametrize(
    "tensors",
    [
        {"text.weight": torch.zeros(2, 2)},
        {"body.0.weight": torch.zeros(2, 2)},
        {"body.0.weight": torch.zeros(5, 3, 3, 3)},
        without("body.0.weight"),
        without("body.3.weight"),
        without("body.6.bias"),
        random_model().state_dict() | {"extra": torch.zeros(1)},
        random_model().state_dict() | {"body.2.weight": torch.zeros(6, 6, 1, 1)},
        random_model().state_dict() | {"body.6.weight": torch.zeros(12, 6, 3, 3)},
    ],
)
def test_other_tensors_are_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        load_enlarger(saved(tensors, tmp_path))
    assert caught.value.code == "model_file_damaged"


@pytest.mark.parametrize("keep", [0, 4, 100, 2000])
def test_a_file_cut_short_is_refused(keep: int, tmp_path: Path) -> None:
    path = saved(random_model().state_dict(), tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelFileError) as caught:
        load_enlarger(path)
    assert caught.value.code == "model_file_damaged"
