"""The words of a Plan: style and triggers keep their place, and what is not read is told."""

from __future__ import annotations

import pytest
from kizy.catalog.families.family import family
from kizy.catalog.families.styles import find_style
from kizy.core.errors import InputError
from kizy.core.plan import Reason
from kizy.language.chunks import rows
from kizy.language.encoder import MARKS
from kizy.language.prompt_syntax import segments
from kizy.language.word_pieces import word_pieces
from kizy.orchestrator.planning.prompts import Added, Reader, negative_words, worded

COUNT = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
FORTY = " ".join(COUNT * 4)


def reader(name: str = "starter", **more: bool) -> Reader:
    return Reader(family(name), **more)


def style(name: str, *triggers: str, spoken: tuple[str, ...] = ()) -> Added:
    return Added(find_style(name, "starter"), triggers, spoken)


def told(reasons: list[Reason]) -> str:
    return " ".join(f"{reason.value}: {reason.why}" for reason in reasons)


def read(text: str) -> list[int]:
    """The tokens of the row that the starter reads, without padding."""
    row = rows(segments(text), word_pieces, MARKS)[0]
    return [token for token, _ in row if token != MARKS.pad]


def test_a_short_prompt_is_as_it_was_and_says_nothing() -> None:
    assert worded("a red fox", style("cartoon", "zed"), reader()) == (
        "a red fox, cartoon, zed",
        [],
    )


@pytest.mark.parametrize("name", ["cartoon", "flat", "3d"])
def test_the_style_is_read_at_the_end_of_a_prompt_that_is_too_long(name: str) -> None:
    words = find_style(name, "starter").words
    text, _ = worded(FORTY, style(name), reader())
    assert text.endswith(f", {words}")
    assert len(rows(segments(text), word_pieces, MARKS)) == 1
    assert read(text)[-1 - len(word_pieces(words)) : -1] == word_pieces(words)


def test_exactly_the_words_that_are_left_out_are_named() -> None:
    text, reasons = worded(FORTY, style("cartoon"), reader())
    kept = text.removesuffix(", cartoon")
    (reason,) = reasons
    assert FORTY.startswith(kept)
    assert f'left out: "{FORTY[len(kept) :].strip()}"' in reason.why
    assert reason.value == "42 tokens"


def test_as_much_of_a_prompt_as_fits_is_kept() -> None:
    text, _ = worded(FORTY, style("cartoon", "zed"), reader())
    assert len(read(text)) == MARKS.length


def test_triggers_and_spoken_triggers_stay_where_a_prompt_is_cut() -> None:
    added = style("cartoon", "zedzed", spoken=("a blue wizard",))
    text, _ = worded(f"{FORTY} a blue wizard", added, reader())
    assert "a blue wizard" in text and text.endswith("zedzed")
    assert len(rows(segments(text), word_pieces, MARKS)) == 1


def test_weights_stay_whole_where_a_prompt_is_cut() -> None:
    text, reasons = worded(f"a fox, ({FORTY}:1.2)", style("cartoon"), reader())
    assert segments(text)[1].weight == 1.2
    assert "ten" in told(reasons)
    assert len(rows(segments(text), word_pieces, MARKS)) == 1


def test_triggers_that_are_too_long_by_themselves_are_told() -> None:
    text, reasons = worded("a fox", style("cartoon", "zed", FORTY), reader())
    assert text == "cartoon, zed"
    assert FORTY in told(reasons) and "a fox" in told(reasons)


def test_a_long_negative_prompt_of_the_starter_is_cut_and_told() -> None:
    text, (reason,) = negative_words(FORTY, reader())
    assert len(read(text)) == MARKS.length and reason.choice == "negative"
    assert "left out" in reason.why


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_families_that_read_rows_leave_nothing_out(name: str) -> None:
    long = ", ".join([FORTY] * 4)
    text, (reason,) = worded(long, Added(find_style("cartoon", name)), reader(name))
    assert text == f"{long}, cartoon"
    assert "75 at a time" in reason.why and "estimate" in reason.why
    assert reason.value.startswith("about ")


def test_tokens_are_counted_by_the_models_own_tokenizer_where_it_is_at_hand() -> None:
    known = Reader(family("sd15"), count_tokens=lambda text: 90)
    (reason,) = worded("a fox", Added(), known)[1]
    assert reason.value == "90 tokens" and "estimate" not in reason.why


def test_nothing_is_said_of_a_prompt_that_one_row_holds() -> None:
    assert worded(FORTY, Added(), reader("sdxl"))[1] == []


def test_a_prompt_longer_than_a_family_was_made_for_is_told_and_kept() -> None:
    text, (reason,) = worded(" ".join([FORTY] * 8), Added(), reader("flux1-schnell"))
    assert text.count("ten") == 32 and "at most 256" in reason.why


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a {red|blue} fox", "{red|blue}"),
        ("a __colour__ fox", "__colour__"),
        ("a [fox:cat:0.5] here", "[fox:cat:0.5]"),
        ("a [fox:0.5] here", "[fox:0.5]"),
        ("a [fox|cat] here", "[fox|cat]"),
        ("a [fox] here", "(fox:0.9)"),
        ("a fox AND a cat", "AND"),
    ],
)
@pytest.mark.parametrize("name", ["starter", "sdxl", "flux1-dev"])
def test_syntax_of_other_programs_is_told_and_stays(prompt: str, said: str, name: str) -> None:
    text, reasons = worded(prompt, Added(), reader(name, embeddings=True))
    assert text == prompt and said in told(reasons)


@pytest.mark.parametrize(
    "prompt",
    ["a fox", "ROCK AND ROLL", "a sign: 10:30", "snake_case __init", "{a}", "(fox:1.2)", r"\[a\]"],
)
def test_plain_words_are_not_told(prompt: str) -> None:
    assert worded(prompt, Added(), reader("sdxl"))[1] == []


@pytest.mark.parametrize("prompt", ["a fox, embedding:EasyNeg", "a fox, (embedding:EasyNeg:1.2)"])
def test_embeddings_are_left_out_and_told_where_none_are_read(prompt: str) -> None:
    text, reasons = worded(prompt, Added(), reader("sd15"))
    assert text == "a fox" and "embedding:EasyNeg is left out" in told(reasons)


def test_embeddings_stay_where_comfyui_may_have_them() -> None:
    text, reasons = worded("a fox, embedding:EasyNeg", Added(), reader("sd15", embeddings=True))
    assert text == "a fox, embedding:EasyNeg" and "embedding:EasyNeg is read if" in told(reasons)


@pytest.mark.parametrize("name", ["starter", "flux1-dev"])
def test_break_is_left_out_of_families_of_one_part(name: str) -> None:
    text, reasons = worded("a fox, BREAK a tree", Added(), reader(name))
    assert text == "a fox, a tree" and "BREAK is left out" in told(reasons)


def test_break_is_told_where_it_parts() -> None:
    text, reasons = worded("a fox BREAK a tree", Added(), reader("sdxl"))
    assert text == "a fox BREAK a tree" and "2 parts" in told(reasons)


def test_infinity_is_no_weight() -> None:
    text, _ = worded("(love: infinity)", Added(), reader("sd15"))
    assert "love: infinity" in segments(text)[0].text and segments(text)[0].weight == 1.1


def test_a_weight_beyond_all_measure_is_refused() -> None:
    with pytest.raises(InputError, match="1e\\+30") as caught:
        worded("(fox:1e30)", Added(), reader("sd15"))
    assert caught.value.code == "request_invalid"
