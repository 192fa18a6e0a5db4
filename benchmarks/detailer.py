"""How well faces are found and put back, beside the Impact Pack's published algorithm.

    python -m benchmarks.detailer --packages FOLDER [--scenes 60] [--json FILE]

`--packages`: where the emoji packages of the starter's training lie (npm fetches them on the first
run). Labelled sets: drawn faces that no training saw, on made-up backgrounds; one portrait of NASA
(public domain) at many sizes on noise; and those backgrounds without faces.

The peer is re-done plainly from its documentation (reference: Impact Pack's FaceDetailer at its
defaults): a box mask dilated by 10 pixels, a crop of three times the box, scaled so that the box's
shorter side is 512 and the crop's longer side at most 1024, cut to multiples of 8, pasted with a
feather of 5 pixels. Nothing is sampled: both get the same made-up drawing.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from kizy.imaging.areas import face_area
from kizy.imaging.crops import Capacity, cut_out, plan_crop
from kizy.imaging.faces import DETECTORS, DRAWN, PHOTOS, Detector, Face, find_faces
from kizy.imaging.improve import changed_mask, plan_faces
from kizy.imaging.patch import put_together
from kizy.tools.starter import renders
from kizy.tools.starter.face_scenes import Scene, SceneMaker, cast
from PIL import Image, ImageFilter

PORTRAIT = Path(__file__).parent.parent / "tests" / "data" / "astronaut.jpg"
PORTRAIT_FACE = (90, 29, 136, 88)
"""Of the face in the portrait, which is 256 pixels wide."""

FAMILIES = {"sd15": Capacity(512, 512, 64), "sdxl": Capacity(1024, 1024, 64)}
Box = tuple[float, float, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {
        "faces": detection(options.packages, options.scenes),
        "seam": seams(),
        "working size": working_sizes(),
        "time": times(),
    }
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def detection(packages: Path, many: int) -> dict[str, Any]:
    """Share of the faces found, and false ones a picture, by detector and set."""
    renders.install_packages(packages)
    drawn = renders.load(packages, 256)
    maker = SceneMaker(drawn, cast(drawn, packages, held_out=True), 512)
    rng = random.Random(20)
    scenes = [maker.make(rng) for _ in range(many)]
    portraits = [portrait(rng) for _ in range(many // 2)]
    sets = {
        "drawn": [scene for scene in scenes if scene.boxes],
        "portrait": portraits,
        "no face": [scene for scene in scenes if not scene.boxes],
    }
    detectors = {"CenterFace": (PHOTOS,), "Kizy's for drawn ones": (DRAWN,), "both": DETECTORS}
    return {
        name: {kind: _measured(members, used) for kind, members in sets.items() if members}
        for name, used in detectors.items()
    }


def portrait(rng: random.Random) -> Scene:
    """The portrait at a random size, mirrored or not, on coloured noise."""
    with Image.open(PORTRAIT) as opened:
        picture = opened.convert("RGB")
    box = PORTRAIT_FACE
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        box = (picture.width - box[2], box[1], picture.width - box[0], box[3])
    side = round(512 * rng.uniform(0.2, 1.0))
    cells = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (8, 8, 3))
    canvas = Image.fromarray(cells.astype(np.uint8)).resize((512, 512), Image.Resampling.BICUBIC)
    left, top = rng.randint(0, 512 - side), rng.randint(0, 512 - side)
    canvas.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (left, top))
    scale = side / picture.width
    moved = (
        left + box[0] * scale,
        top + box[1] * scale,
        left + box[2] * scale,
        top + box[3] * scale,
    )
    return Scene(np.asarray(canvas), (moved,))


def _measured(scenes: Sequence[Scene], detectors: tuple[Detector, ...]) -> dict[str, float]:
    hit = faces = false = 0
    for scene in scenes:
        found = find_faces(Image.fromarray(scene.pixels), detectors)
        boxes = [(face.left, face.top, face.right, face.bottom) for face in found]
        faces += len(scene.boxes)
        hit += sum(any(_same(box, other) for other in boxes) for box in scene.boxes)
        false += sum(not any(_same(box, other) for other in scene.boxes) for box in boxes)
    result = {"false a picture": round(false / len(scenes), 3)}
    return result if faces == 0 else {"found": round(hit / faces, 3), **result}


def _same(a: Box, b: Box) -> bool:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return False
    common = width * height
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / both >= 0.4


def seams() -> dict[str, Any]:
    """Step of brightness (0 to 255) at the edge of what a model drew lighter, and what changed."""
    ours, theirs, outside = [], [], 0
    for side in (60, 120, 240):
        picture = _scene(1200, 900, side)
        face = Face(500, 300, 500 + side, 300 + 1.2 * side, 0.9, "photo")
        crop = plan_crop(face_area(face, picture.size, "a face"), picture.size, FAMILIES["sdxl"])
        result = put_together(picture, [crop], [_lighter(cut_out(picture, crop))])
        old = np.asarray(picture).astype(int)
        untouched = np.asarray(changed_mask(picture.size, [crop])) == 0
        outside += int((np.asarray(result)[untouched] != old[untouched]).sum())
        ours.append(_step(np.asarray(result) - old))
        theirs.append(_step(np.asarray(impact(picture, face, _lighter)) - old))
    return {
        "step": round(statistics.mean(ours), 2),
        "step of the peer": round(statistics.mean(theirs), 2),
        "pixels changed outside the masks": outside,
    }


def working_sizes() -> dict[str, Any]:
    """Pixels of a square face's side as the model sees it.

    And of a crop's side, how many the server cuts off for the peer; the rest is stretched back.
    """
    found: dict[str, Any] = {}
    for name, capacity in FAMILIES.items():
        sizes = []
        for side in (40, 80, 160, 320):
            face = Face(900, 900, 900 + side, 900 + side, 0.9, "photo")
            crop = plan_crop(face_area(face, (2048, 2048), "a face"), (2048, 2048), capacity)
            sizes.append(side * crop.growth)
        found[name] = round(statistics.mean(sizes))
    scales = [min(512 / side, 1024 / (3 * side)) for side in (40, 80, 160, 320)]
    pairs = zip(scales, (40, 80, 160, 320), strict=True)
    found["peer"] = round(statistics.mean(scale * side for scale, side in pairs))
    # Of a face that is a quarter higher than wide, the crop's narrow side.
    narrow = [round(1024 * (3 * side) / (3 * round(1.25 * side))) for side in range(40, 321)]
    found["pixels that the peer loses"] = max(length % 8 for length in narrow)
    return found


def impact(
    picture: Image.Image, face: Face, draw: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """The peer's algorithm on one face."""
    width, height = face.right - face.left, face.bottom - face.top
    x, y = (face.left + face.right) / 2, (face.top + face.bottom) / 2
    left = int(min(max(0, x - 1.5 * width), max(0, picture.width - 3 * width)))
    top = int(min(max(0, y - 1.5 * height), max(0, picture.height - 3 * height)))
    box = (
        left,
        top,
        min(picture.width, left + int(3 * width)),
        min(picture.height, top + int(3 * height)),
    )
    piece = picture.crop(box)
    scale = min(512 / min(width, height), 1024 / max(piece.size))
    drawn = draw(piece.resize((round(piece.width * scale), round(piece.height * scale))))
    eight = (drawn.width // 8 * 8, drawn.height // 8 * 8)
    rest = ((drawn.width - eight[0]) // 2, (drawn.height - eight[1]) // 2)
    drawn = drawn.crop((*rest, rest[0] + eight[0], rest[1] + eight[1])).resize(piece.size)
    mask = Image.new("L", piece.size)
    x, y = int(face.left - left), int(face.top - top)
    mask.paste(255, (x - 10, y - 10, int(x + width) + 10, int(y + height) + 10))
    result = picture.copy()
    result.paste(drawn, (left, top), mask.filter(ImageFilter.GaussianBlur(5)))
    return result


def times() -> dict[str, Any]:
    """Milliseconds a megapixel outside the sampler: finding faces, and all the rest."""
    found: dict[str, Any] = {}
    for name, size in {"1 MP": (1024, 1024), "8K": (7680, 4320)}.items():
        picture = _scene(*size, 200)
        begun = time.process_time()
        find_faces(picture)
        finding = time.process_time() - begun
        wide = size[0] // 6
        faces = [Face(wide * i, 200, wide * i + 100, 330, 0.9, "photo") for i in range(1, 5)]
        begun = time.process_time()
        planned = plan_faces(picture, FAMILIES["sdxl"], faces)
        pieces = [cut_out(picture, crop) for crop in planned.crops]
        put_together(picture, planned.crops, pieces)
        rest = time.process_time() - begun
        pixels = size[0] * size[1] / 1e6
        found[name] = {
            "finding": round(1000 * finding / pixels),
            "cutting and putting back 4 faces": round(1000 * rest / pixels),
        }
    return found


def _scene(width: int, height: int, cell: int) -> Image.Image:
    shape = (max(2, height // cell), max(2, width // cell), 3)
    cells = np.random.default_rng(3).integers(60, 200, shape).astype(np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def _lighter(piece: Image.Image) -> Image.Image:
    """What a model makes of it here: the same, lighter towards one side and a little warmer."""
    values = np.asarray(piece).astype(float) + np.array([18, 14, 8])
    values += np.linspace(-8, 8, piece.width)[None, :, None]
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _step(change: np.ndarray) -> float:
    """The steepest change between neighbours, as the mean of the steepest hundredth."""
    light = change.mean(2)
    steps = np.concatenate([np.abs(np.diff(light, axis=axis)).ravel() for axis in (0, 1)])
    steps = np.sort(steps[steps > 0])
    return float(steps[-max(1, len(steps) // 100) :].mean()) if len(steps) else 0.0


if __name__ == "__main__":
    main()
