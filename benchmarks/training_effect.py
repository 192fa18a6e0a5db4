"""What a training changes: the starter learns a style from 40 line drawings.

    python -m benchmarks.training_effect --folder FOLDER [--steps N] [--keep]

Fetches OpenMoji from npm (CC BY-SA 4.0) into FOLDER, draws 40 of its black drawings as pictures
with captions, and trains with everything that `kizy train` chooses by itself. Printed: minutes of
the training; mean saturation and share of edges of pictures drawn without the LoRA, with it, and
of the training pictures; whether prompts that ask for the style pick it, and whether others do
not. Written: FOLDER/effect.png, a grid (above without, below with the LoRA), and the run's own
loss.png and samples.png.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kizy.core.request import GenerationRequest, TrainingRequest
from kizy.drawing.memory import best_device
from kizy.orchestrator.app import App
from kizy.orchestrator.training.trainer import make_trainer
from kizy.trainer.events import EndEvent, StepEvent, ValidationEvent
from kizy.trainer.run_folder import RunFolder
from kizy.trainer.samples import Sampler
from PIL import Image

PACKAGE = "openmoji@17.0.0"
GROUPS = ("animals-nature", "food-drink", "objects", "travel-places")
COUNT = 40
SIDE = 256

NAME = "Inkline"
ABOUT = "Thin black line drawings on white paper, without any colour."

SUBJECTS = ("a red fox", "a green tree", "a house", "a yellow banana", "a blue car", "a cat")
WISHES = (
    "a fox in inkline style",
    "a house as a thin black line drawing",
    "line drawing of a cat, black on white paper",
)
OTHERS = (
    "a red fox on a blue background, 3d render",
    "a yellow banana",
    "a colourful flat sticker of a car",
    "a blue bird in the sky",
    "a cat on an orange background, cartoon",
)


@dataclass(frozen=True)
class Look:
    """`saturation`: mean of the pixels' (HSV, 0 to 1). `edges`: share of pixels beside an edge."""

    saturation: float
    edges: float


def look_of(pictures: Sequence[Image.Image]) -> Look:
    """The mean look of pictures, all seen at 128 x 128 pixels."""
    saturations, edges = [], []
    for picture in pictures:
        small = picture.convert("RGB").resize((128, 128), Image.Resampling.LANCZOS)
        hsv = np.asarray(small.convert("HSV"), dtype=np.float32) / 255
        saturations.append(float(hsv[..., 1].mean()))
        grey = np.asarray(small.convert("L"), dtype=np.float32) / 255
        down, across = np.gradient(grey)
        edges.append(float((np.hypot(down, across) > 0.1).mean()))
    return Look(float(np.mean(saturations)), float(np.mean(edges)))


def fetch(folder: Path) -> Path:
    """OpenMoji's package, unpacked below the folder; fetched once."""
    unpacked = folder / "openmoji"
    if (unpacked / "package").is_dir():
        return unpacked / "package"
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["npm", "pack", PACKAGE, "--silent", "--pack-destination", str(folder)],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    )
    archive = folder / done.stdout.split()[-1]
    with tarfile.open(archive) as opened:
        wanted = [
            member
            for member in opened.getmembers()
            if member.name.startswith(("package/black/svg/", "package/data/openmoji.json"))
        ]
        opened.extractall(folder / "unpacking", wanted, filter="data")
    (folder / "unpacking").rename(unpacked)
    archive.unlink()
    return unpacked / "package"


def make_pictures(package: Path, folder: Path) -> list[Path]:
    """40 drawings on white, each with its name as a caption; always the same ones."""
    import resvg_py

    known = json.loads((package / "data/openmoji.json").read_text("utf-8"))
    drawn = package / "black/svg"
    usable = [
        entry
        for entry in known
        if entry["group"] in GROUPS
        and not entry.get("skintone")
        and (drawn / f"{entry['hexcode']}.svg").exists()
    ]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = []
    for entry in random.Random(7).sample(usable, COUNT):
        svg = (drawn / f"{entry['hexcode']}.svg").read_text("utf-8")
        data = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE))
        with Image.open(io.BytesIO(data)) as opened:
            lines = opened.convert("RGBA")
        picture = Image.new("RGBA", lines.size, "white")
        picture.alpha_composite(lines)
        path = folder / f"{entry['hexcode']}.png"
        picture.convert("RGB").save(path)
        path.with_suffix(".txt").write_text(entry["annotation"], encoding="utf-8")
        made.append(path)
    return made


