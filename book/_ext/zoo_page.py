"""Sphinx extension: the directive `{zoo}` shows the networks that ship, from their files.

For every class of images: what was trained, on what and for how long, PSNR by
noise level, learning curves, and pictures. What has been drawn is stored under
a hash of the weights (`cache`), so that only a class whose networks have
changed is drawn again.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch
from docutils import nodes
from docutils.statemachine import StringList
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gahb import figures, zoo
from gahb._files import replacing
from gahb.sampling import sample
from gahb.zoo import twins
from gahb.zoo.recipes import CLASSES, LEVELS, SCALES

from .cache import PLACE, cached

TITLES = {"c_alpha": r"$C^\alpha$ images", "disks": "Disks", "dead_leaves": "Dead leaves", "photos": "Photographs",
          "darcy": "Darcy flow"}  # fmt: skip
NOISE = 0.2  # of the pictures
SHOWN = 8  # networks side by side
PICTURES = 6  # at least, in a row
NO_BETTER = 0.3  # dB: samples are shown of networks that denoise their training images by no more better than others


@dataclass(frozen=True)
class Entry:
    """One trained network of the zoo."""

    name: str
    network: torch.nn.Module

    @property
    def images(self) -> dict:
        return self.network.recipe["images"]

    @property
    def log(self) -> list[dict]:
        return self.network.log

    @property
    def brought(self) -> bool:
        """Whether the images are the reader's own: they are never shown."""
        return self.images["kind"] == "folder"

    @property
    def title(self) -> str:
        if "latents" in self.images:
            title = TITLES[self.images["kind"]]
            return f"Latents of {title[0].lower()}{title[1:]}"
        if not self.brought:
            return TITLES[self.images["kind"]]
        return re.sub(r"\W", "", Path(self.images["path"]).name).removeprefix("GAHB_").replace("_", " ").capitalize()

    @property
    def finite(self) -> bool:
        return "n" in self.images

    @property
    def place(self) -> tuple:
        """Order on the page: classes, then fresh images before finite sets, first sets before second, by size."""
        about = self.images
        finite = about.get("subset", ""), self.network.recipe["network"]["kind"] != "UNet", about.get("n", 0)
        return list(CLASSES).index(about["kind"]), self.title, self.finite, finite, self.name

    @property
    def trained_on(self) -> str:
        about, words = self.images, []
        if "alpha" in about:
            words.append(f"α = {about['alpha']:g}")
        if about.get("contour") is False:
            words.append("background only")
        if about.get("convention") == "spectral":
            words.append("spectral convention")
        if self.finite:
            words.append(f"N = {about['n']:,}, {about.get('subset', 'first')} set")
        if "shuffle" in about:
            words.append("pixels shuffled")
        if "more" in about:
            words.append("patches of scikit-image’s photographs and BSDS500")
        return ", ".join(words) or ("the folder" if self.brought else "fresh images")

    @property
    def built_of(self) -> str:
        about, size = self.network.recipe["network"], sum(p.numel() for p in self.network.parameters())
        if about["kind"] == "UNet":
            shape = f"UNet of width {about.get('width', 64)} and depth {about.get('depth', 3)}"
        else:
            shape = f"BF-CNN of {about.get('layers', 21)} layers and width {about.get('width', 64)}"
        latents, side = self.images.get("latents"), self.images["size"]
        grid = f"latents of `{latents['field']}`" if latents else f"{side}×{side} pixels"
        return f"{shape} ({size / 1e6:.2f} million parameters), {grid}"

    def psnr(self) -> list[float]:
        """By noise level, on test images of the class: the log's last entry."""
        return self.log[-1]["psnr"]

    def gaps(self) -> list[float]:
        """PSNR of training images less that of others, by noise level; empty where every step saw fresh ones."""
        last = self.log[-1]
        return [own - other for own, other in zip(last.get("train_psnr", ()), last["psnr"])]

    def test_images(self, n: int) -> torch.Tensor:
        return zoo.recipe(self.name).test_images(n)


