"""Every benchmark runs, on problems that are too small to time, and says what it compares."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

import gahb

FOLDER = Path(__file__).parent / "benchmarks"


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """The module of a benchmark; the number of threads, which it sets, is put back."""
    threads = torch.get_num_threads()
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path))

    def load(name: str, **constants):
        spec = importlib.util.spec_from_file_location(f"bench_{name}", FOLDER / f"bench_{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for constant, value in constants.items():
            assert hasattr(module, constant)
            monkeypatch.setattr(module, constant, value)
        return module

    yield load
    torch.set_num_threads(threads)


def test_every_benchmark_is_run_here():
    source = Path(__file__).read_text(encoding="utf-8")
    for path in FOLDER.glob("bench_*.py"):
        assert f'bench("{path.stem.removeprefix("bench_")}"' in source


def test_step(bench):
    """A way is timed once a step, and every step of it."""
    module = bench("step", BATCH=4, SIZE=8, WARM=1, STEPS=2)
    images = gahb.images.disks(16, 8)
    for times in (module.plain(images, "cpu"), module.ours(images, "cpu")):
        assert len(times) == 3 and times == sorted(times)
    assert module.step([0.0, 5.0, 6.0, 8.0], "cpu") == 1.5  # the first is not counted
    del module.WAYS["channels_last bfloat16 compiled"]  # test_training compiles
    module.main()


def test_images_seen(bench, capsys):
    """After few steps the paper's schedule is reached by as many images, or not at all."""
    bench("images_seen", SIZE=8, BATCH=4).main(16)
    share = re.search(r"σ = 0.02: (?:1/(\d+) of the images|not reached)", capsys.readouterr().out)
    assert share and int(share[1] or 1) <= 16


def test_recipe(bench, capsys, monkeypatch):
    """The ratio is of the time of both runs, at the first share of the steps that reaches the old error."""
    module = bench("recipe")
    found = {"adam": (20.0, 8.0), "muon": (19.0, 0.5)}
    monkeypatch.setattr(module, "run", lambda name, steps, how: (
        (20.5, 1.0) if how["optimiser"] == "muon" and steps >= 500 else found[how["optimiser"]]))
    module.main(2000)
    said = capsys.readouterr().out
    assert said.count("8.0 times less time for 20.00 dB (goal 4)") == len(module.CLASSES)
    monkeypatch.undo()
    monkeypatch.setitem(module.CLASSES, "C² images, 16×16", (8, {}, (4, 1)))
    psnr, _ = module.run("C² images, 16×16", 3, dict(optimiser="adam"))
    assert 0 < psnr < 60


def test_calpha(bench, monkeypatch):
    """Its loop has the law of `c_alpha`, as it asserts itself before it measures."""
    module = bench("calpha")
    monkeypatch.setattr(module, "seconds", lambda run, n: run() is None or 1.0)
    module.main()


def test_empirical(bench, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench_empirical.py", "1000"])
    bench("empirical", POINTS=8, SIDE=256).main()
    errors = [float(number) for number in re.findall(r"error (\d\.\de[-+]\d+)", capsys.readouterr().out)]
    assert len(errors) == 11 and max(errors) < 1e-4


def test_copies(bench, capsys):
    """A rate, and the memory of this process."""
    bench("copies", SHAPE=(3, 8, 8), SIDE=128).main(50, 1200)
    said = capsys.readouterr().out
    assert re.search(r"^50 samples, 1,200 images, .* GFLOP/s, \d+ % \(goal 70\); at most \d+\.\d\d GB held", said)


def test_sample(bench):
    """The share of time is that of the network: its calls are timed, and all images counted."""
    module = bench("sample", SHAPE=(1, 8, 8))
    timed = module.Timed(torch.nn.Identity(), False)
    timed(torch.zeros(3, 1, 8, 8))
    timed(torch.zeros(2, 1, 8, 8))
    assert timed.images == 5 and timed.seconds > 0
    module.main()


def test_basis(bench, capsys):
    """Residuals are those that were asked for."""
    torch.manual_seed(0)
    module = bench("basis", MEASURED=4)
    module.compare("small", gahb.UNet(4, 1).eval(), module.picture(16, 0.3), 4, 30)
    module.compare("dense", gahb.UNet(4, 1).eval(), module.picture(8, 0.3), None, 3)
    found = re.findall(r"tol (\S+) +\d+ products, residual (\S+)", capsys.readouterr().out)
    assert len(found) == 5 and all(float(residual) <= float(tol) for tol, residual in found)
    module.against_lobpcg("small", gahb.UNet(4, 1).eval(), module.picture(16, 0.3), 3, 1e-2)
    printed = capsys.readouterr().out
    assert max(map(float, re.findall(r"residual (\S+e-\d+)", printed))) <= 1e-2
    assert float(re.search(r"differ by (\S+e-\d+)", printed)[1]) < 1e-3


def test_two_runs(bench, capsys):
    """Of two commands that wait for each other both are running at the same time."""
    module = bench("two_runs")
    wait = "import os, time; open({0!r}, 'w').close()\nwhile not os.path.exists({1!r}): time.sleep(0.01)"
    pair = [[sys.executable, "-c", wait.format(*names)] for names in (("a", "b"), ("b", "a"))]
    assert module.seconds(zip("ab", pair)).keys() == {"a", "b"}
    with pytest.raises(SystemExit, match="failing ended with 3"):
        module.seconds([("failing", [sys.executable, "-c", "raise SystemExit(3)"])])
    module.RUNS = (("quick", [sys.executable, "-c", ""]),)
    module.main()
    assert len(re.findall(r"ratio (\d+\.\d+)", capsys.readouterr().out)) == 1


@pytest.mark.browser
def test_widgets(bench):
    """A time for every change that was asked for."""
    module = bench("widgets", CHANGES=3)
    with module.browser():  # or the test is skipped
        pass
    for widget, *change in module.cases().values():
        times = module.times(widget, *change, 3)
        assert len(times) == 3 and min(times) > 0


def test_the_patch_posterior_with_and_without_pruning(bench, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench_patches.py", "160"])
    bench("patches", SIDE=64, SIZE=16, NEAREST=5).main()
    out = capsys.readouterr().out
    away = [float(number) for number in re.findall(r"pruned .*?×, differs by (\de[-+]\d+)", out)]
    assert "C² images" in out and "disks" in out
    assert len(away) == 10 and max(away) < 1e-2 and max(away) > 0, "float32 rounds them apart, or nothing was pruned"
