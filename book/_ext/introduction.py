"""Sphinx extension: the two pictures of the introduction.

- `{story}`: the book in three steps, each with pictures that the package made:
  an image with noise and without, the directions in which that was done, and
  what two networks draw that saw no person in common, and what another makes of it.
- `{argument-map}`: the chapters in order, each with what it shows and what its
  claims came to. A chapter that is not in the book yet is shown without a link.

The pictures are drawn once for the networks that they are made with, and stored (`cache`).
"""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import matplotlib
import torch
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gahb import claims, figures, zoo
from gahb.book import chapters, running, starts
from gahb.jacobian.basis import adaptive_basis
from gahb.measure.memorization import twin_similarity
from gahb.sampling import sample

from .cache import PLACE, cached, code_of
from .claims_display import counted, is_check

OTHER = "photos"  # a network of the same size of pictures, from the twins' starts
DENOISER, TWINS = "calpha-2", ("faces-40px-n10000-first", "faces-40px-n10000-second")
SIGMA = 0.15
VECTORS = (0, 12, 27)  # places in the basis, of 28
FACES = 6
PIXEL = 6  # screen pixels a side, so that no browser blurs them


def tile(values: torch.Tensor, alt: str, label: str = "", signed: bool = False) -> str:
    """One image as HTML: grey in [0, 1], or signed values in the diverging colours of the figures."""
    array = values.detach().squeeze().numpy()
    if signed:
        scaled = 0.5 + 0.5 * array / abs(array).max()
        array = (matplotlib.colormaps[figures.DIVERGING](scaled)[..., :3] * 255).round().astype("uint8")
    else:
        array = (array.clip(0, 1) * 255).round().astype("uint8")
    picture, file = Image.fromarray(array), io.BytesIO()
    picture.resize([PIXEL * side for side in picture.size], Image.Resampling.NEAREST).save(file, "png", optimize=True)
    source = base64.b64encode(file.getvalue()).decode()
    caption = f"<span>{label}</span>" if label else ""
    image = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{source}">'
    return f'<span class="gahb-tile">{image}{caption}</span>'


def draw() -> str:
    """The three steps as HTML; every number in it is measured here."""
    network, twins = zoo.load(DENOISER), [zoo.load(name) for name in TWINS]
    x = zoo.recipe(DENOISER).test_images(1)
    y = x + SIGMA * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        f = network(y)
    before, after = (-10 * ((image - x) ** 2).mean().log10().item() for image in (y, f))
    basis = adaptive_basis(network, y, k=max(VECTORS) + 1)
    size = twins[0].recipe["images"]["size"]
    start = starts.of_faces(size)
    if start is None:
        raise FileNotFoundError(f"notebooks/starts holds no start for faces of {size} pixels: see tools/start.py")
    how = dict(method="ddim", start=start, progress=False)
    drawn = [sample(f, FACES, (1, size, size), **how) for f in (*twins, zoo.load(OTHER))]
    alike, null = (twin_similarity(drawn[0], other).mean().item() for other in drawn[1:])
    vectors = [
        tile(basis.eigenvectors[0, k], f"Eigenvector number {k + 1}: waves along the contour and inside both regions",
             f"λ = {basis.eigenvalues[0, k]:.2f}", signed=True)
        for k in VECTORS
    ]  # fmt: skip
    faces = [
        tile(image, f"{drawn_by} from start {number}")
        for drawn_by, images in zip(("Face drawn by the first network", "Face drawn by the second network",
                                     "What a network of photographs draws, no face,"), drawn)
        for number, image in enumerate(images, 1)
    ]
    n = f"{twins[0].recipe['images']['n']:,}"
    steps = (
        ("A denoiser", [tile(x, "A smooth dark hill before a grey sky", "<i>x</i>"),
                        tile(y, "The same picture, grainy with noise", f"<i>y</i>, σ = {SIGMA:g}"),
                        tile(f, "The hill again, clean, its contour where it was", "<i>f</i>(<i>y</i>)")],
         f"Noise is added, and a trained network removes it: from {before:.0f} to {after:.0f} dB, on a picture that "
         "it never saw. Who can do this best knows the density of pictures (chapters 1 and 2)."),
        ("Its directions", vectors,
         "Near this picture the network multiplies each of these directions by its factor λ, keeping some and "
         "shrinking others. They follow the picture’s own contour (chapter 4)."),
        ("Twins", faces,
         f"Upper rows: two networks, each trained on {n} faces, no person in common. Both start from one blurred "
         "random face, with the mean and covariance of the faces of others, under noise, and draw nearly the same "
         f"face (similarity {alike:.2f}). Much of that is the start’s: a network of photographs (lower row) makes no "
         f"face of it, and still has {null:.2f}. Chapter 3 measures what is left, and starts from grey, too."),
    )  # fmt: skip
    items = "\n".join(
        f'<li><div class="gahb-tiles">{"".join(tiles)}</div>'
        f"<p><strong>{title}.</strong> {text}</p></li>"
        for title, tiles, text in steps
    )
    return f'<div class="gahb-story" role="group" aria-label="The book in three steps"><ol>\n{items}\n</ol></div>'


class Story(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        stored = zoo.weight_files()
        read = [stored[name] for name in (DENOISER, OTHER, *TWINS)]
        read += sorted(Path(self.env.srcdir, "notebooks", "starts").iterdir())
        for path in read:
            self.env.note_dependency(str(path))
        self.env.note_dependency(__file__)
        sources = [*code_of(__file__), *read]
        drawn = cached(Path(self.env.srcdir, PLACE), "introduction", sources, lambda _: draw())
        return [nodes.raw("", drawn[1], format="html")]


class ArgumentMap(SphinxDirective):
    """Content: one line a chapter, `NUMBER | TITLE | what it shows`; of a digression `NUMBER name | …`."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        every = chapters.chapters(Path(self.env.srcdir))
        known = {str(chapter.number): chapter for chapter in reversed(every)}  # the first of a number
        known |= {f"{chapter.number} {chapter.name}": chapter for chapter in every}
        items = []
        for line in self.content:
            number, title, shows = (part.strip() for part in line.split("|"))
            items.append(self.item(known.get(number), number.split()[0], title, shows))
        text = f'<nav class="gahb-map" aria-label="Map of the argument"><ol>\n{chr(10).join(items)}\n</ol></nav>'
        return [nodes.raw("", text, format="html")]

    def item(self, chapter: chapters.Chapter | None, number: str, title: str, shows: str) -> str:
        title, counts, page = claims.inline(title), "planned", f"book/_executed/{chapter and chapter.stem}"
        said = f"<span>{title}</span>"
        if chapter and page in self.env.found_docs:
            executed = Path(self.env.srcdir) / f"{page}.ipynb"
            self.env.note_dependency(str(executed))
            uri = self.env.app.builder.get_relative_uri(self.env.docname, page)
            said = f'<a href="{uri}">{title}</a>'
            found = [claim for claim in running.claims_of(executed) if not is_check(claim)]
            counts = f"{len(found)} claims: {counted(found)}"
        return (
            f'<li><span class="gahb-number" aria-hidden="true">{number}</span>'
            f"<div>{said} <p>{claims.inline(shows)}</p><small>{counts}</small></div></li>"
        )


def setup(app: Sphinx) -> dict:
    app.add_directive("story", Story)
    app.add_directive("argument-map", ArgumentMap)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
