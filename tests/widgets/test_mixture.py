"""The mixture widget: what Python checks, what JavaScript computes, what a notebook keeps."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import traitlets
from nbclient import NotebookClient

import gahb
from gahb.widgets import MixtureWidget, mixture

LINE = np.outer([0.8, 0.6], [0.8, 0.6])
WEIGHTS = [0.4, 0.3, 0.2, 0.1]
MEANS = [[-1.6, 1.2], [1.2, -1.1], [1.2, 1.6], [-1.8, -1.4]]
COVARIANCES = [
    [[0.35, 0.2], [0.2, 0.3]],
    (1.3 * LINE).tolist(),
    [[0.25, -0.1], [-0.1, 0.15]],
    [[0, 0], [0, 0]],
]
CASES = [  # y, sigma: between components, on the line, at the point, far away, little and much noise
    *[((0.1, 0.3), sigma) for sigma in (0.05, 0.3, 1.0, 5.0)],
    ((1.6, -0.8), 0.1), ((-1.8, -1.4), 0.02), ((-1.7, -1.3), 0.5), ((40.0, -60.0), 0.5), ((0.0, 0.0), 100.0),
]  # fmt: skip


def reference(y, sigma):
    """Dense linear algebra, straight from the formulas."""
    y, identity = np.array(y), np.eye(2)
    logs, means, spreads = [], [], []
    for w, mu, c in zip(WEIGHTS, np.array(MEANS), np.array(COVARIANCES)):
        noisy = c + sigma**2 * identity
        away = y - mu
        logdet = np.linalg.slogdet(2 * np.pi * noisy)[1]
        logs.append(np.log(w) - 0.5 * (away @ np.linalg.solve(noisy, away) + logdet))
        means.append(mu + c @ np.linalg.solve(noisy, away))
        spreads.append(c - c @ np.linalg.solve(noisy, c))
    logp = np.logaddexp.reduce(logs)
    r = np.exp(np.array(logs) - logp)
    mean = sum(rk * m for rk, m in zip(r, means))
    second = sum(rk * (s + np.outer(m - mean, m - mean)) for rk, s, m in zip(r, spreads, means))
    score = (mean - y) / sigma**2
    return {"logp": logp, "mean": mean, "score": score, "covariance": second, "responsibilities": r}


def float64(**options) -> list[torch.Tensor]:
    return [torch.tensor(v, dtype=torch.float64, **options) for v in (WEIGHTS, MEANS, COVARIANCES)]


@pytest.fixture(scope="module")
def node() -> str:
    beside = Path(sys.executable).with_name("node")  # where the wheel of PyPI puts it
    found = shutil.which("node") or (str(beside) if beside.exists() else None)
    if found is None:
        pytest.skip("no node on this machine: the widget's numbers can't be computed outside a browser")
    return found


@pytest.fixture(scope="module")
def javascript(node, tmp_path_factory):
    """Evaluate an expression with the widget's own module as `m` and this file's mixture as `mix`."""
    folder = tmp_path_factory.mktemp("esm")
    source = Path(gahb.__file__).parent / "widgets" / "mixture.js"
    shutil.copy(source, folder / "mixture.mjs")

    def evaluate(expression: str):
        script = (
            f'import * as m from "{(folder / "mixture.mjs").as_uri()}";'
            f"const mix = m.prepare({json.dumps(WEIGHTS)}, {json.dumps(MEANS)}, {json.dumps(COVARIANCES)});"
            f"console.log(JSON.stringify({expression}));"
        )
        done = subprocess.run(
            [node, "--input-type=module", "-e", script],
            capture_output=True, encoding="utf-8", timeout=600, check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return evaluate


@pytest.fixture(scope="module")
def computed(javascript):
    return javascript(f"{json.dumps(CASES)}.map(([y, sigma]) => m.posterior(mix, y, sigma))")


@pytest.mark.parametrize("case", range(len(CASES)))
def test_javascript_equals_dense_formulas(computed, case):
    y, sigma = CASES[case]
    for name, value in reference(y, sigma).items():
        np.testing.assert_allclose(computed[case][name], value, rtol=1e-9, atol=1e-9, err_msg=name)


def test_javascript_equals_the_package(computed):
    optimal = gahb.GaussianMixture(*float64())
    for (y, sigma), got in zip(CASES, computed):
        mean = optimal(torch.tensor([y], dtype=torch.float64), sigma)[0]
        np.testing.assert_allclose(got["mean"], mean, rtol=1e-9, atol=1e-9)


def test_jacobian_and_its_summaries(computed):
    for (_, sigma), got in zip(CASES, computed):
        jacobian = np.array(got["jacobian"])
        np.testing.assert_allclose(jacobian, np.array(got["covariance"]) / sigma**2, rtol=1e-12)
        values, vectors = np.linalg.eigh(jacobian)
        np.testing.assert_allclose(got["eigenvalues"], values[::-1], rtol=1e-9, atol=1e-12)
        if values[1] - values[0] > 1e-6:
            assert abs(vectors[:, 1] @ got["axis"]) == pytest.approx(1, abs=1e-9)
        assert got["trace"] == pytest.approx(values.sum(), rel=1e-12)
        assert got["mse"] == pytest.approx(np.trace(got["covariance"]), rel=1e-12)
        assert values[0] > -1e-12  # a covariance


def test_score_and_jacobian_by_finite_differences(javascript):
    h = 1e-5
    cases = [((0.1, 0.3), 0.5), ((1.6, -0.8), 0.3), ((-1.7, -1.3), 0.4)]
    for y, sigma in cases:
        points = [list(np.array(y) + sign * h * axis) for axis in np.eye(2) for sign in (1, -1)]
        at, *around = javascript(f"{json.dumps([y, *points])}.map((y) => m.posterior(mix, y, {sigma}))")
        logp, mean = (np.array([p[name] for p in around]) for name in ("logp", "mean"))
        np.testing.assert_allclose(at["score"], (logp[::2] - logp[1::2]) / (2 * h), rtol=1e-6, atol=1e-6)
        slopes = (mean[::2] - mean[1::2]).T / (2 * h)
        np.testing.assert_allclose(at["jacobian"], slopes, rtol=1e-6, atol=1e-6)


def test_a_point_has_no_dimension_and_a_line_has_one(javascript):
    # J of one Gaussian is C (C + σ²)⁻¹: 0 across a manifold, near 1 along it when σ is small
    for covariance, dimensions in ((np.zeros((2, 2)), 0), (LINE, 1), (np.eye(2), 2)):
        mix = f"m.prepare([1], [[0.5, 0.5]], [{json.dumps(covariance.tolist())}])"
        got = javascript(f"m.posterior({mix}, [1, 0.2], 1e-3)")
        assert got["trace"] == pytest.approx(dimensions, abs=1e-5)


def test_density_grid(javascript):
    extent, nx, ny, sigma = (-3.0, 3.0, -2.0, 2.5), 7, 5, 0.4
    grid = f"m.logDensity(mix, {sigma}, {list(extent)}, {nx}, {ny})"
    got = javascript(f"(({{ values, max }}) => [[...values], max])({grid})")
    x = extent[0] + (extent[1] - extent[0]) * (np.arange(nx) + 0.5) / nx
    y = extent[3] - (extent[3] - extent[2]) * (np.arange(ny) + 0.5) / ny  # from the top
    want = [reference((a, b), sigma)["logp"] for b in y for a in x]
    np.testing.assert_allclose(got[0], want, rtol=1e-9)
    at_means = [reference(mean, sigma)["logp"] for mean in MEANS]
    assert got[1] == pytest.approx(max(want + at_means), rel=1e-9)


# ------------------------------------------------------------------ Python side


def test_takes_lists_arrays_tensors_and_mixtures():
    lists = mixture(WEIGHTS, MEANS, COVARIANCES)
    arrays = mixture(np.array(WEIGHTS), np.array(MEANS), np.array(COVARIANCES))
    tensors = mixture(*float64(requires_grad=True))
    denoiser = gahb.GaussianMixture(*float64())
    for widget in (arrays, tensors, mixture(denoiser)):
        for name in ("weights", "means", "covariances", "extent", "sigma_range", "y"):
            np.testing.assert_allclose(getattr(widget, name), getattr(lists, name), rtol=1e-12, err_msg=name)
    assert isinstance(lists, MixtureWidget)


def test_single_precision_is_accepted():
    as_float32 = [np.array(v, dtype=np.float32) for v in (WEIGHTS, MEANS, COVARIANCES)]
    widget = mixture(*as_float32)
    assert sum(widget.weights) == pytest.approx(1, abs=1e-15)


def test_default_extent_holds_everything():
    widget = mixture(WEIGHTS, MEANS, COVARIANCES, y=(9.0, 0.0))
    left, right, bottom, top = widget.extent
    assert right - left == pytest.approx(top - bottom)
    assert left < 9 < right
    for mean, covariance in zip(MEANS, COVARIANCES):
        reach = 2.5 * np.sqrt(np.diag(covariance))
        assert left < mean[0] - reach[0] and mean[0] + reach[0] < right
        assert bottom < mean[1] - reach[1] and mean[1] + reach[1] < top
    single = mixture([1.0], [[2.0, 3.0]], np.zeros((1, 2, 2)))
    assert single.extent == [1, 3, 2, 4]


def test_sigma_starts_inside_its_slider():
    for sigma in (1e-3, 0.5, 50.0):
        low, high = mixture(WEIGHTS, MEANS, COVARIANCES, sigma=sigma).sigma_range
        assert 0 < low <= sigma <= high


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": []}, ValueError, r"weights must be a sequence of at least one number, got \[\]"),
        ({"weights": [0.5] * 4}, ValueError, r"weights must be positive and sum to 1, got \[0.5, 0.5"),
        ({"weights": [1.2, -0.2, 0, 0]}, ValueError, r"weights must be positive .*, got \[1.2, -0.2"),
        ({"weights": "abcd"}, ValueError, r"weights must be numbers of shape \(4,\), got 'abcd'"),
        ({"means": MEANS[:3]}, ValueError, r"means must have shape \(4, 2\), got shape \(3, 2\)"),
        ({"means": np.full((4, 2), np.nan)}, ValueError, r"means must be finite, got \[\[nan"),
        ({"means": None}, TypeError, r"means must be given too"),
        ({"covariances": None}, TypeError, r"covariances must be given too"),
        ({"means": None, "covariances": None}, TypeError, r"weights must come with .* got a list alone"),
        ({"covariances": np.ones((4, 2))}, ValueError, r"covariances must have shape \(4, 2, 2\), got"),
        ({"covariances": [[[1, 0.5], [0, 1]]] * 4}, ValueError, r"must be symmetric .* at index 0"),
        ({"covariances": [*COVARIANCES[:3], [[1, 2], [2, 1]]]}, ValueError, r"semidefinite.* at index 3"),
        ({"sigma": 0}, ValueError, r"sigma must be positive and finite, got 0"),
        ({"sigma": float("nan")}, ValueError, r"sigma must be positive and finite, got nan"),
        ({"sigma": "much"}, ValueError, r"sigma must be a positive number, got 'much'"),
        ({"y": (1, 2, 3)}, ValueError, r"y must have shape \(2,\), got shape \(3,\)"),
        ({"y": (np.inf, 0)}, ValueError, r"y must be finite, got \[inf, 0.0\]"),
        ({"extent": (0, 1)}, ValueError, r"extent must have shape \(4,\), got shape \(2,\)"),
        ({"extent": (1, 0, 0, 1)}, ValueError, r"extent must be \(left, right, .*, got \[1.0, 0.0"),
    ],
)
def test_bad_input_is_named(change, error, message):
    arguments = {"weights": WEIGHTS, "means": MEANS, "covariances": COVARIANCES} | change
    with pytest.raises(error, match=message):
        mixture(**arguments)


def test_traits_can_be_set_and_are_checked():
    widget = mixture(WEIGHTS, MEANS, COVARIANCES)
    widget.sigma, widget.y = 0.2, [1, 2]
    assert (widget.sigma, widget.y) == (0.2, [1.0, 2.0])
    with pytest.raises(ValueError, match="sigma must be positive"):
        widget.sigma = -1
    with pytest.raises(ValueError, match="y must have shape"):
        widget.y = [1.0]
    with pytest.raises(traitlets.TraitError, match="means"):
        widget.means = [[0.0, 0.0]]


def test_an_executed_notebook_keeps_the_widget():
    source = (
        "from gahb.widgets import mixture\n"
        "widget = mixture([1.0], [[0.0, 0.0]], [[[1.0, 0.0], [0.0, 0.0]]], y=(0.5, 1.5))\n"
        "widget.sigma = 0.25\n"
        "widget"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=6000, kernel_name="python3").execute()
    kept = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    (state,) = [widget["state"] for widget in kept if "covariances" in widget["state"]]
    assert state["covariances"] == [[[1, 0], [0, 0]]]
    assert (state["sigma"], state["y"]) == (0.25, [0.5, 1.5])
    assert "export default" in state["_esm"] and ".gahb-mixture" in state["_css"]
    output = notebook.cells[0].outputs[-1].data
    assert "application/vnd.jupyter.widget-view+json" in output
