"""Forms are read from disk while they are sent, and can be sent again."""

from __future__ import annotations

import io
from email.parser import BytesParser
from pathlib import Path

import pytest
from kizy.core.errors import StorageError, UnknownNameError
from kizy.orchestrator.sdk.remote.multipart import FilePart, Form, already_open, on_disk


def parts(form: Form) -> list[tuple[str | None, str | None, bytes]]:
    """(field, file name, content) of each part, read as mail programs read them."""
    head = f"Content-Type: {form.content_type}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + form.body().read())
    return [
        (
            part.get_param("name", header="content-disposition"),  # type: ignore[misc]
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.get_payload()  # type: ignore[misc]
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(b"picture\r\n" * 100_000)
    return path


def test_fields_and_files_arrive(file: Path) -> None:
    form = Form([("name", "Mimi ü")], [on_disk("files", file)])
    assert parts(form) == [
        ("name", None, "Mimi ü".encode()),
        ("files", "a.png", file.read_bytes()),
    ]


def test_its_length_is_known_beforehand(file: Path) -> None:
    form = Form([("a", "ü")], [on_disk("files", file), on_disk("files", file, "b.png")])
    assert len(form.body().read()) == len(form) == len(form.body())


def test_it_can_be_sent_again(file: Path) -> None:
    form = Form([], [on_disk("files", file)])
    assert form.body().read() == form.body().read()


def test_it_is_read_in_pieces(file: Path) -> None:
    form = Form([("a", "b")], [on_disk("files", file)])
    body, pieces = form.body(), []
    while piece := body.read(1000):
        assert len(piece) <= 1000
        pieces.append(piece)
    assert b"".join(pieces) == form.body().read() == b"".join(form.body())


def test_an_open_file_is_sent_from_where_it_stands_and_stays_open() -> None:
    data = io.BytesIO(b"headbody")
    data.seek(4)
    form = Form([], [already_open("file", "x", data)])
    assert parts(form)[0][2] == b"body"
    assert parts(form)[0][2] == b"body"
    assert not data.closed


@pytest.mark.parametrize("name", ['a"b.png', "a\r\nb.png", "ü.png", "\udcff.png"])
def test_names_cannot_break_out_of_their_header(name: str) -> None:
    form = Form([], [FilePart("files", name, 1, lambda: io.BytesIO(b"x"))])
    head = form.body().read().split(b"\r\n\r\n")[0]
    assert head.count(b"\r\n") == 2
    assert head.count(b'"') == 4


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError) as missing:
        on_disk("files", tmp_path / "none.png")
    assert missing.value.code == "file_missing"


def test_a_file_that_vanishes_is_said(file: Path) -> None:
    form = Form([], [on_disk("files", file)])
    file.unlink()
    with pytest.raises(UnknownNameError):
        form.body().read()


def test_a_file_that_becomes_shorter_is_said(file: Path) -> None:
    form = Form([], [on_disk("files", file)])
    file.write_bytes(b"short")
    with pytest.raises(StorageError, match="shorter"):
        form.body().read()


def test_a_file_that_grows_is_sent_as_long_as_it_was(file: Path) -> None:
    form = Form([], [on_disk("files", file)])
    before = file.read_bytes()
    file.write_bytes(before + b"more")
    assert parts(form)[0][2] == before
