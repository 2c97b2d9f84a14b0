"""Training by several processes: the same network as one process makes, killed or not.

`torchrun` runs this file as a script too: see `main`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed._functional_collectives
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

import gahb
from gahb import training, zoo
from gahb.cli import main as command
from gahb.denoisers import networks
from gahb.training.batches import draw
from gahb.training.processes import from_leader, leads, team
from gahb.zoo import recipes

SETTINGS = dict(steps=20, batch=8, seed=3, every=4, polish=0.3, optimiser="adam", learning_rate=3e-3, progress=False)
TINY = dict(network={"kind": "UNet", "width": 4, "depth": 1}, images={"kind": "disks", "size": 8},
            training={"steps": 20, "batch": 4, "every": 5, "snapshots": [10]})
LOW = "BFCNN, a set, bfloat16"  # its compilation takes a sixth of a UNet's
COMPILED = f"{LOW}, compiled"  # as the recipes that ship
KILLED = 10  # step; the last checkpoint before it is of step 8


def stream(n: int, start: int) -> torch.Tensor:
    return gahb.images.disks(n, 8, start=start)


def dying(n: int, start: int) -> torch.Tensor:
    """The same images; at one step the second process is killed as it asks for them."""
    if start == KILLED * SETTINGS["batch"] + n:
        os.kill(os.getpid(), signal.SIGKILL)
    return stream(n, start)


def network(kind: str = "UNet", dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    torch.manual_seed(0)
    return (gahb.UNet(4, 1) if kind == "UNet" else gahb.BFCNN(4, 4)).to(dtype)


def fits(compiled: bool = False) -> dict[str, tuple[dict, list]]:
    """Weights and log of each kind of run; one is made compiled too if asked for, where there is a compiler."""
    images, out = stream(24, 10**6), {}
    for name, given, source, more in (
        ("UNet, a stream", network(), stream, {}),
        ("BFCNN, a set, never polished", network("BFCNN"), images, dict(polish=0)),
        ("UNet, Muon", network(), stream, dict(optimiser="muon", frozen_after=12)),
        (LOW, network("BFCNN", torch.float32), images, dict(precision="bfloat16")),
        (COMPILED, network("BFCNN", torch.float32), images, dict(precision="bfloat16", compiled=True)),
    ):
        if name == COMPILED and not (compiled and training.compiler()):
            continue
        log: list[dict] = []
        gahb.fit(given, source, log=log, monitor=lambda n: {"eval": not n.training}, **SETTINGS | more)
        out[name] = given.state_dict(), log
    return out


def main(folder: Path) -> None:
    """What a process of `torchrun` does: the first time it trains until one is killed, the second it goes on."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "`torch.jit.script_method` is deprecated", DeprecationWarning)  # torch.compile's
    if not (folder / "killed").exists():
        results = fits(compiled=True)
        gahb.fit(network(), stream, checkpoint=folder / "whole", **SETTINGS)
        torch.save(results, folder / f"fits-{team().global_rank}.pt")
        with pytest.raises(ValueError, match="batch must be a multiple of the 2 processes of torchrun, got 7"):
            gahb.fit(network(), stream, **SETTINGS | dict(batch=7))
        with pytest.raises(ValueError, match=r"images\(n, start\) must return n = 4 images, got 8"):
            gahb.fit(network(), lambda n, start: stream(8, 0), **SETTINGS)
        assert from_leader(team().global_rank) == 0 and leads() == (team().global_rank == 0)
        gahb.fit(network(), dying, checkpoint=folder / "killed", **SETTINGS)
        raise AssertionError("nobody was killed")
    gahb.fit(network(), stream, checkpoint=folder / "killed", **SETTINGS)
    assert command(["zoo", "train", *map(str, sorted(folder.glob("*.yaml")))]) == 0
    assert command(["zoo", "train", str(folder / "tiny.yaml"), "--executor", "local:2"]) == 2


def step(checkpoint: Path) -> int:
    with safe_open(checkpoint, "pt") as file:
        return int(file.metadata()["step"])


