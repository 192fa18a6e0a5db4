"""Muon with AdamW for what is no matrix: fewer samples to the same loss than AdamW alone.

Momentum orthogonalised by five Newton-Schulz steps (Keller Jordan, 2024, "Muon: an optimizer for
hidden layers"), with the update scaled to AdamW's size (Liu et al., 2025, "Muon is scalable for
LLM training"). torch.optim.Muon takes matrices only; most of the starter is convolutions, which
are orthogonalised as (out, in x height x width).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest (roughly) orthogonal matrix of the same shape."""
    a, b, c = NEWTON_SCHULZ
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Parameter groups with `muon=True` take Muon's step, the others AdamW's."""

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "muon": False,
        }
        super().__init__(list(groups), defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["weight_decay"]:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                if group["muon"]:
                    self._muon(parameter, group)
                else:
                    self._adamw(parameter, group)

    def _muon(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        moving = state["momentum"]
        moving.lerp_(parameter.grad, 1 - group["momentum"])
        ahead = parameter.grad.lerp(moving, group["momentum"])
        update = orthogonalize(ahead.reshape(ahead.shape[0], -1))
        size = 0.2 * max(update.shape) ** 0.5
        parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"] * size)

    def _adamw(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "step" not in state:
            state["step"] = torch.zeros(())
            state["first"] = torch.zeros_like(parameter)
            state["second"] = torch.zeros_like(parameter)
        first_beta, second_beta = group["betas"]
        state["step"] += 1
        count = state["step"].item()
        state["first"].lerp_(parameter.grad, 1 - first_beta)
        state["second"].lerp_(parameter.grad.square(), 1 - second_beta)
        scale = (state["second"] / (1 - second_beta**count)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["first"], scale, value=-group["lr"] / (1 - first_beta**count))


def groups_for(module: torch.nn.Module, *, lr: float, outer: tuple[str, ...]) -> list[dict[str, Any]]:
    """Matrices and convolutions for Muon; vectors, and modules named in `outer`, for AdamW."""
    inner, rest = [], []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix = parameter.dim() >= 2 and not name.startswith(outer)
        (inner if matrix else rest).append(parameter)
    return [
        {"params": inner, "muon": True, "lr": lr},
        {"params": rest, "muon": False, "lr": lr * 0.4},
    ]
