"""Pictures that assistants name or hand over: what is taken, and what never is."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kizy.core.picture_files import png_bytes
from kizy.core.plan import ModelFile, Plan, PlannedLora
from kizy.orchestrator.server.mcp.inputs import MAX_INLINE
from kizy.orchestrator.server.mcp.protocol_server import Terms
from PIL import Image

Speak = Callable[..., None]
BASE = {"prompt": "a fox in the snow"}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A small PNG that claims to have this many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("form", ["url", "bare"])
def test_a_picture_in_a_message_is_handed_over_and_begun_with(
    speak: Speak, picture: Any, as_url: Any, kind: str, form: str, mode: str
) -> None:
    data = picture(kind)
    given = as_url(data) if form == "url" else base64.b64encode(data).decode()

    async def conversation(talk: Any) -> None:
        answer = await talk.call("edit", picture=given, strength=0.3, **BASE)
        assert not answer.failed, answer.text
        start = (await talk.the_job()).request.start
        assert (start.picture, start.strength) == (sha(data), 0.3)

    speak(conversation, mode=mode)


def test_a_picture_that_was_drawn_is_named_by_its_id_its_uri_or_its_address(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        drawn = await talk.call("generate", prompt="a fox")
        id_ = drawn.facts["files"][0]["id"]
        addresses = (f"kizy://artifacts/{id_}", f"http://127.0.0.1:7433/v1/artifacts/{id_}")
        for name in (id_, id_.upper(), *addresses):
            answer = await talk.call("edit", picture=name, **BASE)
            assert not answer.failed, answer.text
            assert (await talk.the_job()).request.start.picture == id_

    speak(conversation)


def test_a_mask_and_controls_are_handed_over_as_well(
    speak: Speak, picture: Any, as_url: Any
) -> None:
    mask, edges = picture(mode="L"), picture(size=(16, 16))

    async def conversation(talk: Any) -> None:
        await talk.call("edit", picture=as_url(picture()), mask=as_url(mask), **BASE)
        assert (await talk.the_job()).request.mask.picture == sha(mask)
        control = {"kind": "canny", "picture": as_url(edges), "strength": 0.5}
        await talk.call("generate", controls=[control], **BASE)
        assert (await talk.the_job()).request.controls[0].picture == sha(edges)

    speak(conversation)


def test_a_picture_over_the_limit_is_refused_before_it_is_decoded(speak: Speak) -> None:
    large = "data:image/png;base64," + "A" * (MAX_INLINE // 3 * 4 + 1004)

    async def conversation(talk: Any) -> None:
        answer = await talk.call("edit", picture=large, **BASE)
        assert answer.failed
        assert len(answer.text) < 1000
        assert talk.service.jobs().jobs == ()

    speak(conversation)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (bomb(), "picture_too_large"),
        (bomb(64, 64), "picture_unreadable"),
        (b"just some words, and no picture at all", "picture_unreadable"),
        (b"GIF89a" + bytes(50), "picture_unreadable"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "picture_unreadable"),
        (b"", "picture_unreadable"),
    ],
    ids=["bomb", "cut short", "text", "gif", "svg", "empty"],
)
def test_what_is_no_whole_picture_is_refused(
    speak: Speak, as_url: Any, data: bytes, code: str
) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call("edit", picture=as_url(data), **BASE)
        assert answer.code == code
        assert talk.service.jobs().jobs == ()

    speak(conversation)


@pytest.mark.parametrize(
    "given",
    [
        "data:image/png;base64,%%%%",
        "data:image/png,plain",
        "data:,",
        "iVBORw0KGgo-not-base64",
    ],
)
def test_damaged_base64_is_refused(speak: Speak, given: str) -> None:
    async def conversation(talk: Any) -> None:
        assert (await talk.call("edit", picture=given, **BASE)).code == "picture_unreadable"

    speak(conversation)


@pytest.mark.parametrize(
    "given",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://example.org/cat.png",
        "ftp://example.org/cat.png",
        "file://server/share/cat.png",
        "jar:file:/x",
    ],
)
def test_nothing_is_fetched(speak: Speak, folder: Path, given: str) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call("edit", picture=given, **BASE)
        assert answer.code == "path_refused"

    speak(conversation, Terms(folders=(folder,)))


def test_an_id_that_nobody_handed_over_is_an_error(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        assert (await talk.call("edit", picture="0" * 64, **BASE)).code == "upload_unknown"

    speak(conversation)


def test_no_path_counts_unless_folders_are_allowed(
    speak: Speak, folder: Path, picture: Any
) -> None:
    path = folder / "cat.png"
    path.write_bytes(picture())

    async def conversation(talk: Any) -> None:
        for given in (str(path), path.as_uri(), "/etc/passwd", "cat.png"):
            answer = await talk.call("edit", picture=given, **BASE)
            assert answer.code == "path_refused", given

    speak(conversation)


def test_a_picture_in_an_allowed_folder_is_read(speak: Speak, folder: Path, picture: Any) -> None:
    path = folder / "below" / "my cat.png"
    path.parent.mkdir()
    path.write_bytes(picture())

    async def conversation(talk: Any) -> None:
        assert str(folder) in (talk.client.instructions or "")
        for given in (
            str(path),
            path.as_uri(),
            str(folder / "." / "x" / ".." / "below" / path.name),
        ):
            answer = await talk.call("edit", picture=given, fresh=True, **BASE)
            assert not answer.failed, answer.text
            assert (await talk.the_job()).request.start.picture == sha(picture())

    speak(conversation, Terms(folders=(folder,)))


def test_an_allowed_folder_may_lie_behind_a_link(
    speak: Speak, folder: Path, tmp_path: Path, picture: Any
) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    (folder / "cat.png").write_bytes(picture())

    async def conversation(talk: Any) -> None:
        for given in (link / "cat.png", folder / "cat.png"):
            answer = await talk.call("edit", picture=str(given), **BASE)
            assert not answer.failed, answer.text

    speak(conversation, Terms(folders=(link,)))


def test_outside_of_the_folders_every_path_is_refused_in_the_same_words(
    speak: Speak, folder: Path, tmp_path: Path, picture: Any
) -> None:
    there = tmp_path / "private.png"
    there.write_bytes(picture())
    beside = tmp_path / "pictures-of-others"
    beside.mkdir()
    (beside / "private.png").write_bytes(picture())
    (folder / "link.png").symlink_to(there)
    (folder / "up").symlink_to(tmp_path)
    outside = [
        str(there),
        str(tmp_path / "nothing.png"),
        str(beside / "private.png"),
        str(folder / ".." / "private.png"),
        str(folder / "link.png"),
        str(folder / "up" / "private.png"),
        "/etc/passwd",
        "~/private.png",
        "~nobody-of-this-name/x.png",
        "pictures/cat.png",
        "//server/share/cat.png",
        "\\\\server\\share\\cat.png",
        f"{folder}/cat.png\0.txt",
        str(folder / "x") * 500,
    ]

    async def conversation(talk: Any) -> None:
        texts = {given: await talk.call("edit", picture=given, **BASE) for given in outside}
        assert {given for given, answer in texts.items() if answer.code != "path_refused"} == set()
        assert len({answer.text for answer in texts.values()}) == 1
        assert talk.service.jobs().jobs == ()

    speak(conversation, Terms(folders=(folder,)))


def test_only_whole_pictures_leave_an_allowed_folder(
    speak: Speak, folder: Path, picture: Any
) -> None:
    (folder / "secret.png").write_text("password: 1234")
    (folder / "cut.png").write_bytes(picture()[:50])
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    expected = {
        "secret.png": "picture_unreadable",
        "cut.png": "picture_unreadable",
        "folder.png": "file_missing",
        "pipe.png": "file_missing",
        "nothing.png": "file_missing",
    }

    async def conversation(talk: Any) -> None:
        for name, code in expected.items():
            answer = await talk.call("edit", picture=str(folder / name), **BASE)
            assert (name, answer.code) == (name, code)
            assert "1234" not in answer.text

    speak(conversation, Terms(folders=(folder,)))


def test_a_folder_of_pictures_is_trained_on(speak: Speak, folder: Path, picture: Any) -> None:
    sizes = [(32, 32), (48, 32), (32, 48)]
    for number, size in enumerate(sizes):
        (folder / f"{number}.png").write_bytes(picture(size=size))
    (folder / "notes.txt").write_text("not a picture")

    async def conversation(talk: Any) -> None:
        answer = await talk.call("train", name="mimi", pictures=[str(folder)], goal="character")
        assert not answer.failed, answer.text
        request = (await talk.the_job()).request
        assert request.files == tuple(sha(picture(size=size)) for size in sizes)
        assert (request.name, request.goal) == ("mimi", "character")

    speak(conversation, Terms(folders=(folder,)))


def test_a_folder_without_pictures_is_refused(speak: Speak, folder: Path) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call("train", name="mimi", pictures=[str(folder)])
        assert answer.code == "pictures_none"

    speak(conversation, Terms(folders=(folder,)))


@pytest.mark.parametrize(
    "name", ["/etc/model", "~/model", "..", "a/../../b", "C:\\models\\x", "\\\\server\\model"]
)
def test_models_and_loras_are_never_named_by_paths(speak: Speak, name: str) -> None:
    async def conversation(talk: Any) -> None:
        for values in ({"model": name}, {"loras": [{"name": name}]}):
            answer = await talk.call("generate", prompt="a fox", **values)
            assert answer.code == "path_refused", values
        answer = await talk.call("train", name="x", pictures=["0" * 64], base=name)
        assert answer.code == "path_refused"

    speak(conversation)


def drawn_picture(model: str = "painter-xl", lora: str = "ink") -> bytes:
    """A picture with a Plan inside."""
    plan = Plan(
        request_prompt="an old sailor",
        prompt="an old sailor, ink style",
        negative="blurry",
        family="sdxl",
        model=ModelFile(name=model, path="/home/somebody/painter.safetensors"),
        loras=(
            PlannedLora(
                file=ModelFile(name=lora, path="/home/somebody/ink.safetensors"),
                model_weight=0.7,
                clip_weight=0.7,
            ),
        ),
        width=64,
        height=64,
        output_width=64,
        output_height=64,
        count=1,
        seed=1,
        steps=10,
        guidance=4.0,
        sampler="euler",
        scheduler="simple",
    )
    return png_bytes(Image.new("RGB", (64, 64)), plan, "0")


def test_a_picture_of_kizys_is_improved_with_what_it_was_drawn_with(
    speak: Speak, as_url: Any
) -> None:
    async def conversation(talk: Any) -> None:
        await talk.call("improve", picture=as_url(drawn_picture()), amount="strong")
        request = (await talk.the_job()).request
        assert (request.prompt, request.model) == ("an old sailor", "painter-xl")
        assert [(lora.name, lora.model_weight) for lora in request.loras] == [("ink", 0.7)]
        assert (request.start.strength, request.improve[0].amount) == (0, "strong")
        assert request.improve[0].what == "faces"

    speak(conversation)


def test_a_plan_that_somebody_wrote_into_a_picture_names_no_paths(
    speak: Speak, as_url: Any
) -> None:
    forged = drawn_picture(model="/etc/model", lora="../../lora")

    async def conversation(talk: Any) -> None:
        answer = await talk.call("improve", picture=as_url(forged))
        assert not answer.failed, answer.text
        request = (await talk.the_job()).request
        assert (request.model, request.loras) == ("auto", "none")

    speak(conversation)


def test_another_picture_is_improved_with_the_words_that_are_given(
    speak: Speak, picture: Any, as_url: Any
) -> None:
    mask = picture(mode="L", size=(16, 16))

    async def conversation(talk: Any) -> None:
        await talk.call("improve", picture=as_url(picture()))
        request = (await talk.the_job()).request
        assert (request.prompt, request.loras) == ("a face", "none")
        await talk.call(
            "improve",
            picture=as_url(picture()),
            mask=as_url(mask),
            prompt="silver rings",
            parts=["a ring", "a watch"],
            enlarge=2,
        )
        request = (await talk.the_job()).request
        assert (request.prompt, request.loras) == ("silver rings", "auto")
        assert request.improve[0].mask == sha(mask)
        assert request.improve[0].prompts == ("a ring", "a watch")
        assert request.enlarge.factor == 2

    speak(conversation)
