"""Arguments as language models write them are read as they are meant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kizy.core.errors import InputError
from kizy.orchestrator.server.mcp.arguments import (
    Edit,
    FindLoras,
    Generate,
    Improve,
    JobStatus,
    Train,
    read,
)

ID, OTHER = "a" * 64, "b" * 64


@pytest.mark.parametrize("kind", [Generate, Edit, Improve, Train, FindLoras, JobStatus])
@pytest.mark.parametrize("nothing", [None, "null", "None"])
def test_what_is_null_counts_as_left_out(kind: Any, nothing: Any) -> None:
    needed = {"prompt": "a fox", "picture": ID, "name": "Mimi", "pictures": [ID], "job_id": "j"}
    given = {k: v for k, v in needed.items() if k in kind.model_fields}
    given = {k: v for k, v in given.items() if kind.model_fields[k].is_required()}
    left_out = dict.fromkeys(set(kind.model_fields) - set(given), nothing)
    assert read(kind, {**left_out, **given}) == read(kind, given)


def test_null_for_what_has_to_be_given_is_told() -> None:
    with pytest.raises(InputError, match="prompt: Field required"):
        read(Generate, {"prompt": None})


def test_null_inside_a_list_counts_as_left_out_too() -> None:
    wanted = read(Generate, {"prompt": "x", "loras": [{"name": "ink", "weight": None}, None]})
    assert [(one.name, one.weight) for one in wanted.loras] == [("ink", None)]


@pytest.mark.parametrize(
    "loras",
    [
        [{"name": "ink", "weight": 0.8}, {"name": "mist"}],
        '[{"name": "ink", "weight": 0.8}, {"name": "mist", "weight": null}]',
        ["ink:0.8", "mist"],
        '["ink:0.8", "mist"]',
        "ink:0.8, mist",
        "ink:0.8\nmist",
    ],
)
def test_loras_are_read_in_every_form(loras: Any) -> None:
    wanted = read(Generate, {"prompt": "x", "loras": loras})
    assert [(one.name, one.weight) for one in wanted.loras] == [("ink", 0.8), ("mist", None)]


@pytest.mark.parametrize("loras", [{"name": "ink"}, '{"name": "ink"}', "ink"])
def test_one_entry_is_a_list_of_one(loras: Any) -> None:
    assert [one.name for one in read(Generate, {"prompt": "x", "loras": loras}).loras] == ["ink"]


def test_a_colon_that_is_no_weight_belongs_to_the_name() -> None:
    assert read(Generate, {"prompt": "x", "loras": "ink: loose"}).loras[0].name == "ink: loose"


@pytest.mark.parametrize("loras", ["", "[]", [], "null"])
def test_no_loras_are_none(loras: Any) -> None:
    assert read(Generate, {"prompt": "x", "loras": loras}).loras == ()


@pytest.mark.parametrize(
    ("pictures", "found"),
    [
        (ID, [ID]),
        (f"{ID}, kizy://artifacts/{OTHER}", [ID, f"kizy://artifacts/{OTHER}"]),
        (json.dumps([ID, OTHER]), [ID, OTHER]),
        ("data:image/png;base64,AAAA", ["data:image/png;base64,AAAA"]),
        (
            "data:image/png;base64,AA,data:image/png;base64,BB",
            ["data:image/png;base64,AA", "data:image/png;base64,BB"],
        ),
        ("/a/cat, sleeping.png", ["/a/cat, sleeping.png"]),
        ("/a/x.png,/a/y.png", ["/a/x.png", "/a/y.png"]),
    ],
)
def test_pictures_are_told_apart_though_they_hold_commas(pictures: str, found: list[str]) -> None:
    assert list(read(Train, {"name": "Mimi", "pictures": pictures}).pictures) == found


def test_words_for_faces_keep_their_empty_places() -> None:
    assert read(Improve, {"picture": ID, "parts": "smiling,, old"}).parts == ("smiling", "", "old")
    assert read(Improve, {"picture": ID, "parts": '["a, b", ""]'}).parts == ("a, b", "")


def test_controls_are_read_from_text() -> None:
    text = json.dumps([{"kind": "canny", "picture": ID, "strength": None}])
    (control,) = read(Generate, {"prompt": "x", "controls": text}).controls
    assert (control.kind, control.strength) == ("canny", 1.0)


def test_an_empty_text_counts_as_left_out_where_it_means_nothing() -> None:
    empty = dict.fromkeys(["model", "seed", "size", "style", "steps", "quality", "count"], "")
    assert read(Generate, {"prompt": "x", **empty}) == read(Generate, {"prompt": "x"})
    assert read(Generate, {"prompt": "x", "negative": ""}).negative == ""


@pytest.mark.parametrize("loras", ["[1]", [[]], 7])
def test_what_is_no_list_of_loras_is_told(loras: Any) -> None:
    with pytest.raises(InputError, match="loras"):
        read(Generate, {"prompt": "x", "controls": [], "loras": loras})


def test_a_name_that_was_made_up_is_still_refused() -> None:
    with pytest.raises(InputError, match="sampler"):
        read(Generate, {"prompt": "x", "sampler": "euler"})
