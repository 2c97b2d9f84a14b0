"""The networks of the book's second edition, in the order in which they are trained, and what trains them.

    python tools/training_queue.py list                            # names, and which are trained
    python tools/training_queue.py write FOLDER                    # their recipes, a YAML file each
    python tools/training_queue.py train FOLDER --minutes 60       # trains what is left, weights into FOLDER

One recipe serves all sizes of training set of a class, so that they differ in
their images alone; the two networks of a pair ("first", "second") have
disjoint sets, and in `-reseeded` ones the other's seed of training. `-half`
is the same network after half the steps, by which the other is known to be
trained to its end. Faces, bedrooms and more photographs are read from the
folders that GAHB_FACES, GAHB_FACES80, GAHB_BEDROOMS and GAHB_PHOTOS name; the
persons from the file of GAHB_PERSONS. A network whose folder is not set waits.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import yaml

METHOD = {"optimiser": "muon", "batch": 32, "precision": "bfloat16", "compiled": True}
SMALL = {"kind": "UNet", "width": 16, "depth": 3}
LARGE = {"kind": "UNet", "width": 32, "depth": 3}
CHAIN = {"kind": "BFCNN", "width": 16, "layers": 15}
PERIODIC = {**SMALL, "border": "circular"}
FIELDS = {"contour": False, "contrast": "fixed"}
FACES = {"kind": "folder", "path": "${GAHB_FACES}", "size": 40, "groups": "${GAHB_PERSONS}"}


def recipe(network: dict, images: dict, steps: int, seed: int = 0, every: int = 500, **training) -> dict:
    """A recipe as it is written."""
    training = dict(steps=steps, seed=seed, every=every) | METHOD | training
    return dict(network=network, images=images, training=training)


def c_alpha(alpha: int, **arguments) -> dict:
    """C^α images of 32×32 pixels."""
    return dict(kind="c_alpha", size=32, alpha=alpha, **arguments)


def single() -> Iterator[tuple[str, dict]]:
    """The networks of chapters 4 to 6, trained on a stream of fresh images."""
    more = {"path": "${GAHB_PHOTOS}", "size": 80, "share": 0.85}
    yield "photos", recipe(LARGE, dict(kind="photos", size=40, more=more), 12000, every=1000)
    for alpha in (2, 4):
        yield f"background-{alpha}", recipe(PERIODIC, c_alpha(alpha, **FIELDS), 4000)
    yield "background-2-zero", recipe(SMALL, c_alpha(2, **FIELDS), 6000)
    for alpha in (2, 1, 3, 4):
        yield f"calpha-{alpha}", recipe(LARGE, c_alpha(alpha), 6000)
    yield "disks", recipe(LARGE, dict(kind="disks", size=32), 6000)
    yield "calpha-2-spectral", recipe(LARGE, c_alpha(2, convention="spectral"), 6000)
    yield "disks-narrow", recipe(SMALL, dict(kind="disks", size=32), 6000)  # as wide as the next
    yield "disks-shuffled", recipe(SMALL, dict(kind="disks", size=32, shuffle=0), 6000)
    yield "background-2-shuffled", recipe(SMALL, c_alpha(2, **FIELDS, shuffle=0), 6000)


def halves() -> Iterator[tuple[str, dict]]:
    """The same with half the steps."""
    for name, whole in single():
        training = whole["training"]
        yield f"{name}-half", {**whole, "training": {**training, "steps": training["steps"] // 2}}


def chains() -> Iterator[tuple[str, dict]]:
    """The second architecture, for chapter 8: less than a tenth of the parameters, fewer steps."""
    for name, whole in single():
        if name in ("calpha-2", "disks", "photos"):
            yield f"{name}-bfcnn", recipe(CHAIN, whole["images"], 1500)


def pairs(name: str, images: dict, counts, steps: int = 6000) -> Iterator[tuple[str, dict]]:
    """Twins on disjoint sets of N images."""
    for n in counts:
        for subset in ("first", "second"):
            yield f"{name}-n{n}-{subset}", recipe(SMALL, dict(images, n=n, subset=subset), steps)


def reseeded(name: str, images: dict, counts=(1000, 10000)) -> Iterator[tuple[str, dict]]:
    """The twins' sets once more, with another seed of training: with the twins, two sets × two seeds."""
    for twin, whole in pairs(name, images, counts):
        yield f"{twin}-reseeded", {**whole, "training": {**whole["training"], "seed": 1}}


