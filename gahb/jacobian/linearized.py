r"""Products with the Jacobian of a piecewise linear network, at one pass a direction.

Where a network is made of convolutions, poolings, products with constants and
ReLUs, its derivative at y is the same network with every ReLU replaced by the
0/1 mask that it applied at y:

$$J v = W_L M_{L-1} W_{L-1} \cdots M_1 W_1 v, \qquad
  J^\top w = W_1^\top M_1 \cdots W_{L-1}^\top M_{L-1} W_L^\top w .$$

Nothing else of y is needed, so that directions go through in blocks, as a
batch of pictures would. The network is run once at y, and the operations that
reach the device are recorded: the derivative follows from that run, not from
the network's class. A product with a constant that follows a convolution (a
normalisation, in eval mode) is folded into its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..contract import check_output

_aten = torch.ops.aten
_LAYOUT = torch.channels_last


def linearize(network: nn.Module, y: Tensor, sigma=None) -> Linearized | None:
    """`network` linearised at images y (B, C, H, W); None where it is not made of the operations above.

    The network must be in eval mode.
    """
    if not isinstance(network, nn.Module) or y.ndim != 4:
        return None
    y = y.detach().clone(memory_format=_LAYOUT)
    recorder = _Recorder(y)
    try:
        with torch.no_grad(), recorder:
            out = network(y, sigma)
    except _NotLinearError:
        return None
    last = recorder.slots.get(id(check_output(out, y)))
    if last is None:
        return None
    return Linearized(recorder.steps, last, y)


class Linearized:
    """Products J v and J' w at the images where the network was linearised: (K, B, C, H, W) → the same."""

    def __init__(self, steps: list[_Step], output: int, y: Tensor):
        self._steps, self._output, self._y = steps, output, y
        self._last = {slot: i for i, step in enumerate(steps) for slot in step.inputs} | {output: len(steps)}

    def forward(self, v: Tensor) -> Tensor:
        """J v, one pass of the network a direction."""
        values = {0: self._pictures(v)}
        for i, step in enumerate(self._steps):
            values[step.output] = step.forward(*(values[slot] for slot in step.inputs))
            for slot in set(step.inputs):
                if self._last[slot] == i:
                    del values[slot]
        return values[self._output].reshape(v.shape)

    def transposed(self, w: Tensor) -> Tensor:
        """J' w, one pass of the network a direction."""
        values = {self._output: self._pictures(w)}
        for step in reversed(self._steps):
            if (cotangent := values.pop(step.output, None)) is None:
                continue
            for slot, part in zip(step.inputs, step.transposed(cotangent)):
                values[slot] = values[slot] + part if slot in values else part
        return values[0].reshape(w.shape) if 0 in values else torch.zeros_like(w)

    def _pictures(self, v: Tensor) -> Tensor:
        return v.expand(len(v), *self._y.shape).reshape(-1, *self._y.shape[1:]).contiguous(memory_format=_LAYOUT)


class _Step(NamedTuple):
    """One linear operation: its maps on blocks (K·B, …), and where they read and write."""

    forward: Callable[..., Tensor]
    transposed: Callable[[Tensor], tuple[Tensor, ...]]
    inputs: tuple[int, ...]
    output: int
    convolution: tuple | None = None  #: weight, shape of a picture before it, settings


class _NotLinearError(Exception):
    """An operation on y that this module has no derivative for."""


