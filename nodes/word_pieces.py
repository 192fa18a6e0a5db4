"""MiniLM's tokenizer in the form that ComfyUI's SDTokenizer takes.

It stands on `tokenizers` alone: transformers changed its tokenizers from version 4 to 5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..language.encoder import TOKENIZER_FILE

START, END, PAD = 101, 102, 0
"""Ids of [CLS], [SEP] and [PAD] in BERT's vocabulary (bert-base-uncased, vocab.txt)."""


class WordPieces:
    """Called with a text, it gives its tokens without padding or limit."""

    def __init__(self, file: Path = TOKENIZER_FILE) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @classmethod
    def from_pretrained(cls, path: str, **_: Any) -> WordPieces:
        """As transformers' tokenizers are made; `path`: of tokenizer.json."""
        return cls(Path(path))

    def __call__(self, text: str) -> dict[str, list[int]]:
        """`input_ids`: start mark, word pieces, end mark."""
        return {"input_ids": self._tokenizer.encode(text).ids}

    def get_vocab(self) -> dict[str, int]:
        """Id of every word piece."""
        return self._tokenizer.get_vocab()
