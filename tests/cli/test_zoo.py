"""Recipes trained once, killed and resumed; and `gahb zoo` from a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

from gahb import zoo
from gahb.cli import main, training
from gahb.training import checkpoint
from gahb.zoo import recipes

TINY = dict(
    network={"kind": "UNet", "width": 4, "depth": 1},
    images={"kind": "disks", "size": 8},
    training={"steps": 20, "batch": 4, "seed": 0, "every": 5},
)


def write(folder: Path, name: str = "tiny", **changes) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({key: {**TINY[key], **changes.get(key, {})} for key in TINY}))
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Where recipes trained in this test are kept."""
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "zoo"


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """A zoo with nothing in it."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(zoo, "folders", lambda: [folder])
    return folder


def content(path) -> tuple[dict, list, dict]:
    """Recipe, log without times, and weights."""
    with safe_open(path, "pt") as file:
        metadata, weights = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    log = [{k: v for k, v in entry.items() if k != "seconds"} for entry in json.loads(metadata["log"])]
    return json.loads(metadata["recipe"]), log, weights


def same(a, b) -> bool:
    (recipe, log, weights), (other, other_log, other_weights) = content(a), content(b)
    return (
        (recipe, log) == (other, other_log)
        and weights.keys() == other_weights.keys()
        and all(torch.equal(weights[key], other_weights[key]) for key in weights)
    )


# --- train, once ------------------------------------------------------------------------------


def test_train_and_load(cache, tmp_path, monkeypatch):
    recipe = recipes.read(write(tmp_path))
    path = zoo.train(recipe, progress=False)
    assert path == cache / f"{recipe.hash}.safetensors"
    assert {p.suffix for p in cache.iterdir()} <= {".safetensors", ".lock"}  # no checkpoint is left
    network = zoo.load(path)
    assert network.recipe | dict(made_with=None) == dict(TINY, name="tiny", made_with=None)
    assert network.log[-1]["step"] == 20 and network.log[-1]["images"] == 80
    assert len(network.log[-1]["psnr"]) == len(recipes.LEVELS)
    trained = recipe.train(progress=False)
    for a, b in zip(network.state_dict().values(), trained.state_dict().values()):
        assert torch.equal(a, b.half().float())
    # a second time, or under another name, it is only read
    monkeypatch.setattr(recipes.Recipe, "train", lambda *_, **__: pytest.fail("trained again"))
    assert zoo.train(recipes.read(write(tmp_path, "renamed")), progress=False) == path
    assert torch.equal(next(zoo.load(recipe).parameters()), next(network.parameters()))


def test_a_failed_run_leaves_nothing_that_looks_finished(cache, tmp_path, monkeypatch):
    recipe = recipes.read(write(tmp_path))

    def fails(*_, **__):
        raise FloatingPointError("loss is nan")

    with monkeypatch.context() as patch:
        patch.setattr(recipes.Recipe, "train", fails)
        with pytest.raises(FloatingPointError, match="loss is nan"):
            zoo.train(recipe, progress=False)
    assert not list(cache.glob("*.safetensors"))
    assert zoo.train(recipe, progress=False).is_file()  # and the lock is free


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
ONE = """
import sys, time
from pathlib import Path
from gahb import zoo
from gahb.zoo import recipes

train = recipes.Recipe.train

def counted(self, **keywords):
    with open(sys.argv[2] + "/trained", "a") as file:
        file.write(self.name + "\\n")
    return train(self, **keywords)

recipes.Recipe.train = counted
recipe = recipes.read(sys.argv[1])
Path(sys.argv[2], "ready-" + sys.argv[3]).touch()
while not Path(sys.argv[2], "go").exists():
    time.sleep(0.002)
