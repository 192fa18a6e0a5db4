"""Faces are found once each, in any size of picture; what is skipped is said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from kizy.core.errors import KizyError
from kizy.imaging import centerface, drawn_faces
from kizy.imaging.convolutions import convolution, depthwise, load_weights, pointwise
from kizy.imaging.crops import Capacity
from kizy.imaging.faces import DRAWN, Detector, Face, find_faces
from kizy.imaging.improve import lost_detail, plan_faces, plan_mask, show_found
from PIL import Image

Smiley = Callable[[int], Image.Image]
Noise = Callable[..., Image.Image]

SDXL = Capacity(1024, 1024, 64)


def with_faces(size: tuple[int, int], smiley: Smiley, *boxes: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGB", size, (90, 120, 160))
    for left, top, side in boxes:
        face = smiley(side)
        picture.paste(face, (left, top), face)
    return picture


def near(face: Face, box: tuple[int, int, int]) -> bool:
    left, top, side = box
    middle = (face.left + face.right) / 2, (face.top + face.bottom) / 2
    off = max(abs(middle[0] - left - side / 2), abs(middle[1] - top - side / 2))
    return off < 0.25 * side and 0.6 < (face.right - face.left) / side < 1.5


def test_a_drawn_face_is_found_where_it_is(smiley: Smiley) -> None:
    (face,) = find_faces(with_faces((400, 300), smiley, (150, 80, 140)))
    assert near(face, (150, 80, 140))
    assert face.kind == "drawn"


def test_faces_come_from_left_to_right(smiley: Smiley) -> None:
    boxes = [(20, 200, 90), (200, 40, 110), (380, 180, 100)]
    faces = find_faces(with_faces((512, 384), smiley, *boxes[::-1]))
    assert len(faces) == 3
    assert all(near(face, box) for face, box in zip(faces, boxes, strict=True))


def test_a_plain_picture_has_no_faces() -> None:
    assert find_faces(Image.new("RGB", (300, 200), "green")) == ()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (500, 2)])
def test_tiny_and_narrow_pictures_have_none(size: tuple[int, int]) -> None:
    assert find_faces(Image.new("RGB", size)) == ()


def _spots(pixels: np.ndarray, threshold: float) -> np.ndarray:
    """Stands for a detector: a box around what is red."""
    rows, columns = np.nonzero(pixels[..., 0] > 200)
    if not len(rows):
        return np.zeros((0, 5), np.float32)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9)
    return np.array([box], np.float32)


def test_a_small_face_in_a_very_large_picture_is_found_in_tiles() -> None:
    picture = Image.new("RGB", (7680, 4320))
    picture.paste("#ff0000", (6000, 3000, 6060, 3060))
    detector = Detector("photo", _spots, 0.5, (640, 2560), 1024)
    (face,) = find_faces(picture, (detector,))
    assert abs(face.left - 6000) < 8
    assert abs(face.bottom - 3060) < 8


def test_a_face_on_the_border_of_tiles_is_found_once() -> None:
    picture = Image.new("RGB", (2000, 500))
    picture.paste("#ff0000", (480, 200, 560, 280))
    detector = Detector("photo", _spots, 0.5, (256, 2000), 512)
    assert len(find_faces(picture, (detector,))) == 1


class TestPlanning:
    def face(self, left: float, side: float) -> Face:
        return Face(left, 50, left + side, 50 + side, 0.9, "photo")

    def test_a_face_that_is_too_small_is_skipped_and_said(self, noise: Noise) -> None:
        picture = noise(600, 400)
        planned = plan_faces(picture, SDXL, [self.face(10, 8), self.face(200, 100)])
        assert len(planned.crops) == 1
        assert planned.sentence() == (
            "2 faces found, 1 drawn again; 1 left as it is: too small to be drawn."
        )

    def test_a_sharp_face_larger_than_the_model_draws_is_skipped_and_said(self) -> None:
        fine = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3)).astype(np.uint8)
        planned = plan_faces(Image.fromarray(fine), SDXL, [self.face(100, 1200)])
        assert planned.crops == ()
        assert planned.sentence() == (
            "1 face found, 0 drawn again; 1 left as it is: already sharp."
        )

    def test_a_line_of_prompts_belongs_to_every_face_but_tiny_ones(self) -> None:
        fine = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3)).astype(np.uint8)
        tiny, sharp, small = self.face(10, 8), self.face(60, 1200), self.face(1380, 80)
        planned = plan_faces(Image.fromarray(fine), SDXL, [tiny, sharp, small])
        assert planned.lines == (1,)
        assert [(one.why, one.line) for one in planned.skipped] == [("small", None), ("sharp", 0)]

    def test_a_blurred_one_of_that_size_is_drawn(self, noise: Noise) -> None:
        picture = noise(60, 60).resize((1500, 1500), Image.Resampling.BICUBIC)
        assert len(plan_faces(picture, SDXL, [self.face(100, 1200)]).crops) == 1

    def test_forty_faces_are_all_planned(self, noise: Noise) -> None:
        faces = [self.face(20 + 40 * index, 30) for index in range(40)]
        planned = plan_faces(noise(1700, 200), SDXL, faces)
        assert len(planned.crops) == planned.found == 40

    def test_no_face_is_said(self) -> None:
        planned = plan_faces(Image.new("RGB", (64, 64)), SDXL, [])
        assert planned.sentence() == "No face was found: the picture stays as it is."

    def test_a_mask_leaves_nothing_out(self, noise: Noise) -> None:
        mask = Image.new("L", (300, 200))
        mask.paste(255, (10, 10, 14, 14))
        mask.paste(255, (100, 20, 280, 180))
        planned = plan_mask(noise(300, 200), mask, SDXL)
        assert len(planned.crops) == 2
        assert planned.skipped == ()

    def test_what_was_found_can_be_shown(self, noise: Noise) -> None:
        picture = noise(600, 400).convert("RGBA")
        planned = plan_faces(picture, SDXL, [self.face(10, 8), self.face(200, 100)])
        shown = show_found(picture, planned)
        assert shown.size == picture.size
        assert shown.mode == "RGB"

    def test_where_several_are_drawn_each_has_its_number(self) -> None:
        picture = Image.new("RGB", (600, 400), "white")
        one, other = self.face(60, 100), self.face(300, 100)
        alone = np.asarray(show_found(picture, plan_faces(picture, SDXL, [one])))
        both = np.asarray(show_found(picture, plan_faces(picture, SDXL, [one, other])))
        left = (slice(None), slice(0, 200))
        assert (alone[left] != both[left]).any()


def test_detail_is_lost_by_a_sharp_picture_and_not_by_a_soft_one() -> None:
    cells = np.random.default_rng(0).integers(0, 256, (20, 20)).astype(np.uint8)
    soft = Image.fromarray(cells).resize((200, 200), Image.Resampling.BICUBIC)
    assert lost_detail(Image.fromarray(cells), 2) > 0.3
    assert lost_detail(soft, 2) < 0.03


class TestLayers:
    """Each against torch's."""

    def arrays(self, *shape: int) -> np.ndarray:
        return np.random.default_rng(1).normal(size=shape).astype(np.float32)

    @pytest.mark.parametrize("stride", [1, 2])
    def test_convolutions_are_torchs(self, stride: int) -> None:
        torch = pytest.importorskip("torch")
        conv = torch.nn.functional.conv2d
        x, bias = self.arrays(6, 20, 14), self.arrays(6)
        deep, full, point = self.arrays(6, 3, 3), self.arrays(6, 6, 3, 3), self.arrays(6, 6)
        given, shift = torch.from_numpy(x)[None], torch.from_numpy(bias)
        options = {"stride": stride, "padding": 1}
        wanted = conv(given, torch.from_numpy(deep)[:, None], shift, groups=6, **options)
        assert np.allclose(depthwise(x, deep, bias, stride=stride), wanted[0], atol=1e-4)
        wanted = conv(given, torch.from_numpy(full), shift, **options)
        assert np.allclose(convolution(x, full, bias, stride=stride), wanted[0], atol=1e-4)
        wanted = conv(given, torch.from_numpy(point)[..., None, None], shift)
        assert np.allclose(pointwise(x, point, bias), wanted[0], atol=1e-4)

    def test_damaged_weights_are_said(self, tmp_path) -> None:
        broken = tmp_path / "weights.safetensors"
        broken.write_bytes(b"no weights")
        with pytest.raises(KizyError) as caught:
            load_weights(broken)
        assert caught.value.code == "model_file_damaged"


