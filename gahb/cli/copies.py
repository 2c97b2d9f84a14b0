"""`gahb copies`: are my samples training images?

    gahb copies samples/ train/ --out report/
    gahb copies samples.npz train.tar --held-out test/ --size 64 --colour --augment flip

Leaves a page that needs nothing else, its numbers, and a picture. What was
read lies in the cache, and the search beside the report, so that a command that
was stopped goes on.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import click

from .._files import check_writable
from .._validate import InputError, positive_int
from . import checks
from .commands import checked
from .training import GOES_ON

PAGE, NUMBERS, PICTURE, SEARCH = "index.html", "report.json", "copies.png", "unfinished.safetensors"
LARGEST = 64  # side of the images where --size does not say it


@click.command("copies")
@click.argument("samples")
@click.argument("train")
@click.option("--held-out", metavar="PATH", help="Images of the same kind that were not trained on.")
@click.option("--size", type=int, metavar="S", help=f"Side in pixels (default: that of the images, at most {LARGEST}).")
@click.option("--colour", is_flag=True, help="Compare in colour; grey otherwise.")
@click.option("--augment", multiple=True, metavar="CHANGE", help="flip, shift or crop: also counts as a copy; "
              "may be repeated, and takes 2, 9 and 6 times as long.")  # fmt: skip
@click.option("--level", type=float, default=0.01, show_default=True, metavar="L",
              help="Share of new images that may be called copies.")  # fmt: skip
@click.option("--out", default="report", metavar="FOLDER", help="Where the report goes (default: report/).")
@click.option("--device", metavar="DEVICE", help="Where to compute, such as cuda (default: cpu).")
@click.option("--force", is_flag=True, help="Replace files that are not a report of gahb copies.")
@click.option("--quiet", is_flag=True, help="No progress bar and no summary.")
@checked
def command(samples: str, train: str, held_out: str | None, size: int | None, colour: bool, augment: tuple[str, ...],
            level: float, out: str, device: str | None, force: bool, quiet: bool) -> int:  # fmt: skip
    """Say how many SAMPLES are copies of images of TRAIN.

    Each is a folder of images, an array (.npy, .npz, .pt), or a .tar archive of
    images, of any number: they are read in parts. A command that was stopped goes on
    when it is given again.
    """
    paths = {"SAMPLES": samples, "TRAIN": train, **({"--held-out": held_out} if held_out else {})}
    _check_apart(paths)
    folder = Path(out).expanduser()
    checks.outside(folder, paths)
    _check_folder(folder, force)
    _check_request(size, augment, level, device)
    check_writable(folder)
    try:
        images = _read(paths, size, 3 if colour else 1, quiet)
        _report(images, paths, folder, augment, level, device, quiet)
    except KeyboardInterrupt:
        print(GOES_ON, file=sys.stderr)
        raise
    return 0


def _check_apart(paths: dict[str, str]) -> None:
    """No set is another one, or lies inside it."""
    places = {role: Path(path).expanduser().resolve() for role, path in paths.items()}
    for role, place in places.items():
        for other, where in places.items():
            if role == other:
                continue
            if place == where:
                raise InputError(f"{role} and {other} must be different images, got {paths[role]} for both")
            if place.is_relative_to(where):
                raise InputError(f"{role} must not lie inside {other}, got {paths[role]} and {paths[other]}")


def _check_folder(folder: Path, force: bool) -> None:
    checks.folder(folder)
    present = [name for name in (PAGE, NUMBERS, PICTURE) if (folder / name).exists()]
    if present and not force and not _is_report(folder / NUMBERS):
        raise InputError(f"{folder / present[0]} is not a report of gahb copies; choose another --out, or replace it "
                         "with --force")


def _check_request(size: int | None, augment: tuple[str, ...], level: float, device: str | None) -> None:
    from ..measure.copies import check_request

    if size is not None:
        positive_int("size", size)
    check_request(augment, level, device)


def _is_report(path: Path) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("command") == "gahb copies"
    except (OSError, ValueError, AttributeError):
        return False


def _read(paths: dict[str, str], size: int | None, channels: int, quiet: bool) -> dict:
    """The images of every set, stored at one size."""
    from gahb.images.stored import natural_side, stored

    images = {}
    if size is None:
        size = min(LARGEST, *(_of(role, lambda role=role: natural_side(paths[role])) for role in ("SAMPLES", "TRAIN")))
    for role, path in paths.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # `said` tells it on a line of its own
            images[role] = _of(role, lambda path=path: stored(path, size, channels=channels, progress=not quiet))
        if images[role].said and not quiet:
            print(f"{role}: {len(images[role]):,} images; {images[role].said}", flush=True)
    return images


def _of(role: str, read: Callable):
    """What `read` returns; what is wrong is told of the argument."""
    try:
        return read()
    except (ValueError, FileNotFoundError) as error:
        raise InputError(f"{role}: {error}") from error


def _report(images: dict, paths: dict[str, str], folder: Path, augment: tuple[str, ...], level: float,
            device: str | None, quiet: bool) -> None:
    from .._files import naming, replacing
    from ..measure.copies import copies
    from .copies_page import Report

    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    search = folder / SEARCH
    sets = [images["SAMPLES"], images["TRAIN"], images.get("--held-out")]
    found = copies(*sets, augment=augment, level=level, device=device, checkpoint=search, progress=not quiet)
    report = Report.of(found, *sets, paths=paths, augment=augment, progress=not quiet)
    with replacing(folder / PICTURE) as partial:
        report.figure().savefig(partial, format="png", dpi=160)
    with replacing(folder / PAGE) as partial:
        partial.write_text(report.page(), encoding="utf-8")
    with replacing(folder / NUMBERS) as partial:
        partial.write_text(json.dumps(report.numbers(), ensure_ascii=False) + "\n", encoding="utf-8")
    search.unlink(missing_ok=True)
    if not quiet:
        print(found.verdict)
        print(folder / PAGE)
