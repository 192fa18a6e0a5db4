"""Halves of characters are replaced, whole ones and everything else stay."""

from __future__ import annotations

import json

import pytest
from kizy.core.errors import InputError
from kizy.core.request import GenerationRequest, parse_request
from kizy.core.surrogates import whole, whole_json, whole_text

FOX = "\N{FOX FACE}"
HIGH, LOW = "\ud83e", "\udd8a"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (f"a {HIGH}", "a \ufffd"),
        (f"{LOW}b", "\ufffdb"),
        (HIGH + LOW, FOX),
        (LOW + HIGH, "\ufffd\ufffd"),
        (f"{FOX}{HIGH}", f"{FOX}\ufffd"),
        ("caf\udce9", "caf\ufffd"),
        ("größer", "größer"),
        ("", ""),
    ],
)
def test_texts(given: str, wanted: str) -> None:
    assert whole_text(given) == wanted
    assert json.loads(whole_json(json.dumps(given).encode())) == wanted


@pytest.mark.parametrize(
    "text",
    [rb'"\\ud83e"', rb'"\\\\ud83e"', rb'"\ud83e\udd8a"', rb'"\u0041"', b'"\xf0\x9f\xa6\x8a"', b"{"],
)
def test_json_without_halves_stays_as_it_is(text: bytes) -> None:
    assert whole_json(text) == text


def test_json_keeps_its_length() -> None:
    text = rb'{"a": "\\\ud83e \uD83E\uD83E\uDD8A"}'
    assert json.loads(whole_json(text)) == {"a": f"\\\ufffd \ufffd{FOX}"}
    assert len(whole_json(text)) == len(text)


def test_all_texts_of_a_value_are_made_whole() -> None:
    value = {HIGH: [HIGH, (LOW, 1, None)]}
    assert whole(value) == {"\ufffd": ["\ufffd", ("\ufffd", 1, None)]}


def test_a_request_is_made_of_whole_characters() -> None:
    request = GenerationRequest.model_validate({"prompt": f"a fox {HIGH}", "model": f"x{LOW}"})
    assert (request.prompt, request.model) == ("a fox \ufffd", "x\ufffd")


def test_a_prompt_of_nothing_but_half_a_character_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        parse_request(GenerationRequest, {"prompt": HIGH})
    assert caught.value.code == "request_invalid"