@pytest.mark.parametrize("network", [centerface, drawn_faces], ids=["photos", "drawn"])
def test_a_network_takes_any_multiple_of_32(network) -> None:
    boxes = network.find(np.full((32, 96, 3), 114, np.uint8), 0.9)
    assert boxes.shape[1] == 5


def test_the_finder_of_drawn_faces_is_the_one_that_was_trained() -> None:
    torch = pytest.importorskip("torch")
    from kizy.tools.starter.train_faces import Finder

    model = Finder().eval()
    x = np.random.default_rng(0).integers(0, 256, (3, 64, 96)).astype(np.float32)
    weights = {name: t.float().numpy() for name, t in model.tensors().items()}
    heat, sizes, offsets = drawn_faces.network(x, weights)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(x)[None])
    assert np.allclose(heat, wanted[0][0].sigmoid(), atol=2e-3)
    assert np.allclose(sizes, wanted[1][0], atol=2e-2)
    assert np.allclose(offsets, wanted[2][0], atol=2e-2)
    assert DRAWN.find is drawn_faces.find


def test_a_photographed_face_is_found() -> None:
    """The astronaut Eileen Collins, by NASA: in the public domain."""
    from pathlib import Path

    portrait = Path(__file__).parents[2] / "data" / "astronaut.jpg"
    with Image.open(portrait) as picture:
        faces = find_faces(picture.convert("RGB"))
    assert [face.kind for face in faces] == ["photo"]
    assert abs(faces[0].left - 90) < 12
    assert abs(faces[0].bottom - 88) < 12


def test_beside_a_sure_photograph_a_doubtful_drawn_face_is_none() -> None:
    def found(score: float, left: int) -> Callable[[np.ndarray, float], np.ndarray]:
        return lambda pixels, threshold: np.array([[left, 10, left + 40, 50, score]], np.float32)

    picture = Image.new("RGB", (200, 100))
    sides = (200, 200)
    photo = Detector("photo", found(0.9, 20), 0.4, sides, 512)
    doubtful = Detector("drawn", found(0.5, 120), 0.4, sides, 512)
    sure = Detector("drawn", found(0.8, 120), 0.4, sides, 512)
    assert [face.kind for face in find_faces(picture, (photo, doubtful))] == ["photo"]
    assert [face.kind for face in find_faces(picture, (photo, sure))] == ["photo", "drawn"]
    assert [face.kind for face in find_faces(picture, (doubtful,))] == ["drawn"]
