"""What a sentence means: `embed` for search, `encode` and `encode_weighed` for the starter.

Needs torch, transformers and tokenizers (extra `local`, or ComfyUI's environment); `available()`
says whether they are there, without importing them.
"""

from __future__ import annotations

from importlib.util import find_spec

from .encoder import PROMPT_TOKENS, WIDTH, embed, encode, encode_weighed, release

__all__ = ["PROMPT_TOKENS", "WIDTH", "available", "embed", "encode", "encode_weighed", "release"]


def available() -> bool:
    """Whether what the encoder needs is installed here."""
    return all(find_spec(name) is not None for name in ("torch", "transformers", "tokenizers"))
