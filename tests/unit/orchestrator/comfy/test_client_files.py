"""Pictures to the server, finished files from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import EngineError, StorageError
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.client_events import OutputFile
from PIL import Image

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_following import draw_outputs, refusal_of
from tests.fakes.comfyui_graphs import (
    Compiled,
    new_id,
    node,
    picture,
    picture_graph,
)

Connect = Callable[..., ComfyClient]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    file = tmp_path / "start.png"
    Image.new("RGB", (20, 10), "red").save(file)
    return file


def uploads(fake: FakeComfyUI) -> int:
    return fake.requests.count("POST /upload/image")


def test_a_picture_is_sent_once(fake: FakeComfyUI, client: ComfyClient, start: Path) -> None:
    for _ in range(3):
        assert client.upload(start, "kizy/abc.png") == "kizy/abc.png"
    assert uploads(fake) == 1
    assert (fake.disk.folder("input") / "kizy" / "abc.png").read_bytes() == start.read_bytes()


def test_a_picture_that_was_cut_short_is_sent_again_under_its_name(
    fake: FakeComfyUI, client: ComfyClient, start: Path
) -> None:
    half = fake.disk.folder("input") / "kizy" / "abc.png"
    half.parent.mkdir()
    half.write_bytes(start.read_bytes()[:20])
    assert client.upload(start, "kizy/abc.png") == "kizy/abc.png"
    assert half.read_bytes() == start.read_bytes()


def test_a_picture_can_lie_in_no_folder(client: ComfyClient, start: Path) -> None:
    assert client.upload(start, "abc.png") == "abc.png"
    graph = {**picture_graph(), "1": node("LoadImage", image="abc.png")}
    assert draw_outputs(client, Compiled(graph, ("2",))).outputs


def test_an_upload_that_was_not_stored_is_told_when_the_graph_is_sent(
    fake: FakeComfyUI, client: ComfyClient, start: Path
) -> None:
    fake.faults.loses_uploads = True
    name = client.upload(start, "kizy/abc.png")
    graph = {**picture_graph(), "1": node("LoadImage", image=name)}
    assert name in refusal_of(lambda: client.submit(graph, new_id())).message


def test_what_was_drawn_is_fetched(fake: FakeComfyUI, client: ComfyClient, tmp_path: Path) -> None:
    (output,) = draw_outputs(client, picture(0x112233)).outputs
    target = tmp_path / "deep" / "got.png"
    client.download(output, target)
    with Image.open(target) as opened:
        assert opened.getpixel((0, 0)) == (0x11, 0x22, 0x33)
    # Trap 9: the server's file stays, or later cached runs would name one that is gone.
    assert (fake.disk.folder("output") / output.subfolder / output.filename).is_file()
    assert draw_outputs(client, picture(0x112233)).outputs == (output,)


def test_all_pictures_of_a_batch_are_outputs(client: ComfyClient) -> None:
    graph = picture_graph()
    graph["1"]["inputs"]["batch_size"] = 3
    assert len(draw_outputs(client, Compiled(graph, ("2",))).outputs) == 3


def test_a_text_is_written_to_a_file(client: ComfyClient, tmp_path: Path) -> None:
    graph = {"1": node("PrimitiveString", value="grün"), "2": node("PreviewAny", source=["1", 0])}
    (output,) = draw_outputs(client, Compiled(graph, ("2",))).outputs
    client.download(output, tmp_path / f"text{output.suffix}")
    assert (tmp_path / "text.txt").read_text(encoding="utf-8") == "grün"


@pytest.mark.parametrize("kind", ["gifs", "audio", "video"])
def test_outputs_of_other_kinds_are_fetched(kind: str, tmp_path: Path) -> None:
    def show(_inputs: object) -> dict[str, Any]:
        (fake.disk.folder("output") / "clip.mp4").write_bytes(b"film")
        return {kind: [{"filename": "clip.mp4", "subfolder": "", "type": "output"}]}

    with FakeComfyUI(shows={"SaveImage": show}) as fake:
        client = ComfyClient(Address("studio", fake.url))
        (output,) = draw_outputs(client, picture()).outputs
        assert (output.kind, output.suffix) == (kind, ".mp4")
        client.download(output, tmp_path / "got.mp4")
        assert (tmp_path / "got.mp4").read_bytes() == b"film"
        client.close()


def test_a_file_is_fetched_again_when_the_connection_breaks_in_it(
    fake: FakeComfyUI, client: ComfyClient, tmp_path: Path
) -> None:
    (output,) = draw_outputs(client, picture()).outputs
    fake.faults.short_downloads = 1
    client.download(output, tmp_path / "got.png")
    with Image.open(tmp_path / "got.png") as opened:
        opened.load()


def test_half_a_file_is_never_left(fake: FakeComfyUI, client: ComfyClient, tmp_path: Path) -> None:
    (output,) = draw_outputs(client, picture()).outputs
    fake.faults.short_downloads = 5
    assert refusal_of(lambda: client.download(output, tmp_path / "d" / "got.png")).code == (
        "server_unreachable"
    )
    assert list((tmp_path / "d").iterdir()) == []


def test_a_file_that_is_gone_is_told(client: ComfyClient, tmp_path: Path) -> None:
    error = refusal_of(
        lambda: client.download(OutputFile("2", "images", "x.png", "", "output"), tmp_path / "x")
    )
    assert (error.code, "no longer has" in error.message) == ("server_failed", True)


def test_no_file_of_ours_is_named_by_the_server(
    client: ComfyClient, tmp_path: Path, fake: FakeComfyUI
) -> None:
    evil = OutputFile("2", "images", "../../../evil.png", "../..", "output")
    assert evil.suffix == ".png"
    with pytest.raises(EngineError):
        client.download(evil, tmp_path / "safe.png")
    assert list(tmp_path.glob("**/evil*")) == []


def test_a_folder_that_cannot_be_written_is_ours_to_tell(
    client: ComfyClient, tmp_path: Path
) -> None:
    (output,) = draw_outputs(client, picture()).outputs
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        client.download(output, tmp_path / "file" / "got.png")
