"""LoRAs that a person writes down."""

from __future__ import annotations

import pytest
from kizy.catalog.lora_tags import lora_lines, lora_tags
from kizy.catalog.select import Named


def test_tags_are_taken_out_of_the_prompt() -> None:
    text, named = lora_tags("a fox, <lora:ink wash:0.8>, snow <lora:mimi>")
    assert text == "a fox, snow"
    assert named == (Named("ink wash", 0.8), Named("mimi"))


def test_a_prompt_without_tags_stays_as_it_is() -> None:
    assert lora_tags("a  fox <3") == ("a  fox <3", ())


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("ink", Named("ink")),
        ("ink:0.5", Named("ink", 0.5)),
        ("ink:.5:0.25", Named("ink", 0.5, 0.25)),
        ("ink v2:1", Named("ink v2", 1.0)),
        ("styles/ink.safetensors:-1", Named("styles/ink.safetensors", -1.0)),
        (r"C:\loras\ink.safetensors", Named(r"C:\loras\ink.safetensors")),
        ("<lora:ink:99>", Named("ink", 10.0)),
    ],
)
def test_a_line_names_one(line: str, named: Named) -> None:
    assert lora_lines(f"\n  {line}  \n") == (named,)


def test_empty_lines_and_remarks_name_none() -> None:
    assert lora_lines("\n # not now\n\n") == ()
