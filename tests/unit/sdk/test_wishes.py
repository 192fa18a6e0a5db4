"""Shorter ways to say what a request says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kizy.core.errors import InputError
from kizy.core.request import Enlarge, GenerationRequest, Improve, LoraChoice, TrainingRequest
from kizy.orchestrator.sdk import arguments as wishes


def upload(name: str, data: Any) -> str:
    return f"id of {name}, {len(data.read())} bytes"


def request(**values: Any) -> GenerationRequest:
    return wishes.generation("a fox", values, upload)


def test_every_field_of_a_request_can_be_said() -> None:
    said = set(wishes.Wishes.__annotations__)
    assert said == set(GenerationRequest.model_fields) - {"prompt"}


def test_every_field_of_a_training_can_be_said() -> None:
    said = set(wishes.TrainingWishes.__annotations__)
    assert said == set(TrainingRequest.model_fields) - {"files", "name"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("auto", "auto"),
        ("none", "none"),
        (None, "none"),
        ([], "none"),
        ("ink", (LoraChoice(name="ink"),)),
        (("ink", 0.5), (LoraChoice(name="ink", model_weight=0.5),)),
        (["ink", ("fox", 2)], (LoraChoice(name="ink"), LoraChoice(name="fox", model_weight=2))),
        ({"name": "ink", "clip_weight": 1}, (LoraChoice(name="ink", clip_weight=1),)),
        ([LoraChoice(name="ink")], (LoraChoice(name="ink"),)),
    ],
)
def test_loras(given: Any, wanted: Any) -> None:
    assert request(loras=given).loras == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("auto", "auto"),
        (None, None),
        (1, "auto"),
        (2, Enlarge(factor=2)),
        (1.5, Enlarge(factor=1.5)),
        (Enlarge(factor=3), Enlarge(factor=3)),
    ],
)
def test_enlarging(given: Any, wanted: Any) -> None:
    assert request(enlarge=given).enlarge == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, ()),
        ("faces", (Improve(),)),
        (["faces", "m.png"], (Improve(), Improve(what="mask", mask="m.png"))),
        (b"png", (Improve(what="mask", mask="id of picture, 3 bytes"),)),
        (Improve(amount="strong"), (Improve(amount="strong"),)),
        ({"what": "mask", "mask": "m.png"}, (Improve(what="mask", mask="m.png"),)),
    ],
)
def test_improving(given: Any, wanted: Any) -> None:
    assert request(improve=given).improve == wanted


def test_controls_hold_their_pictures() -> None:
    (control,) = request(controls=[{"kind": "canny", "picture": b"png"}]).controls
    assert (control.kind, control.picture) == ("canny", "id of picture, 3 bytes")


def test_a_size_may_be_two_numbers() -> None:
    assert request(size=(640, 480)).size == "640x480"
    assert request(size="portrait").size == "portrait"


def test_what_is_wrong_is_said_as_everywhere() -> None:
    with pytest.raises(InputError) as refused:
        request(steps=-1)
    assert refused.value.code == "request_invalid" and "steps" in refused.value.message


def test_one_file_is_a_training_too() -> None:
    made = wishes.training("cat.zip", "Mimi", {"steps": 5}, lambda file: file.id)
    assert (made.files, made.name, made.steps) == (("cat.zip",), "Mimi", 5)


def test_deadlines_have_zones() -> None:
    assert wishes.moment(None) is None
    plain = wishes.moment(datetime(2030, 1, 1))
    assert plain is not None and plain.tzinfo is not None
    given = wishes.moment(timedelta(seconds=10))
    assert given is not None and given > datetime.now(UTC)


def test_the_encoding_of_captions_is_one_that_there_is() -> None:
    def training(encoding: str):
        wish = {"captions_encoding": encoding}
        return wishes.training("cat.zip", "Mimi", wish, lambda file: file.id)

    assert training("gbk").captions_encoding == "gbk"
    for none in ("klingon", "base64", "a\0"):
        with pytest.raises(InputError) as refused:
            training(none)
        assert refused.value.code == "request_invalid"
