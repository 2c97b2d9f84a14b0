"""Train the photo denoiser of chapter 1 and write it as a file of the zoo.

    python tools/train_photos.py gahb/weights/photos.safetensors --more FOLDER_OF_PHOTOGRAPHS

Patches of scikit-image's training photographs and, where a folder of PNG
images of one size is given, mostly of those. The shipped weights used 8,192
tiles of 80×80 pixels of 400 photographs of BSDS500.
"""

import argparse
import platform
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import gahb.training
import gahb.zoo
from gahb.denoisers.networks import UNet
from gahb.images.photos import photos

SIZE, SHARE, BATCH, SEED = 40, 0.85, 32, 0
NETWORK = dict(width=32, depth=2)


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--more", type=Path)
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)  # the initial weights
    network = UNet(**NETWORK)
    more = tiles(arguments.more) if arguments.more else None
    settings = dict(steps=arguments.steps, batch=BATCH, seed=SEED, precision="bfloat16")
    log: list = []
    gahb.training.fit(
        network,
        partial(patches, more=more, size=SIZE, share=SHARE, seed=SEED),
        checkpoint=arguments.out.with_suffix(".checkpoint"),
        compiled=True,
        log=log,
        **settings,
    )
    recipe = dict(
        name="photos",
        network=dict(kind="UNet", **NETWORK),
        images=dict(
            kind="photos",
            size=SIZE,
            more=None if more is None else f"{len(more)} tiles of 80x80 of 400 photographs of BSDS500",
            share_of_more=SHARE if more is not None else 0,
        ),
        training=dict(settings, sigma_range=[0.005, 1.0], weight_power=1.2, polish=0.15, learning_rate=1e-3),
        made_with=dict(command="tools/train_photos.py", torch=torch.__version__, threads=arguments.threads,
                       machine=platform.machine()),
    )
    gahb.zoo.export(network, arguments.out, recipe=recipe, log=log)


if __name__ == "__main__":
    main()
