r"""Does a denoiser keep the contract: rule by rule, with what was seen where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from .._validate import check_eval, check_points, sigma_vector
from ..contract import Denoiser, check_output, is_blind
from ..jacobian.operator import derivative_settings


@dataclass(frozen=True)
class ContractReport:
    """What :func:`gahb.check_denoiser` found; its text says the same in sentences.

    >>> import gahb, torch
    >>> report = gahb.check_denoiser(lambda y, sigma=None: y.double(), torch.rand(1, 1, 4, 4))
    >>> report.holds, dict(report.broken)
    (False, {'dtype': 'denoiser must return the dtype of y, torch.float32, got torch.float64'})
    """

    broken: Mapping[str, str]  #: name of a rule → what was seen in its place; empty if the contract is kept
    blind: bool | None  #: whether it works without σ; None where that was not reached
    homogeneous: bool | None  #: whether $f(ay, a\sigma) = a f(y, \sigma)$, tried at a = 3; None where not reached

    @property
    def holds(self) -> bool:
        """Whether every rule of the contract is kept."""
        return not self.broken

    def __str__(self) -> str:
        lines = ["keeps the contract"] if self.holds else ["breaks the contract:"]
        lines += [f"  {rule}: {seen}" for rule, seen in self.broken.items()]
        words = {True: "yes", False: "no", None: "not reached"}
        return "\n".join([*lines, f"blind: {words[self.blind]}", f"homogeneous: {words[self.homogeneous]}"])


def check_denoiser(denoiser: Denoiser, y: Tensor, sigma: float = 0.1, *, seed: int = 0) -> ContractReport:
    r"""Whether `denoiser` keeps the contract of :class:`gahb.Denoiser` at y, and what it breaks, by name.

    It is called about a dozen times. The rules, in the order in which they are
    tried:

    - "training mode": a network is in eval mode. One that is not is not called.
    - "call": ``denoiser(y, sigma)`` returns a tensor and raises nothing.
    - "shape", "dtype", "device": those of y.
    - "not finite": no NaN and no infinity in the answer.
    - "y changed": the points are left as they were.
    - "not repeatable": the same points get the same answer.
    - "batch": a point gets the same answer whatever else is in the batch.
    - "sigma": a (B,) tensor of noise levels gives what a number gives.
    - "torch.func": products with the Jacobian by `jvp` and `vjp` under `vmap`,
      which are adjoint and not zero where the denoiser changes, and `vmap` over
      points. Without it there are no bases, traces and SURE; the PSNR, the KL
      bound and the samplers do not need it.

    Two properties, which are no rules, are reported too: whether the denoiser
    is blind, and whether it is homogeneous,
    $f(ay, a\sigma) = a\, f(y, \sigma)$. Answers are compared to the square root
    of the precision of y.

    Parameters
    ----------
    y : noisy images or points (B, …), finite; one or two are enough.
    sigma : the noise level that the denoiser is told, positive.
    seed : of the directions of the Jacobian products.

    Raises
    ------
    TypeError where `denoiser` is not callable, or y is no floating-point tensor;
    ValueError where y is empty or not finite, or sigma is not positive.

    Examples
    --------
    >>> import gahb, torch
    >>> y = torch.rand(2, 1, 8, 8)
    >>> print(gahb.check_denoiser(gahb.BFCNN(4, 3).eval(), y))
    keeps the contract
    blind: yes
    homogeneous: yes
    >>> print(gahb.check_denoiser(lambda y, sigma=None: y.squeeze(1), y))
    breaks the contract:
      shape: denoiser must return the shape of y, (2, 1, 8, 8), got (2, 8, 8)
    blind: not reached
    homogeneous: not reached
    """
    if not callable(denoiser):
        raise TypeError(f"denoiser must be callable as denoiser(y, sigma=None), got {type(denoiser).__name__}")
    check_points("y", y)
    sigma_vector(sigma, y)
    if y.numel() == 0 or not bool(torch.isfinite(y).all()):
        raise ValueError(f"y must be finite, with at least one point, got shape {tuple(y.shape)}")
    y = y.detach()
    try:
        check_eval(denoiser)
    except ValueError as error:
        return ContractReport({"training mode": str(error)}, None, None)
    with derivative_settings():
        broken = _wrong_answer(denoiser, y, sigma)
        if broken:
            return ContractReport(broken, None, None)
        return ContractReport(
            _unstable(denoiser, y, sigma) | _not_differentiable(denoiser, y, sigma, seed),
            blind=is_blind(denoiser, y),
            homogeneous=_close(denoiser(3 * y, 3 * sigma), 3 * denoiser(y, sigma)),
        )


def _wrong_answer(denoiser: Denoiser, y: Tensor, sigma: float) -> dict[str, str]:
    """The first rule that one call breaks."""
    before = y.clone()
    try:
        x_hat = denoiser(y, sigma)
    except Exception as error:  # whatever a denoiser of others may raise
        return {"call": f"denoiser(y, {sigma:g}) raised {_describe(error)}"}
    try:
        check_output(x_hat, y)
    except TypeError as error:
        return {"call": str(error)}
    except ValueError as error:
        differs = (rule for rule in ("shape", "dtype", "device") if getattr(x_hat, rule) != getattr(y, rule))
        return {next(differs, "not finite"): str(error)}
    if not torch.equal(y, before):
        y.copy_(before)
        return {"y changed": "denoiser must leave y as it is, got other values in it after the call"}
    return {}


def _unstable(denoiser: Denoiser, y: Tensor, sigma: float) -> dict[str, str]:
    """Answers that depend on more than the point and its noise level."""
    broken, x_hat = {}, denoiser(y, sigma)
    if not _close(denoiser(y, sigma), x_hat):
        broken["not repeatable"] = "denoiser must give the same answer to the same y, got two"
    among_others = denoiser(torch.cat([y, 2 * y.flip(0) + sigma]), sigma)[: len(y)]
    if not _close(among_others, x_hat):
        broken["batch"] = "denoiser must answer each point by itself, got other answers among other points"
    try:
        told = denoiser(y, sigma_vector(sigma, y))
    except Exception as error:
        broken["sigma"] = f"denoiser must take a (B,) tensor sigma, got {_describe(error)}"
    else:
        if told.shape != y.shape or not _close(told, x_hat):
            broken["sigma"] = "denoiser must answer to a (B,) tensor sigma as to a number, got another answer"
    return broken


def _not_differentiable(denoiser: Denoiser, y: Tensor, sigma: float, seed: int) -> dict[str, str]:
    generator = torch.Generator().manual_seed(seed)
    v, w = (torch.randn(2, *y.shape, generator=generator).to(y) for _ in range(2))

    def f(u: Tensor) -> Tensor:
        return denoiser(u, sigma)

    try:
        forward = vmap(lambda tangent: jvp(f, (y,), (tangent,))[1])(v)
        transposed = vmap(vjp(f, y)[1])(w)[0]
        each = vmap(lambda point: f(point[None])[0])(y)
    except Exception as error:
        return {"torch.func": f"a transform of torch.func raised {_describe(error)}"}
    step = 1e-2 * sigma
    if not forward.any() and not _close(f(y + step * v[0]), f(y)):
        return {"torch.func": "jvp gives zero where the denoiser changes: it leaves torch, or is detached"}
    gap = ((w * forward).sum() - (transposed * v).sum()).abs()
    if gap > 10 * _tolerance(y) * (w.norm() * forward.norm() + transposed.norm() * v.norm()):
        return {"torch.func": "jvp and vjp must be transposes of each other, and are not"}
    if not _close(each, f(y)):
        return {"torch.func": "vmap over points must give what the batch gives, and does not"}
    return {}


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= _tolerance(b) * b.norm())


def _tolerance(y: Tensor) -> float:
    return torch.finfo(y.dtype).eps ** 0.5


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
