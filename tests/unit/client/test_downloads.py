"""Files arrive whole, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from kizy.core.errors import EngineError, UnknownNameError
from kizy.orchestrator.sdk.remote.service import RemoteService

from tests.fakes.kizy_stub import Answers, Asked, KizyStub, Reply, problem

Stub = Callable[[Answers], KizyStub]
Client = Callable[..., RemoteService]

CONTENT = bytes(range(256)) * 4000
ID = hashlib.sha256(CONTENT).hexdigest()
NAMED = {"Content-Type": "image/png", "Content-Disposition": 'inline; filename="fox.png"'}


def whole(asked: Asked) -> Reply:
    """All of it, or the range that is asked for."""
    begin = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    if not begin:
        return Reply(200, CONTENT, NAMED)
    told = NAMED | {"Content-Range": f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}"}
    return Reply(206, CONTENT[begin:], told)


def cut_first(then: Answers) -> Answers:
    """Half of it, then what `then` says."""
    cut = [True]

    def answers(asked: Asked) -> Reply:
        if cut.pop() if cut else False:
            return Reply(200, CONTENT, NAMED, cut=True)
        return then(asked)

    return answers


def test_a_file_has_its_content_name_and_kind(stub: Stub, client: Client) -> None:
    file = client(stub(whole).url).artifact(ID)
    assert file.path.read_bytes() == CONTENT
    assert (file.name, file.media_type, file.etag) == ("fox.png", "image/png", ID)


def test_it_is_fetched_once(stub: Stub, client: Client) -> None:
    server = stub(whole)
    one = client(server.url)
    assert one.artifact(ID) == one.artifact(ID)
    assert len(server.asked) == 1


def test_one_that_was_deleted_here_is_fetched_again(stub: Stub, client: Client) -> None:
    one = client(stub(whole).url)
    one.artifact(ID).path.unlink()
    assert one.artifact(ID).path.read_bytes() == CONTENT


def test_a_line_that_breaks_costs_no_second_beginning(stub: Stub, client: Client) -> None:
    server = stub(cut_first(whole))
    assert client(server.url).artifact(ID).path.read_bytes() == CONTENT
    assert server.asked[1].headers["range"].startswith("bytes=")
    assert server.asked[1].headers["if-range"] == f'"{ID}"'


def test_a_server_without_ranges_sends_it_anew(stub: Stub, client: Client) -> None:
    server = stub(cut_first(lambda _: Reply(200, CONTENT, NAMED)))
    assert client(server.url).artifact(ID).path.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_range_that_the_server_refuses_is_asked_for_anew(stub: Stub, client: Client) -> None:
    def answers(asked: Asked) -> Reply:
        refused = problem(416, "request_invalid", "It is shorter.")
        return refused if "range" in asked.headers else whole(asked)

    assert client(stub(cut_first(answers)).url).artifact(ID).path.read_bytes() == CONTENT


def test_damaged_content_is_fetched_once_more(stub: Stub, client: Client) -> None:
    replies = [Reply(200, b"damaged" + CONTENT, NAMED), Reply(200, CONTENT, NAMED)]
    assert client(stub(lambda _: replies.pop(0)).url).artifact(ID).path.read_bytes() == CONTENT


def test_content_that_stays_damaged_is_said_and_leaves_nothing(
    stub: Stub, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one = client(stub(lambda _: Reply(200, b"damaged", NAMED)).url)
    with pytest.raises(EngineError, match="arrives damaged"):
        one.artifact(ID)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("artifact_id", ["", "../../etc/passwd", "f" * 63, "F" * 64])
def test_what_is_no_id_is_not_asked_for(stub: Stub, client: Client, artifact_id: str) -> None:
    server = stub(whole)
    with pytest.raises(UnknownNameError) as unknown:
        client(server.url).artifact(artifact_id)
    assert unknown.value.code == "artifact_unknown"
    assert server.asked == []


def test_a_file_that_is_gone_is_said(stub: Stub, client: Client) -> None:
    server = stub(lambda _: problem(410, "artifact_gone", "It was removed."))
    with pytest.raises(UnknownNameError, match="removed") as gone:
        client(server.url).artifact(ID)
    assert gone.value.code == "artifact_gone"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ('attachment; filename="../../a.png"', "a.png"),
        ("attachment; filename=\"_.png\"; filename*=UTF-8''%C3%BC.png", "ü.png"),
        ('attachment; filename="c:\\\\b\\\\a.png"', "a.png"),
        ("attachment", ID),
        ("", ID),
    ],
)
def test_a_name_holds_no_path(stub: Stub, client: Client, given: str, name: str) -> None:
    headers = {"Content-Type": "image/png", "Content-Disposition": given}
    assert client(stub(lambda _: Reply(200, CONTENT, headers)).url).artifact(ID).name == name


def test_files_go_when_the_service_is_closed(stub: Stub, client: Client) -> None:
    one = client(stub(whole).url)
    path = one.artifact(ID).path
    one.close()
    assert not path.exists()
    assert one.artifact(ID).path.exists()
