"""ComfyUI's tokenizer classes get the tokens that Kizy's own encoder sees."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from kizy.language.encoder import PROMPT_TOKENS, TOKENIZER_FILE, encoder
from kizy.nodes.word_pieces import END, PAD, START, WordPieces

PROMPTS = [
    "",
    "a red apple on a blue background, 3d render",
    "A Ghost, FLAT icon!? (two)",
    "Ein Bär über Zürich, 日本",
    " ".join(["giraffe"] * 60),
]


@pytest.fixture(scope="module")
def pieces() -> WordPieces:
    return WordPieces.from_pretrained(str(TOKENIZER_FILE), some_option=True)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_has_the_encoders_tokens(pieces: WordPieces, prompt: str) -> None:
    (expected,) = encoder()._tokens([prompt], 512)
    assert pieces(prompt) == {"input_ids": expected}


def test_nothing_is_cut_or_padded(pieces: WordPieces) -> None:
    assert len(pieces(PROMPTS[-1])["input_ids"]) > PROMPT_TOKENS
    assert pieces("") == {"input_ids": [START, END]}


def test_the_marks_have_their_ids(pieces: WordPieces) -> None:
    vocabulary = pieces.get_vocab()
    assert [vocabulary[mark] for mark in ("[CLS]", "[SEP]", "[PAD]")] == [START, END, PAD]