def entries() -> list[Entry]:
    """The package's networks and the chapters', in the page's order; snapshots of a run are not shown by themselves."""
    return sorted((Entry(name, network) for name, network in stored().items()), key=lambda entry: entry.place)


def stored() -> dict[str, torch.nn.Module]:
    """The package's networks and the chapters' by name, without the snapshots along a run; each is read once."""
    whole = sorted((name, path) for name, path in zoo.weight_files().items() if "@" not in name)
    return {name: _read(name, path, path.stat().st_mtime_ns) for name, path in whole}


@cache
def _read(name: str, path: Path, changed: int) -> torch.nn.Module:
    return zoo.load(name)


def is_field(entry: Entry) -> bool:
    """Whether it is a neural field, and no denoiser."""
    return entry.network.recipe["network"]["kind"] == "NeuralField"


def fields_section(group: list[Entry]) -> str:
    """Words and a table of neural fields."""
    side = group[0].images["size"]
    head = ["field", "images", "side of a pixel", "images seen", "wall minutes", *(f"{side * k}" for k in SCALES)]
    rows = [head, ["---"] * 3 + ["--:"] * (len(head) - 3)]
    for entry in group:
        last, told = entry.log[-1], entry.network.recipe["network"].get("cell", True)
        rows.append([
            f"`{entry.name}`", f"{TITLES[entry.images['kind']]}, {entry.trained_on}", "told" if told else "not told",
            f"{last['images']:,}", f"{last['seconds'] / 60:.0f}", *(f"{value:.1f}" for value in last["render_psnr"]),
        ])
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        "## Neural fields\n\nAutoencoders whose latent grid is rendered at any size (chapter 11); no denoisers.\n\n"
        f":::{{table}} Neural fields: PSNR in dB of held-out images, encoded at {side} pixels and rendered at "
        f"{', '.join(str(side * k) for k in SCALES)}.\n:class: gahb-zoo\n\n{body}\n:::\n"
    )


def page(folder: Path) -> str:
    """The page's sections as MyST; pictures are put into `folder`."""
    parts, every = [], entries()
    denoisers, fields = ([entry for entry in every if is_field(entry) is kind] for kind in (False, True))
    for title, of_class in groupby(denoisers, lambda entry: entry.title):
        parts.append(f"## {title}\n")
        parts += [section(title, list(group), folder) for _, group in groupby(of_class, lambda entry: entry.finite)]
    if fields:
        parts.append(fields_section(fields))
    ours = {name for name, path in zoo.recipe_files().items() if path.parent != twins.kept()}
    waiting = ours - zoo.weight_files().keys()
    if waiting:
        parts.append(f"## Recipes without weights\n\n`gahb zoo train NAME` trains one: {listed(waiting)}.\n")
    return "\n".join(parts)


def listed(names: set[str]) -> str:
    """Names in code; those of a transition, NAME-nN-SUBSET, in one."""
    families: dict[str, list[int]] = {}
    for name in names:
        family, n, subset = re.fullmatch(r"(.*?)(?:-n(\d+)-(\w+))?", name).groups()
        families.setdefault(f"{family}-nN-{subset}" if n else family, []).extend([int(n)] if n else [])
    return "; ".join(
        f"`{family}`" + (f", N = {', '.join(f'{n:,}' for n in sorted(numbers))}" if numbers else "")
        for family, numbers in sorted(families.items(), key=lambda item: (bool(item[1]), item[0]))
    )


def section(title: str, group: list[Entry], folder: Path) -> str:
    """Words, table and pictures of one group; as they were if nothing has changed."""
    slug = "zoo-" + re.sub(r"\W+", "-", title.lower()).strip("-") + ("-finite" if group[0].finite else "")
    stored = zoo.weight_files()
    drawing = sorted(Path(figures.__file__).parent.glob("*.py"))
    sources = [*(stored[entry.name] for entry in group), Path(__file__), *drawing]

    def make(stem: Path) -> str:
        return "\n".join([words(group), table(title, group), *pictures(title, group, stem)])

    return cached(folder, slug, sources, make)[1]


