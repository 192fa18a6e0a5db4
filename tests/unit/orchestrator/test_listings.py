"""What there is to ask for, as a server tells it."""

from __future__ import annotations

import json
import math
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import UnknownNameError
from kizy.orchestrator.app import App
from kizy.orchestrator.jobs import listings
from kizy.orchestrator.settings import ServerSettings, Settings

from tests.fakes.comfyui import FakeComfyUI

XL = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
SDXL = {f"{XL}.lora_down.weight": (4, 2048), f"{XL}.lora_up.weight": (640, 4)}


def write_lora(path: Path, **metadata: str) -> None:
    """A LoRA for SDXL, of zeros."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, shape in SDXL.items():
        size = math.prod(shape) * 2
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


@pytest.fixture
def app() -> Iterator[App]:
    made = App()
    yield made
    made.close()


def told(values: Any) -> str:
    return json.dumps([value.model_dump(mode="json") for value in values])


def test_models_of_this_machine_are_listed(app: App) -> None:
    (starter,) = listings.models(app)
    assert (starter.name, starter.family, starter.where) == ("starter", "starter", ("here",))
    assert starter.title


def test_loras_are_listed_by_name_and_found_by_words(app: App, kizy_home: Path) -> None:
    write_lora(kizy_home / "loras" / "watercolor.safetensors")
    write_lora(kizy_home / "loras" / "ink-drawing.safetensors")
    assert [lora.name for lora in listings.loras(app)] == ["ink-drawing", "watercolor"]
    (found,) = listings.loras(app, "ink drawing")
    assert (found.name, found.family) == ("ink-drawing", "sdxl")
    assert found.score is not None
    assert [lora.name for lora in listings.loras(app, family="sd15")] == []
    assert len(listings.loras(app, family="SDXL")) == 2


def test_a_training_is_one_lora_with_versions(app: App, kizy_home: Path) -> None:
    for end in ("", "-000010", "-000020"):
        title = {"ss_output_name": "mystyle"}
        write_lora(kizy_home / "loras" / f"mystyle{end}.safetensors", **title)
    for found in (listings.loras(app), listings.loras(app, "mystyle")):
        (lora,) = found
        assert (lora.name, lora.versions) == ("mystyle", ("mystyle-000020", "mystyle-000010"))


def test_what_is_listed_can_be_asked_for(app: App, kizy_home: Path) -> None:
    same = {"modelspec.title": "Ink"}
    for file in ("A/dup", "B/dup", "alpha", "zeta", "blank ", "auto"):
        write_lora(kizy_home / "loras" / f"{file}.safetensors", **same)
    write_lora(kizy_home / "loras" / "wax.safetensors", **{"modelspec.title": "Crayons"})
    listed = {lora.name: lora.title for lora in listings.loras(app)}
    names = {"A/dup", "B/dup", "alpha", "zeta", "blank .safetensors", "auto.safetensors", "Crayons"}
    assert set(listed) == names
    for name in listed:
        (found,) = app.shelf.find(name)
        assert found.is_file()


def test_a_lora_that_comes_later_is_listed_too(app: App, kizy_home: Path) -> None:
    assert listings.loras(app) == ()
    write_lora(kizy_home / "loras" / "new.safetensors")
    assert [lora.name for lora in listings.loras(app)] == ["new"]


def test_a_lora_that_cannot_be_used_is_not_offered(app: App, kizy_home: Path) -> None:
    (kizy_home / "loras").mkdir()
    (kizy_home / "loras" / "broken.safetensors").write_bytes(b"broken")
    assert listings.loras(app) == ()
    assert listings.loras(app, "broken") == ()


def test_a_family_that_is_none_is_refused(app: App) -> None:
    with pytest.raises(UnknownNameError) as refused:
        listings.loras(app, family="sdxxl")
    assert refused.value.code == "family_unknown"


def test_no_path_is_told(app: App, kizy_home: Path) -> None:
    write_lora(kizy_home / "loras" / "deep" / "ink.safetensors")
    everything = (
        *listings.models(app),
        *listings.loras(app),
        *listings.loras(app, "ink"),
        *listings.families(app),
        *listings.templates(app),
        *listings.servers(app),
    )
    assert str(kizy_home) not in told(everything)


def test_families_tell_sizes_licence_and_whether_a_model_is_here(app: App) -> None:
    by_id = {family.id: family for family in listings.families(app)}
    assert by_id["starter"].installed
    assert not by_id["sdxl"].installed
    assert by_id["sdxl"].sizes["square"] == "1024x1024"
    assert by_id["starter"].licence


def test_styles_and_templates_are_listed(app: App) -> None:
    assert {"cartoon", "photo"} <= {style.id for style in listings.styles(app)}
    found = {template.id: template for template in listings.templates(app)}
    assert found["sdxl-checkpoint"].family == "sdxl"
    assert not [name for name in found if name.startswith("fragment")]


def test_this_process_is_a_place_to_draw(app: App) -> None:
    (here,) = listings.servers(app)
    assert (here.name, here.kind, here.url) == ("here", "embedded", None)


def test_servers_tell_whether_they_answer() -> None:
    with FakeComfyUI() as server:
        addresses = (
            ServerSettings(name="gpu1", url=server.url),
            ServerSettings(name="gone", url="http://127.0.0.1:9"),
        )
        app = App(settings=Settings(engine="comfyui", servers=addresses))
        there, gone = listings.servers(app)
        app.close()
    assert (there.name, there.kind, there.state, there.url) == (
        "gpu1",
        "comfyui",
        "ready",
        server.url,
    )
    assert there.version
    assert there.queue == 0
    assert gone.state != "ready"


def test_many_may_ask_at_once(app: App, kizy_home: Path) -> None:
    write_lora(kizy_home / "loras" / "ink.safetensors")
    found: list[int] = []

    def ask() -> None:
        found.append(len(listings.loras(app)) + len(listings.models(app)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2] * 8
