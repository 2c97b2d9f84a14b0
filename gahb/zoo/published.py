r"""Bias-free denoisers published by others, read into the networks of this package.

Three repositories of one laboratory hold two architectures under
different names of tensors:

- ``memorization_generalization_in_diffusion_models`` (this book's paper): UNet and BF_CNN;
- ``bias_free_denoising`` (Mohan et al., ICLR 2020): BF_CNN, with its running
  deviations in a file of their own, and DnCNN without biases;
- ``universal_inverse_problem`` (Kadkhodaie & Simoncelli, NeurIPS 2021): BF_CNN.

bias_free_denoising has two older ones too, a recurrent CNN and a UNet with
dilations (:mod:`gahb.zoo.architectures`), which return the clean image.

The others predict the noise. Once trained, each of their normalisations multiplies
channel c by $\gamma_c / s_c$; the files keep $s_c$, but DnCNN's keep a variance
$v_c$ and mean $s_c = \sqrt{v_c} + 10^{-5}$. Intensities were in [0, 1]; a
bias-free network, being homogeneous, takes any other scale as well.
"""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..denoisers.networks import BFCNN, UNet
from .architectures import DilatedUNet, RecurrentCNN

# names of convolution l, gain k and running deviation k in a chain, by a name that tells the layout
_CHAINS = {
    "BN_layers.0.gammas": ("conv_layers.{}.weight", "BN_layers.{}.gammas", "BN_layers.{}.running_sd"),
    "gammas.0.weight": ("conv_layers.{}.weight", "gammas.{}.weight", "running_sd.{}"),
    "gammas.0": ("conv_layers.{}.weight", "gammas.{}", "running_sd.{}"),
    "bn_layer_list.0.weight": ("{}.weight", "bn_layer_list.{}.weight", "bn_layer_list.{}.running_var"),
}
_UNUSED = re.compile(r"bn_layer_list\.\d+\.(bias|running_mean|num_batches_tracked)")  # by a bias-free DnCNN
_EPS = 1e-5


