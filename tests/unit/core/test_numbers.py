"""Numbers as people write them."""

from __future__ import annotations

import pytest
from kizy.core.numbers import read_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.8", 0.8),
        (".8", 0.8),
        ("1.", 1.0),
        (" 0.8 ", 0.8),
        ("8e-1", 0.8),
        ("8E-1", 0.8),
        ("0,8", 0.8),
        ("80%", 0.8),
        ("+0.5", 0.5),
        ("−0.5", -0.5),
        ("０．８", 0.8),
        ("－１", -1.0),
    ],
)
def test_a_number_is_read_as_people_write_it(text: str, value: float) -> None:
    assert read_number(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "-Infinity", "1e999", "0.8.1", "1,2,3", "1_0", "0x1", "a", "1" * 200]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_number(text)
