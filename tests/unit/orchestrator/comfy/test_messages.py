"""Frames of the socket become data, and nothing in them becomes an error."""

from __future__ import annotations

import json
import random
import struct

import pytest
from kizy.orchestrator.backends.comfyui.protocol import messages as m


def text(kind: str, **data: object) -> str:
    return json.dumps({"type": kind, "data": data})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (text("status", status={"exec_info": {"queue_remaining": 3}}, sid="x"), m.QueueChanged(3)),
        (text("execution_start", prompt_id="p"), m.Started("p")),
        (text("execution_cached", prompt_id="p", nodes=["1", 2]), m.Cached("p", ("1", "2"))),
        (text("executing", prompt_id="p", node="1", display_node="1"), m.Executing("p", "1")),
        (text("executing", prompt_id="p", node=None), m.Executing("p", None)),
        (text("executing", node="7"), m.Executing(None, "7")),
        (text("progress", prompt_id="p", node="5", value=2, max=4), m.Step("p", "5", 2, 4)),
        (text("executed", prompt_id="p", node="7", output={}), m.Executed("p", "7")),
        (
            text("execution_error", prompt_id="p", exception_type="ExecutionBlocked",
                 exception_message="Execution Blocked: no"),
            m.Blocked("p", "Execution Blocked: no"),
        ),
    ],
)  # fmt: skip
def test_a_text_message_is_understood(frame: str, message: m.Message) -> None:
    assert m.parse(frame) == message


def test_the_progress_state_is_understood() -> None:
    nodes = {"5": {"value": 1, "max": 4, "state": "running"}, "6": "nonsense"}
    message = m.parse(text("progress_state", prompt_id="p", nodes=nodes))
    assert message == m.States("p", {"5": m.NodeState("running", 1, 4)})


@pytest.mark.parametrize("how", ["success", "error", "interrupted"])
def test_the_end_of_a_job_is_understood(how: str) -> None:
    message = m.parse(text(f"execution_{how}", prompt_id="p", exception_type="ValueError"))
    assert isinstance(message, m.Ended)
    assert message.how == how


def test_a_preview_without_metadata() -> None:
    assert m.parse(struct.pack(">II", 1, 1) + b"jpeg") == m.PreviewImage(b"jpeg", "jpeg")
    assert m.parse(struct.pack(">II", 1, 2) + b"png") == m.PreviewImage(b"png", "png")


def test_a_preview_with_metadata() -> None:
    about = json.dumps({"node_id": "5", "prompt_id": "p", "image_type": "image/png"}).encode()
    frame = struct.pack(">II", 4, len(about)) + about + b"picture"
    assert m.parse(frame) == m.PreviewImage(b"picture", "png", "p", "5")


def test_a_text_for_people() -> None:
    frame = struct.pack(">II", 3, 2) + b"12" + "schön".encode()
    assert m.parse(frame) == m.Text("12", "schön")


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "null",
        "[]",
        "{",
        "[" * 100_000,
        text("unknown", prompt_id="p"),
        text("executing", node=None),
        text("progress", prompt_id="p", node="5", value="x", max=4),
        text("progress", prompt_id="p", node="5", value=1, max=0),
        text("status", status=None),
        '{"type": "progress", "data": {"prompt_id": "p", "node": "5", "value": NaN, "max": 4}}',
        b"",
        b"\0\0\0\1",
        struct.pack(">II", 1, 9) + b"x",
        struct.pack(">II", 1, 1),
        struct.pack(">II", 2, 1) + b"x",
        struct.pack(">II", 3, 4_000_000_000) + b"x",
        struct.pack(">II", 4, 4_000_000_000) + b"x",
        struct.pack(">II", 4, 2) + b"{}picture",
    ],
)
def test_what_is_not_understood_is_nothing(frame: str | bytes) -> None:
    assert m.parse(frame) is None


def test_no_frame_is_an_error() -> None:
    dice = random.Random(1)
    begins = [struct.pack(">II", kind, n) for kind in range(6) for n in (0, 1, 2, 9)]
    for _ in range(2000):
        m.parse(dice.choice(begins) + dice.randbytes(dice.randrange(40)))
        kind = dice.choice(["executing", "progress", "progress_state", "execution_error", "status"])
        value = dice.choice([None, [], {}, 1, "x", {"a": {"value": 1, "max": 1}}])
        keys = ("prompt_id", "node", "value", "max", "nodes", "status")
        m.parse(text(kind, **{key: value for key in keys if dice.random() < 0.7}))