class _Recorder(TorchDispatchMode):
    """Records every operation applied to y and to tensors computed from it; not those on constants and weights."""

    def __init__(self, y: Tensor):
        super().__init__()
        self.slots: dict[int, int | None] = {id(y): 0}
        self.steps: list[_Step] = []
        self._alive = [y]  # so that no id is used twice

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Asked by torch: with True it would load its compiler at the first call, which takes seconds."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if any(id(leaf) in self.slots for leaf in tree_leaves((args, kwargs))):
            rule = _RULES.get(func)
            if rule is None or kwargs:
                raise _NotLinearError
            self._alive.append(out)
            slot = len(self._alive) - 1
            rule(self, slot, out, *args)
            self.slots[id(out)] = slot
        return out

    def slot(self, value) -> int:
        """Where `value` is kept; not linear if it is a constant, or was folded away."""
        slot = self.slots.get(id(value))
        if slot is None:
            raise _NotLinearError
        return slot

    def convolution(self, slot, out, x, weight, bias, *settings):
        if id(weight) in self.slots:
            raise _NotLinearError
        self._convolve(slot, self.slot(x), weight.detach(), x.shape[1:], settings)

    def _convolve(self, slot: int, source: int, weight: Tensor, shape: torch.Size, settings: tuple) -> None:
        weight = weight.contiguous(memory_format=_LAYOUT)

        def transposed(w):
            like = _empty(w, shape)
            return _aten.convolution_backward(w, like, weight, None, *settings, [True, False, False])[:1]

        self.steps.append(_Step(lambda v: _aten.convolution(v, weight, None, *settings), transposed, (source,), slot,
                                (weight, shape, settings)))

    def mul(self, slot, out, x, factor):
        """A product with a constant, (1, C, 1, 1) or a number; folded into the convolution before it."""
        if id(x) not in self.slots:
            x, factor = factor, x
        source, value = self.slot(x), torch.as_tensor(factor).detach()
        if id(factor) in self.slots or value.shape not in ((), (1, 1, 1, 1), (1, out.shape[1], 1, 1)):
            raise _NotLinearError
        before = self.steps[-1] if self.steps else None
        if before is not None and before.convolution is not None and before.output == source:
            weight, shape, settings = before.convolution
            outputs = (1, -1, 1, 1) if settings[3] else (-1, 1, 1, 1)  # a transposed weight has them second
            self.steps.pop()
            self.slots[id(x)] = None
            folded = weight * value.flatten().to(weight).reshape(outputs)
            self._convolve(slot, before.inputs[0], folded, shape, settings)
        else:
            self.steps.append(_Step(lambda v: v * value, lambda w: (w * value,), (source,), slot))

    def relu(self, slot, out, x):
        mask = (out > 0).to(out).contiguous(memory_format=_LAYOUT)  # as the directions are, whatever `out` is

        def masked(v):
            return (v.unflatten(0, (-1, len(mask))) * mask).flatten(0, 1)

        self.steps.append(_Step(masked, lambda w: (masked(w),), (self.slot(x),), slot))

    def pool(self, slot, out, x, *settings):
        kernel, stride, *rest = (*settings, *_POOLING[len(settings):])

        def transposed(w):
            return (_aten.avg_pool2d_backward(w, _empty(w, x.shape[1:]), kernel, stride or kernel, *rest),)

        self.steps.append(_Step(lambda v: _aten.avg_pool2d(v, *settings), transposed, (self.slot(x),), slot))

    def index_select(self, slot, out, x, dim, index):
        """Pixels moved and repeated along one axis, as at a border: joined from runs of neighbours, which is faster."""
        runs = _runs(index.tolist())

        def selected(v):
            return torch.cat([v.narrow(dim, start, length) for start, length in runs], dim=dim)

        def transposed(w):
            total, parts = _zeros(w, x.shape[1:]), w.split([length for _, length in runs], dim=dim)
            for (start, length), part in zip(runs, parts):
                total.narrow(dim, start, length).add_(part)
            return (total,)

        self.steps.append(_Step(selected, transposed, (self.slot(x),), slot))

    def cat(self, slot, out, parts, dim=0):
        if dim not in (1, -3):
            raise _NotLinearError
        sizes = [part.shape[1] for part in parts]
        self.steps.append(_Step(lambda *v: torch.cat(v, dim=1), lambda w: w.split(sizes, dim=1),
                                tuple(self.slot(part) for part in parts), slot))

    def add(self, slot, out, a, b):
        self._sum(slot, out, a, b, 1)

    def sub(self, slot, out, a, b):
        self._sum(slot, out, a, b, -1)

    def _sum(self, slot, out, a, b, sign):
        if not (isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape):
            raise _NotLinearError
        self.steps.append(_Step(lambda u, v: u + sign * v, lambda w: (w, sign * w), (self.slot(a), self.slot(b)), slot))


def _empty(like: Tensor, shape: torch.Size) -> Tensor:
    """As many pictures as `like` holds, of another shape; their values are never read."""
    return torch.empty(len(like), *shape, dtype=like.dtype, device=like.device, memory_format=_LAYOUT)


def _zeros(like: Tensor, shape: torch.Size) -> Tensor:
    """As many black pictures as `like` holds, of another shape."""
    return _empty(like, shape).zero_()


def _runs(places: list[int]) -> list[tuple[int, int]]:
    """Consecutive rising places as (start, length): [3, 0, 1, 2, 3, 0] → (3, 1), (0, 4), (0, 1)."""
    runs = []
    for place in places:
        if runs and place == sum(runs[-1]):
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((place, 1))
    return runs


_POOLING = (None, [], 0, False, True, None)  # arguments of avg_pool2d after its input, where left out
_RULES = {
    _aten.convolution.default: _Recorder.convolution,
    _aten.mul.Tensor: _Recorder.mul,
    _aten.relu.default: _Recorder.relu,
    _aten.avg_pool2d.default: _Recorder.pool,
    _aten.index_select.default: _Recorder.index_select,
    _aten.cat.default: _Recorder.cat,
    _aten.add.Tensor: _Recorder.add,
    _aten.sub.Tensor: _Recorder.sub,
}