def train(app: App, pictures: Path, steps: int | None) -> tuple[RunFolder, EndEvent, float]:
    """Train with what Kizy chooses; the run, its end, and seconds."""
    request = TrainingRequest(
        files=(str(pictures),),
        name=NAME,
        about=ABOUT,
        base="starter",
        engine="builtin",
        steps=steps or "auto",
        seed=1,
    )
    trainer = make_trainer(app.settings)
    run = trainer.prepare(request)
    begun = time.monotonic()
    end = None
    for event in trainer.follow(trainer.start(run)):
        if isinstance(event, StepEvent) and event.step % 50 == 0:
            left = f"{event.left:.0f} s left" if event.left is not None else ""
            print(f"  step {event.step} of {event.steps}: loss {event.smoothed:.4f}, {left}")
        elif isinstance(event, ValidationEvent):
            print(f"  step {event.step}: loss on held-out pictures {event.loss:.4f}")
        elif isinstance(event, EndEvent):
            end = event
    if end is None or end.result is None:
        raise SystemExit(f"the training failed: {end}")
    return run, end, time.monotonic() - begun


def draw(app: App, lora: Path | None) -> list[Image.Image]:
    """The subjects, each with the same seed; with the LoRA if one is named."""
    sampler = Sampler(best_device(), keep=True)
    loras = "none" if lora is None else ({"name": str(lora)},)
    pictures = []
    for subject in SUBJECTS:
        values = {"prompt": subject, "loras": loras, "seed": 11, "model": "starter"}
        request = GenerationRequest.model_validate(values)
        pictures.append(sampler.draw(app.plan(request)))
    return pictures


def picked(app: App, prompts: Sequence[str]) -> list[bool]:
    """Whether each prompt picks the LoRA by itself."""
    requests = [GenerationRequest(prompt=text, model="starter", seed=1) for text in prompts]
    return [bool(app.plan(request).loras) for request in requests]


def grid(rows: Sequence[Sequence[Image.Image]], path: Path) -> None:
    side, gap = 192, 6
    width = max(map(len, rows)) * (side + gap) + gap
    sheet = Image.new("RGB", (width, len(rows) * (side + gap) + gap), (128, 128, 128))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            small = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(small, (gap + x * (side + gap), gap + y * (side + gap)))
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--keep", action="store_true", help="keep the LoRA of an earlier run")
    given = parser.parse_args()
    folder: Path = given.folder.resolve()
    home = folder / "home"
    os.environ["KIZY_HOME"] = str(home)
    os.environ["KIZY_ENGINE"] = "embedded"
    paths = make_pictures(fetch(folder), folder / "pictures")
    loras = sorted((home / "loras").glob("*.safetensors"))
    if given.keep and loras:
        lora = loras[0]
    else:
        shutil.rmtree(home, ignore_errors=True)
        run, end, seconds = train(App(), folder / "pictures", given.steps)
        lora = Path(str(end.result))
        print(f"trained in {seconds / 60:.1f} minutes; step {end.best_step} published, {end.why}")
        for name in ("loss.png", "samples.png", "report.png"):
            shutil.copy(run.path / name, folder / name)
    app = App()
    learned = []
    for path in paths:
        with Image.open(path) as opened:
            learned.append(opened.convert("RGB"))
    without, along = draw(app, None), draw(app, lora)
    grid([without, along, learned[: len(SUBJECTS)]], folder / "effect.png")
    print(f"{'':28}saturation   edges")
    named = (("without the LoRA", without), ("with it", along), ("training pictures", learned))
    for name, pictures in named:
        look = look_of(pictures)
        print(f"{name:28}{look.saturation:10.3f}{look.edges:8.3f}")
    app = App()
    print(f"asked for by meaning: {sum(picked(app, WISHES))} of {len(WISHES)} pick it")
    print(f"not asked for: {sum(picked(app, OTHERS))} of {len(OTHERS)} pick it")
    app.close()


if __name__ == "__main__":
    main()
