"""The text's token states in a basis in which training sees their differences.

MiniLM's token states are nearly parallel: the largest eigenvalue of their second moment is over a
thousand times the median one, so that what tells one prompt from another is drowned by what all
share. A UNet is trained on whitened states (x P, with P the inverse square root of the second
moment) and its cross-attention weights are turned back when they are saved (W P), so that the
finished model takes the states as they are.
"""

from __future__ import annotations

from pathlib import Path

import torch

from .runs import load_tensors, save_tensors

KEYS = ("attn2.to_k.weight", "attn2.to_v.weight")
"""How the weights end that the token states are multiplied with."""

STRETCHED = 0.75
"""Share of the directions that are brought to length one; the faintest are left as faint as
the last of these, for they are mostly noise."""

SAMPLE = 60_000


class Whitening:
    """`matrix`: P, symmetric, (width, width). `inverse`: its inverse."""

    def __init__(self, matrix: torch.Tensor, inverse: torch.Tensor) -> None:
        self.matrix, self.inverse = matrix, inverse

    @classmethod
    def of(cls, states: torch.Tensor) -> Whitening:
        """From token states of any shape (..., width)."""
        rows = states.reshape(-1, states.shape[-1])
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:SAMPLE]
        rows = rows[chosen].double()
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        floor = values[round((1 - STRETCHED) * len(values))].clamp(min=1e-8)
        roots = values.clamp(min=floor).sqrt()
        matrix = vectors @ torch.diag(1 / roots) @ vectors.T
        inverse = vectors @ torch.diag(roots) @ vectors.T
        return cls(matrix.float(), inverse.float())

    @classmethod
    def kept(cls, path: Path, states: torch.Tensor) -> Whitening:
        """The one in that file; computed and written there if it is not."""
        if path.exists():
            tensors, _ = load_tensors(path)
            return cls(tensors["matrix"], tensors["inverse"])
        made = cls.of(states)
        save_tensors(path, {"matrix": made.matrix, "inverse": made.inverse}, {})
        return made

    def states(self, states: torch.Tensor) -> torch.Tensor:
        """Token states (..., width) as the UNet sees them while it is trained."""
        return states @ self.matrix.to(states)

    def enter(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of a finished UNet for training on whitened states."""
        return _turned(weights, self.inverse)

    def leave(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Trained weights for the states as they are."""
        return _turned(weights, self.matrix)


def _turned(weights: dict[str, torch.Tensor], by: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        key: value @ by.to(value) if key.endswith(KEYS) else value for key, value in weights.items()
    }
