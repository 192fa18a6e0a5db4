"""The stored meanings of the glossary belong to its terms of today."""

from __future__ import annotations

import numpy as np
from kizy.catalog.words import concepts


def test_there_is_a_vector_for_each_term_and_each_everyday_wish() -> None:
    terms, everyday = concepts.vectors()
    assert len(terms) == len(concepts.names())
    assert len(terms) + len(everyday) == len(concepts.texts())


def test_the_vectors_have_unit_length() -> None:
    for vectors in concepts.vectors():
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
