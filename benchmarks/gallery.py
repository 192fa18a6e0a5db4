"""Draw the README's pictures: `python -m benchmarks.gallery` writes docs/pictures/gallery.jpg."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App
from PIL import Image

PROMPTS = (
    "a red fox on a blue background",
    "a red apple, 3d render",
    "a pizza, flat sticker",
    "an owl on a purple background, cartoon",
    "a red heart on a yellow background",
    "a lemon on a teal background, flat sticker",
    "a house, cartoon",
    "a sunflower on a green background, 3d render",
    "a penguin on a light blue background, flat sticker",
    "a ghost on an orange background",
    "a panda and a pumpkin, cartoon",
    "a rocket on a black background, 3d render",
)
SEED = 1
COLUMNS = 6
SIDE = 256
TARGET = Path(__file__).parent.parent / "docs" / "pictures" / "gallery.jpg"


def main() -> None:
    app = App(pictures=Path(tempfile.mkdtemp()))
    rows = -(-len(PROMPTS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIDE, rows * SIDE), "white")
    for number, prompt in enumerate(PROMPTS):
        plan = app.plan(GenerationRequest(prompt=prompt, seed=SEED, model="starter"))
        for event in app.follow(app.start(plan)):
            if event.kind == "artifact":
                with Image.open(event.artifact.path) as picture:
                    small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                sheet.paste(small, (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    TARGET.parent.mkdir(exist_ok=True)
    # As a JPEG it is a fifth of a PNG, and everybody who installs by git fetches it.
    sheet.save(TARGET, quality=92, subsampling=0, optimize=True)
    print(TARGET)


if __name__ == "__main__":
    main()
