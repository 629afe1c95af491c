"""An optimiser that learns more from each step than Adam does: every matrix moves by a step of even strength in
all directions (Muon, K. Jordan 2024). What is no matrix is left to Adam.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
#: So that a pace means the same as Adam's.
STRENGTH = 0.2
ROUNDS = 5
#: A polynomial that draws every singular value towards 1.
CURVE = (3.4445, -4.7750, 2.0315)


class Orthogonal(torch.optim.Optimizer):
    """For weights of two dimensions or more; all but the first are taken as one."""

    def __init__(self, weights: Iterable[nn.Parameter], pace: float) -> None:
        super().__init__(weights, {"lr": pace})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                kept = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                kept.lerp_(weight.grad, 1 - MOMENTUM)
                direction = evened(weight.grad.lerp(kept, MOMENTUM).reshape(len(weight), -1))
                scale = STRENGTH * max(direction.shape) ** 0.5
                weight.add_(direction.reshape(weight.shape), alpha=-group["lr"] * scale)


def evened(matrix: Tensor) -> Tensor:
    """The nearest matrix that turns without stretching, roughly."""
    tall = matrix.shape[0] > matrix.shape[1]
    now = (matrix.T if tall else matrix).bfloat16()
    now = now / (now.norm() + 1e-7)
    one, three, five = CURVE
    for _ in range(ROUNDS):
        square = now @ now.T
        now = one * now + (three * square + five * square @ square) @ now
    return (now.T if tall else now).float()
