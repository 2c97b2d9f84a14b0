"""The course of a training run: its steps, and between them records in the log, checkpoints, and a stop.

It is the same for whatever is trained: a run knows how to take a step, and what a
checkpoint must have been made for.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from .._files import check_writable
from .._progress import bar
from .._validate import positive_int
from . import checkpoint as checkpoints
from .method import Method
from .optimiser import Optimiser
from .processes import from_leader, leads, mean, team

EVERY = 500  # steps between entries of the log, and between checkpoints


class StoppedError(Exception):
    """Training was stopped before its last step; with a checkpoint, the same call goes on from there."""


class Run(Protocol):
    """A network that is being trained."""

    network: nn.Module
    optimiser: Optimiser
    how: Method
    settings: dict  #: `steps` and `batch`, and what else the kind of training is given

    def train(self, first: int) -> Iterator[tuple[int, Tensor]]:
        """Take the steps that are left after `first`; yields the number of steps taken and the last one's loss."""

    def identity(self) -> dict:
        """What a checkpoint must have been made for."""


def follow(
    run: Run,
    recorded: set[int],
    *,
    name: str,
    checkpoint: str | os.PathLike | None,
    progress: bool,
    monitor: Callable[[nn.Module], dict] | None,
    log: list | None,
    until: Callable[[], bool] | None,
) -> None:
    """Take all the steps of a run that are left; what is asked for is in :func:`gahb.fit`.

    `recorded` are the steps at which there is a record, and `name` stands beside
    the bar. FloatingPointError for a loss that is not finite, `StoppedError`
    where `until` says so.
    """
    network, steps, batch = run.network, run.settings["steps"], run.settings["batch"]
    path, log = None if checkpoint is None else Path(checkpoint), [] if log is None else log
    if path is not None and leads():
        check_writable(path.absolute().parent)
    first, total = (0, 0.0) if path is None else _resume(run, path, log)
    since, before, began = *_last(log), time.perf_counter()
    ticks = bar(run.train(first), initial=first, total=steps, progress=progress and leads(), desc=name, unit="step")
    for step, loss in ticks:
        total = total + loss
        stop = step < steps and until is not None and (step in recorded or team() is None) and from_leader(until())
        if step in recorded:
            average, total, since = mean(total) / (step - since), 0.0, step
            if not math.isfinite(average):
                raise FloatingPointError(f"loss is {average} at step {step}; lower learning_rate, "
                                         f"{run.how.learning_rate}")
            log.append(dict(step=step, images=step * batch, loss=round(average, 7),
                            seconds=round(before + time.perf_counter() - began, 1)))
            ticks.set_postfix(loss=f"{average:.2e}")
            if monitor is not None and leads():
                log[-1].update(monitor(network.eval()))
                network.train()
        if path is not None and leads() and (step in recorded or stop):
            checkpoints.save(path, network, run.optimiser, run.identity(), step, log, total)
        if stop:
            raise StoppedError(f"stopped at step {step} of {steps}")


def _resume(run: Run, path: Path, log: list[dict]) -> tuple[int, Tensor | float]:
    """Step, and sum of losses since the last record, of the checkpoint; 0 where there is none yet.

    ValueError where the processes do not all see the same one.
    """
    first, total = 0, 0.0
    if path.exists():
        first, total = checkpoints.restore(path, run.network, run.optimiser, run.identity(), log)
        total = total.to(next(run.network.parameters()).device)
    if (leading := from_leader(first)) != first:
        raise ValueError(f"checkpoint must be one file that all processes see, got {path} at step {leading} in "
                         f"the first process and {first} in process {team().global_rank if team() else 0}")
    return first, total


def _last(log: list[dict]) -> tuple[int, float]:
    """Step and seconds of the last record."""
    return (log[-1]["step"], log[-1]["seconds"]) if log else (0, 0.0)


def records(every: int | Sequence[int], steps: int) -> set[int]:
    """The steps after which the log gets an entry: the last one is always there."""
    if isinstance(every, Sequence) and not isinstance(every, str):
        given = [positive_int("every", step) for step in every]
        if given != sorted(set(given)):
            raise ValueError(f"every must be an integer or rising steps, got {list(every)}")
        return {step for step in given if step < steps} | {steps}
    return {*range(positive_int("every", every), steps, every), steps}
