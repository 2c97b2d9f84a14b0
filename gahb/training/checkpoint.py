"""Checkpoints: a run that was killed goes on from its last one, and ends with the same bits.

A checkpoint is a safetensors file with the weights, what the optimiser
remembers, the log, and what the run was asked for; a checksum covers all of it.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .._files import checksum, read_tensors, replacing, shapes
from .optimiser import Optimiser

ADVICE = "remove it or give another file"


def save(path: Path, network: nn.Module, optimiser: Optimiser, identity: dict, step: int, log: list[dict],
         total: Tensor | float = 0.0) -> None:
    """Write a checkpoint, whole or not at all; `total` is the sum of the losses since the last entry of the log."""
    parts = {"network": network.state_dict(), "optimizer": optimiser.state()}
    tensors = {f"{part}.{key}": value.detach().cpu().contiguous()
               for part, entries in parts.items() for key, value in entries.items()}
    tensors["total"] = torch.as_tensor(total, dtype=torch.float32).cpu()
    metadata = dict(identity=json.dumps(identity), step=str(step), log=json.dumps(log))
    metadata["sha256"] = checksum(tensors, *metadata.values())
    with replacing(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def restore(path: Path, network: nn.Module, optimiser: Optimiser, identity: dict,
            log: list[dict]) -> tuple[int, Tensor]:
    """Take up a run where its checkpoint left it: its step and sum of losses; `log` becomes the checkpoint's.

    ValueError for a file that is truncated or damaged, or of another run.
    """
    tensors, metadata = read_tensors(path, f"checkpoint {path}")
    texts = [metadata.get(key, "") for key in ("identity", "step", "log")]
    if "identity" in metadata and metadata.get("sha256") != checksum(tensors, *texts):
        raise ValueError(f"checkpoint {path} was tampered with or damaged: its contents do not match their checksum; "
                         f"{ADVICE}")
    if json.loads(metadata.get("identity", "null")) != identity:
        raise ValueError(f"checkpoint {path} belongs to another run: it was made with {metadata.get('identity')}, "
                         f"this run asks for {json.dumps(identity)}; {ADVICE}")
    weights = _part(tensors, "network")
    if shapes(weights) != shapes(network.state_dict()):
        raise ValueError(f"checkpoint {path} belongs to another network; {ADVICE}")
    network.load_state_dict(weights)
    optimiser.restore(_part(tensors, "optimizer"))
    log[:] = json.loads(metadata["log"])
    return int(metadata["step"]), tensors.get("total", torch.zeros(()))


def _part(tensors: dict, name: str) -> dict:
    before = f"{name}."
    return {key.removeprefix(before): value for key, value in tensors.items() if key.startswith(before)}
