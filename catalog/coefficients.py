"""How much each piece of evidence counts; written by `python -m benchmarks.selection --fit`."""

from __future__ import annotations

WITH_MEANING: dict[str, float] = {}
BY_WORDS: dict[str, float] = {}
