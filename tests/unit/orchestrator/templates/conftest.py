"""What the template tests share: a recorded server, and a builder of Plans."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kizy.catalog.families.family import family
from kizy.core.plan import (
    InputPicture,
    ModelFile,
    Plan,
    PlannedControl,
    PlannedLora,
    PlannedMask,
    PlannedStart,
)
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts

from tests.fakes.comfyui import recorded_object_info

DATA = Path(__file__).parents[3] / "data"

MODELS = {
    "starter": "starter",
    "sd15": "v1-5-pruned-emaonly-fp16.safetensors",
    "sdxl": "sd_xl_base_1.0.safetensors",
    "sd35": "sd3.5_large_fp8_scaled.safetensors",
    "sd35-medium": "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors",
    "flux1-dev": "flux1-dev.safetensors",
    "flux1-kontext": "flux1-dev-kontext_fp8_scaled.safetensors",
    "flux1-schnell": "flux1-schnell.safetensors",
}


@pytest.fixture(scope="session")
def recorded() -> dict[str, Any]:
    kizy = json.loads((DATA / "object_info_kizy.json").read_text(encoding="utf-8"))
    return recorded_object_info() | kizy


@pytest.fixture
def server(recorded: dict[str, Any]) -> ServerFacts:
    """ComfyUI 0.3.64 with the well-known files."""
    return ServerFacts("http://127.0.0.1:8188", "0.3.64", recorded)


@pytest.fixture
def server_with(recorded: dict[str, Any]) -> Callable[..., ServerFacts]:
    """The server with other lists of files (`Class__input=[...]`) and without some nodes."""

    def build(*, without: tuple[str, ...] = (), **lists: list[str]) -> ServerFacts:
        info = {name: entry for name, entry in recorded.items() if name not in without}
        for place, names in lists.items():
            node_class, _, name = place.partition("__")
            info[node_class] = copy.deepcopy(info[node_class])
            spec = info[node_class]["input"]["required"][name]
            if isinstance(spec[0], list):
                spec[0] = names
            else:
                spec[1]["options"] = names
        return ServerFacts("http://127.0.0.1:8188", "0.3.64", info)

    return build


def input_picture(letter: str, extension: str = "png") -> InputPicture:
    return InputPicture(path=f"/pictures/{letter}.{extension}", sha256=letter * 64)


@pytest.fixture
def picture() -> Callable[..., InputPicture]:
    return input_picture


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    """A Plan of a family at its own settings; everything can be changed by name.

    `loras`: (name, weight) pairs; `start`: a strength; `mask`: a feather; `controls`: kinds.
    """

    def build(
        name: str = "sdxl",
        *,
        loras: tuple[tuple[str, float], ...] = (),
        start: float | None = None,
        mask: int | None = None,
        controls: tuple[str, ...] = (),
        **changes: Any,
    ) -> Plan:
        facts = family(name)
        values: dict[str, Any] = {
            "request_prompt": "a fox",
            "prompt": "a fox in the snow",
            "negative": "blurry" if facts.negative_prompt else "",
            "family": name,
            "model": ModelFile(name=MODELS[name]),
            "loras": tuple(
                PlannedLora(file=ModelFile(name=lora), model_weight=weight, clip_weight=weight / 2)
                for lora, weight in loras
            ),
            "width": facts.native_width,
            "height": facts.native_height,
            "output_width": facts.native_width,
            "output_height": facts.native_height,
            "count": 1,
            "seed": 7,
            "steps": facts.steps["balanced"],
            "guidance": facts.guidance,
            "sampler": facts.sampler,
            "scheduler": facts.scheduler,
        }
        if start is not None:
            values["start"] = PlannedStart(picture=input_picture("a"), strength=start)
        if mask is not None:
            values["mask"] = PlannedMask(picture=input_picture("b"), feather=mask)
        values["controls"] = tuple(
            PlannedControl(
                kind=kind, picture=input_picture(str(index)), strength=0.8, start=0.0, end=0.9
            )
            for index, kind in enumerate(controls)
        )
        return Plan(**{**values, **changes})

    return build
