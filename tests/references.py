"""Slow, obviously right references: loops and dense matrices in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


def posterior(y: Tensor, points: Tensor, sigma: float, weights: Tensor | None = None):
    """Mean (B, d), covariance (B, d, d) and log-density (B,) of weighted points seen through noise."""
    y, points = y.flatten(1).double(), points.flatten(1).double()
    d = y.shape[1]
    log_prior = -math.log(len(points)) if weights is None else weights.double().log()
    means, covariances, densities = [], [], []
    for row in y:
        logits = log_prior - (row - points).square().sum(dim=1) / (2 * sigma**2)
        w = torch.exp(logits - logits.max())
        w = w / w.sum()
        mean = (w[:, None] * points).sum(dim=0)
        away = points - mean
        means.append(mean)
        covariances.append((w[:, None] * away).T @ away)
        densities.append(torch.logsumexp(logits, dim=0) - d / 2 * math.log(2 * math.pi * sigma**2))
    return torch.stack(means), torch.stack(covariances), torch.stack(densities)


def quadrature(weights: Tensor, means: Tensor, covariances: Tensor, nodes: int = 181, reach: float = 14.0):
    """A two-dimensional mixture as weighted points: the trapezoid rule in each component's own axes."""
    t = torch.linspace(-reach, reach, nodes, dtype=torch.float64)
    grid = torch.cartesian_prod(t, t)
    mass = torch.exp(-grid.square().sum(dim=1) / 2)
    mass = mass / mass.sum()
    points, masses = [], []
    for w, mean, covariance in zip(weights, means, covariances):
        values, basis = torch.linalg.eigh(covariance)
        lengths = torch.where(values > 1e-14, values, 0).sqrt()
        points.append(mean + grid @ (basis * lengths).T)
        masses.append(w * mass)
    return torch.cat(points), torch.cat(masses)


def jacobian(denoiser, y: Tensor, sigma=None, step: float = 1e-6) -> Tensor:
    """∇f at each point (B, d, d), by central differences, one pixel at a time."""
    d = y[0].numel()
    columns = []
    for j in range(d):
        nudge = torch.zeros(d, dtype=y.dtype)
        nudge[j] = step
        nudge = nudge.reshape(1, *y.shape[1:])
        with torch.no_grad():
            columns.append((denoiser(y + nudge, sigma) - denoiser(y - nudge, sigma)).flatten(1) / (2 * step))
    return torch.stack(columns, dim=2)


def peak_memory(run) -> int:
    """Most bytes that torch held at once on the CPU beyond what it held before `run()`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
