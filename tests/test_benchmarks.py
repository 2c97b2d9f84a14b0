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


def ratios(printed: str, pattern: str) -> list[float]:
    return [float(number) for number in re.findall(pattern, printed)]


def test_every_benchmark_is_run_here():
    source = Path(__file__).read_text(encoding="utf-8")
    for path in FOLDER.glob("bench_*.py"):
        assert f'bench("{path.stem.removeprefix("bench_")}"' in source


def test_step(bench, capsys):
    module = bench("step", BATCH=4, SIZE=8, WARM=1, STEPS=2)
    del module.WAYS["channels_last bfloat16 compiled"]  # test_training compiles
    module.main()
    assert len(found := ratios(capsys.readouterr().out, r"ratio (\d+\.\d+)")) == 2 and min(found) > 0


def test_images_seen(bench, capsys):
    bench("images_seen", SIZE=8, BATCH=4).main(16)
    printed = capsys.readouterr().out
    assert "paper" in printed and re.search(r"σ = 0.02: (1/\d+ of the images|not reached)", printed)


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


def test_calpha(bench, capsys, monkeypatch):
    """Its reference has the law of `c_alpha`, which it asserts; half its goal here, where other tests run beside it."""
    module = bench("calpha")
    timed, repeats = module.seconds, []
    monkeypatch.setattr(module, "seconds", lambda run, n: repeats.append(n) or timed(run, 1))
    module.main()
    assert repeats == [5, 9] and ratios(capsys.readouterr().out, r"ratio (\d+\.\d)")[0] > 2.5


def test_empirical(bench, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench_empirical.py", "1000"])
    bench("empirical", POINTS=8, SIDE=256).main()
    printed = capsys.readouterr().out
    errors = ratios(printed, r"error (\d\.\de[-+]\d+)")
    assert len(errors) == 11 and max(errors) < 1e-4


def test_sample(bench, capsys):
    bench("sample", SHAPE=(1, 8, 8)).main()
    assert len(ratios(capsys.readouterr().out, r"ratio (\d+\.\d+)")) == 3


def test_basis(bench, capsys):
    torch.manual_seed(0)
    module = bench("basis", MEASURED=4)
    module.compare("small", gahb.UNet(4, 1).eval(), module.picture(16, 0.3), 4, 30)
    module.compare("dense", gahb.UNet(4, 1).eval(), module.picture(8, 0.3), None, 3)
    printed = capsys.readouterr().out
    assert printed.count("ours") == 4 and printed.count("tol ") == 5
    module.against_lobpcg("small", gahb.UNet(4, 1).eval(), module.picture(16, 0.3), 3, 1e-2)
    printed = capsys.readouterr().out
    assert max(ratios(printed, r"residual (\S+e-\d+)")) <= 1e-2 and ratios(printed, r"differ by (\S+e-\d+)")[0] < 1e-3


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
    assert len(ratios(capsys.readouterr().out, r"ratio (\d+\.\d+)")) == 1
