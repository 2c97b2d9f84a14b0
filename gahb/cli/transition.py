"""`gahb transition`: at how many images does a class of one's own generalise?

    gahb transition photographs/
    gahb transition faces/ --size 40 --counts 10 100 1000 10000 --groups persons.txt --minutes 240 --jobs 2

Two disjoint sets of N images are drawn from the folder for each N, and a
network is trained on each. Chapter 3 is then run on these twins. The networks
are kept in the cache (`GAHB_CACHE`), so that a second call goes on where the
first ended, and `gahb rerun transition -p image_folder FOLDER` finds them.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter

import click

from .._files import check_writable, replacing
from .._validate import InputError
from ..book import chapters
from ..book.running import glued
from . import checks, rerun
from .commands import in_words_of_the_command
from .training import GOES_ON, UNFINISHED, Deadline, train


class _Spread(click.Command):
    """A command whose `--counts` takes several numbers: `--counts 10 100` is `--counts 10 --counts 100`."""

    def parse_args(self, context: click.Context, words: list[str]) -> list[str]:
        spread, inside = [], False
        for word in words:
            if word == "--counts":
                inside, before = True, len(spread)
                continue
            if inside and word.lstrip("-").isdigit():
                spread += ["--counts", word]
                continue
            if inside and len(spread) == before:  # no number followed: click says so
                spread.append("--counts")
            inside = False
            spread.append(word)
        if inside and len(spread) == before:
            spread.append("--counts")
        return super().parse_args(context, spread)


@click.command("transition", cls=_Spread)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--size", default=32, metavar="S", show_default=True, help="Side of the pictures in pixels.")
@click.option("--counts", type=int, multiple=True, metavar="N...", help="Sizes of the sets (default: 10 100 1000).")
@click.option("--minutes", type=float, default=60, metavar="M", show_default=True,
              help="Stop training after M minutes; the same command goes on.")
@click.option("--groups", type=click.Path(path_type=Path), metavar="FILE",
              help="Lines NAME GROUP: no group (person, scene) is in two sets.")
@click.option("--steps", type=int, metavar="K", help="Steps of each training (default: 6000).")
@click.option("--jobs", default=1, metavar="J", show_default=True, help="Networks trained side by side.")
@click.option("--profile", default="book", metavar="NAME", help="Of the chapter: smoke, book (the default) or paper.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), metavar="FOLDER",
              help="Where page, networks and claims go (default: runs/).")
@click.option("--force", is_flag=True, help="Replace files that are not results of gahb rerun.")
@click.option("--quiet", is_flag=True, help="No progress bar of the chapter and no summary.")
def command(folder: Path, size: int, counts: tuple[int, ...], minutes: float, groups: Path | None, steps: int | None,
            jobs: int, profile: str, out: Path, force: bool, quiet: bool) -> int:
    """Say at how many images the class of a FOLDER's images generalises.

    Trains twins, two networks on disjoint sets of N images, for each N, and
    runs chapter 3 on them. It needs a clone of the book and the packages that
    run chapters: pip install 'gahb[book]'. Exit code 3: time was up, and the same
    command goes on.
    """
    clone = checks.clone_and_extra("gahb transition", rerun.PACKAGES)
    if jobs < 1:
        raise InputError(f"--jobs must be at least 1, got {jobs}")
    until = Deadline.after(minutes)
    chapters.profile_values(clone, profile, chapters.find(clone, "transition"))
    checks.folder(out.expanduser())
    checks.outside(out, {"FOLDER": folder})
    try:
        recipes, left_over = _recipes(folder, size, counts, groups, steps)
    except (ValueError, OSError) as error:
        raise InputError(in_words_of_the_command(error)) from error
    from gahb.zoo import twins

    def chapter_on(counts: list[int]) -> rerun.Run:
        given = {"image_folder": str(folder), "image_size": size, "counts": counts, **_shares(left_over)}
        return rerun.prepare("transition", given, profile, out, force)

    every = _counts(recipes)
    for some in range(2, len(every) + 1):  # whichever of them time allows
        chapter_on(every[:some])
    check_writable(out.expanduser())
    twins.keep(recipes)
    try:
        return _train_and_run(recipes, jobs, until, minutes, chapter_on, out.expanduser(), quiet)
    except KeyboardInterrupt:
        print(GOES_ON, file=sys.stderr)
        raise


def _train_and_run(recipes: Sequence, jobs: int, until: Deadline, minutes: float,
                   chapter_on: Callable[[list[int]], rerun.Run], out: Path, quiet: bool) -> int:
    """Train what is not there yet, and run the chapter on all N whose two networks are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* images read from ")  # said once, before
        _tell(recipes, jobs, minutes)
        done, left, failed = train(recipes, f"local:{jobs}" if jobs > 1 else None, until)
    if failed:
        return 1
    complete = [n for n in _counts(recipes) if {r.name for r in recipes if r.images["n"] == n} <= set(done)]
    if len(complete) < 2:
        print(f"the chapter needs twins for two N; trained so far: {', '.join(map(str, complete)) or 'none'}")
        return UNFINISHED
    _copy(done, out / "networks")
    notebook = chapter_on(complete)(quiet)
    print(glued(notebook, "crossing_text"))
    return UNFINISHED if left else 0


