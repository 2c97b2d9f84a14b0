"""One file of the zoo: a network's weights with its recipe, its training log and their checksum.

The lowest module of the zoo: a recipe may name a stored network whose latents it
trains on, so that recipes read files, and files know recipes as plain mappings.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .._files import checksum, read_tensors, replacing, shapes
from ..denoisers.networks import BFCNN, UNet
from ..fields import NeuralField

NETWORKS = {"UNet": UNet, "BFCNN": BFCNN, "NeuralField": NeuralField}


def build(specification: dict, *, seed: int = 0) -> nn.Module:
    """A network from ``{kind: UNet | BFCNN | NeuralField, …arguments}``; initial weights from `seed` only."""
    arguments = dict(specification)
    kind = arguments.pop("kind", None)
    if kind not in NETWORKS:
        raise ValueError(f"network kind must be one of {', '.join(NETWORKS)}, got {kind!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[kind](**arguments)


def read(path: Path) -> nn.Module:
    """The network of a file, in eval mode, float32; `recipe`, `log` and `sha256` of its header are attributes.

    ValueError for a file that is truncated, foreign, or whose contents do not match its checksum.
    """
    weights, metadata = read_tensors(path, str(path))
    foreign, damaged = f"{path} is a safetensors file, but not one of this zoo", f"{path} was tampered with or damaged"
    if missing := {"recipe", "log", "sha256"} - set(metadata):
        raise ValueError(f"{foreign}: its header lacks {', '.join(sorted(missing))}")
    if metadata["sha256"] != checksum(weights, metadata["recipe"], metadata["log"]):
        raise ValueError(f"{damaged}: its contents do not match their checksum")
    try:
        recipe, log = json.loads(metadata["recipe"]), json.loads(metadata["log"])
        network = _network_for(weights, recipe["network"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{foreign}: {error!r}") from error
    if network is None:
        raise ValueError(f"{damaged}: its weights do not fit {recipe['network']}")
    if infinite := [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]:
        raise ValueError(f"{path} has weights that are not finite: {', '.join(infinite[:6])}")
    network.load_state_dict({key: value.float() for key, value in weights.items()}, assign=True)
    network.recipe, network.log, network.sha256 = recipe, log, metadata["sha256"]
    return network.eval()


def _network_for(weights: dict[str, Tensor], specification: dict) -> nn.Module | None:
    """The network of a header, None if these are not its weights: seen by shapes, before any memory is taken."""
    specification = dict(specification)
    largest = max(len(weights), *(max(value.shape, default=0) for value in weights.values()))
    sizes = [specification.get(key) for key in ("width", "depth", "layers")]
    if any(isinstance(size, int) and size > largest for size in sizes):
        return None
    with torch.device("meta"), _NoInitialWeights():
        network = build(specification)
    return network if shapes(network.state_dict()) == shapes(weights) else None


class _NoInitialWeights(TorchFunctionMode):
    """Functions of `torch.nn.init` do nothing: on the meta device they would load the compiler (a second)."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def export(network: nn.Module, path: str | os.PathLike, *, recipe: dict, log: list) -> Path:
    """Write `network` as a float16 file of the zoo, atomically.

    `recipe` must say ``network: {kind: UNet | BFCNN, …arguments}``; the rest
    is for people: data, steps, batch, seed, machine. `log` is the training log,
    a list of mappings; both must be what JSON can hold. ValueError if the recipe's
    network is not this one, a weight does not fit in float16, or `path` does not end
    in .safetensors.

    >>> import tempfile
    >>> import gahb
    >>> network, log = gahb.UNet(width=4, depth=1), []
    >>> network = gahb.fit(network, gahb.images.disks(20, 8), steps=2, log=log, progress=False)
    >>> recipe = {"network": {"kind": "UNet", "width": 4, "depth": 1}, "images": "20 disks"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = gahb.zoo.export(network, f"{folder}/mine.safetensors", recipe=recipe, log=log)
    ...     again = gahb.zoo.load(path)
    >>> again.recipe["images"], again.log[-1]["step"]
    ('20 disks', 2)
    """
    path = weights_path("path", path)
    if "network" not in recipe:
        raise ValueError(f"recipe must say network: {{kind: …}}, got {sorted(recipe)}")
    if shapes(build(recipe["network"]).state_dict()) != shapes(network.state_dict()):
        raise ValueError(f"recipe says network {recipe['network']}, but the weights given do not fit it")
    weights = {
        key: value.detach().cpu().half().clone(memory_format=torch.contiguous_format)
        for key, value in network.state_dict().items()
    }
    for key, value in weights.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"network has weights in {key} that are not finite in float16")
    texts = dict(recipe=json.dumps(recipe), log=json.dumps(log))
    metadata = dict(texts, sha256=checksum(weights, *texts.values()))
    with replacing(path) as partial:
        save_file(weights, partial, metadata=metadata)
        partial.chmod(0o644)  # readable by all: it is data to be shared
    return path


def weights_path(name: str, path: str | os.PathLike) -> Path:
    """`path`, if it names a file of weights by its ending; ValueError that names the argument, if not."""
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{name} must end in .safetensors, got {os.fspath(path)!r}")
    return Path(path)