def words(group: list[Entry]) -> str:
    built = [name for name, _ in groupby(sorted(entry.built_of for entry in group))]
    lines = [f"{built[0]}." if len(built) == 1 else "; ".join(built) + "."]
    if group[0].finite:
        lines.append("Each network was trained on N images again and again.")
    shown, snapshots = {entry.name for entry in group}, [name.partition("@") for name in zoo.weight_files()]
    steps = {int(step) for name, _, step in snapshots if step and name in shown}
    if steps:
        listed = ", ".join(f"{step:,}" for step in sorted(steps))
        lines.append(f"Kept as they were along the way, too, as `NAME@STEP`: after {listed} steps.")
    return " ".join(lines) + "\n"


def table(title: str, group: list[Entry]) -> str:
    several = len({entry.built_of for entry in group}) > 1
    gap = [f"gap, {NOISE:g}"] if any(entry.gaps() for entry in group) else []
    head = ["network", "trained on", "images seen", "wall minutes", *(f"{sigma:g}" for sigma in LEVELS), *gap]
    rows = [head, ["---", "---", *["--:"] * (len(head) - 2)]]
    for entry in group:
        last, psnr = entry.log[-1], entry.psnr()
        made = f" ({entry.built_of.partition(' (')[0]})" if several else ""
        numbers = [f"{value:.1f}" for value in psnr]
        if gap:
            numbers.append(f"{entry.gaps()[LEVELS.index(NOISE)]:.2f}".replace("-", "−") if entry.gaps() else "")
        time = [f"{last['images']:,}", f"{last['seconds'] / 60:.0f}"]
        rows.append([f"`{entry.name}`", entry.trained_on + made, *time, *numbers])
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    caption = f"{title}: PSNR in dB of held-out images at noise levels σ from {LEVELS[0]:g} to {LEVELS[-1]:g}."
    if gap:
        caption += f" Gap: how much higher that of training images is, at σ = {NOISE:g}."
    return f":::{{table}} {caption}\n:class: gahb-zoo\n\n{body}\n:::\n"


def pictures(title: str, group: list[Entry], stem: Path) -> list[str]:
    with matplotlib.rc_context():
        figures.use_style()
        matplotlib.rcParams["axes.titlesize"] = 8
        shown = [learning_curves(title, group)]
        made = [e for e in group if not e.brought and e.images.get("subset", "first") == "first"]
        safe = [e for e in group if e.brought and max(e.gaps(), default=math.inf) <= NO_BETTER]
        shown += [denoised(title, made[k : k + SHOWN]) for k in range(0, len(made), SHOWN)]
        shown += [samples(title, safe[k : k + SHOWN]) for k in range(0, len(safe), SHOWN)]
        texts = []
        for k, (figure, alt, caption) in enumerate(shown):
            path = stem.with_name(f"{stem.name}.{k}.png")
            with replacing(path) as partial:
                figure.savefig(partial, format="png")
            place = f"/{PLACE}/{path.name}"
            width = round(96 * figure.get_figwidth())
            texts.append(f":::{{figure}} {place}\n:alt: {alt}\n:width: {width}px\n\n{caption}\n:::\n")
    return texts


