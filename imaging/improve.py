"""What of a picture is drawn again, and what is left as it is and why: the plan of a detailer.

improvement = plan_faces(picture, capacity)        # or plan_mask(picture, mask, capacity)
drawn = [draw(cut_out(picture, crop), noise_mask(crop)) for crop in improvement.crops]
picture = put_together(picture, improvement.crops, drawn)

Lines of prompts go to the faces by their numbers in `show_found`, from left to right: a face that
is left because it is sharp has one, too; who is too small to be seen has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..core.cores import all_cores
from ..core.picture_files import open_picture
from ..core.plan import ImproveStage
from .areas import Area, face_area, mask_areas
from .blend import on_white
from .crops import Capacity, Crop, pixels_in, plan_crop
from .faces import Face, find_faces

LEAST_FACE = 14.0
"""Pixels of the shorter side: of a smaller face, nobody could say whose it is."""

STRENGTHS = {"subtle": 0.25, "normal": 0.4, "strong": 0.6}
"""Share of the steps that are drawn anew; ADetailer's 0.4 in the middle, the Impact Pack's 0.5."""

NO_GAIN = 1.05
"""Drawn in up to this many times the pixels that it has, what is sharp becomes no better."""

SHARP = 0.065
"""Detail that is lost when a face is reduced to what the model draws, against its contrast:
photographs lose 0.09 and more at half their size, and 0.05 and less if enlarged twice before."""

DRAWN, LEFT = "#2ecc40", "#888888"
"""Colours of what is drawn again and of what is left, where it is shown."""


@dataclass(frozen=True)
class Skipped:
    """A face that is left as it is; `why`: "small" or "sharp". `line`: None for a small one."""

    face: Face
    why: str
    line: int | None = None


@dataclass(frozen=True)
class Improvement:
    """`crops`: what is drawn again, from left to right. `found`: every face, or part of a mask.

    `lines`: for each crop, which line of prompts is its own, from 0 on.
    """

    crops: tuple[Crop, ...]
    skipped: tuple[Skipped, ...]
    found: int
    what: str
    lines: tuple[int, ...]

    def sentence(self) -> str:
        """What was found, done and left, for the person."""
        if self.found == 0:
            nothing = {"face": "No face was found", "part": "The mask marks nothing"}[self.what]
            return f"{nothing}: the picture stays as it is."
        text = f"{_counted(self.found, self.what)} found, {len(self.crops)} drawn again"
        if self.what == "part":
            text = f"{_counted(self.found, 'part')} of the mask drawn again"
        for why, words in (("small", "too small to be drawn"), ("sharp", "already sharp")):
            many = sum(skipped.why == why for skipped in self.skipped)
            text += f"; {many} left as {'it is' if many == 1 else 'they are'}: {words}" * (many > 0)
        return text + "."


def plan_faces(
    picture: Image.Image, capacity: Capacity, faces: Sequence[Face] | None = None
) -> Improvement:
    """The faces of a picture (RGB, RGBA or L). `faces`: None to look for them here."""
    rgb = on_white(picture)
    found = find_faces(rgb) if faces is None else tuple(faces)
    crops: list[Crop] = []
    skipped: list[Skipped] = []
    lines: list[int] = []
    line = -1
    for face in found:
        if face.size < LEAST_FACE:
            skipped.append(Skipped(face, "small"))
            continue
        line += 1
        crop = plan_crop(face_area(face, rgb.size, "a face"), rgb.size, capacity)
        if is_sharp(rgb, crop, capacity):
            skipped.append(Skipped(face, "sharp", line))
        else:
            crops.append(crop)
            lines.append(line)
    return Improvement(tuple(crops), tuple(skipped), len(found), "face", tuple(lines))


def plan_mask(picture: Image.Image, mask: Image.Image, capacity: Capacity) -> Improvement:
    """Everything that a person's mask marks, each part of it by itself: nothing is left out."""
    areas = mask_areas(mask, picture.size)
    crops = tuple(plan_crop(area, picture.size, capacity) for area in areas)
    return Improvement(crops, (), len(crops), "part", tuple(range(len(crops))))


