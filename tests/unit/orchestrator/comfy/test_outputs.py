"""What a history entry says."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.orchestrator.backends.comfyui.protocol.client_events import OutputFile
from kizy.orchestrator.backends.comfyui.protocol.outputs import ending_of, files_of


def file(name: str, **more: Any) -> dict[str, Any]:
    return {"filename": name, "subfolder": "Kizy", "type": "output", **more}


def entry(**outputs: Any) -> dict[str, Any]:
    return {"outputs": outputs, "status": {"status_str": "success", "messages": []}}


@pytest.mark.parametrize("kind", ["images", "gifs", "audio", "video", "3d", "whatever"])
def test_files_of_every_kind_are_found(kind: str) -> None:
    found = files_of(entry(a={kind: [file("x.bin", format="y")]}), ("a",))
    assert found == (OutputFile("a", kind, "x.bin", "Kizy", "output"),)


def test_texts_are_outputs_too() -> None:
    (found,) = files_of(entry(a={"text": ["hello"]}), ("a",))
    assert (found.kind, found.text, found.suffix) == ("text", "hello", ".txt")


def test_only_the_nodes_that_were_asked_for_count_and_in_their_order() -> None:
    history = entry(
        a={"images": [file("a.png")]}, b={"images": [file("b.png")]}, c={"images": [file("c.png")]}
    )
    assert [f.filename for f in files_of(history, ("c", "a"))] == ["c.png", "a.png"]
    assert [f.filename for f in files_of(history, ())] == ["a.png", "b.png", "c.png"]


def test_a_node_that_expanded_shows_what_its_parts_made() -> None:
    history = entry(**{"9.0.0.1": {"images": [file("x.png")]}})
    history["meta"] = {"9.0.0.1": {"display_node": "9"}}
    assert [(f.node, f.filename) for f in files_of(history, ("9",))] == [("9", "x.png")]


def test_what_is_no_file_is_left_out() -> None:
    history = entry(
        a={"images": [file("x.png"), None, 3, {"filename": 4}], "animated": [True], "n": 4}, b=None
    )
    assert [f.filename for f in files_of(history, ("a", "b"))] == ["x.png"]
    assert files_of({"outputs": None}, ("a",)) == ()


def test_a_strange_place_is_the_output_folder() -> None:
    (found,) = files_of(entry(a={"images": [file("x.png", type="../..", subfolder=None)]}), ("a",))
    assert (found.type, found.subfolder) == ("output", "")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("x.png", ".png"),
        ("X.WEBP", ".webp"),
        ("x", ".bin"),
        ("x.p/../n", ".bin"),
        ("x.p g", ".bin"),
    ],
)
def test_a_suffix_is_harmless(name: str, suffix: str) -> None:
    assert OutputFile("a", "images", name, "", "output").suffix == suffix


def with_status(status: Any) -> dict[str, Any]:
    return {"outputs": {}, "status": status}


def test_success_is_success() -> None:
    assert ending_of(with_status({"status_str": "success", "messages": []})).how == "success"
    # Versions that keep no status keep no failed jobs either.
    assert ending_of(with_status(None)).how == "success"


def test_an_interrupted_job_is_told_apart_from_a_failed_one_by_its_messages() -> None:
    messages = [["execution_start", {}], ["execution_interrupted", {"node_id": "5"}]]
    assert ending_of(with_status({"status_str": "error", "messages": messages})).how == (
        "interrupted"
    )
    messages = [["execution_error", {"exception_type": "ValueError"}]]
    ending = ending_of(with_status({"status_str": "error", "messages": messages}))
    assert (ending.how, ending.detail["exception_type"]) == ("error", "ValueError")


def test_a_blocked_branch_is_not_why_a_job_failed() -> None:
    messages = [
        ["execution_error", {"exception_type": "ValueError"}],
        ["execution_error", {"exception_type": "ExecutionBlocked"}],
    ]
    ending = ending_of(with_status({"status_str": "error", "messages": messages}))
    assert ending.detail["exception_type"] == "ValueError"


def test_an_error_without_words_is_an_error() -> None:
    assert ending_of(with_status({"status_str": "error", "messages": None})).how == "error"