print(zoo.train(recipe, progress=False))
"""


def start(recipe: Path, folder: Path, who: str, cache: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", ONE, recipe, folder, who],
        env={**ENVIRONMENT, "GAHB_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process: subprocess.Popen) -> bool:
    """Whether the condition came to hold while the process ran."""
    while process.poll() is None:
        if condition():
            return True
        time.sleep(0.001)
    return False


def test_two_processes_train_a_recipe_once(tmp_path):
    recipe = write(tmp_path, training={"steps": 200})
    pair = [start(recipe, tmp_path, who, tmp_path / "cache") for who in "ab"]
    try:
        for process, who in zip(pair, "ab"):
            assert wait_for((tmp_path / f"ready-{who}").exists, process), process.communicate()
        (tmp_path / "go").touch()
        out = [process.communicate() for process in pair]
    finally:
        for process in pair:
            process.kill()
    assert [process.returncode for process in pair] == [0, 0], out
    assert out[0][0] == out[1][0] and Path(out[0][0].strip()).is_file()
    assert (tmp_path / "trained").read_text() == "tiny\n"


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_bits(tmp_path):
    """kill -9 just after the first checkpoint, and again when the polish has begun."""
    recipe = write(tmp_path, training={"steps": 300, "every": 10, "polish": 0.5})
    (tmp_path / "go").touch()
    whole = start(recipe, tmp_path, "whole", tmp_path / "whole")
    checkpoint = tmp_path / "cache" / "zoo" / f"{recipes.read(recipe).hash}.checkpoint"

    def step() -> int:
        try:
            with safe_open(checkpoint, "pt") as file:
                return int(file.metadata()["step"])
        except FileNotFoundError:
            return 0

    killed_at = []
    for least in (1, 160):
        process = start(recipe, tmp_path, "killed", tmp_path / "cache")
        try:
            assert wait_for(lambda least=least: step() >= least, process), process.communicate()
        finally:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        for left in checkpoint.parent.glob(".*.scratch"):  # if it was writing; the next writer removes old ones
            os.utime(left, (0, 0))
        killed_at.append(step())
        assert not list(checkpoint.parent.glob("*.safetensors"))
    assert killed_at == sorted(set(killed_at)) and killed_at[0] > 0 and killed_at[-1] < 300, killed_at
    last = start(recipe, tmp_path, "last", tmp_path / "cache")
    out = [process.communicate() for process in (last, whole)]
    assert (last.returncode, whole.returncode) == (0, 0), out
    paths = [Path(stdout.strip()) for stdout, _ in out]
    assert paths[0] != paths[1] and same(*paths)
    assert {p.suffix for p in checkpoint.parent.iterdir()} <= {".safetensors", ".lock"}
    assert (tmp_path / "trained").read_text().count("tiny") == 4


@pytest.mark.parametrize("n", [None, 6])
@pytest.mark.parametrize("saved", [True, False], ids=["after its checkpoint", "before it"])
def test_snapshots_are_the_run_stopped_there(cache, tmp_path, monkeypatch, n, saved):
    """Stopped at step 10, just after or just before that step's checkpoint; then resumed; then once more in one go."""
    images = {"n": n} if n else {}
    recipe = recipes.read(write(tmp_path, images=images, training={"snapshots": [5, 10]}))
    save = checkpoint.save

    def stops(*state):
        if saved or state[4] < 10:
            save(*state)
        if state[4] == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", stops)
        with pytest.raises(KeyboardInterrupt):
            zoo.train(recipe, progress=False)
    names = {step: f"{recipe.hash}@{step}.safetensors" for step in (5, 10)}
    assert {path.name for path in cache.glob("*.safetensors")} == set(names.values())
    with safe_open(cache / f"{recipe.hash}.checkpoint", "pt") as file:
        at = 5 + 5 * saved
        stopped = {key[8:]: file.get_tensor(key) for key in file.keys() if key.startswith("network.")}
        assert file.metadata()["step"] == str(at)
    _, _, kept = content(cache / names[at])
    assert kept.keys() == stopped.keys() and all(torch.equal(kept[key], stopped[key].half()) for key in kept)
    for step, name in names.items():
        _, log, _ = content(cache / name)
        assert [entry["step"] for entry in log] == list(range(5, step + 1, 5))
        assert all(len(entry["psnr"]) == len(recipes.LEVELS) for entry in log)
        assert all(len(entry.get("train_psnr", ())) == (len(recipes.LEVELS) if n else 0) for entry in log)
    assert not same(cache / names[5], cache / names[10])
    zoo.train(recipe, progress=False)  # the next one has another checkpoint, and leaves none
    zoo.train(recipe, tmp_path / "whole.safetensors", progress=False)
    for at in ("", "@5", "@10"):
        assert same(cache / f"{recipe.hash}{at}.safetensors", tmp_path / f"whole{at}.safetensors")
    assert not list(tmp_path.glob("*.checkpoint"))


