"""CLIP's tokens in plain Python are as many as transformers makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kizy.language.clip_pieces import counter

transformers = pytest.importorskip("transformers")

MERGES = ["r e", "re d</w>", "f o", "fo x</w>", "a n", "1 9", "' s</w>", "c a", "ca t"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from kizy.language.clip_pieces import _BYTES

    words = ["<|startoftext|>", "<|endoftext|>", *_BYTES.values()]
    words += [f"{letter}</w>" for letter in _BYTES.values()]
    words += ["".join(pair.split()) for pair in MERGES]
    (tmp_path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    "text",
    ["", "a red fox", "RED fox's", "it's 1999", "a_cat,cats!!", "雪 façade 🦊", "  red\n\nfox "],
)
def test_a_text_has_as_many_tokens(folder: Path, text: str) -> None:
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(folder), unk_token="<|endoftext|>")
    count = counter(folder)
    assert count is not None
    assert count(text) == len(tokenizer(text, add_special_tokens=False).input_ids)


@pytest.mark.parametrize("content", [None, "{", "[" * 100_000, '{"a": 1}'])
def test_a_folder_without_a_vocabulary_counts_nothing(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "vocab.json").write_text(content)
    assert counter(tmp_path) is None
