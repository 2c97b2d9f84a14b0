r"""Fitting a denoiser by least squares at every noise level.

The loss of one image is

$$\ell(x, \sigma, z) = w(\sigma)\,\tfrac1d\,\|f(x + \sigma z) - x\|^2,
  \qquad w(\sigma) \propto \sigma^{-p},$$

with σ log-uniform in a range. A weight that depends on σ alone leaves the
minimiser at each σ where it was, $f^\star(y) = \mathbb E[x \mid y]$; it only
says how a network of finite size shares its effort. Mean squared errors of
image denoisers grow about like $\sigma^{1.2}$, so that $p = 1.2$ lets every
noise level count alike.

Everything random about step `s` is drawn from a generator seeded by
(seed, s): a run that was killed and starts again from its checkpoint repeats
the uninterrupted run bit for bit on the same machine and thread count. Under
`torchrun` each process takes its share of that step's batch, and the network
is, to rounding, what one process makes of the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from inspect import signature

import torch
from torch import Tensor, nn

from .._validate import check_denoises, check_sigma_range, nearest_names, positive_int, suggestion
from ..contract import check_output
from ..denoisers.networks import BiasFreeNorm
from .batches import ImageSource, as_source, draw, fingerprint, first_images, slice_of
from .constraint import Constraint, Penalty
from .course import EVERY, follow, records
from .method import Method, compiler, compiler_name, mean_weight
from .objective import Increments, Task, denoising, increment
from .optimiser import Optimiser
from .processes import team


def fit(
    network: nn.Module,
    images,
    *,
    steps: int,
    batch: int = 32,
    seed: int = 0,
    sigma_range: tuple[float, float] = (0.005, 1.0),
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
    every: int | Sequence[int] = EVERY,
    monitor: Callable[[nn.Module], dict] | None = None,
    log: list | None = None,
    until: Callable[[], bool] | None = None,
    penalty: Penalty | None = None,
    **method,
) -> nn.Module:
    """Train `network` in place as a denoiser and return it in eval mode.

    `gahb zoo train RECIPE.yaml` does it from a terminal, and keeps what comes out with
    its log; the entry `training` of a recipe holds the arguments of this function.

    On a GPU, where the network is, the noise is drawn from the same seeds, and
    has other values than on the CPU. Under `torchrun` every process calls this
    with the same arguments, and takes a GPU of its own where there are any.

    Parameters
    ----------
    network : a module of the denoiser contract, called as ``network(y, sigma)``:
        blind, or told the noise level.
    images : clean images (n, C, H, W) in [0, 1], or points (n, d) of any range,
        drawn with replacement: a tensor, a NumPy array, or a `Dataset` of
        images, the first entry of an item where it has several. Or
        ``images(n, start)``, which returns images start … start + n − 1 of an
        endless stream (fresh images at every step). They are cast to the
        dtype of the network.
    steps, batch : optimizer steps, and images in each.
    seed : ≥ 0, of the order of the images, the noise levels and the noise.
    sigma_range : (lowest, highest) noise standard deviation, log-uniform.
    checkpoint : file to resume from and to write at every record; it is for
        the same arguments on the same type of device. Under `torchrun` every
        process reads it, the first one writes it.
    every : steps between the records of the log, or the steps at which they are
        made, rising, the last one left out.
    monitor : called with the network in eval mode at every record; what it
        returns goes into the log. Under `torchrun`, in the first process only.
    log : a list that receives ``{"step", "images", "loss", "seconds", …}``; the
        seconds are of wall time.
    until : asked after every step (under `torchrun` at every record); where it
        says so, training stops there with its checkpoint, and `StoppedError`
        is raised.
    penalty : what is added to the loss: a :class:`gahb.training.Constraint`, or
        any function ``penalty(network, y, sigma, x_hat)`` that returns (B,) for
        the noisy images y (B, …) at σ (B,), of which the network made `x_hat`.
        Gradients pass through all it does. In one process only.
    method : arguments of :class:`gahb.training.Method`: `optimiser`,
        `objective`, `bank`, `learning_rate`, `schedule`, `weight_power`,
        `frozen_after`, `polish`, `precision`, `compiled`.

    Raises
    ------
    ValueError
        on images outside [0, 1] or of another shape, a bad range, a network
        that does not return the shape of its input, a penalty that does not
        return a number for each image, a batch that the processes cannot share
        equally, no compiler where one is needed, or a checkpoint of another run
        or whose contents do not match its checksum.
    TypeError
        for a penalty that cannot be called, and for what is no network.
    OSError
        where no checkpoint can be written, before the training.

    Examples
    --------
    >>> import gahb
    >>> images = gahb.images.disks(64, 16)
    >>> network = gahb.fit(gahb.UNet(width=4, depth=1), images, steps=20, progress=False)
    >>> network(images[:2] + 0.1).shape
    torch.Size([2, 1, 16, 16])
    """
    settings = dict(steps=positive_int("steps", steps), batch=positive_int("batch", batch),
                    seed=positive_int("seed", seed, at_least=0), sigma_range=list(check_sigma_range(sigma_range)))
    if unknown := sorted(set(method) - {field.name for field in fields(Method)}):
        known = [*signature(fit).parameters, *(field.name for field in fields(Method))]
        known = [name for name in known if name not in ("network", "images", "method")]
        near = suggestion(unknown[0], known) if nearest_names(unknown[0], known) else f"it takes {', '.join(known)}"
        raise TypeError(f"fit takes no argument {unknown[0]!r}; {near}")
    recorded, how, source = records(every, steps), Method(**method), as_source(images)
    run = _Run(network, source, settings, how, penalty)
    follow(run, recorded, name="fit", checkpoint=checkpoint, progress=progress, monitor=monitor, log=log, until=until)
    _set_norms(network, frozen=False, shared=False)
    return network.eval()


class _Run:
    """A network that is being trained: what moves it, and what each step shows it."""

    def __init__(self, network: nn.Module, source: ImageSource, settings: dict, how: Method,
                 penalty: Penalty | None = None):
        self.network, self.how, self.settings, self.penalty = network, how, settings, penalty
        self.rank, self.processes = (0, 1) if team() is None else (team().global_rank, team().world_size)
        if settings["batch"] % self.processes:
            raise ValueError(f"batch must be a multiple of the {self.processes} processes of torchrun, "
                             f"got {settings['batch']}")
        if team() is not None:
            team().to_device(network)
        self.device, self.dtype = _place(network)
        if how.compiled and self.device.type == "cpu" and compiler() is None:
            raise ValueError(f"compiled=True needs a C++ compiler, and {compiler_name()!r} is not found: "
                             "install it, or name another one in CXX")
        self.known, self.increments = first_images(source), None
        if how.objective == "increment":
            if how.bank is not None and not isinstance(source, Tensor):
                raise ValueError(f"bank must be None for an endless stream of images, got {how.bank}")
            self.increments = Increments(self.known, how.bank, batch=settings["batch"], seed=settings["seed"])
        on_gpu = isinstance(source, Tensor) and self.device.type == "cuda"
        self.source = source.to(self.device) if on_gpu else source  # once, not batch by batch
        network.to(memory_format=torch.channels_last)
        first = _channels_last(self.known[:1].to(self.device, self.dtype))
        _check_output(network, first)
        if penalty is not None:
            _check_penalty(penalty, network, first)
        network.train()
        if team() is not None and not how.compiled:  # else its gradient has the strides of channels_last as well
            _lay_out_gains(network)
        self.optimiser = Optimiser(network, how, channels=self.known.shape[1])

    def train(self, first: int) -> Iterator[tuple[int, Tensor]]:
        """Take the steps that are left after `first`; yields the number of steps taken and the last one's loss."""
        how, steps = self.how, self.settings["steps"]
        loss_of = self._loss()
        with _to_the_bit(self.device):
            for step in range(first, steps):
                task = self._draw(step)
                _set_norms(self.network, frozen=how.freezes(step, steps), shared=self.processes > 1)
                autocast = how.precision == "bfloat16" and not how.polishes(step, steps)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=autocast):
                    loss = loss_of(task._replace(y=_channels_last(task.y)))
                loss.backward()
                self.optimiser.step(how.rate(step, steps))
                yield step + 1, loss.detach()

    def _loss(self) -> Callable[[Task], Tensor]:
        """The weighted error of a batch; compiled where that is asked for."""
        module, power = self.network, self.how.weight_power
        if team() is not None:  # gradients are averaged; Fabric compiles what it wraps the network in, not itself
            module = team().setup_module(torch.compile(module) if self.how.compiled else module, move_to_device=False)
        mean = mean_weight(*self.settings["sigma_range"], power)

        penalty = self.penalty

        def error(y: Tensor, x: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
            x_hat = module(y, sigma).float()
            each = weight * (x_hat - x).square().flatten(1).mean(dim=1)
            if penalty is not None:
                each = each + penalty(module, y, sigma, x_hat)
            return each.mean()

        if self.how.compiled and team() is None:
            error = torch.compile(error)
        return lambda task: error(task.y, task.target, task.sigma, task.weight * task.sigma.pow(-power) / mean)

    def _draw(self, step: int) -> Task:
        batch, seed, levels = (self.settings[key] for key in ("batch", "seed", "sigma_range"))
        parts = draw(self.source, batch, levels, seed, step, device=self.device, rank=self.rank,
                     processes=self.processes)
        parts = parts._make(part.to(self.device, self.dtype) for part in parts)
        if self.increments is None:
            return denoising(parts)
        return increment(parts, *self.increments.draw(step, slice_of(batch, self.rank, self.processes), to=parts.x))

    def identity(self) -> dict:
        """What a checkpoint must have been made for."""
        said = self.settings | self.how.identity() | dict(device=self.device.type, images=fingerprint(self.known))
        if self.penalty is not None:
            said["penalty"] = self.penalty.identity() if isinstance(self.penalty, Constraint) else "a function"
        return said


def _place(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    if not isinstance(network, nn.Module):
        raise TypeError(f"network must be a torch.nn.Module with weights to train, got {type(network).__name__}")
    weight = next(network.parameters(), None)
    if weight is None:
        raise ValueError(f"network must have weights to train, got {type(network).__name__} without any")
    return weight.device, weight.dtype


def _check_output(network: nn.Module, x: Tensor) -> None:
    """The network returns estimates shaped like y; else its error would be that of a broadcast."""
    check_denoises(network.eval(), "network")
    with torch.no_grad():
        check_output(network(x, x.new_full((len(x),), 0.1)), x, "network")


def _check_penalty(penalty: Penalty, network: nn.Module, x: Tensor) -> None:
    """One number for each image, in one process."""
    if team() is not None:
        raise ValueError("penalty must be None under torchrun: it is computed in one process only")
    if not callable(penalty):
        raise TypeError("penalty must be a gahb.training.Constraint or a function of (network, y, sigma, x_hat), got "
                        f"{type(penalty).__name__}")
    sigma = x.new_full((len(x),), 0.1)
    with torch.no_grad():
        value = penalty(network, x, sigma, network(x, sigma).float())
    if not isinstance(value, Tensor) or value.shape != sigma.shape:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"penalty must return a tensor (B,), a number for each image, got {got} for B = {len(x)}")


def _channels_last(y: Tensor) -> Tensor:
    return y.contiguous(memory_format=torch.channels_last) if y.ndim == 4 else y


def _to_the_bit(device: torch.device) -> AbstractContextManager:
    """On CUDA, convolutions by algorithms that sum in one order, and in float32 where they are in float32."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def _lay_out_gains(network: nn.Module) -> None:
    """channels_last gives (1, C, 1, 1) other strides than its gradient has, which DDP would have to copy."""
    for module in network.modules():
        if isinstance(module, BiasFreeNorm):
            module.gain.data = module.gain.data.flatten()[None, :, None, None]


def _set_norms(network: nn.Module, *, frozen: bool, shared: bool) -> None:
    for module in network.modules():
        if isinstance(module, BiasFreeNorm):
            module.frozen, module.shared = frozen, shared
