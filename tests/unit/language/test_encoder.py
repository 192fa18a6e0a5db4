"""MiniLM: shapes, limits, and the same numbers every time."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kizy.language import (  # noqa: E402
    PROMPT_TOKENS,
    WIDTH,
    available,
    embed,
    encode,
    encode_weighed,
)
from kizy.language.encoder import BATCH, TOKENIZER_FILE, alike, encoder  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from tests.fakes import comfyui_text  # noqa: E402


def test_what_it_needs_is_here() -> None:
    assert available()


@pytest.mark.parametrize("prompts", [[], [""], ["a fox"], ["a fox", "", "two owls in a tree"]])
def test_token_states_have_a_fixed_shape(prompts: list[str]) -> None:
    states = encode(prompts)
    assert states.shape == (len(prompts), PROMPT_TOKENS, WIDTH)
    assert states.dtype == torch.float32


def test_the_empty_prompt_has_states_of_its_own() -> None:
    empty, fox = encode(["", "a fox"])
    assert torch.isfinite(empty).all() and not torch.equal(empty, fox)


def test_the_same_prompt_gives_the_same_states() -> None:
    assert torch.equal(encode(["a red fox"]), encode(["a red fox"]))


def test_what_stands_beside_a_prompt_changes_nothing() -> None:
    alone = encode(["a fox"])[0]
    beside = encode(["a fox", "a very long sentence about something else " * 9])[0]
    assert torch.allclose(alone, beside, atol=1e-5)


def test_only_the_first_32_tokens_count() -> None:
    words = "one two three four five six seven eight nine ten " * 3
    kept = " ".join(words.split()[:30])
    assert torch.equal(encode([kept + " apple"]), encode([kept + " zebra and more"]))


def test_the_30th_word_still_counts() -> None:
    words = ("one two three four five six seven eight nine ten " * 3).split()
    assert not torch.equal(encode([" ".join(words[:30])]), encode([" ".join([*words[:29], "fox"])]))


@pytest.mark.parametrize(("prompt", "count"), [("", 2), ("fox", 3), ("one two three " * 40, 122)])
def test_tokens_are_counted_without_being_cut(prompt: str, count: int) -> None:
    assert encoder().count_tokens(prompt) == count


def test_counting_does_not_change_how_prompts_are_cut() -> None:
    before = encode(["a fox"])
    encoder().count_tokens("word " * 100)
    assert torch.equal(encode(["a fox"]), before)


def test_meanings_have_unit_length() -> None:
    rows = embed(["a fox", "the tax office", ""])
    assert rows.shape == (3, WIDTH) and rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)


def test_no_sentences_have_no_meanings() -> None:
    assert embed([]).shape == (0, WIDTH)


def test_related_sentences_lie_nearer_than_others() -> None:
    cat, kitten, tax = embed(["a cat sleeps", "a kitten is napping", "income tax law"])
    assert cat @ kitten > cat @ tax + 0.2


def test_more_than_one_batch_keeps_the_order() -> None:
    sentences = [f"number {i}" for i in range(BATCH + 2)]
    assert embed(sentences)[-1] == pytest.approx(embed(sentences[-1:])[0], abs=1e-4)


def test_long_and_short_sentences_keep_the_order_and_their_meanings() -> None:
    sentences = ["a fox", "word " * 400, "a red fox on a blue background", "", "two owls"]
    together = embed(sentences)
    for sentence, row in zip(sentences, together, strict=True):
        assert row == pytest.approx(embed([sentence])[0], abs=1e-4)


def test_texts_of_like_length_are_computed_together() -> None:
    assert alike([30, 4, 5, 60]) == [[1, 2, 0, 3]]
    assert [len(group) for group in alike([4, 30, 5] * 12)] == [24, 12]
    assert [len(group) for group in alike([7] * (BATCH + 1))] == [BATCH, 1]
    assert alike([]) == []


@pytest.mark.parametrize("sentence", ["", "a fox", "word " * 29, "word " * 30, "word " * 31])
def test_prompts_are_cut_and_padded_as_the_tokenizers_library_does(sentence: str) -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER_FILE))
    tokenizer.enable_truncation(PROMPT_TOKENS)
    tokenizer.enable_padding(pad_id=0, length=PROMPT_TOKENS)
    expected = tokenizer.encode(sentence)
    with torch.inference_mode():
        states = (
            encoder()
            ._model(
                input_ids=torch.tensor([expected.ids]),
                attention_mask=torch.tensor([expected.attention_mask]),
            )
            .last_hidden_state
        )
    assert torch.equal(encode([sentence]), states)


PLAIN_PROMPTS = ["a red fox", "", "a fox, 3d render", "one two three four five six seven " * 6]


def test_prompts_without_syntax_have_the_very_states_of_their_letters() -> None:
    assert torch.equal(encode_weighed(PLAIN_PROMPTS), encode(PLAIN_PROMPTS))


@pytest.mark.parametrize(
    "prompt",
    [
        "a (red:1.3) fox, 3d render",
        "(a (blue) fox:0.4), [tree]",
        "a fox, (" + "one two three four five six seven eight nine ten " * 3 + ":1.2)",
        " ".join(["(one two three:1.1)"] * 11),
    ],
)
def test_weights_are_read_by_comfyuis_formula(prompt: str) -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def tokenize(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    def states(ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.tensor(ids)
        mask = torch.tensor([[int(102 not in row[:at]) for at in range(32)] for row in ids])
        return encoder()._states(tokens, mask), tokens

    marks = (101, 102, 0)
    first = comfyui_text.token_rows(prompt, tokenize, *marks, 32)[:1]
    expected, _ = comfyui_text.encoded(first, states, *marks)
    torch.testing.assert_close(encode_weighed([prompt]), expected, atol=1e-5, rtol=0)


def test_an_escaped_parenthesis_is_a_letter_of_a_prompt() -> None:
    assert torch.equal(encode_weighed([r"a fox \(animal\)"]), encode(["a fox (animal)"]))
    weighed = encode_weighed(["a fox (animal)"])
    assert not torch.allclose(weighed, encode(["a fox (animal)"]))
