"""What the nodes ask of ComfyUI, on modules that stand for its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

FAKES = Path(__file__).parents[2] / "fakes"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FAKES)
    from kizy.nodes import _host

    return _host


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """module(name, ...): a module of ComfyUI's with these values."""

    def made(name: str, **values: Any) -> None:
        one = ModuleType(name)
        vars(one).update(values)
        monkeypatch.setitem(sys.modules, name, one)

    return made


def listed(kind: str) -> list[str]:
    return {"ultralytics_bbox": ["face.pt"]}[kind]


class Provider:
    """As the Impact Subpack's node: gives a detector of boxes, and one of segments."""

    def doit(self, name: str) -> tuple[Any, Any]:
        assert name == "bbox/face.pt"
        return self, None

    def detect(
        self, pixels: Any, threshold: float, dilation: int, crop_factor: float, drop_size: int
    ) -> Any:
        assert pixels.shape == (1, 40, 60, 3)
        box = SimpleNamespace(bbox=(1, 2, 30, 40), confidence=np.array([0.9]))
        return (40, 60), [box]


def test_yolo_models_are_listed_where_their_pack_is(
    host: ModuleType, module: Callable[..., None]
) -> None:
    module("folder_paths", get_filename_list=listed)
    module("nodes", NODE_CLASS_MAPPINGS={})
    assert host.yolo_models() == []
    module("nodes", NODE_CLASS_MAPPINGS={host.YOLO_NODE: Provider})
    assert host.yolo_models() == ["bbox/face.pt"]


def test_a_pack_without_a_folder_for_models_lists_none(
    host: ModuleType, module: Callable[..., None]
) -> None:
    module("folder_paths", get_filename_list=lambda kind: {}[kind])
    module("nodes", NODE_CLASS_MAPPINGS={host.YOLO_NODE: Provider})
    assert host.yolo_models() == []


def test_a_yolo_models_boxes_are_read(host: ModuleType, module: Callable[..., None]) -> None:
    module("nodes", NODE_CLASS_MAPPINGS={host.YOLO_NODE: Provider})
    found = host.yolo_boxes("bbox/face.pt", Image.new("RGBA", (60, 40)))
    assert found == [((1.0, 2.0, 30.0, 40.0), 0.9)]


def test_what_is_told_goes_to_who_runs_the_graph(
    host: ModuleType, module: Callable[..., None]
) -> None:
    sent: list[tuple[Any, ...]] = []
    server = SimpleNamespace(client_id="page", send_sync=lambda *about: sent.append(about))
    module("server", PromptServer=SimpleNamespace(instance=server))
    host.show_text("12:5", "step 1 of 9")
    host.show_text(None, "nobody's")
    assert sent == [(host.TOLD, {"node": "12:5", "text": "step 1 of 9"}, "page")]


def test_without_a_server_nothing_is_told(host: ModuleType, module: Callable[..., None]) -> None:
    module("server", PromptServer=SimpleNamespace())
    host.show_text("1", "step 1 of 9")


def test_the_page_listens_to_what_is_told(host: ModuleType) -> None:
    script = Path(host.__file__ or "").with_name("web") / "kizy.js"
    assert f'api.addEventListener("{host.TOLD}"' in script.read_text(encoding="utf-8")
