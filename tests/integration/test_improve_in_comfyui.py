"""Improving on a real ComfyUI: each part is drawn there with its own nodes, and put back here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from kizy.core.job import Artifact
from kizy.core.picture_files import open_picture
from kizy.core.request import GenerationRequest, parse_request
from kizy.orchestrator.app import App
from kizy.orchestrator.settings import ServerSettings, Settings
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def app(comfyui: RunningComfyUI, tmp_path: Path) -> Iterator[App]:
    servers = (ServerSettings(name="real", url=comfyui.url),)
    app = App(pictures=tmp_path / "pictures", settings=Settings(servers=servers))
    yield app
    app.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    cells = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(cells).resize((200, 150), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    picture = Image.new("L", (200, 150))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((20, 40, 80, 110), fill=255)
    pen.rectangle((120, 30, 180, 90), fill=255)
    path = tmp_path / "mask.png"
    picture.save(path)
    return path


def drawn(app: App, **values: Any) -> tuple[Artifact, list[str]]:
    """The picture, and what was said."""
    base = {"prompt": "a girl", "model": "starter", "loras": "none", "seed": 1, "steps": 6}
    handle = app.start(app.plan(parse_request(GenerationRequest, base | values)))
    events = list(app.follow(handle))
    assert [(e.state, e.error) for e in events if e.kind == "end"] == [("succeeded", None)]
    (artifact,) = (event.artifact for event in events if event.kind == "artifact")
    return artifact, [event.text for event in events if event.kind == "notice"]


def pixels(path: Path | str) -> np.ndarray:
    return np.asarray(open_picture(Path(path)).convert("RGB")).astype(int)


def kept(photo: Path, mask: Path, engine: str, **values: Any) -> dict[str, Any]:
    return {
        "start": {"picture": str(photo), "strength": 0},
        "improve": [{"what": "mask", "mask": str(mask)}],
        "engine": engine,
        **values,
    }


def test_both_engines_draw_the_same_parts_and_nothing_else(
    app: App, photo: Path, mask: Path
) -> None:
    there, said = drawn(app, **kept(photo, mask, "comfyui"))
    here, _ = drawn(app, **kept(photo, mask, "embedded"))
    assert said == ["2 parts of the mask drawn again."]
    old, new = pixels(photo), pixels(there.path)
    marked = pixels(mask)[..., 0] >= 128
    assert (old[~marked] == new[~marked]).all()
    assert (old[marked] != new[marked]).any()
    # How far rounding carries them apart depends on the weights; other noise would part them as
    # far as each is from the picture.
    apart, changed = np.abs(new - pixels(here.path)).mean(), np.abs(new - old).mean()
    assert apart < 0.1 * changed


def test_a_picture_is_enlarged_there_and_then_improved(app: App, photo: Path, mask: Path) -> None:
    artifact, _ = drawn(app, **kept(photo, mask, "comfyui", enlarge={"factor": 2}))
    assert (artifact.width, artifact.height) == (400, 300)


def test_a_drawing_without_faces_is_saved_as_it_is(app: App) -> None:
    options = {"prompt": "a blue square", "improve": [{"what": "faces"}], "engine": "comfyui"}
    artifact, said = drawn(app, **options, size="64x64", enlarge=None)
    assert (artifact.width, artifact.height) == (64, 64)
    assert any("found" in text for text in said)
