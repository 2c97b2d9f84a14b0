"""How long a reader waits for a widget: milliseconds from a change to the picture, in headless Chromium.

    python tests/benchmarks/bench_widgets.py

Goal: 100 ms. The least and the median of many changes are printed: whatever
else the machine does only adds to a time.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import torch

import gahb
from gahb.widgets import frames, live, mixture

sys.path.insert(0, str(Path(__file__).parents[1] / "widgets"))
from bare_page import browser, opened, served

CHANGES = 40
# sets a trait as a kernel or a slider would, and waits until the task after the next frame: the widget has drawn
TIMED = """async ([name, values, changes]) => {
    const times = [];
    for (let n = 0; n < changes; n++) {
        const began = performance.now();
        model.set(name, values[n % values.length]);
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        times.push(performance.now() - began);
    }
    return times;
}"""


def cases() -> dict:
    """Widgets by name, each with the trait that is changed and its values."""
    eye = torch.eye(2)
    pictures = gahb.images.disks(20, 64).numpy()
    torch.manual_seed(0)
    network = gahb.UNet(11, 2).eval()
    return {
        "mixture, noise level": (mixture([0.5, 0.5], [[-1.0, 0], [1, 0]], [0.3 * eye, 0.1 * eye]), "sigma", [0.3, 0.4]),
        "frames, picture": (frames(pictures, {"k": range(20)}, alt="disks"), "value", [[k] for k in range(20)]),
        "live denoiser of 64×64 pixels": (live({"untrained": network}, size=64), "sigma", [0.1, 0.2]),
    }


def times(widget, name: str, values: list, changes: int) -> list[float]:
    """Milliseconds, one a change."""
    with (
        tempfile.TemporaryDirectory() as folder,
        browser() as chrome,
        served(widget, Path(folder)) as address,
        opened(chrome, address) as page,
    ):
        page.wait_for_function("!document.querySelector('.gahb-live:not([data-ready])')")
        return page.evaluate(TIMED, [name, values, changes])


def main() -> None:
    for name, (widget, *change) in cases().items():
        took = times(widget, *change, CHANGES)
        print(f"{name}: {min(took):.1f} ms at best, {statistics.median(took):.1f} ms in the median")


if __name__ == "__main__":
    main()
