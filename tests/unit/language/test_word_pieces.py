"""MiniLM's tokens in plain Python are those of `tokenizers`."""

from __future__ import annotations

import pytest
from kizy.language.encoder import TOKENIZER_FILE
from kizy.language.word_pieces import word_pieces

tokenizers = pytest.importorskip("tokenizers")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a red fox, 3d render",
        "Łódź, façade, naïve, Ünïcödé",
        "watercolour-style; (sunset) [fog] don't_stop",
        "ein Eichhörnchen im Schnee",
        "雪の中の狐 and 한국어 และไทย",
        "🦊 fox\tnew\nline\u00a0space\u200djoined\u00adsoft",
        "ΣΊΣΥΦΟΣ İstanbul ﬁne ½",
        "x" * 101,
        "[SEP] [sep] [MASK]",
        "antidisestablishmentarianism supercalifragilistic",
    ],
)
def test_a_text_has_the_same_tokens(text: str) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    assert word_pieces(text) == tokenizer.encode(text, add_special_tokens=False).ids
