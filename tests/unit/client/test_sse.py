"""Server-sent events are read as browsers read them, wherever the blocks are cut."""

from __future__ import annotations

import pytest
from kizy.orchestrator.sdk.remote.sse import MAX_EVENT, Message, Reader

STREAM = (
    "\ufeffevent: state\ndata: {}\n\n"
    ": heartbeat\n\n"
    "event: end\r\nid: 7\r\ndata: one\r\ndata:two\r\n\r\n"
    "data\r\rretry: 2000\n\n"
).encode()

READ = [Message("state", None, "{}"), Message("end", "7", "one\ntwo"), Message("message", None, "")]


def read(*blocks: bytes) -> list[Message]:
    reader = Reader()
    return [message for block in blocks for message in reader.feed(block)]


def test_names_ids_and_lines_are_read() -> None:
    assert read(STREAM) == READ


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_blocks_may_be_cut_anywhere(size: int) -> None:
    blocks = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert read(*blocks) == READ


def test_an_empty_block_between_carriage_return_and_newline_changes_nothing() -> None:
    assert read(b"data: a\r", b"", b"\n\r\n") == [Message("message", None, "a")]


def test_an_event_that_is_cut_off_is_not_given() -> None:
    assert read(b"data: a\n") == []


def test_an_id_belongs_to_its_event_alone() -> None:
    assert read(b"id: 1\ndata: a\n\ndata: b\n\n")[1].id is None


def test_what_is_no_utf8_is_read_all_the_same() -> None:
    assert read(b"data: \xff\n\n") == [Message("message", None, "\ufffd")]


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["one line", "many lines"])
def test_an_event_without_end_is_refused(end: bytes) -> None:
    reader, block = Reader(), b"data: " + b"x" * 1_000_000 + end
    with pytest.raises(ValueError, match="without end"):
        for _ in range(MAX_EVENT // 1_000_000 + 1):
            list(reader.feed(block))