def queue() -> dict[str, dict]:
    """All of them, in order."""
    disks, leaves = dict(kind="disks", size=32), dict(kind="dead_leaves", size=32)
    bedrooms = {"kind": "folder", "path": "${GAHB_BEDROOMS}", "size": 40}
    few = (10, 100, 1000)
    entries = [
        *single(), *halves(), *chains(),
        *pairs("calpha-2", c_alpha(2), (1, *few, 10000)), *pairs("disks", disks, (1, *few, 10000)),
        *pairs("faces-40px", FACES, (1, *few, 10000, 22000)),
        *pairs("calpha-4", c_alpha(4), few), *pairs("leaves", leaves, few),
        *pairs("photos", dict(kind="photos", size=32), few), *pairs("bedrooms", bedrooms, (*few, 2000)),
        *reseeded("calpha-2", c_alpha(2)), *reseeded("disks", disks),
        *passes("calpha-2", c_alpha(2)), *passes("faces", FACES),
        *objectives(), *physics(), *resolution(), *paper(),
    ]
    return dict(entries)


def passes(name: str, images: dict) -> Iterator[tuple[str, dict]]:
    """At a constant rate, with records at steps in geometric progression: how long until N images are memorised."""
    steps = 30000
    at = sorted({round(100 * 2 ** (k / 2)) for k in range(40)} | {steps})
    for n in (10, 30, 100, 300, 1000, 3000):
        records = [step for step in at if step <= steps]
        yield f"{name}-passes-n{n}", recipe(SMALL, dict(images, n=n), steps, every=records, schedule="constant",
                                            polish=0.0)


def objectives(n: int = 100, steps: int = 1500) -> Iterator[tuple[str, dict]]:
    """Twins of one seed, asked for the image, for the noise that was added last, and for it with a finite bank."""
    images = dict(kind="c_alpha", size=20, alpha=2, n=n)
    asked = {
        "denoising": {"snapshots": [250, 750]},
        "increment": {"objective": "increment"},
        "bank": {"objective": "increment", "bank": 1},
    }
    for subset in ("first", "second"):
        own = dict(images, subset=subset)
        for name, training in asked.items():
            network = {"kind": "UNet", "width": 16, "depth": 2}  # 20 pixels are not divisible by 8
            yield f"calpha-2-{name}-n{n}-{subset}", recipe(network, own, steps, every=250, **training)


def physics() -> Iterator[tuple[str, dict]]:
    """Chapter 10: permeability and pressure, without the residual and with it, by its weight c and by N."""
    network, how = {**SMALL, "channels": 2}, dict(batch=8, precision="float32", compiled=False)

    def darcy(n: int, steps: int, every: int, **penalty) -> dict:
        more = {"penalty": {"residual": "darcy", **penalty}} if penalty else {}
        return recipe(network, dict(kind="darcy", size=24, n=n), steps, every=every, **how, **more)

    yield "darcy-n1000", darcy(1000, 8000, 2000)
    yield "darcy-n1000-short", darcy(1000, 1000, 1000)
    for c in (1e-8, 1e-9, 1e-10):
        for estimate in ("mean", "sample"):
            yield f"darcy-n1000-{estimate}-{c:.0e}", darcy(1000, 8000, 2000, c=c, estimate=estimate)
            if c == 1e-8:
                yield f"darcy-n1000-{estimate}-{c:.0e}-short", darcy(1000, 1000, 1000, c=c, estimate=estimate)
    yield "darcy-n30", darcy(30, 4000, 1000)
    yield "darcy-n30-mean-1e-08", darcy(30, 4000, 1000, c=1e-8, estimate="mean")


