r"""How a network is trained: optimiser, objective, learning rate, weights of the noise levels, precision."""

from __future__ import annotations

import math
import os
import shutil
import sys
from dataclasses import asdict, dataclass

from .._validate import positive_int, positive_number

OPTIMISERS = {"muon": 0.02, "adam": 1e-3}  # and the learning rate of each where none is given
OBJECTIVES = ("denoising", "increment")
SCHEDULES = ("linear", "cosine", "constant")
FROZEN_AFTER = {"muon": 400, "adam": None}


@dataclass(frozen=True)
class Method:
    r"""The arguments of :func:`gahb.fit` that say how the weights are moved.

    ValueError for a value that is not allowed, with its name.

    >>> from gahb.training.method import Method
    >>> Method(optimiser="adam").learning_rate
    0.001
    >>> Method().rate(step=0, steps=1000) < Method().rate(step=500, steps=1000) == 1.0
    True
    """

    #: "muon": orthogonalised momentum for the filters, Adam for the rest (`optimiser`); or "adam" for all weights
    optimiser: str = "muon"
    #: peak rate; by default 0.02 for Muon (Adam takes 0.15 of it for the rest), 0.001 for Adam alone
    learning_rate: float | None = None
    #: after a linear rise over 2 % of the steps: "linear" (constant, then a straight line to zero over the last
    #: 40 %), "cosine" (half a cosine to zero), "constant". By default linear for Muon, cosine for Adam
    schedule: str | None = None
    #: p of the weight $σ^{-p}$ in the loss
    weight_power: float = 1.2
    #: step from which normalisation is frozen, None: never; by default 400 for Muon, None for Adam
    frozen_after: int | str | None = "default"
    #: share of the steps, at the end, with normalisation frozen and in float32: the network is trained as it is used
    polish: float = 0.15
    #: "float32" or "bfloat16" (autocast, before the polish). Recipes say it, whatever they run on
    precision: str = "float32"
    #: whether `torch.compile` builds the step (on a CPU it needs a C++ compiler: CXX, or the platform's own)
    compiled: bool = False
    #: what is predicted: "denoising", the clean image; "increment", the noise ξ that was added last, which has the
    #: same minimiser (`gahb.training.objective`)
    objective: str = "denoising"
    #: of "increment": how many noises z are drawn for each image, once and for all; None: fresh ones at every step
    bank: int | None = None

    def __post_init__(self):
        _one_of("optimiser", self.optimiser, tuple(OPTIMISERS))
        adam = self.optimiser == "adam"
        self._default("learning_rate", None, OPTIMISERS[self.optimiser])
        self._default("schedule", None, "cosine" if adam else "linear")
        self._default("frozen_after", "default", FROZEN_AFTER[self.optimiser])
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("objective", self.objective, OBJECTIVES)
        if self.bank is not None:
            positive_int("bank", self.bank)
            if self.objective != "increment":
                raise ValueError(f"bank must be None unless objective is 'increment', got {self.bank!r}")
        _one_of("precision", self.precision, ("float32", "bfloat16"))
        positive_number("learning_rate", self.learning_rate)
        if self.frozen_after is not None:
            positive_int("frozen_after", self.frozen_after, at_least=0)
        if isinstance(self.weight_power, bool) or not isinstance(self.weight_power, (int, float)) \
                or not math.isfinite(self.weight_power):
            raise ValueError(f"weight_power must be a number, got {self.weight_power!r}")
        if not isinstance(self.polish, (int, float)) or not 0 <= self.polish <= 1:
            raise ValueError(f"polish must be in [0, 1], got {self.polish!r}")
        object.__setattr__(self, "compiled", bool(self.compiled))

    def _default(self, name: str, absent, value) -> None:
        if getattr(self, name) == absent:
            object.__setattr__(self, name, value)

    def rate(self, step: int, steps: int) -> float:
        """Share of the peak learning rate at a step."""
        rise = max(1, round(0.02 * steps))
        if step < rise:
            return (step + 1) / rise
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "linear":
            fall = max(1, round(0.4 * steps))
            return min(1.0, (steps - step) / fall)
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    def polishes(self, step: int, steps: int) -> bool:
        """Whether a step is one of the last, in float32 and with normalisation frozen."""
        return step >= steps - round(self.polish * steps)

    def freezes(self, step: int, steps: int) -> bool:
        """Whether normalisation is frozen at a step."""
        return self.polishes(step, steps) or (self.frozen_after is not None and step >= self.frozen_after)

    def identity(self) -> dict:
        """What a checkpoint is known by. What earlier versions did not have is left out where it is as it was."""
        said = asdict(self)
        if self.objective == "denoising":
            del said["objective"], said["bank"]
        if self.optimiser == "adam":
            before = dict(optimiser="adam", schedule="cosine", frozen_after=None)
            said = {key: value for key, value in said.items() if key not in before or value != before[key]}
        return said


def mean_weight(low: float, high: float, power: float) -> float:
    """Mean of σ^-p for log-uniform σ: the loss is divided by it, to be of order MSE."""
    if power == 0:
        return 1.0
    return (low**-power - high**-power) / (power * math.log(high / low))


def compiler() -> str | None:
    """Path of the C++ compiler that `torch.compile` takes on a CPU: CXX, else the platform's; None if not found."""
    return shutil.which(compiler_name().split()[0])


def compiler_name() -> str:
    """The C++ compiler that is looked for."""
    return os.environ.get("CXX", {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++"))


def _one_of(name: str, value, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {value!r}")
