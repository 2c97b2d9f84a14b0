"""The processes that `torchrun` started and that train one network together.

    torchrun --nproc-per-node 2 --no-python gahb zoo train calpha-2

Without `torchrun` a process is alone, and nothing here is imported or waited for.
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from functools import cache

import torch

from .._validate import require_extra

WAIT = timedelta(days=7)  # for a process that measures, saves or waits for a lock; torchrun sees one that dies


@cache
def team():
    """A launched Lightning Fabric; None where this process is alone. One GPU each where there are any, else the CPU."""
    if not (torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()):
        return None
    require_extra("cluster", "torchrun", "lightning_fabric")
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    fabric = Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu", devices=here, num_nodes=everywhere // here,
        strategy=DDPStrategy(timeout=WAIT, forward_sync_buffers=False),  # BiasFreeNorm's are equal already
    )
    fabric.launch()
    return fabric


def leads() -> bool:
    """Whether this process speaks for its team: it measures, saves, and holds locks."""
    return team() is None or team().is_global_zero


def from_leader(value):
    """What the leading process has as `value`: known to all only when every process has come here."""
    return value if team() is None else team().broadcast(value)


def mean(value) -> float:
    """The mean of a number, a tensor (), over the processes."""
    return float(value if team() is None else team().all_reduce(value))