def test_a_recipe_is_looked_for_in_the_cache_then_in_what_ships(shipped, cache, tmp_path, monkeypatch):
    recipe = recipes.read(write(shipped))
    zoo.train(recipe, shipped / "tiny.safetensors", progress=False)
    other = recipes.read(write(tmp_path, training={"seed": 1}))  # of the same name
    kept = zoo.load(zoo.train(other, progress=False))
    monkeypatch.setattr(recipes.Recipe, "train", lambda *_, **__: pytest.fail("trained again"))
    assert zoo.load(recipe).recipe["training"]["seed"] == 0 and len(list(cache.glob("*.safetensors"))) == 1
    assert zoo.load(other).recipe == kept.recipe
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        zoo.load(recipes.read(write(tmp_path, training={"seed": 2})))


# --- the commands -----------------------------------------------------------------------------


def test_list(shipped, cache, capsys):
    assert main(["zoo", "list"]) == 0 and capsys.readouterr().out == ""
    write(shipped, "waiting")
    zoo.train(recipes.read(write(shipped)), shipped / "tiny.safetensors", progress=False)
    assert main(["zoo", "list"]) == 0
    parameters = sum(p.numel() for p in zoo.load("tiny").parameters())
    assert capsys.readouterr().out.splitlines() == [
        f"tiny                 {parameters / 1e6:.2f} M parameters, 80 images seen",
        "waiting              not trained (gahb zoo train waiting)",
    ]
    write(shipped, "a-name-of-more-than-twenty")
    assert main(["zoo", "list"]) == 0
    assert {line.index("not trained") for line in capsys.readouterr().out.splitlines() if "not" in line} == {27}