def load_published(path: str | os.PathLike, *, linear_first: bool = False) -> nn.Module:
    """A published bias-free denoiser as a network of this package, float32, in eval mode.

    Its `recipe` says what network it is. Nothing in the file is executed: it is
    read with ``weights_only=True``.

    Parameters
    ----------
    path : file written by ``torch.save``: a state dict, also of a network in
        `DataParallel` or compiled, or a checkpoint that holds one as ``model``,
        ``state_dict`` or ``model_state_dict``. Beside the BF_CNN of bias_free_denoising lies its
        ``running_sd.pt``.
    linear_first : whether the first convolution of a BF_CNN has no ReLU. The
        file does not say; it is how the network was made (``first_layer_linear``).

    Raises
    ------
    FileNotFoundError
        if there is no such file.
    ValueError
        for a truncated or foreign file, one that would run code, a network
        with additive constants, and tensors that are missing, unexpected or of
        a wrong shape, by name.

    Examples
    --------
    A file with the tensors of a UNet, under the names that the paper's repository gives them:

    >>> import tempfile
    >>> import gahb, torch
    >>> names = {"middle": "mid_block", "gain": "gammas"}
    >>> state = {}
    >>> for key, value in gahb.UNet(width=4, depth=1).state_dict().items():
    ...     state[".".join(names.get(part, part) for part in key.split("."))] = value
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(state, f"{folder}/model.pt")
    ...     network = gahb.zoo.load_published(f"{folder}/model.pt")
    >>> network.recipe
    {'name': 'model', 'network': {'kind': 'UNet', 'width': 4, 'channels': 1, 'depth': 1}}
    >>> network(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 1, 8, 8])
    """
    path = Path(path)
    state, asked = _state_dict(path)
    if infinite := [key for key, value in state.items() if not bool(torch.isfinite(value).all())]:
        raise ValueError(f"{path} has weights that are not finite: {_some(infinite)}")
    if biases := [key for key in state if key.endswith(".bias")]:
        raise ValueError(f"{path} has additive constants ({_some(biases)}): only bias-free networks can be read")
    kind, arguments, theirs = _layout(path, state, asked)
    if kind is BFCNN:
        arguments["linear_first"] = linear_first
    elif linear_first:
        raise ValueError(f"linear_first is of a BF_CNN, and {path} is a {kind.__name__}")
    with torch.device("meta"):  # shapes only: nothing is drawn
        network = kind(**arguments)
    named = {theirs(key): (key, tuple(tensor.shape)) for key, tensor in network.state_dict().items()}
    missing, unexpected = (sorted(a.keys() - b.keys()) for a, b in ((named, state), (state, named)))
    if missing or unexpected:
        what = [f"{word} {_some(keys)}" for word, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
        raise ValueError(f"{path} is not a whole {kind.__name__} of {arguments}: {'; '.join(what)}")
    weights = {}
    for name, (key, shape) in named.items():
        value = state[name].sqrt() + _EPS if name.endswith("running_var") else state[name]
        value = value[None, :, None, None] if value.ndim == 1 else value
        if value.shape != shape:
            raise ValueError(f"{path}: {name} must have shape {shape}, got {tuple(state[name].shape)}")
        weights[key] = value.float().clone()
    network.load_state_dict(weights, assign=True)
    network.recipe, network.log = dict(name=path.stem, network=dict(kind=kind.__name__, **arguments)), []
    return network.eval()


def _layout(path: Path, state: Mapping[str, Tensor], asked: dict) -> tuple[type, dict, Callable[[str], str]]:
    """Kind and arguments of the network, and what a tensor of ours is called in the file.

    `asked` is the command line that the file keeps of its training.
    """
    if (first := state.get("cnn.first_layer.weight")) is not None and first.ndim == 4:
        hidden = sum(key.startswith("cnn.hidden_layer_list.") for key in state)
        arguments = dict(width=first.shape[0], hidden=hidden, side=first.shape[2], stages=asked.get("max_stage", 4))
        return RecurrentCNN, arguments, "cnn.{}".format
    if (first := state.get("conv1.weight")) is not None and first.ndim == 4 and "conv9.weight" in state:
        return DilatedUNet, dict(width=first.shape[0], residual=bool(asked.get("residual", False))), str
    if "mid_block.0.weight" in state:
        def theirs(key: str) -> str:
            return key.replace("middle.", "mid_block.").replace(".gain", ".gammas")

        kind, size = UNet, {"depth": sum(key.startswith("upsample.") for key in state)}
    elif mark := next((mark for mark in _CHAINS if mark in state), None):
        conv, gain, sd = _CHAINS[mark]
        gains = sum(bool(re.fullmatch(gain.replace("{}", r"\d+"), key)) for key in state)

        def theirs(key: str) -> str:
            place, part = key.removeprefix("chain.").split(".")
            layer = (int(place) + 1) // 3  # convolutions lie at 0, 2, 5, 8, …, each norm behind its own
            if part != "weight":
                return (gain if part == "gain" else sd).format(layer - 1)
            if mark.startswith("bn_layer_list"):
                inner = "last_layer" if layer > gains else f"hidden_layer_list.{layer - 1}"
                return conv.format(inner if layer else "first_layer")
            return conv.format(layer)

        kind, size = BFCNN, {"layers": gains + 2}
    else:
        raise ValueError(f"{path} holds {_some(sorted(state))}: neither a UNet, a BF_CNN nor a DnCNN as published")
    first = state.get(name := theirs("encoder.0.0.weight" if kind is UNet else "chain.0.weight"))
    if first is None or first.ndim != 4:
        raise ValueError(f"{path} is not a whole {kind.__name__}: no convolution {name}")
    return kind, {"width": first.shape[0], "channels": first.shape[1], **size}, theirs


def _state_dict(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a file by name, and the command line of its training as far as it is there."""
    state = _read(path)
    said = state.get("args") if isinstance(state, Mapping) else None
    while isinstance(state, Mapping) and (inner := state.keys() & {"model", "state_dict", "model_state_dict"}):
        state = state[min(inner)]
        if isinstance(state, list) and len(state) == 1:
            state = state[0]
    if not (isinstance(state, Mapping) and state and all(isinstance(value, Tensor) for value in state.values())):
        raise ValueError(f"{path} holds no state dict: it must map names to tensors")
    state = {re.sub(r"^(module\.|_orig_mod\.)+", "", str(key)): value for key, value in state.items()}
    if "gammas.0.weight" in state:
        beside = path.with_name("running_sd.pt")
        if not beside.is_file():
            raise ValueError(f"{path} keeps its running deviations in a file of their own, and {beside} is not there")
        state |= {f"running_sd.{k}": value for k, value in enumerate(_read(beside))}
    asked = vars(said) if isinstance(said, Namespace) else {}
    return {key: value for key, value in state.items() if not _UNUSED.fullmatch(key)}, asked


def _read(path: Path):
    if not path.is_file():
        raise FileNotFoundError(f"path must be a file, got {str(path)!r}")
    try:
        # a Namespace is plain data: bias_free_denoising keeps its command line in one
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything on damaged files
        raise ValueError(f"{path} is truncated, foreign, or holds more than tensors: nothing was loaded") from error


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
