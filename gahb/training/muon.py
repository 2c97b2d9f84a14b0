r"""Muon for PyTorch before 2.9, which has no `torch.optim.Muon`.

For a matrix with gradient $g$ and momentum $m$

$$m \leftarrow m + (1-\beta)(g - m), \quad u = g + \beta(m - g), \quad
  W \leftarrow W - \eta \sqrt{\max(1, \tfrac{\text{rows}}{\text{columns}})}\; \mathrm{NS}(u).$$

$\mathrm{NS}$ brings the singular values of $u$ near 1 (Newton and Schulz): with $X_0 = u/\|u\|$, five times
$X \leftarrow a X + (b\,G + c\,G^2) X$, where $G = X X^\top$.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # a, b, c: a steep start at small singular values
STEPS = 5


class Muon(torch.optim.Optimizer):
    """The step of `torch.optim.Muon` with Nesterov's momentum and no weight decay, bit for bit."""

    def __init__(self, matrices: list[Tensor], lr: float, momentum: float, weight_decay: float = 0.0):
        if weight_decay:
            raise ValueError(f"weight_decay must be 0, got {weight_decay!r}")
        super().__init__(matrices, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self) -> None:
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            beta = group["momentum"]
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                memory = self.state[matrix]
                if not memory:
                    memory["momentum_buffer"] = torch.zeros_like(matrix.grad)
                momentum = memory["momentum_buffer"].lerp_(matrix.grad, 1 - beta)
                direction = orthonormalised(matrix.grad.lerp(momentum, beta))
                rows, columns = matrix.shape
                matrix.add_(direction, alpha=-group["lr"] * math.sqrt(max(1, rows / columns)))


def orthonormalised(matrix: Tensor) -> Tensor:
    """A matrix with the singular vectors of `matrix` and singular values between about 0.7 and 1.2, in bfloat16."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16()
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
