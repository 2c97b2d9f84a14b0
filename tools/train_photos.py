"""Train the photo denoiser of chapter 1.

    python tools/train_photos.py OUT.safetensors --more FOLDER_OF_PHOTOGRAPHS

Patches of scikit-image's training photographs, and of the photographs in a
folder where one is given (the shipped weights: 8,192 tiles of 80×80 of the
400 BSDS500 photographs that are neither its test set nor ours).
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import gahb.training
from gahb.denoisers.networks import UNet
from gahb.images.photos import photos


def tiles(folder: Path) -> torch.Tensor:
    """All images of a folder, gray, as uint8 (n, H, W); they share one size."""
    return torch.from_numpy(np.stack([np.asarray(Image.open(p).convert("L")) for p in sorted(folder.glob("*.png"))]))


def patches(n: int, start: int, *, more: torch.Tensor | None, size: int, share: float, seed: int) -> torch.Tensor:
    """A `share` of random crops of `more`, turned and mirrored; the rest from `photos`."""
    own = photos(n, size, seed=seed, start=start)
    if more is None:
        return own
    for i in range(n):
        random = np.random.Generator(np.random.Philox(key=seed + 1, counter=[0, 0, 0, start + i]))
        kind, which, row, column, turn = random.random(5)
        if kind < share:
            picture = more[int(which * len(more))]
            top, left = int(row * (picture.shape[0] - size + 1)), int(column * (picture.shape[1] - size + 1))
            patch = torch.rot90(picture[top : top + size, left : left + size], int(turn * 8) // 2)
            own[i, 0] = (patch.flip(1) if int(turn * 8) % 2 else patch).float() / 255
    return own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--more", type=Path)
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)  # the initial weights
    network = UNet(width=32, depth=2)
    more = tiles(arguments.more) if arguments.more else None
    source = partial(patches, more=more, size=40, share=0.85, seed=0)
    log: list = []
    gahb.training.fit(
        network, source, steps=arguments.steps, batch=32, seed=0, checkpoint=arguments.out.with_suffix(".checkpoint"),
        precision="bfloat16", compiled=True, log=log,
    )
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(weights, arguments.out, metadata=dict(log=json.dumps(log)))


if __name__ == "__main__":
    main()
