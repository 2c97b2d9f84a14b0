r"""Muon for filters, Adam for the rest.

Muon (Jordan et al. 2024) takes momentum and moves a weight matrix along the
nearest matrix with orthonormal rows, so that every direction of it moves
equally far:

$$m \leftarrow m + (1-\beta)(g - m), \quad u = g + \beta(m - g), \quad
  W \leftarrow W - \eta \sqrt{\max(1, \tfrac{\text{rows}}{\text{columns}})}\; u\,(u^\top u)^{-1/2},$$

the last factor by five Newton–Schulz steps in bfloat16. The implementation is
PyTorch's from version 2.9 on, and that of `muon`, which is the same, before. It
takes matrices, and is given those that share their memory with the filters: a
convolution from I to O channels is the matrix (O, I·height·width).

The layer that makes the image has one row for each channel of it, and its
matrix has no directions to make equal: its weights, like the gains, are
Adam's, at 0.15 of Muon's rate.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from . import muon
from .method import Method

BETA = 0.9  # momentum of Muon; for images of 16×16 0.2 dB better than the usual 0.95
ADAM_BETAS = (0.9, 0.99)
ADAM_SHARE = 0.15  # of Muon's rate, for what Adam moves


class Muon(getattr(torch.optim, "Muon", muon.Muon)):
    """`torch.optim.Muon` for filter banks (O, I, …): each is seen as a matrix (O, …), in the memory that it has."""

    def __init__(self, filters: list[Tensor], learning_rate: float):
        self.filters, self.last = filters, [_channels_last(bank) for bank in filters]
        matrices = [nn.Parameter(_as_matrix(bank.data, last)) for bank, last in zip(filters, self.last)]
        if any(matrix.data_ptr() != bank.data_ptr() for bank, matrix in zip(filters, matrices)):
            raise ValueError("filters must be contiguous, or in channels_last")
        super().__init__(matrices, lr=learning_rate, momentum=BETA, weight_decay=0.0)

    def step(self) -> None:
        """Move the filters by their gradients."""
        for bank, matrix, last in zip(self.filters, self.param_groups[0]["params"], self.last):
            matrix.grad = None if bank.grad is None else _as_matrix(bank.grad, last)
        super().step()


class Optimiser:
    """What moves the weights of a network, and what it remembers from step to step."""

    def __init__(self, network: nn.Module, method: Method, channels: int):
        filters = list(_filters(network, channels)) if method.optimiser == "muon" else []
        taken = {id(bank) for bank in filters}
        rest = [weight for weight in network.parameters() if id(weight) not in taken]
        fused = True if rest and rest[0].is_cuda else None
        rate = method.learning_rate * (ADAM_SHARE if filters else 1)
        self.parts: list[torch.optim.Optimizer] = [Muon(filters, method.learning_rate)] if filters else []
        if rest:
            self.parts.append(torch.optim.Adam(rest, lr=rate, betas=ADAM_BETAS, fused=fused))
        self.weights = list(network.parameters())
        self.peaks = [part.param_groups[0]["lr"] for part in self.parts]

    def step(self, share: float) -> None:
        """One step along the gradients, at `share` of the peak rate; the gradients are then dropped."""
        for part, peak in zip(self.parts, self.peaks):
            part.param_groups[0]["lr"] = peak * share
            part.step()
        for weight in self.weights:
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """Tensors by name."""
        tensors, first = {}, 0
        for part in self.parts:
            for index, entries in part.state_dict()["state"].items():
                tensors |= {f"{first + index}.{name}": value for name, value in entries.items()}
            first += len(part.param_groups[0]["params"])
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """What :meth:`state` said, in an earlier process."""
        first = 0
        for part in self.parts:
            count, entries = len(part.param_groups[0]["params"]), {}
            for key, value in tensors.items():
                index, name = key.split(".", 1)
                if first <= int(index) < first + count:
                    entries.setdefault(int(index) - first, {})[name] = value
            part.load_state_dict(dict(state=entries, param_groups=part.state_dict()["param_groups"]))
            first += count


def _filters(network: nn.Module, channels: int) -> Iterator[Tensor]:
    """Weights of convolutions and linear layers, but for those that make the image."""
    for module in network.modules():
        outputs = getattr(module, "out_channels", getattr(module, "out_features", None))
        if outputs is not None and outputs != channels and isinstance(getattr(module, "weight", None), nn.Parameter):
            yield module.weight


def _channels_last(bank: Tensor) -> bool:
    return bank.ndim == 4 and bank.is_contiguous(memory_format=torch.channels_last)


def _as_matrix(bank: Tensor, channels_last: bool) -> Tensor:
    """(O, I, height, width) → (O, height·width·I) for weights that lie in memory so, else (O, I·height·width)."""
    return (bank.permute(0, 2, 3, 1) if channels_last else bank).flatten(1)
