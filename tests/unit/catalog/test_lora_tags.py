"""LoRAs that a person writes down."""

from __future__ import annotations

import pytest
from kizy.catalog.search.lora_tags import lora_lines, lora_tags, written
from kizy.catalog.search.select import Named
from kizy.core.errors import InputError


def test_tags_are_taken_out_of_the_prompt() -> None:
    text, named, notes = lora_tags("a fox, <lora:ink wash:0.8>, snow <lora:mimi>")
    assert text == "a fox, snow"
    assert named == (Named("ink wash", 0.8), Named("mimi"))
    assert notes == ()


@pytest.mark.parametrize("prompt", ["a  fox <3", "4 > 3, 2 < 3", "a\n\nfox", "12:30 o'clock"])
def test_a_prompt_without_tags_stays_as_it_is(prompt: str) -> None:
    assert lora_tags(prompt) == (prompt, (), ())


@pytest.mark.parametrize(
    ("tag", "named"),
    [
        ("<lora:ink>", Named("ink")),
        ("<lora:ink:>", Named("ink")),
        ("<lora:ink:auto>", Named("ink")),
        ("<lora:ink:8e-1>", Named("ink", 0.8)),
        ("<lora:ink:0,8>", Named("ink", 0.8)),
        ("<lora:ink: 0.8 >", Named("ink", 0.8)),
        ("< lora : ink : 0.8>", Named("ink", 0.8)),
        ("<lora:ink:-.5>", Named("ink", -0.5)),
        ("<lora:ink:+1.5>", Named("ink", 1.5)),
        ("<lora:ink:80%>", Named("ink", 0.8)),
        ("<LORA:ink:0.8>", Named("ink", 0.8)),
        ("<Lora:Ink v2:0.8>", Named("Ink v2", 0.8)),
        ("<lyco:ink:0.8>", Named("ink", 0.8)),
        ("<locon:ink:0.8>", Named("ink", 0.8)),
        ("<lora:ink:te=0.3:unet=0.8>", Named("ink", 0.8, 0.3)),
        ("<lora:ink:unet=0.8:te=0.3>", Named("ink", 0.8, 0.3)),
        ("<lora:ink:UNET=0,8:TE=3e-1>", Named("ink", 0.8, 0.3)),
        ("<lora:ink:0.3:unet=0.8>", Named("ink", 0.8, 0.3)),
        ("<lora:ink:unet=0.8>", Named("ink", 0.8, 1.0)),
        ("<lora:ink:te=0.3>", Named("ink", 0.3, 0.3)),
        ("<lora:ink:1:1>", Named("ink", 1.0, 1.0)),
        ("＜lora：ink：０．８＞", Named("ink", 0.8)),
        ("<lora:水墨：二:0.8>", Named("水墨：二", 0.8)),
        ("<lora:ink：0.8>", Named("ink", 0.8)),
        ("&lt;lora:ink:0.8&gt;", Named("ink", 0.8)),
        ('<lora:"ink":0.8>', Named("ink", 0.8)),
        (r"<lora:C:\loras\ink.safetensors:0.8>", Named(r"C:\loras\ink.safetensors", 0.8)),
        ("<lora:a:b:0.8>", Named("a:b", 0.8)),
        ("<lora:styles/ink.safetensors:1>", Named("styles/ink.safetensors", 1.0)),
    ],
)
def test_every_form_of_a_tag_is_read(tag: str, named: Named) -> None:
    assert lora_tags(f"a fox {tag}") == ("a fox", (named,), ())


@pytest.mark.parametrize(
    ("tag", "named", "told"),
    [
        ("<lora:ink:1:0.5>", Named("ink", 1.0, 0.5), "te=0.5:unet=1"),
        ("<lora:ink:0.8:te=0.3>", Named("ink", 0.3, 0.3), "te=0.3 counts for the model, too"),
        ("<lora:ink:1:dyn=16>", Named("ink", 1.0), "dyn"),
        ("<lora:ink:1:1:16>", Named("ink", 1.0, 1.0), "second weight"),
        ("<lora:ink:1:1:16:7>", Named("ink", 1.0, 1.0), "second weight"),
        ("<lora:ink:1:lbw=OUTALL>", Named("ink", 1.0), "lbw"),
        ("<lora:ink:1:1:lbw=MIDD:start=10:stop=20>", Named("ink", 1.0, 1.0), "stop"),
        ("<lora:ink:1:MIDD>", Named("ink", 1.0), "block weights"),
        ("<lora:ink:1:1,0,0,1,1,0>", Named("ink", 1.0), "block weights"),
        ("<lora:ink:1:colour=red>", Named("ink", 1.0), "colour=red"),
        ("<lora:ink:99>", Named("ink", 10.0), "from -10 to 10"),
        ("<lora:ink:1:-99>", Named("ink", 1.0, -10.0), "from -10 to 10"),
    ],
)
def test_what_of_a_tag_counts_for_nothing_is_told(tag: str, named: Named, told: str) -> None:
    text, found, notes = lora_tags(f"a fox {tag}")
    assert (text, found) == ("a fox", (named,))
    assert any(told in note for note in notes)