def test_list_what_is_stored(cache, capsys):
    assert main(["zoo", "list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == sorted({path.stem for folder in zoo.folders() for path in folder.iterdir()})
    assert {"photos", "disks-20"} <= set(listed)  # of the package, of the chapters


def test_show(shipped, cache, capsys):
    path = write(shipped)
    for name in ("tiny", str(path)):
        assert main(["zoo", "show", name]) == 0
        said = capsys.readouterr().out
        assert yaml.safe_load(said) == TINY and said.endswith(f"# not trained yet: gahb zoo train {name}\n")
    zoo.train(recipes.read(path), shipped / "tiny.safetensors", progress=False)
    for name in ("tiny", str(shipped / "tiny.safetensors")):
        assert main(["zoo", "show", name]) == 0
        said = capsys.readouterr().out
        log = zoo.load("tiny").log[-1]
        assert f"trained for 80 images, {log['seconds']:.0f} s\n" in said
        assert f"  σ = 0.5   PSNR {log['psnr'][-1]:.2f} dB\n" in said
        assert yaml.safe_load(said.split("trained for")[0])["training"] == TINY["training"]


def test_a_network_of_ones_own_is_found_again(shipped, cache, tmp_path, capsys, monkeypatch):
    """By its recipe's file, and by its own file under any name."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "my")
    assert main(["zoo", "train", "my.yaml"]) == 0
    kept = Path(capsys.readouterr().out.removeprefix("my: ").strip())
    monkeypatch.setattr(recipes.Recipe, "train", lambda *_, **__: pytest.fail("trained again"))
    for file in ("my.yaml", Path("my.yaml"), kept):
        assert zoo.load(file).recipe["name"] == "my"
    assert main(["zoo", "export", "my.yaml", "my.safetensors"]) == 0
    Path("my.st").write_bytes(Path("my.safetensors").read_bytes())
    Path("my.txt").write_text(Path("my.yaml").read_text())  # a recipe, by what it holds
    capsys.readouterr()
    for file in ("my.yaml", "my.txt", "my.safetensors", "my.st"):
        assert main(["zoo", "show", file]) == 0
        said = capsys.readouterr().out
        assert "trained for 80 images" in said and "PSNR" in said
    assert main(["zoo", "list"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "trained by recipes of your own:"
    assert second.startswith("my    ") and second.endswith(f", 80 images seen: {kept}")


def test_a_file_of_weights_is_no_recipe(shipped, cache, tmp_path, capsys):
    zoo.train(recipes.read(write(shipped)), shipped / "tiny.safetensors", progress=False)
    for command in ("train", "verify"):
        assert main(["zoo", command, str(shipped / "tiny.safetensors")]) == 2
        assert "which holds weights: gahb.zoo.load and gahb zoo show read it" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"out must end in \.safetensors, got 'tiny.st'"):
        zoo.train(zoo.recipe("tiny"), "tiny.st")


def test_a_training_that_time_ends_is_not_done(shipped, cache, capsys, monkeypatch):
    """Exit code 3, and 130 for Ctrl-C; both say that the same command goes on."""
    write(shipped)
    assert main(["zoo", "train", "tiny", "--minutes", "1e-9"]) == 3
    assert "left: tiny (not begun). The same command goes on from here." in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(recipes.Recipe, "train", interrupted)
        assert main(["zoo", "train", "tiny"]) == 130
    assert capsys.readouterr().err == "gahb: stopped; the same command goes on from here\ngahb: interrupted\n"
    assert main(["zoo", "train", "tiny", "--minutes", "10"]) == 0


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_what_ships_is_trained_again_only_where_that_is_said(shipped, cache, capsys):
    zoo.train(recipes.read(write(shipped)), shipped / "tiny.safetensors", progress=False)
    assert main(["zoo", "train", "tiny"]) == 0
    assert capsys.readouterr().out == (f"tiny: {shipped / 'tiny.safetensors'} (ships already; gahb zoo train tiny "
                                       "--again trains it anew)\n")
    assert not list(cache.glob("*.safetensors"))
    assert main(["zoo", "train", "tiny", "--again"]) == 0
    assert len(list(cache.glob("*.safetensors"))) == 1


def test_train(shipped, cache, tmp_path, capsys):
    write(shipped, "known")
    other = write(tmp_path, "other", training={"seed": 1})
    assert main(["zoo", "train", "known", str(other)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["known", "other"]
    for line, path in zip(lines, (shipped / "known.yaml", other)):
        assert line.split(": ")[1] == str(cache / f"{recipes.read(path).hash}.safetensors")
    assert len(list(cache.glob("*.safetensors"))) == 2


@pytest.mark.slow
def test_train_with_two_workers(shipped, cache, tmp_path, capsys, monkeypatch):
    """Both are trained as one process trains them; one that fails leaves the others to finish."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    paths = [write(tmp_path, name, training={"seed": i}) for i, name in enumerate(("a", "b"))]
    wrong = write(tmp_path, "wrong", training={"learning_rate": 1e30})  # which diverges
    assert main(["zoo", "train", *map(str, (paths[0], wrong, paths[1])), "--executor", "local:2"]) == 1
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert said.keys() == {"a", "b", "wrong"}
    assert said["wrong"].startswith("failed, loss is ") and "lower learning_rate" in said["wrong"]
    for path in paths:
        assert said[path.stem] == str(cache / f"{recipes.read(path).hash}.safetensors")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = zoo.train(recipes.read(paths[1]), tmp_path / "alone.safetensors", progress=False)
    finally:
        torch.set_num_threads(threads)
    assert same(alone, said["b"])


def test_export(shipped, cache, tmp_path, capsys):
    path, out = write(shipped), tmp_path / "deep" / "weights.safetensors"
    assert main(["zoo", "export", "tiny", str(out)]) == 0  # trained first, as nothing ships
    assert capsys.readouterr().out == f"{out}\n"
    assert same(out, cache / f"{recipes.read(path).hash}.safetensors")
    zoo.export(zoo.load(out), shipped / "tiny.safetensors", recipe={**TINY, "name": "shipped"}, log=zoo.load(out).log)
    assert main(["zoo", "export", "tiny", str(out)]) == 2
    assert capsys.readouterr().err == (f"gahb: {out} is there already; choose another FILE, or replace it with "
                                       "--force\n")
    assert main(["zoo", "export", "tiny", str(out), "--force"]) == 0
    assert zoo.load(out).recipe["name"] == "shipped" and same(out, shipped / "tiny.safetensors")


def test_verify(shipped, cache, tmp_path, capsys):
    path = write(shipped)
    for name in ("tiny", str(path)):  # what ships; what the cache holds
        if name == "tiny":
            zoo.train(recipes.read(path), shipped / "tiny.safetensors", progress=False)
        assert main(["zoo", "verify", name]) == 0
        assert capsys.readouterr().out == "tiny: weights differ by at most 0, PSNR by at most 0.000 dB\n"
    told = zoo.load("tiny").recipe
    other = zoo.load(zoo.train(recipes.read(write(shipped, training={"seed": 1, "steps": 60})), progress=False))
    assert main(["zoo", "verify", "tiny"]) == 2  # the recipe is no longer what was trained
    assert "tiny.safetensors was made by another recipe: its training is" in capsys.readouterr().err
    write(shipped)
    zoo.export(other, shipped / "tiny.safetensors", recipe=told, log=other.log)  # not what this recipe leads to
    assert main(["zoo", "verify", "tiny"]) == 1
    assert float(capsys.readouterr().out.split("PSNR by at most ")[1].split()[0]) > 0.1


def test_verify_refuses_what_has_no_curve_to_compare(shipped, cache, capsys):
    path = write(shipped)
    trained = zoo.load(zoo.train(recipes.read(path), progress=False))
    zoo.export(trained, shipped / "tiny.safetensors", recipe=trained.recipe, log=[{"step": 20, "images": 80}])
    assert main(["zoo", "verify", "tiny"]) == 1
    assert capsys.readouterr().out.endswith("PSNR by at most inf dB\n")


def test_a_training_that_diverges_is_one_line(shipped, cache, capsys):
    write(shipped, training={"learning_rate": 1e30, "steps": 40})
    assert main(["zoo", "train", "tiny"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "at step 5; lower learning_rate, 1e+30" in error, error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "cat"], "name must be a recipe or its file, got 'cat'; there are: tiny"),
        (["train", "tiny", "cat"], "name must be a recipe or its file, got 'cat'; there are: tiny"),
        (["verify", "cat"], "name must be a recipe or its file, got 'cat'; there are: tiny"),
        (["export", "tiny", "tiny.st"], "FILE must end in .safetensors, got tiny.st"),
        (["verify", "nosuch.yaml"], "name must be a recipe or its file, got 'nosuch.yaml', and there is no such file"),
        (["train", "shipped"], "name must be a recipe or its file, got 'shipped', which is a folder"),
        (["export", "cat", "out.safetensors"], "name must be a recipe or its file, got 'cat'; there are: tiny"),
        (["show", "cat.safetensors"], "name must be a recipe or its file, got 'cat.safetensors', and there is no such"),
        (["train", "tiny", "--executor", "local"], "--executor must be local:WORKERS or dask://HOST:PORT, got 'local'"),
        (["train", "tiny", "--executor", "local:0"], "--executor must be local:WORKERS or dask://HOST:PORT, got"),
        (["train", "tiny", "--executor", "slurm:4"], "--executor must be local:WORKERS or dask://HOST:PORT, got"),
        (["train", "tiny", "--executor", "dask:tcp"], "--executor must be local:WORKERS or dask://HOST:PORT, got"),
        (["train", "broken.yaml"], "broken.yaml is not a YAML file"),
        (["train", "tiny", "wrong.yaml"],
         "recipe wrong: images takes kind, latents, n, seed, shuffle, size, subset, got width"),
    ],
)
def test_bad_input(shipped, cache, tmp_path, monkeypatch, capsys, arguments, message):
    """One line, exit code 2, and nothing trained or written."""
    write(shipped)
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text("network: {")
    write(tmp_path, "wrong", images={"width": 8})
    before = sorted(tmp_path.rglob("*"))
    assert main(["zoo", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"gahb: {message}") and said.out == ""
    assert sorted(tmp_path.rglob("*")) == before


NOTING = """
import os
from gahb.zoo import recipes

if not hasattr(recipes.Recipe, "noted"):  # Dask loads this more than once
    train = recipes.Recipe.train

    def noted(self, *, checkpoint, **keywords):
        with open(os.environ["NOTES"], "a") as file:
            file.write(f"{self.name} {os.getpid()} {checkpoint.exists()}\\n")
        return train(self, checkpoint=checkpoint, **keywords)

    recipes.Recipe.train = recipes.Recipe.noted = noted
"""


@pytest.mark.slow
def test_a_sweep_by_dask_survives_a_killed_worker(tmp_path):
    """One of two workers is killed midway: every recipe is trained, once, and to the bits of an uninterrupted run."""
    names, notes, scheduler = ("a", "wrong", "b", "c"), tmp_path / "notes", tmp_path / "scheduler.json"
    long = {"steps": 200, "every": 10, "polish": 0.5}
    paths = {name: write(tmp_path, name, training={**long, "seed": i}) for i, name in enumerate(names)}
    write(tmp_path, "wrong", training={**long, "learning_rate": 1e30})  # which diverges
    (tmp_path / "noting.py").write_text(NOTING)
    environment = {**ENVIRONMENT, "GAHB_CACHE": str(tmp_path / "cache"), "NOTES": str(notes)}
    place, running = tmp_path / "cache" / "zoo", []

    def start(who: str, *words) -> subprocess.Popen:
        with (tmp_path / f"{who}.out").open("w") as out:
            command = [sys.executable, *map(str, words)]
            running.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=out, stderr=out))
        return running[-1]

    def said_by(who: str) -> str:
        return (tmp_path / f"{who}.out").read_text()

    def begun() -> list[list[str]]:
        return [line.split() for line in notes.read_text().splitlines()]

    common = ("--scheduler-file", scheduler, "--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1")
    try:
        first = start("scheduler", "-m", "distributed.cli.dask_scheduler", *common, "--port", "0")
        assert wait_for(lambda: scheduler.exists() and scheduler.read_text().endswith("}"), first), said_by("scheduler")
        workers = [start(f"worker-{i}", "-m", "distributed.cli.dask_worker", *common, "--nthreads", "1", "--no-nanny",
                         "--memory-limit", "0", "--preload", "noting.py", "--local-directory", tmp_path)
                   for i in range(2)]
        address = json.loads(scheduler.read_text())["address"].replace("tcp", "dask")
        sweep = start("sweep", "-c", "from gahb.cli import main; raise SystemExit(main())", "zoo", "train",
                      *paths.values(), "--executor", address)
        checkpoint = place / f"{recipes.read(paths['a']).hash}.checkpoint"
        assert wait_for(checkpoint.exists, sweep), said_by("sweep")
        (pid,) = (int(pid) for name, pid, _ in begun() if name == "a")
        (victim,) = (worker for worker in workers if worker.pid == pid)
        victim.kill()
        assert sweep.wait() == 1, said_by("sweep")
    finally:
        for process in running:
            process.kill()
            process.wait()
    said = dict(line.split(": ", 1) for line in said_by("sweep").splitlines() if line.split(": ")[0] in names)
    assert said.keys() == set(names) and said["wrong"].startswith("failed, loss is ")
    # each begun once, the one that fails too, and "a" once more, by the other worker and from its checkpoint
    once = [[name, "False"] for name in sorted(names)]
    assert sorted([name, resumed] for name, _, resumed in begun()) == sorted([*once, ["a", "True"]])
    assert [int(pid) == victim.pid for name, pid, _ in begun() if name == "a"] == [True, False]
    assert {path.suffix for path in place.iterdir()} <= {".safetensors", ".lock"}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = zoo.train(recipes.read(paths["a"]), tmp_path / "alone.safetensors")
    finally:
        torch.set_num_threads(threads)
    assert same(alone, said["a"])