def _recipes(folder: Path, size: int, counts: Sequence[int], groups: Path | None, steps: int | None):
    """Recipes of all twins, checked before any is trained; and how many images no set takes, for the largest N."""
    from gahb import images
    from gahb.zoo import twins

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        n = len(images.folder(folder, size))
    print("\n".join(str(warning.message) for warning in said) or f"{n} images read from {folder}", flush=True)
    chosen = twins.counts_for(n, counts or None)
    more = {} if steps is None else {"steps": steps}
    recipes = twins.of_folder(folder, size, chosen, groups=groups, **more)
    for recipe in recipes:
        recipe.check()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is skipped was said above
        left_over = len(recipes[-1].test_images(1 << 40))
    if left_over < twins.HELD:
        raise ValueError(f"groups leave {left_over} images for the test beside two sets of {chosen[-1]}, and "
                         f"{twins.HELD} are needed: a smaller N in --counts leaves more")
    return recipes, left_over


def _counts(recipes: Sequence) -> list[int]:
    return sorted({recipe.images["n"] for recipe in recipes})


def _tell(recipes: Sequence, jobs: int, minutes: float) -> None:
    """Say what is trained and how long it will take here, by some steps of the first network that is not yet there."""
    from gahb import zoo

    new = [recipe for recipe in recipes if not zoo.available(recipe.name)]
    sets = ", ".join(f"{n:,}" for n in _counts(recipes))
    before = len(recipes) - len(new)
    print(f"twins for N = {sets}: {len(recipes)} networks, {before} of them trained before", flush=True)
    if not new:
        return
    steps = new[0].training["steps"]
    each = steps * _seconds_a_step(new[0]) / 60
    total = each * -(-len(new) // jobs)
    longer = " or more" * (jobs > 1)  # they share the cores
    print(f"{len(new)} networks of {steps:,} steps: about {each:.1f} minutes each{longer}, {total:.0f} in all; "
          f"training stops after {minutes:g} minutes (--minutes)", flush=True)


def _seconds_a_step(recipe) -> float:
    """The median of some steps, the first of which compile."""
    from gahb.training import StoppedError

    times: list[float] = []

    def enough() -> bool:
        times.append(perf_counter())
        return len(times) > 12

    with suppress(StoppedError):
        recipe.train(progress=False, until=enough)
    return median(b - a for a, b in zip(times[3:], times[4:])) if len(times) > 5 else 0.0


def _copy(files: dict[str, Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        with replacing(folder / f"{name}.safetensors") as copy:
            shutil.copyfile(path, copy)


def _shares(n: int) -> dict[str, int]:
    """How the chapter shares out the n images outside of the sets, where they are fewer than it asks for."""
    n_eval = min(256, n // 4)
    return {"n_eval": n_eval, "n_class": min(4000, n - 2 * n_eval)} if n < 4512 else {}
