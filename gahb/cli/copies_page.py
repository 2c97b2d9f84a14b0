"""The report of `gahb copies`: one page that needs nothing else, and the numbers behind it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from .. import __version__, figures
from ..images import StoredImages, near_duplicates
from ..measure.copies import DUPLICATE, Copies, percent

PAIRS, DUPLICATES, MOST_COPIED = 40, 12, 20  # shown on the page
INK, LINE = "#010203", "#040506"  # in the drawing, replaced by the page's own colours


@dataclass(frozen=True)
class Report:
    """What is reported of samples, training images and images held out."""

    found: Copies
    samples: StoredImages
    train: StoredImages
    held_out: StoredImages | None
    paths: dict[str, str]  # by their names on the command line
    augment: tuple[str, ...]
    within: Tensor  # (k, 2) near-duplicates inside `train`
    between: Tensor  # (l, 2) held-out images and training images that they are near-duplicates of

    @classmethod
    def of(cls, found: Copies, samples: StoredImages, train: StoredImages, held_out: StoredImages | None, *,
           paths: dict[str, str], augment: Sequence[str], progress: bool) -> Report:
        """Look for near-duplicates, too: nearer to each other than a third of the null's usual distance."""
        alike = max(DUPLICATE, 1 - found.near**2 / 2)
        both = _Joined([train, *([held_out] if held_out else [])])
        pairs = near_duplicates(both, threshold=min(alike, 0.99999), progress=progress)
        gone, stays = pairs.unbind(dim=1)
        within, between = pairs[gone < len(train)], pairs[(gone >= len(train)) & (stays < len(train))]
        between = between - torch.tensor([len(train), 0])
        return cls(found, samples, train, held_out, paths, tuple(augment), within, between)

    # ------------------------------------------------------------ numbers

    def numbers(self) -> dict:
        """What the page says, and every sample: all that report.json holds."""
        found, order = self.found, self._order()
        others = self.train if self.held_out is None else self.held_out
        rows = zip(order.tolist(), found.index[order].tolist(), found.similarity[order].tolist(),
                   found.second[order].tolist(), found.ratio[order].tolist(), found.view[order].tolist())
        return {
            "command": "gahb copies", "version": __version__, "verdict": found.verdict,
            "sets": {role: {"path": self.paths[role], "images": len(images), "remarks": images.said}
                     for role, images in self._sets().items()},
            "size": self.train.shape[2], "channels": self.train.shape[1], "augment": list(self.augment),
            "share": found.share, "interval": list(found.interval), "called": int(found.called.sum()),
            "p_value": found.p_value, "level": found.level, "threshold": found.threshold,
            "decides": found.decides, "tolerance": found.tolerance, "dimension": found.dimension,
            "null": {"from_train": found.from_train, "images": len(found.null), "similarity": found.null.tolist(),
                     "ratio": found.null_ratio.tolist(), "left_out": _named(found.leaks, others, self.train)},
            "most_copied": [{"train": self.train.names[i], "samples": count} for i, count in self._most_copied()],
            "near_duplicates": {"within_train": _named(self.within, self.train, self.train),
                                "held_out_and_train": _named(self.between, others, self.train)},
            "samples": [
                {"sample": self.samples.names[i], "train": self.train.names[j], "similarity": cosine, "second": second,
                 "ratio": ratio, "as": ("it is", *found.views)[view]}
                for i, j, cosine, second, ratio, view in rows
            ],
        }  # fmt: skip

    def _sets(self) -> dict[str, StoredImages]:
        sets = {"SAMPLES": self.samples, "TRAIN": self.train}
        return sets if self.held_out is None else {**sets, "--held-out": self.held_out}

    def _order(self) -> Tensor:
        """Samples, the most similar to a training image first."""
        return self.found.similarity.argsort(descending=True, stable=True)

    def _most_copied(self) -> list[tuple[int, int]]:
        index, counts = self.found.most_copied()
        return list(zip(index.tolist(), counts.tolist()))

    # ------------------------------------------------------------ pictures

    def figure(self) -> Figure:
        """Histograms, and the eight pairs that are most alike."""
        with matplotlib.rc_context():
            figures.use_style()
            first = self._order()[:8].tolist()
            pairs = [(self.samples[i], self.train[int(self.found.index[i])], f"{self.found.similarity[i]:.4f}")
                     for i in first]
            return figures.copies(self.found, pairs)

    def _drawing(self) -> str:
        """The histograms as SVG, in the colours of the page."""
        with matplotlib.rc_context():
            figures.use_style()
            colours = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
            matplotlib.rcParams.update({**dict.fromkeys(colours, INK), "grid.color": LINE, "svg.hashsalt": "gahb"})
            out = io.StringIO()
            figures.copies(self.found).savefig(out, format="svg", transparent=True, metadata={"Date": None})
        svg = out.getvalue()
        svg = svg[svg.index("<svg") :].replace(INK, "currentColor").replace(LINE, "var(--line)")
        label = "Two histograms: cosine with the nearest training image, and ratio of distances, of samples and others."
        return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)

    # ------------------------------------------------------------ the page

    def page(self) -> str:
        """HTML in one file."""
        style = Path(__file__).with_name("copies.css").read_text(encoding="utf-8")
        body = "\n".join([
            f"<h1>Are these samples training images?</h1>\n{self._head()}",
            self._distributions(), self._pairs(), self._repeated(), self._duplicates(), self._meaning(), self._made(),
        ])
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
            f"<title>Copies among samples</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
            "</body>\n</html>\n"
        )  # fmt: skip

    def _head(self) -> str:
        found = self.found
        low, high = found.interval
        kind = "undecided" if not found.decides else "copies" if found.p_value < 0.01 else "none"
        null = (f"{len(found.null):,} training images, each compared with all the others" if found.from_train
                else f"{len(found.null):,} images held out")
        below = float((found.null < found.similarity.median()).double().mean())
        rows = [
            ("samples called copies", f"{int(found.called.sum()):,} of {len(found.similarity):,}: "
             f"{percent(found.share)} %, 95 % interval {percent(low)} to {percent(high)} %"),
            ("if no sample were a copy", f"about {100 * found.level:g} % would be called one; so large a share would "
             f"have probability {_chance(found.p_value)}"),
            ("called a copy", f"cosine with the nearest training image above {found.threshold:.5g}"),
            ("compared with", null),
            ("the median sample", f"is more similar to a training image than {100 * below:.0f} % of these are"),
            ("a copy is recognised", f"as long as noise on it has less than {100 * found.tolerance:.2g} % of its "
             "contrast"),
            ("directions in which the images vary", f"about {found.dimension:.2g}"),
            ("near-duplicates", f"{len(self.within):,} among the {len(self.train):,} training images"
             + ("" if self.held_out is None else
                f"; {len(self.between):,} of {len(self.held_out):,} images held out are one of a training image")),
        ]  # fmt: skip
        table = "\n".join(f'<tr><th scope="row">{escape(a)}</th><td>{escape(b)}</td></tr>' for a, b in rows)
        return f'<p class="verdict {kind}">{escape(found.verdict)}</p>\n<table>\n{table}\n</table>'

    def _distributions(self) -> str:
        found = self.found
        null = "training images, each without itself" if found.from_train else "images held out"
        return (
            "<h2>How similar</h2>\n<p>Left: the cosine of each sample with the training image that is most like it, "
            "brightness and contrast removed. Right: the distance to that image, over the distance to the second one; "
            f"a copy is much nearer to one image than to any other, and has a small ratio. In blue, {null}: they "
            f"are no copies.</p>\n<figure>\n{self._drawing()}\n"
            f"<figcaption>Samples: median cosine {found.similarity.median():.3f}, median ratio "
            f"{found.ratio.median():.3f}. The {null}: {found.null.median():.3f} and {found.null_ratio.median():.3f}."
            "</figcaption>\n</figure>"
        )

    def _pairs(self) -> str:
        found, cards = self.found, []
        for i in self._order()[:PAIRS].tolist():
            j, view = int(found.index[i]), int(found.view[i])
            words = f"cosine {found.similarity[i]:.4f}, ratio {found.ratio[i]:.2f}"
            words += f", {found.views[view - 1]}" if view else ""
            mark = ' class="copy"' if found.called[i] else ""
            cards.append(f"<li{mark}>{_picture(self.samples, i, 'sample')}{_picture(self.train, j, 'training image')}"
                         f"<p>{escape(words)}</p></li>")
        return (
            f"<h2>The pairs most alike</h2>\n<p>The {len(cards)} samples that are most like a training image, each "
            "beside that image, the most similar first. Samples called copies are framed.</p>\n"
            f'<ul class="pairs">\n{"".join(cards)}\n</ul>'
        )

    def _repeated(self) -> str:
        most = self._most_copied()
        if not most:
            return "<h2>Training images copied most often</h2>\n<p>No sample is called a copy.</p>"
        cards = [f"<li>{_picture(self.train, i, 'training image')}<p>{count:,} sample{'s' * (count > 1)}</p></li>"
                 for i, count in most[:MOST_COPIED]]
        return (
            f"<h2>Training images copied most often</h2>\n<p>{len(most):,} training images have a sample that is "
            f"called a copy of them; {'these are' if len(most) <= MOST_COPIED else 'the first of them are'}:</p>\n"
            f'<ul class="singles">\n{"".join(cards)}\n</ul>'
        )

    def _duplicates(self) -> str:
        parts = ["<h2>Near-duplicates</h2>\n<p>Pairs of images, at 20×20 pixels, that are three times nearer to each "
                 "other than an image held out usually is to a training image, and correlate by more than 0.95. An "
                 "image that the training set holds several times is copied first, and the ratio of distances to its "
                 "copies says nothing. An image held out that is also in the training set would raise the threshold: "
                 f"{len(self.found.leaks):,} such images are left out of the comparison.</p>"]
        others = self.train if self.held_out is None else self.held_out
        sets = [("Inside the training set", self.within, self.train, "training image")]
        if self.held_out is not None:
            sets.append(("Between images held out and the training set", self.between, others, "held out"))
        for title, pairs, images, words in sets:
            parts.append(f"<h3>{title}: {len(pairs):,}</h3>")
            cards = [f"<li>{_picture(images, i, words)}{_picture(self.train, j, 'training image')}</li>"
                     for i, j in pairs[:DUPLICATES].tolist()]
            if cards:
                parts.append(f'<ul class="pairs">\n{"".join(cards)}\n</ul>')
        return "\n".join(parts)

    def _meaning(self) -> str:
        found, high = self.found, percent(self.found.interval[1])
        without = [name for name, word in (("mirrored", "flip"), ("shifted by a pixel", "shift"), ("cropped", "crop"))
                   if word not in self.augment]
        changes = ", ".join([*without, "turned"])
        items = [
            f"A sample above the threshold is more like one training image than {100 - 100 * found.level:g} % of "
            "images are that are certainly no copies. The share holds for samples drawn at random; of samples that a "
            "person chose it says nothing.",
            f"A copy that was {changes} or recoloured is not recognised, nor is a copied part: a face on another "
            "background, an object, a style.",
            "High similarity alone is no proof. Samples that are smoother or simpler than the images held out have "
            "higher cosines with every image. The ratio of distances tells: a copy is much nearer to one image.",
            "Where the median sample is less similar than nearly all images held out, the samples are not of this "
            "class: the model draws it badly, or they were prepared otherwise. Copies among them may be distorted, and "
            "missed.",
            f"Finding none is no proof either. Up to {high} % of the samples of this model could be copies, by the "
            "interval above; and a model that copies nothing can still reveal who was in its training set.",
            "Where images of the class vary in few directions and the training set is large, every new image has a "
            "near neighbour. Copies and new images then look alike, and no threshold separates them.",
        ]
        listed = "\n".join(f"<li>{escape(item)}</li>" for item in items)
        return f"<h2>What can be concluded, and what cannot</h2>\n<ul>\n{listed}\n</ul>"

    def _made(self) -> str:
        rows = [(role, f"{self.paths[role]}: {len(images):,} images" + (f"; {images.said}" if images.said else ""))
                for role, images in self._sets().items()]
        size, colour = self.train.shape[2], "in colour" if self.train.shape[1] == 3 else "grey"
        rows.append(("compared", f"at {size}×{size} pixels, {colour}"))
        rows.append(("also counted as the same image", ", ".join(self.augment) or "nothing"))
        rows.append(("made by", f"gahb {__version__}, gahb copies"))
        table = "\n".join(f'<tr><th scope="row">{escape(a)}</th><td>{escape(b)}</td></tr>' for a, b in rows)
        return f"<h2>How this was made</h2>\n<table>\n{table}\n</table>"


class _Joined:
    """Several sets of stored images as one."""

    def __init__(self, sets: list[StoredImages]) -> None:
        self.sets = sets
        self.shape = (sum(map(len, sets)), *sets[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Tensor:
        pieces, first = [], 0
        for images in self.sets:
            inside = slice(max(part.start - first, 0), min(max(part.stop - first, 0), len(images)))
            pieces.append(images[inside])
            first += len(images)
        return torch.cat(pieces)


def _named(pairs: Tensor, first: StoredImages, second: StoredImages) -> list[list[str]]:
    return [[first.names[i], second.names[j]] for i, j in pairs.tolist()]


def _chance(p: float) -> str:
    return "less than 0.000001" if p < 1e-6 else f"{p:.2g}"


def _picture(images: StoredImages, i: int, words: str) -> str:
    """An image as a part of the page."""
    pixels = np.ascontiguousarray(images[i].numpy().transpose(1, 2, 0).squeeze())
    out, name = io.BytesIO(), escape(images.names[i], quote=True)
    Image.fromarray(pixels).save(out, format="png", optimize=True)
    data = base64.b64encode(out.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{words} {name}" title="{name}">'