@pytest.mark.parametrize(
    ("fails", "threads", "message"),
    [
        (OSError("Timed out"), {}, "no Dask scheduler answers at tcp://localhost:8786: Timed out"),
        (None, {"tcp://one:1": 1, "tcp://two:2": 4},
         "a worker must train one recipe at a time, and tcp://two:2 runs 4 side by side: dask worker"),
    ],
)
def test_a_cluster_that_cannot_train_is_refused(shipped, cache, monkeypatch, capsys, fails, threads, message):
    class Client:
        closed = False

        def __init__(self, address, timeout):
            if fails is not None:
                raise fails

        def nthreads(self):
            return threads

        def close(self):
            Client.closed = True

    write(shipped)
    monkeypatch.setattr("distributed.Client", Client)
    assert main(["zoo", "train", "tiny", "--executor", "dask://localhost:8786"]) == 2
    assert capsys.readouterr().err.startswith(f"gahb: --executor: {message}")
    assert not cache.exists() and Client.closed == (fails is None)


def test_a_cluster_without_workers_says_that_it_waits(monkeypatch, capsys):
    class Client:
        def __init__(self, address, timeout):
            pass

        def nthreads(self):
            return {}

    monkeypatch.setattr("distributed.Client", Client)
    assert isinstance(training._dask("tcp://localhost:8786"), Client)
    assert capsys.readouterr().out == ("no worker has joined tcp://localhost:8786 yet; recipes wait for one: "
                                       "dask worker tcp://localhost:8786 --nthreads 1\n")


def test_dask_is_asked_for_by_name_where_it_is_missing(shipped, cache, monkeypatch, capsys):
    write(shipped)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["zoo", "train", "tiny", "--executor", "dask://localhost:8786"]) == 1
    assert capsys.readouterr().err == (
        "gahb: --executor dask://… needs the extra [cluster]: pip install 'gahb[cluster]' "
        "(not installed: distributed)\n"
    )


@pytest.mark.parametrize("arguments", [[], ["fly"], ["train"], ["show"], ["export", "photos"]])
def test_bad_words(arguments, capsys):
    assert main(["zoo", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gahb: ") and said.count("\n") == 1
