"""Sphinx extension: the directive `{live-denoiser}` puts small networks of the zoo into the page, running.

Its place is taken by pictures of what it shows, for print and for readers
without JavaScript, and by a few lines that fetch the widget, networks
included, once it is near the screen. PSNR is measured here, on images that
neither network was trained on; of networks whose images a reader must bring
it is that of their training logs. All is stored under a hash of what it is made
of (`cache`).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import torch
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import gahb
from gahb import figures, zoo
from gahb._files import replacing
from gahb.widgets.lazy import LOADER, carried, place
from gahb.widgets.live import ALT, default_pictures, live, reduced
from gahb.zoo.recipes import LEVELS

from . import lazy_widgets
from .cache import PLACE, cached, code_of

# label in the page -> network, the larger one that it is compared with on pictures of its own size, pixels a side
NETWORKS = {"photographs": ("photos-live", "photos", 64), "C² images": ("calpha-live", "calpha-2", 40),
            "faces": ("faces-live", "faces-40", 40)}
SIGMA, PIXEL, SHOWN = 0.2, (26, 30), (0, 3, 7, 11)  # of the static picture: noise, pixel, eigenvectors
PICTURES = ("camera", "coins", "smooth on both sides of a smooth contour")
STEPS = 7  # of the diffusion, shown
HERE = Path(gahb.__file__).parent / "widgets"


def there() -> dict[str, tuple[str, str, int]]:
    """The networks that ship, by label."""
    return {label: about for label, about in NETWORKS.items() if about[0] in zoo.weight_files()}


def made(folder: Path) -> tuple[str, str]:
    """(name of the widget's file without .js, MyST of its pictures); both are put into `folder`."""
    known = there()

    def make(stem: Path) -> str:
        networks = {label: zoo.load(small) for label, (small, _, _) in known.items()}
        shown = live(
            networks, size={label: size for label, (*_, size) in known.items()}, sigma=SIGMA,
            psnr={label: compared(small, big) for label, (small, big, _) in known.items()},
        )
        lazy_widgets.write(stem.with_name(f"{stem.name}.js"), carried(shown))
        drawn = enumerate(pictures(networks, known))
        return "\n".join(picture(*about, stem.with_name(f"{stem.name}.{i}.webp")) for i, about in drawn)

    return cached(folder, "live", sources(), make)


def sources() -> list[Path]:
    """What numbers, pictures and the widget are made of: code, networks, and their recipes."""
    wanted = [name for small, big, _ in NETWORKS.values() for name in (small, big)]
    files = [found[name] for found in (zoo.weight_files(), zoo.recipe_files()) for name in wanted if name in found]
    shown = [path for path in sorted(HERE.glob("*.*s")) if path != LOADER]
    return [*files, *shown, *code_of(__file__)]


def compared(small: str, big: str) -> dict[str, tuple]:
    """PSNR by noise level of both networks: label -> (sigmas, dB)."""
    curves = {}
    for name, label in ((small, "this network"), (big, None)):
        if name not in zoo.weight_files():
            continue
        network = zoo.load(name)
        size = sum(p.numel() for p in network.parameters())
        if zoo.recipe(small).images["kind"] == "folder":  # the reader may not have it
            psnr = network.log[-1]["psnr"]
        else:
            psnr = gahb.psnr_curve(network, zoo.recipe(small).test_images(64), LEVELS).psnr.tolist()
        curves[label or f"{name}, {size / 1e6:.2f} million"] = (LEVELS, psnr)
    return curves


def pictures(networks: dict, known: dict):
    """(figure, alt, caption) of what the widget shows: denoising, seen from inside, and the diffusion."""
    label, network = next(iter(networks.items()))
    x = torch.stack([reduced(default_pictures()[name], known[label][2])[None] for name in PICTURES])
    y = x + SIGMA * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    basis = gahb.adaptive_basis(network, y, k=max(SHOWN) + 1)
    filters = gahb.adaptive_filters(network, y, pixels=[PIXEL])[:, 0]
    with torch.no_grad():
        f = network(y)

    def unit(picture):
        return (picture / picture.abs().flatten().quantile(0.995)).clamp(-1, 1)

    inside = [[unit(filters[i]), *(unit(basis.eigenvectors[i, k]) for k in SHOWN)] for i in range(len(x))]
    rows = [[x[i], y[i], f[i], *inside[i]] for i in range(len(x))]
    titles = ["clean", "noisy", "denoised", "filter", *(f"$e_{{{k + 1}}}$" for k in SHOWN)]
    captions = [["", "", "", "", *(f"λ = {basis.eigenvalues[i, k]:.3f}" for k in SHOWN)] for i in range(len(x))]
    yield (
        figures.image_grid(rows, titles, signed=range(3, 4 + len(SHOWN)), captions=captions),
        f"Three pictures in rows: clean, with noise of σ = {SIGMA:g}, denoised, a pixel's filter, four eigenvectors.",
        f"What the widget shows, for a network of {parameters(network)} parameters: pictures, with noise of "
        f"σ = {SIGMA:g}, denoised; the filter of the pixel in row {PIXEL[0] + 1}, column {PIXEL[1] + 1}; eigenvectors "
        "of the symmetric part of its Jacobian. Each is on a scale of its own; blue is negative.",
    )
    label, network = list(networks.items())[-1]
    path = []  # on the schedule of noise levels, which comes to its end for any network
    gahb.sample(
        network, 1, (1, known[label][2], known[label][2]), seed=1, h=0.2, beta=0.05, blind=False, progress=False,
        callback=lambda step, images, sigma, y, x_hat: path.append((float(sigma), y[0], x_hat[0])),
    )
    steps = [path[round(k * (len(path) - 1) / (STEPS - 1))] for k in range(STEPS)]
    yield (
        figures.image_grid(list(zip(*steps))[1:], [f"σ = {sigma:.2g}" for sigma, *_ in steps], ["y", "f(y)"]),
        f"Seven steps of the reverse diffusion in columns, from noise to a picture: y above, f(y) below ({label}).",
        f"The reverse diffusion, from noise to a picture ({label}): above y, on its way; below f(y).",
    )


def parameters(network: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()):,}"


