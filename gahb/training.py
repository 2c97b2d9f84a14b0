r"""Fitting a blind denoiser by least squares at every noise level.

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

import hashlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ._files import checksum, replacing
from ._progress import bar
from ._team import agreed, leads, team
from ._validate import check_images, check_sigma_range, positive_int
from .denoisers.networks import BiasFreeNorm

ImageSource = Tensor | Callable[[int, int], Tensor]
EVERY = 500  # steps between entries of the log, and between checkpoints


def fit(
    network: nn.Module,
    images: ImageSource,
    *,
    steps: int,
    batch: int = 32,
    seed: int = 0,
    sigma_range: tuple[float, float] = (0.005, 1.0),
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
    learning_rate: float = 1e-3,
    weight_power: float = 1.2,
    polish: float = 0.15,
    precision: str = "float32",
    compiled: bool = False,
    every: int = EVERY,
    monitor: Callable[[nn.Module], dict] | None = None,
    log: list | None = None,
) -> nn.Module:
    """Train `network` in place as a blind denoiser and return it in eval mode.

    On a GPU, where the network is, the noise is drawn from the same seeds, and
    has other values than on the CPU. Under `torchrun` every process calls this
    with the same arguments, and takes a GPU of its own where there are any.

    Parameters
    ----------
    network : a module of the denoiser contract.
    images : clean images (n, C, H, W) in [0, 1], drawn with replacement; or
        ``images(n, start)``, which returns images start … start + n − 1 of an
        endless stream (fresh images at every step). They are cast to the
        dtype of the network.
    steps, batch : optimizer steps, and images in each.
    seed : ≥ 0, of the order of the images, the noise levels and the noise.
    sigma_range : (lowest, highest) noise standard deviation, log-uniform.
    checkpoint : file to resume from and to write every `every` steps; it is
        for the same arguments on the same type of device. Under `torchrun`
        every process reads it, the first one writes it.
    learning_rate : peak of Adam's rate (linear rise over 2 % of the steps,
        then a half cosine to zero).
    weight_power : p of the weight $σ^{-p}$.
    polish : share of the steps, at the end, with normalisation frozen and in
        float32: the network is then trained as it will be used.
    precision : "float32" or "bfloat16" (autocast, before the polish), which
        pays on a GPU. Recipes say it, whatever they run on.
    compiled : whether `torch.compile` builds the step (on a CPU it needs a C++
        compiler, the one in CXX or the platform's own).
    monitor : called with the network in eval mode every `every` steps; what it
        returns goes into the log. Under `torchrun`, in the first process only.
    log : a list that receives ``{"step", "images", "loss", "seconds", …}``.

    Raises
    ------
    ValueError
        on images outside [0, 1] or not 4-D, a bad range, a batch that the
        processes cannot share equally, no compiler where one is needed, or a
        checkpoint of another run or whose contents do not match its checksum.
    """
    steps, batch, every = (positive_int(k, v) for k, v in dict(steps=steps, batch=batch, every=every).items())
    seed = positive_int("seed", seed, at_least=0)
    low, high = check_sigma_range(sigma_range)
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision must be 'float32' or 'bfloat16', got {precision!r}")
    if not 0 <= polish <= 1:
        raise ValueError(f"polish must be in [0, 1], got {polish!r}")
    if isinstance(images, Tensor):
        check_images("images", images)
    rank, processes = (0, 1) if team() is None else (team().global_rank, team().world_size)
    if batch % processes:
        raise ValueError(f"batch must be a multiple of the {processes} processes of torchrun, got {batch}")
    if team() is not None:
        team().to_device(network)
    weight = next(network.parameters())
    device, dtype = weight.device, weight.dtype
    if compiled and device.type == "cpu" and compiler() is None:
        raise ValueError(f"compiled=True needs a C++ compiler, and {_cxx()!r} is not found: "
                         "install it, or name another one in CXX")
    network = network.to(memory_format=torch.channels_last).train()
    if team() is not None and not compiled:  # else its gradient has the strides of channels_last as well
        _lay_out_gains(network)
    fused = True if device.type == "cuda" else None
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99), fused=fused)
    identity = dict(
        steps=steps, batch=batch, seed=seed, sigma_range=[low, high], learning_rate=learning_rate,
        weight_power=weight_power, polish=polish, precision=precision, compiled=bool(compiled), device=device.type,
    )
    if checkpoint is not None:
        known = images if isinstance(images, Tensor) else images(1, 0)  # a stream is known by its first image
        check_images("images(n, start)", known)
        identity["images"] = _fingerprint(known)
    if isinstance(images, Tensor) and device.type == "cuda":
        images = images.to(device)  # once, not share by share
    log = [] if log is None else log
    first, before = 0, 0.0
    if checkpoint is not None and Path(checkpoint).exists():
        first = _restore(Path(checkpoint), network, optimizer, identity, log)
        before = log[-1]["seconds"]
    if (leading := agreed(first)) != first:
        raise ValueError(f"checkpoint must be one file that all processes see, got {checkpoint} "
                         f"at step {leading} in the first process and {first} in process {rank}")
    module = network
    if team() is not None:  # gradients are averaged; Fabric compiles what it wraps the network in, not itself
        module = team().setup_module(torch.compile(network) if compiled else network, move_to_device=False)

    def loss_of(y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        error = (module(y).float() - x).square().mean(dim=(1, 2, 3))
        return (weight * error).mean()

    step_loss = torch.compile(loss_of) if compiled and team() is None else loss_of
    mean_weight = _mean_weight(low, high, weight_power)
    frozen_from = steps - round(polish * steps)
    began, running = time.perf_counter(), 0.0
    ticks = bar(range(first, steps), initial=first, total=steps, progress=progress and leads(), desc="fit", unit="step")
    with _to_the_bit(device):
        for step in ticks:
            x, sigma, z = _draw(images, batch, low, high, seed, step, device=device, rank=rank, processes=processes)
            x, sigma, z = (t.to(device, dtype) for t in (x, sigma, z))
            y = (x + sigma[:, None, None, None] * z).contiguous(memory_format=torch.channels_last)
            weight = sigma.pow(-weight_power) / mean_weight
            polishing = step >= frozen_from
            _set_norms(network, frozen=polishing, shared=processes > 1)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * _schedule(step, steps)
            autocast = precision == "bfloat16" and not polishing
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                loss = step_loss(y, x, weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            running += loss.detach()
            if (step + 1) % every and step + 1 < steps:
                continue
            mean = running if team() is None else team().all_reduce(running)
            value = float(mean) / min(step % every + 1, step + 1 - first)
            if not math.isfinite(value):
                raise FloatingPointError(f"loss is {value} at step {step + 1}; lower learning_rate, {learning_rate}")
            running = 0.0
            log.append(dict(step=step + 1, images=(step + 1) * batch, loss=round(value, 7),
                            seconds=round(before + time.perf_counter() - began, 1)))
            ticks.set_postfix(loss=f"{value:.2e}")
            if monitor is not None and leads():
                log[-1].update(monitor(network.eval()))
                network.train()
            if checkpoint is not None and leads():
                _save(Path(checkpoint), network, optimizer, identity, step + 1, log)
    _set_norms(network, frozen=False, shared=False)
    return network.eval()


def compiler() -> str | None:
    """Path of the C++ compiler that `torch.compile` takes on a CPU: CXX, else the platform's; None if not found."""
    return shutil.which(_cxx().split()[0])


def _cxx() -> str:
    return os.environ.get("CXX", {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++"))


def _draw(images, batch, low, high, seed, step, *, device="cpu", rank=0, processes=1):
    """Images, noise levels and unit noise of one step, from (seed, step) only: the share of one process."""
    mixed, share = _mix(seed, step), batch // processes
    generator, mine = torch.Generator().manual_seed(mixed), slice(rank * share, (rank + 1) * share)
    if isinstance(images, Tensor):
        x = images[torch.randint(len(images), (batch,), generator=generator)[mine].to(images.device)]
    else:
        x = images(share, step * batch + mine.start)
        if not isinstance(x, Tensor) or x.device.type == "cpu" or step % EVERY == 0:  # a GPU would wait to be read
            check_images("images(n, start)", x)
        if len(x) != share:
            raise ValueError(f"images(n, start) must return n = {share} images, got {len(x)}")
    u = torch.rand(batch, generator=generator)
    # strata: one noise level in each of `batch` equal shares of log σ
    sigma = torch.exp(math.log(low) + (torch.arange(batch) + u) / batch * math.log(high / low))
    if torch.device(device).type != "cpu":
        generator = torch.Generator(device).manual_seed(mixed)
    z = torch.randn((batch, *x.shape[1:]), generator=generator, device=device)
    return x, sigma[mine], z[mine]


def _to_the_bit(device: torch.device) -> AbstractContextManager:
    """On CUDA, convolutions by algorithms that sum in one order, and in float32 where they are in float32."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def _fingerprint(images: Tensor) -> str:
    values = images.detach().cpu().contiguous().view(torch.uint8).numpy()
    return f"{tuple(images.shape)} {hashlib.sha256(values).hexdigest()[:16]}"


def _mix(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def _schedule(step: int, steps: int) -> float:
    rise = max(1, round(0.02 * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _mean_weight(low: float, high: float, power: float) -> float:
    """Mean of σ^-p for log-uniform σ: the loss is divided by it, to be of order MSE."""
    if power == 0:
        return 1.0
    return (low**-power - high**-power) / (power * math.log(high / low))


def _lay_out_gains(network: nn.Module) -> None:
    """channels_last gives (1, C, 1, 1) other strides than its gradient has, which DDP would have to copy."""
    for module in network.modules():
        if isinstance(module, BiasFreeNorm):
            module.gain.data = module.gain.data.flatten()[None, :, None, None]


def _set_norms(network: nn.Module, *, frozen: bool, shared: bool) -> None:
    for module in network.modules():
        if isinstance(module, BiasFreeNorm):
            module.frozen, module.shared = frozen, shared


def _save(path: Path, network, optimizer, identity, step, log) -> None:
    tensors = {f"network.{k}": v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v.detach().cpu().contiguous() for k, v in state.items()}
    metadata = dict(identity=json.dumps(identity), step=str(step), log=json.dumps(log))
    metadata["sha256"] = checksum(tensors, *metadata.values())
    with replacing(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def _restore(path: Path, network, optimizer, identity, log) -> int:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is truncated or not a safetensors file: {error}") from error
    texts = [metadata.get(key, "") for key in ("identity", "step", "log")]
    if "identity" in metadata and metadata.get("sha256") != checksum(tensors, *texts):
        raise ValueError(f"checkpoint {path} was tampered with or damaged: its contents do not match their checksum; "
                         "remove it or give another file")
    if json.loads(metadata.get("identity", "null")) != identity:
        raise ValueError(
            f"checkpoint {path} belongs to another run: it was made with {metadata.get('identity')}, "
            f"this run asks for {json.dumps(identity)}; remove it or give another file"
        )
    weights = {k[8:]: v for k, v in tensors.items() if k.startswith("network.")}
    shapes, saved = ({k: tuple(v.shape) for k, v in w.items()} for w in (network.state_dict(), weights))
    if shapes != saved:
        raise ValueError(f"checkpoint {path} belongs to another network; remove it or give another file")
    network.load_state_dict(weights)
    state: dict = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(dict(state=state, param_groups=optimizer.state_dict()["param_groups"]))
    log[:] = json.loads(metadata["log"])
    return int(metadata["step"])