@pytest.mark.parametrize(
    "tag",
    [
        "<lora::1>",
        "<lora:>",
        "<lora: :0.8>",
        "<lora:ink:nan>",
        "<lora:ink:inf>",
        "<lora:ink:1e999>",
        "<lora:ink:0.8.1>",
        "<lora:ink:1:x>",
        "<lora:ink:te=strong>",
        "<lora:ink:0@0,1@0.5>",
        "<loractl:ink:0@0,1@0.5>",
        "<lora:ink:0.8",
        "<lora:ink:0.8, and <lora:two:1>",
    ],
)
def test_a_tag_that_cannot_be_read_is_refused(tag: str) -> None:
    with pytest.raises(InputError) as caught:
        lora_tags(f"a fox {tag}")
    assert caught.value.code == "request_invalid"


def test_a_hypernetwork_is_left_out_and_told() -> None:
    text, named, notes = lora_tags("a fox, <hypernet:old:1>, snow")
    assert (text, named) == ("a fox, snow", ())
    assert "hypernetworks" in notes[0]


def test_another_tag_stays_as_words_and_is_told() -> None:
    text, named, notes = lora_tags("a fox <wildcard:hat>")
    assert (text, named) == ("a fox <wildcard:hat>", ())
    assert "<wildcard:hat>" in notes[0]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("<lora:a:1>, a fox", "a fox"),
        ("a fox,<lora:a:1><lora:b:1>", "a fox"),
        ("a fox, (<lora:a:1>:1.2), snow", "a fox, snow"),
        ("a fox, ((<lora:a:1>, <lora:b:1>)), snow", "a fox, snow"),
        ("(a fox <lora:a:1>:1.2)", "(a fox:1.2)"),
        ("a fox\nBREAK\nsnow <lora:a:1>", "a fox\nBREAK\nsnow"),
        ("a<lora:a:1>fox", "a fox"),
        ("a fox, <lora:a:1>, <lora:b:1> at night.", "a fox, at night."),
        ("a fox<lora:a:1>. Snow <lora:b:1>.", "a fox. Snow."),
    ],
)
def test_nothing_that_belonged_to_a_tag_is_left(prompt: str, text: str) -> None:
    assert lora_tags(prompt)[0] == text


@pytest.mark.parametrize(
    "prompt",
    ["a fox [<lora:a:1>:0.5]", "[dog:cat<lora:a:1>:0.5]", "[<lora:a:1>:<lora:b:1>:0.5] x",
     "[cat<lora:a:1>|dog]", "[<lora:a:0.5:0.5>::0.5] a fox"],
)  # fmt: skip
def test_a_lora_for_some_steps_is_drawn_with_for_all_and_that_is_told(prompt: str) -> None:
    _, named, notes = lora_tags(prompt)
    assert named
    assert any("first step to the last" in note for note in notes)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("ink", Named("ink")),
        ("ink:0.5", Named("ink", 0.5)),
        ("ink: 0,5", Named("ink", 0.5)),
        ("ink:.5:0.25", Named("ink", 0.5, 0.25)),
        ("ink:te=0.3:unet=0.8", Named("ink", 0.8, 0.3)),
        ("ink v2:1", Named("ink v2", 1.0)),
        ("styles/ink.safetensors:-1", Named("styles/ink.safetensors", -1.0)),
        (r"C:\loras\ink.safetensors", Named(r"C:\loras\ink.safetensors")),
        (r"C:\loras\ink.safetensors:0.5", Named(r"C:\loras\ink.safetensors", 0.5)),
        ("<lora:ink:1>", Named("ink", 1.0)),
    ],
)
def test_a_line_names_one(line: str, named: Named) -> None:
    assert lora_lines(f"\n  {line}  \n") == ((named,), ())


def test_a_line_with_too_strong_a_weight_is_held_and_told() -> None:
    named, notes = lora_lines("ink:99")
    assert named == (Named("ink", 10.0),)
    assert "from -10 to 10" in notes[0]


def test_empty_lines_and_remarks_name_none() -> None:
    assert lora_lines("\n # not now\n# <lora:ink:1>\n") == ((), ())


def test_a_weight_stands_as_it_was_written() -> None:
    assert written("ink:99").named == Named("ink", 99.0)