def picture(figure, alt: str, caption: str, path: Path) -> str:
    with matplotlib.rc_context(), replacing(path) as partial:
        figure.savefig(partial, format="webp", dpi=200, pil_kwargs=dict(lossless=True))
    width = round(96 * figure.get_figwidth())
    return f":::{{figure}} /{PLACE}/{path.name}\n:alt: {alt}\n:width: {width}px\n\n{caption}\n:::\n"


class LiveDenoiser(SphinxDirective):
    """The widget, and its pictures where it does not run."""

    def run(self) -> list[nodes.Node]:
        known = there()
        if not known:
            waiting = ", ".join(f"`{small}`" for small, *_ in NETWORKS.values())
            words = f"It is not here yet: {waiting} have a recipe, but are not trained."
            return [nodes.paragraph("", "", *self.state.inline_text(words, self.lineno)[0])]
        with matplotlib.rc_context():
            figures.use_style()
            key, text = made(Path(self.env.srcdir, PLACE))
        holder = nodes.container(classes=["gahb-live-page"])
        holder += nodes.raw("", place(lazy_widgets.address(self.env.docname, key), ALT), format="html")
        self.state.nested_parse(StringList(text.splitlines(), "live"), self.content_offset, holder)
        return [holder]


def outdated(app: Sphinx, env, added, changed, removed) -> list[str]:
    """Pages with the widget are read again when a network or the widget's own files have changed, come or gone."""
    paths = {LOADER, *sources(), *HERE.glob("*.*")}
    about = sorted((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths if p.is_file())
    before, env.gahb_live = getattr(env, "gahb_live", None), about
    return ["book/live"] if about != before and "book/live" in env.found_docs else []


def setup(app: Sphinx) -> dict:
    app.setup_extension(lazy_widgets.__name__)  # brings the widget's file to the pages
    app.add_directive("live-denoiser", LiveDenoiser)
    app.connect("env-get-outdated", outdated)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