@all_cores()
def plan_stage(picture: Image.Image, stage: ImproveStage) -> Improvement:
    """What a stage of a Plan draws again. Raises PictureError if its mask cannot be read."""
    capacity = Capacity(stage.width, stage.height, stage.multiple, stage.reach)
    if stage.mask is None:
        return plan_faces(picture, capacity)
    return plan_mask(picture, open_picture(Path(stage.mask.path)), capacity)


def words_for(stage: ImproveStage, line: int, otherwise: str) -> str:
    """That line of a stage's `prompts`, or the Plan's prompt."""
    return (stage.prompts[line] if line < len(stage.prompts) else "") or otherwise


def is_sharp(picture: Image.Image, crop: Crop, capacity: Capacity) -> bool:
    """Whether the picture already shows finer things in the area than the model would draw."""
    gain = crop.growth * capacity.reach
    if gain > NO_GAIN:
        return False
    return lost_detail(_grey_area(picture, crop), max(2.0, 1 / gain)) > SHARP


def lost_detail(grey: Image.Image, factor: float) -> float:
    """How much of a picture goes when it is made `factor` times smaller: 0 nothing, 1 all."""
    small = (max(1, round(grey.width / factor)), max(1, round(grey.height / factor)))
    back = grey.resize(small, Image.Resampling.LANCZOS).resize(grey.size, Image.Resampling.BICUBIC)
    values = np.asarray(grey, dtype=np.float32)
    lost = np.sqrt(np.square(values - np.asarray(back, dtype=np.float32)).mean())
    return float(lost / max(float(values.std()), 1.0))


def show_found(picture: Image.Image, improvement: Improvement) -> Image.Image:
    """The picture with what was found drawn on it: green is drawn again, grey is left.

    Where several have a line of prompts, each has its number, from 1 on.
    """
    shown = on_white(picture).copy()
    pen = ImageDraw.Draw(shown)
    width = max(2, max(shown.size) // 300)
    numbers: list[tuple[int, float, float, str]] = []
    for crop, line in zip(improvement.crops, improvement.lines, strict=True):
        area: Area = crop.area
        box = (area.left, area.top, area.left + area.width - 1, area.top + area.height - 1)
        pen.ellipse(box, outline=DRAWN, width=width)
        numbers.append((line, area.left, area.top, DRAWN))
    for skipped in improvement.skipped:
        face = skipped.face
        pen.rectangle((face.left, face.top, face.right, face.bottom), outline=LEFT, width=width)
        if skipped.line is not None:
            numbers.append((skipped.line, face.left, face.top, LEFT))
    if len(numbers) > 1:
        font = ImageFont.load_default(max(10, max(shown.size) // 45))
        for line, left, top, colour in numbers:
            pen.text(
                (left, top),
                str(line + 1),
                fill=colour,
                font=font,
                stroke_width=max(1, width // 2),
                stroke_fill="black",
            )
    return shown


def changed_mask(size: tuple[int, int], crops: Sequence[Crop]) -> Image.Image:
    """Mode L at the picture's `size`: where it may have changed, and how much of it is new."""
    whole = np.zeros((size[1], size[0]), np.uint8)
    for crop in crops:
        area = crop.area
        part = whole[area.top : area.top + area.height, area.left : area.left + area.width]
        np.maximum(part, area.mask, out=part)
    return Image.fromarray(whole)


def _grey_area(picture: Image.Image, crop: Crop) -> Image.Image:
    area = crop.area
    pixels = pixels_in(picture, crop)
    top, left = area.top - crop.top, area.left - crop.left
    return Image.fromarray(pixels[top : top + area.height, left : left + area.width]).convert("L")


def _counted(many: int, thing: str) -> str:
    return f"{many} {thing}{'' if many == 1 else 's'}"
