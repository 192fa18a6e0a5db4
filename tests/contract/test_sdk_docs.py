"""Every example of docs/sdk.md works, in the order in which it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.orchestrator.sdk import Kizy, Picture
from PIL import Image

from tests.fakes.kizy_server import KizyServer
from tests.fakes.service import FakeService

THERE = "http://127.0.0.1:7433"


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "sdk.md").read_text(encoding="utf-8")


def examples(page: str, kind: str = "python") -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the examples find their pictures."""
    for place in ("pictures/photo.jpg", "photos/mimi/1.png", "photos/mimi/2.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), "teal").save(tmp_path / place)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KizyServer]:
    with KizyServer(FakeService(tmp_path / "fake")) as running:
        yield running


def run(example: str, names: dict[str, Any]) -> None:
    exec(compile(example, "docs/sdk.md", "exec"), names)


def test_all_examples_work_with_a_server(
    page: str, folder: Path, server: KizyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = examples(page)
    run(first.replace(THERE, server.url), {})
    assert (folder / "fox.png").is_file()
    with Kizy(server.url) as kizy:
        names: dict[str, Any] = {"kizy": kizy}
        for example in others:
            run(example, names)
    assert isinstance(names["rose"], Picture)
    assert len(list((folder / "pictures").glob("*.png"))) == 2
    assert (folder / "better.png").is_file() and (folder / "loras").is_dir()
    told = capsys.readouterr().out
    assert "succeeded None" in told and "model_unknown" in told


@pytest.mark.slow
def test_the_example_without_a_server_works(page: str, folder: Path) -> None:
    (example,) = examples(page, "python local")
    run(example, {})
    with Image.open(folder / "apple.png") as picture:
        assert picture.size == (512, 512)


def test_all_that_the_page_tells_of_pictures_and_jobs_is_there(page: str) -> None:
    from kizy.orchestrator.sdk import JobHandle

    told = set(re.findall(r"`(picture|job)\.(\w+)", page))
    there = {"picture": Picture, "job": JobHandle}
    lacking = [name for kind, name in told if not hasattr(there[kind], name) and name != "job"]
    assert lacking == []
    assert len(told) > 15