def learning_curves(title: str, group: list[Entry]) -> tuple[Figure, str, str]:
    """Small multiples: PSNR of held-out images against images seen, a curve for each noise level."""
    rows = -(-len(group) // 5)
    columns = -(-len(group) // rows)
    width = min(7.2, 1.8 + 1.8 * columns)
    size = (width, 1.6 * rows + 0.8)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    colours = [matplotlib.colormaps[figures.DENSITY](0.9 * k / (len(LEVELS) - 1)) for k in range(len(LEVELS))]
    for axis, entry in zip(axes.flat, group):
        seen = [line["images"] / 1000 for line in entry.log]
        for k, sigma in enumerate(LEVELS):
            axis.plot(seen, [line["psnr"][k] for line in entry.log], color=colours[k], lw=1.2, label=f"σ = {sigma:g}")
            if "train_psnr" in entry.log[-1]:
                axis.plot(seen, [line["train_psnr"][k] for line in entry.log], "--", color=colours[k], lw=1)
        axis.set_title(entry.name)
        axis.set(xlim=(0, None))
        axis.tick_params(labelsize=7.5)
    for axis in axes.flat[len(group) :]:
        axis.set_visible(False)
    figure.supxlabel("images seen, in thousands", fontsize=9)
    figure.supylabel("PSNR (dB)", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    columns = len(LEVELS) // (1 if width > 6 else 2)
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, fontsize=8, handlelength=1.2)
    plt.close(figure)
    last = "; ".join(f"{e.name} {e.log[-1]['psnr'][LEVELS.index(0.1)]:.1f} dB" for e in group)
    what = "PSNR by noise level against images seen"
    dashed = " Dashed: images of the training set." if any("train_psnr" in e.log[-1] for e in group) else ""
    return (
        figure, f"Learning curves: {what}. At the end, at σ = 0.1: {last}.",
        f"{title}, learning curves: {what}, of held-out images.{dashed}",
    )


@torch.no_grad()
def denoised(title: str, group: list[Entry]) -> tuple[Figure, str, str]:
    """Held-out images of each network's class, clean, noisy, and what the network makes of them."""
    rows, labels = ([], [], []), []
    each = max(1, PICTURES // len(group))
    for entry in group:
        x = entry.test_images(each)
        y = x + NOISE * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        for row, images in zip(rows, (x, y, entry.network(y))):
            row.extend(images if images.shape[1] in (1, 3) else images[:, :1])
        labels += [short(entry.name), *[""] * (each - 1)]
    figure = figures.image_grid(rows, labels if len(group) > 1 else (), ["clean", "noisy", "denoised"],
                                width=min(7.2, 1.1 * len(labels)))
    alt = f"Three rows: clean images, the same with noise, and denoised by {', '.join(names(group))}."
    channel = " The first of the channels." if "latents" in group[0].images else ""
    channel = " Of permeability and pressure, the former." if group[0].images["kind"] == "darcy" else channel
    return figure, alt, f"{title}: held-out images, with noise of σ = {NOISE:g}, and denoised.{channel}"


def samples(title: str, group: list[Entry]) -> tuple[Figure, str, str]:
    """Images drawn from each network; none of a training set is shown."""
    each, columns = max(1, PICTURES // len(group)), []
    for entry in group:
        shape = (1, entry.images["size"], entry.images["size"])
        drawn = sample(entry.network, 2 * each, shape, method="ddim", progress=False)
        columns += [(drawn[k], drawn[k + each], "" if k else short(entry.name)) for k in range(each)]
    first, second, labels = zip(*columns)
    figure = figures.image_grid([first, second], labels if len(group) > 1 else (), width=min(7.2, 1.1 * len(columns)))
    alt = f"Two rows of images sampled from {', '.join(names(group))}."
    return figure, alt, f"{title}: images sampled from the networks (DDIM, 30 steps)."


def names(group: list[Entry]) -> list[str]:
    return [entry.name for entry in group]


def short(name: str) -> str:
    """What tells a network from the others of its group, in the width of a picture."""
    if finite := re.search(r"-n(\d+)-(\w+)$", name):
        return f"N = {int(finite[1]):,}" + ("" if finite[2] == "first" else f", {finite[2]}")
    return name if len(name) <= 12 else name.replace("-", "-\n", 1)


class Zoo(SphinxDirective):
    """The sections of the page, parsed as the page's own text."""

    def run(self) -> list[nodes.Node]:
        text = page(Path(self.env.srcdir, PLACE))
        holder = nodes.section()
        self.state.nested_parse(StringList(text.splitlines(), "zoo"), self.content_offset, holder, match_titles=True)
        return holder.children


def outdated(app: Sphinx, env, added, changed, removed) -> list[str]:
    """The page is read again when a file of the zoo has changed, come or gone."""
    files = [*zoo.weight_files().values(), *zoo.recipe_files().values()]
    about = sorted((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    before, env.gahb_zoo = getattr(env, "gahb_zoo", None), about
    return ["book/zoo"] if about != before else []


def setup(app: Sphinx) -> dict:
    app.add_directive("zoo", Zoo)
    app.connect("env-get-outdated", outdated)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
