"""Trained denoisers that ship with the package.

A file of the zoo is a float16 safetensors file whose header holds the recipe
(what network, trained on what, for how long), the training log, and a SHA-256
checksum of the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .denoisers.networks import BFCNN, UNet

_SHIPPED = Path(__file__).parent / "weights"
_NETWORKS = {"UNet": UNet, "BFCNN": BFCNN}


def names() -> list[str]:
    """Names of the shipped denoisers."""
    return sorted(path.stem for path in _SHIPPED.glob("*.safetensors"))


def load(name: str | os.PathLike) -> nn.Module:
    """A trained denoiser, in eval mode, float32, on the CPU; its `recipe` and `log` are attributes.

    Parameters
    ----------
    name : one of :func:`names`, or the path of a file written by :func:`export`.

    Raises
    ------
    ValueError
        for an unknown name, and for a file that is truncated, foreign, or
        whose weights do not match their checksum.
    """
    path = _SHIPPED / f"{name}.safetensors"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        raise ValueError(f"name must be a file or one of {', '.join(names()) or '(none shipped)'}, got {str(name)!r}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from error
    try:
        recipe, log = json.loads(metadata["recipe"]), json.loads(metadata["log"])
        network = _build(recipe["network"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a safetensors file, but not one of this zoo: {error!r}") from error
    if metadata.get("sha256") != _checksum(weights):
        raise ValueError(f"{path} was tampered with or damaged: its weights do not match their checksum")
    if _shapes(weights) != _shapes(network.state_dict()):
        raise ValueError(f"{path} was tampered with or damaged: its weights do not fit {recipe['network']}")
    network.load_state_dict({key: value.float() for key, value in weights.items()})
    network.recipe, network.log = recipe, log
    return network.eval()


def export(network: nn.Module, path: str | os.PathLike, *, recipe: dict, log: list) -> Path:
    """Write `network` as a float16 file of the zoo, atomically.

    `recipe` must say ``network: {kind: UNet | BFCNN, …arguments}``; the rest
    is for people: data, steps, batch, seed, machine. ValueError if the recipe's
    network is not this one, or a weight does not fit in float16.
    """
    if "network" not in recipe:
        raise ValueError(f"recipe must say network: {{kind: …}}, got {sorted(recipe)}")
    if _shapes(_build(recipe["network"]).state_dict()) != _shapes(network.state_dict()):
        raise ValueError(f"recipe says network {recipe['network']}, but the weights given do not fit it")
    weights = {key: value.detach().cpu().half().contiguous() for key, value in network.state_dict().items()}
    for key, value in weights.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"network has weights in {key} that are not finite in float16")
    metadata = dict(recipe=json.dumps(recipe), log=json.dumps(log), sha256=_checksum(weights))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(weights, partial, metadata=metadata)
        partial.chmod(0o644)  # readable by all: it is data to be shared
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _build(specification: dict) -> nn.Module:
    arguments = dict(specification)
    kind = arguments.pop("kind", None)
    if kind not in _NETWORKS:
        raise ValueError(f"recipe's network kind must be one of {', '.join(_NETWORKS)}, got {kind!r}")
    with torch.random.fork_rng(devices=[]):  # initial weights would move the caller's generator
        return _NETWORKS[kind](**arguments)


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in weights.items()}


def _checksum(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(f"{key} {tuple(weights[key].shape)} {weights[key].dtype}".encode())
        digest.update(weights[key].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