def resolution() -> Iterator[tuple[str, dict]]:
    """Chapter 11: neural fields, denoisers of pixels; not that of latents, which names the checksum of its field."""
    sizes = [20, 24, 32, 40, 48, 64, 80]
    disks, c2 = dict(kind="disks", size=20), dict(kind="c_alpha", size=20, alpha=2)
    for name, images, cell in (("disks", disks, True), ("disks-no-cell", disks, False), ("calpha-2", c2, True)):
        network = {"kind": "NeuralField", "latents": 4, "width": 32, "cell": cell}
        training = dict(steps=2500, seed=0, every=500, optimiser="muon", sizes=sizes)
        yield f"field-{name}", dict(network=network, images=images, training=training)
    how = dict(precision="float32", compiled=False)
    yield "disks-20px-equal", recipe({**SMALL, "depth": 2}, dict(kind="disks", size=20), 3200, **how)
    how |= dict(batch=16, every=350)
    yield "disks-80px-equal", recipe({**SMALL, "width": 8}, dict(kind="disks", size=80), 1050, **how)


def paper() -> Iterator[tuple[str, dict]]:
    """The paper's own size: 80×80, 7.66 million parameters, twins of 6,000 faces."""
    network = {"kind": "UNet", "width": 64, "depth": 3}
    images = {**FACES, "path": "${GAHB_FACES80}", "size": 80, "n": 5000}
    for subset in ("first", "second"):
        yield f"faces80-n5000-{subset}", recipe(network, dict(images, subset=subset), 12000)


def unset(content: dict) -> list[str]:
    """Environment variables that a recipe names and that are not set."""
    return sorted({name for name in re.findall(r"\$\{(\w+)\}", str(content)) if name not in os.environ})


def write(folder: Path) -> dict[str, Path]:
    """The recipes as files; those that wait for a folder of images are left out, with a line."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, content in queue().items():
        if missing := unset(content):
            print(f"{name} waits: {', '.join(missing)} not set", file=sys.stderr)
            continue
        files[name] = folder / f"{name}.yaml"
        lines = (f"{key}: {yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)}"
                 for key, value in content.items())
        files[name].write_text("".join(lines), encoding="utf-8")
    return files


def train_one(file: Path, out: Path, deadline: float) -> str:
    """What a worker does with one recipe; returns one line of a table."""
    import torch

    from gahb import zoo
    from gahb.training import StoppedError

    torch.set_num_threads(1)
    began = time.monotonic()
    try:
        if time.time() >= deadline:
            raise StoppedError("not begun")
        zoo.train(zoo.recipe(file), out, progress=False, until=lambda: time.time() >= deadline)
    except StoppedError as error:
        return f"{file.stem:<32} {error}"
    last = zoo.load(out).log[-1]
    psnr = " ".join(f"{value:6.2f}" for value in last["psnr"])
    return f"{file.stem:<32} {last['images']:>9,} images {time.monotonic() - began:7.0f} s  {psnr}"


def train(folder: Path, minutes: float, jobs: int, only: str | None) -> int:
    """Train what has no weights in `folder` yet, until the time is up; 1 if one failed."""
    deadline = time.time() + 60 * minutes
    files = {name: file for name, file in write(folder / "recipes").items() if only is None or re.search(only, name)}
    failed = 0
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        runs = {pool.submit(train_one, file, folder / f"{name}.safetensors", deadline): name
                for name, file in files.items() if not (folder / f"{name}.safetensors").exists()}
        for run in as_completed(runs):
            try:
                print(run.result(), flush=True)
            except Exception as error:  # the others go on
                failed += 1
                print(f"{runs[run]:<32} failed: {error}", flush=True)
    return 1 if failed else 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("list", "write", "train"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/queue"))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=1, help="networks at a time")
    parser.add_argument("--only", metavar="PATTERN", help="regular expression of names")
    arguments = parser.parse_args()
    if arguments.verb == "list":
        for name, content in queue().items():
            there = (arguments.folder / f"{name}.safetensors").exists()
            state = "trained" if there else f"waits for {', '.join(unset(content))}" if unset(content) else "to train"
            print(f"{name:<32} {content['training']['steps']:>6} steps  {state}")
        return 0
    if arguments.verb == "write":
        return 0 if write(arguments.folder) else 1
    return train(arguments.folder, arguments.minutes, arguments.jobs, arguments.only)


if __name__ == "__main__":
    sys.exit(main())
