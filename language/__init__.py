"""What a sentence means: `embed` for search, `encode` and `encode_weighed` for the starter.

Needs torch, transformers and tokenizers (extra `local`, or ComfyUI's environment); `available()`
says whether they are there, without importing them.
"""

from __future__ import annotations

from importlib.util import find_spec

from .encoder import PROMPT_TOKENS, WIDTH, embed, encode, encode_weighed, release

__all__ = [
    "PROMPT_TOKENS",
    "WIDTH",
    "available",
    "embed",
    "encode",
    "encode_weighed",
    "missing",
    "release",
]


NEEDED = ("torch", "transformers", "tokenizers")


def available() -> bool:
    """Whether what the encoder needs is installed here."""
    return not missing()


def missing() -> tuple[str, ...]:
    """What the encoder needs and is not installed here."""
    return tuple(name for name in NEEDED if find_spec(name) is None)