# --- from here on, one process ---------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What two processes leave: they train, one is killed, both are started again and train two recipes."""
    pytest.importorskip("lightning_fabric", reason="needs the extra [cluster]")
    folder = tmp_path_factory.mktemp("torchrun")
    for name, seed in (("other", 1), ("tiny", 0)):
        recipe = {**TINY, "training": {**TINY["training"], "seed": seed}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GAHB_CACHE": str(folder / "cache")}
    for killed in (True, False):
        done = subprocess.run(
            [*torchrun, __file__, folder], env={**os.environ, **environment}, capture_output=True, text=True
        )
        assert (done.returncode != 0) == ("SIGKILL" in done.stderr) == killed, done.stderr[-5000:]
        assert step(folder / "killed") == (8 if killed else SETTINGS["steps"])
    (folder / "out").write_text(done.stdout)
    return folder


def apart(a: dict, b: dict) -> float:
    """Largest difference, relative to the largest weight of its tensor."""
    assert a.keys() == b.keys()
    return max(float((a[key] - b[key]).abs().max() / a[key].abs().max()) for key in a)


TOLERANCE = {LOW: 3e-2, COMPILED: 6e-2}  # what is compiled rounds less often to bfloat16


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first to ask for `folder`
def test_two_processes_train_what_one_trains(folder):
    """To rounding, compiled or not; each of them ends with the very same bits, running deviations included."""
    here, (first, second) = fits(), (torch.load(folder / f"fits-{rank}.pt") for rank in (0, 1))
    if training.compiler():
        here[COMPILED] = here[LOW]
    assert here.keys() == first.keys() == second.keys()
    for name, (weights, log) in here.items():
        assert apart(weights, first[name][0]) < TOLERANCE.get(name, 1e-9), name
        assert all(torch.equal(first[name][0][key], value) for key, value in second[name][0].items()), name
        losses = [[entry["loss"] for entry in entries] for entries in (log, first[name][1], second[name][1])]
        assert losses[1] == losses[2] and losses[0] == pytest.approx(losses[1], rel=TOLERANCE.get(name, 1e-6)), name
        assert [entry.get("eval") for entry in first[name][1]] == [True] * len(log)
        assert not any("eval" in entry for entry in second[name][1])  # measured by the first only


@pytest.mark.slow
def test_a_killed_process_costs_nothing(folder):
    """Both start again from the first one's checkpoint, and end with the bits of the uninterrupted run."""
    whole, resumed = (load_file(folder / name) for name in ("whole", "killed"))
    assert step(folder / "whole") == step(folder / "killed") == SETTINGS["steps"]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole) and len(whole) > 10
    # what two began one goes on with, to rounding; here after the last step
    again = gahb.fit(network(), stream, checkpoint=folder / "killed", **SETTINGS)
    assert all(torch.equal(whole[f"network.{key}"], value) for key, value in again.state_dict().items())


@pytest.mark.slow
def test_recipes_by_two_processes(folder):
    """Said once, trained once, and as one process trains them, to the rounding of float16; snapshots too."""
    said = [line for line in (folder / "out").read_text().splitlines() if line.startswith(("tiny", "other"))]
    place = folder / "cache" / "zoo"
    assert {path.suffix for path in place.iterdir()} <= {".safetensors", ".lock"}
    for line, name in zip(said, ("other", "tiny"), strict=True):
        recipe = recipes.read(folder / f"{name}.yaml")
        assert line == f"{name}: {place / recipe.hash}.safetensors"
        zoo.train(recipe, folder / f"alone-{name}.safetensors", progress=False)
        for at, last in (("", 20), ("@10", 10)):
            stems = folder / f"alone-{name}", place / recipe.hash
            alone, two = (zoo.load(f"{stem}{at}.safetensors") for stem in stems)
            assert apart(alone.state_dict(), two.state_dict()) < 2e-3
            assert [entry["step"] for entry in two.log] == list(range(5, last + 1, 5))
            assert all("psnr" in entry for entry in two.log)
    assert (folder / "cache" / "zoo").is_dir() and len(list(place.glob("*.safetensors"))) == 4


def test_deviations_are_those_of_the_whole_batch(monkeypatch):
    """From the variances and means of shares, however far the means lie apart."""
    h = torch.randn(6, 3, 4, 4, dtype=torch.float64) + 5 * torch.randn(6, 3, 1, 1, dtype=torch.float64)
    moments = []
    for share in h.split(2):
        over = dict(dim=(0, 2, 3), keepdim=True)
        moments.append(torch.cat([share.var(unbiased=False, **over), share.mean(**over)]))
    collectives = torch.distributed._functional_collectives
    monkeypatch.setattr(collectives, "all_gather_single_autograd", lambda *_: torch.stack(moments), raising=False)
    found = networks._of_all(*moments[0].split(1))
    torch.testing.assert_close(found, h.var(dim=(0, 2, 3), keepdim=True, unbiased=False), rtol=1e-12, atol=0)


def test_shares_make_up_the_batch():
    for images in (stream(24, 10**6), stream):
        whole = draw(images, 12, (0.01, 1.0), 5, 9)
        parts = [draw(images, 12, (0.01, 1.0), 5, 9, rank=rank, processes=3) for rank in range(3)]
        for given, shares in zip(whole, zip(*parts)):
            assert torch.equal(given, torch.cat(shares))


def test_a_checkpoint_that_not_all_see_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training.course, "from_leader", lambda first: 16)
    with pytest.raises(ValueError, match="checkpoint must be one file that all processes see, got .*here at step 16 in "
                                         "the first process and 0 in process 0"):
        gahb.fit(network(), stream, checkpoint=tmp_path / "here", **SETTINGS)


def test_alone_nothing_of_it_is_imported():
    script = ("import sys, torch, gahb; from gahb.training.processes import from_leader, leads, team; "
              "assert team() is None and leads() and from_leader(3) == 3; print('lightning_fabric' in sys.modules)")
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert out.stdout == "False\n"


def test_fabric_is_asked_for_by_name_where_it_is_missing(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(ImportError, match=r"torchrun needs the extra \[cluster\]: .*: lightning_fabric\)"):
        team.__wrapped__()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
