"""Fitting: what a step draws, that it learns, and that a run that is killed loses nothing."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import gahb
from gahb import training
from gahb._files import checksum
from gahb.denoisers.networks import BiasFreeNorm
from gahb.training import checkpoint as checkpoints
from gahb.training.batches import draw, mix
from gahb.training.method import Method, mean_weight


def smooth(n: int, size: int = 16, seed: int = 0) -> torch.Tensor:
    """Images of few dimensions: a 3×3 grid of grays, interpolated."""
    coarse = torch.rand(n, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=True)


IMAGES = smooth(24)
SETTINGS = dict(steps=20, batch=4, seed=3, polish=0.5, every=3, progress=False)


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return gahb.UNet(width=4, depth=1)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values())
    return all(torch.equal(x, y) for x, y in pairs)


def without_time(log: list[dict]) -> list[dict]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in log]


needs_compiler = pytest.mark.skipif(training.compiler() is None, reason="torch.compile needs a C++ compiler")


class KilledError(Exception):
    """What kills a run in these tests."""


def stream(n: int, start: int) -> torch.Tensor:
    return smooth(n, seed=start)


def interrupted_at(step: int):
    def images(n, start):
        if start == step * n:
            raise KilledError
        return stream(n, start)

    return images


# --- what it does ------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "rate"), [("UNet", 2e-3), ("BFCNN", 3e-3)])
def test_it_learns(kind, rate):
    """Images that it has not seen gain 2 dB at least, at every noise level."""
    torch.manual_seed(0)
    given, log = gahb.UNet(16, 2) if kind == "UNet" else gahb.BFCNN(16, 6), []
    trained = gahb.fit(
        given,
        smooth(256),
        steps=200,
        batch=16,
        every=50,
        log=log,
        progress=False,
        learning_rate=rate,
        sigma_range=(0.05, 0.5),
    )
    curve = gahb.psnr_curve(trained, smooth(64, seed=1), [0.1, 0.2, 0.4])
    assert bool((curve.psnr > curve.input_psnr + 2).all()), curve.psnr - curve.input_psnr
    assert [entry["step"] for entry in log] == [50, 100, 150, 200]
    assert [entry["images"] for entry in log] == [800, 1600, 2400, 3200]
    losses = [entry["loss"] for entry in log]
    assert losses == sorted(losses, reverse=True) and losses[0] > 3 * losses[-1] > 0


def test_it_returns_the_same_network_ready_to_use():
    given, rng = network(), torch.get_rng_state()
    out = gahb.fit(given, IMAGES, **SETTINGS)
    assert out is given and not any(m.training for m in out.modules())
    assert not any(m.frozen for m in out.modules() if isinstance(m, BiasFreeNorm))
    assert all(p.requires_grad for p in out.parameters())
    norms = [m for m in out.modules() if isinstance(m, BiasFreeNorm)]
    assert all(bool((m.running_sd != 1).any()) for m in norms)
    assert torch.equal(rng, torch.get_rng_state()) and torch.is_grad_enabled()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_same_seed_same_bits(precision):
    runs = [gahb.fit(network(), IMAGES, precision=precision, **SETTINGS | dict(seed=s)) for s in (3, 3, 4)]
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])
    torch.manual_seed(77)  # the global generator has no part in it
    assert same(runs[0], gahb.fit(network(), IMAGES, precision=precision, **SETTINGS))


def test_bfloat16_is_another_run_and_ends_in_float32():
    a, b = (gahb.fit(network(), IMAGES, precision=p, **SETTINGS) for p in ("float32", "bfloat16"))
    assert not same(a, b) and all(v.dtype == torch.float32 for v in b.state_dict().values())
    a, b = (gahb.fit(network(), IMAGES, precision=p, **SETTINGS | dict(polish=1.0)) for p in ("float32", "bfloat16"))
    assert same(a, b)  # the polish is in float32


def test_polish_trains_with_norms_frozen():
    """With polish=1 the running deviations never move from their initial one."""
    for share, moved in ((1.0, False), (0.5, True)):
        out = gahb.fit(network(), IMAGES, **SETTINGS | dict(polish=share))
        sd = torch.cat([m.running_sd.flatten() for m in out.modules() if isinstance(m, BiasFreeNorm)])
        assert bool((sd != 1).any()) == moved
        assert not same(out, network())


def test_a_callable_is_asked_for_consecutive_images():
    asked = []

    def images(n, start):
        asked.append((n, start))
        return stream(n, start)

    gahb.fit(network(), images, steps=3, batch=5, progress=False)
    assert asked == [(1, 0), (5, 0), (5, 5), (5, 10)]  # one image first, to see what the network makes of it


def test_it_trains_in_channels_last():
    """The weights, what the network is given, and so what its inner convolutions are given."""
    given, seen = gahb.UNet(width=4, depth=1, channels=3), []

    def look(module, inputs):
        if not module.training:  # the look at what it returns, before the first step
            return
        seen.append(type(module).__name__)
        pictures = [t for t in inputs if t.ndim == 4]  # not the noise levels
        tensors = [*pictures, *(p for p in module.parameters(recurse=False) if p.ndim == 4 and p.shape[2] > 1)]
        assert all(t.is_contiguous(memory_format=torch.channels_last) for t in tensors)
        assert not any(t.is_contiguous() for t in tensors)

    for module in (given, *(m for m in given.modules() if isinstance(m, torch.nn.Conv2d))):
        module.register_forward_pre_hook(look)
    gahb.fit(given, IMAGES.repeat(1, 3, 1, 1), steps=1, batch=2, progress=False)
    assert seen[0] == "UNet" and seen.count("Conv3x3") == 6


def test_a_monitor_sees_the_network_in_eval_mode_and_changes_nothing():
    seen, log = [], []

    def monitor(given):
        seen.append((given.training, {k: v.clone() for k, v in given.state_dict().items()}))
        torch.rand(3)  # a careless one, which draws from the global generator
        return {"gain": len(seen)}

    given = network()
    trained = gahb.fit(given, stream, monitor=monitor, log=log, **SETTINGS)
    assert same(trained, gahb.fit(network(), stream, **SETTINGS))
    assert [entry["step"] for entry in log] == [3, 6, 9, 12, 15, 18, 20]
    assert [entry["gain"] for entry in log] == [1, 2, 3, 4, 5, 6, 7]
    assert not any(training for training, _ in seen)
    assert all(torch.equal(v, seen[-1][1][k]) for k, v in trained.state_dict().items())


def test_what_a_monitor_says_is_kept_in_the_checkpoint(tmp_path):
    file, log, calls = tmp_path / "a.checkpoint", [], []

    def monitor(given):
        calls.append(1)
        return {"call": len(calls)}

    with pytest.raises(KilledError):
        gahb.fit(network(), interrupted_at(10), checkpoint=file, monitor=monitor, **SETTINGS)
    gahb.fit(network(), stream, checkpoint=file, monitor=monitor, log=log, **SETTINGS)
    assert [entry["call"] for entry in log] == [1, 2, 3, 4, 5, 6, 7]


def test_images_are_cast_to_the_dtype_of_the_network():
    a = gahb.fit(network(), IMAGES.double(), **SETTINGS)
    assert same(a, gahb.fit(network(), IMAGES, **SETTINGS))
    b = gahb.fit(network().double(), IMAGES, **SETTINGS)
    assert all(v.dtype == torch.float64 for v in b.state_dict().values())
    pairs = zip(a.state_dict().values(), b.state_dict().values())
    assert all((x - y).abs().max() < 1e-2 for x, y in pairs)


# --- what a step draws -------------------------------------------------------------------


def test_noise_levels_are_stratified_and_log_uniform():
    low, high, batch = 0.005, 1.0, 8
    draws = [draw(IMAGES, batch, (low, high), 0, step) for step in range(400)]
    sigma = torch.stack([d[1] for d in draws])
    share = (sigma / low).log() / math.log(high / low)  # uniform in [0, 1)
    strata = (share * batch - torch.arange(batch)).double()
    assert strata.min() > -1e-4 and strata.max() < 1 + 1e-4  # one in each stratum, at every step
    for column in strata.T:  # uniform in it: mean 1/2 within 4 s.e., variance 1/12
        assert abs(column.mean() - 0.5) < 4 * math.sqrt(1 / 12 / 400)
        assert abs(column.var() * 12 - 1) < 0.2
    z = torch.stack([d[2] for d in draws])
    assert z.shape == (400, 8, 1, 16, 16)
    assert abs(z.mean()) < 4 / math.sqrt(z.numel()) and abs(z.var() - 1) < 4 * math.sqrt(2 / z.numel())
    counts = torch.zeros(24)
    for x, _, _ in draws:
        found = torch.cdist(x.flatten(1), IMAGES.flatten(1)).min(dim=1)
        assert found.values.max() < 1e-3
        counts += torch.bincount(found.indices, minlength=24)
    expected = 3200 / 24
    assert float(((counts - expected) ** 2 / expected).sum()) < 60  # chi-squared, 23 degrees: p about 4e-5


def test_a_step_depends_on_seed_and_number_only():
    first, again = (draw(IMAGES, 4, (0.01, 1.0), 5, 9) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    for seed, step in ((5, 10), (6, 9), (9, 5)):
        other = draw(IMAGES, 4, (0.01, 1.0), seed, step)
        assert not torch.equal(first[2], other[2])


def test_the_numbers_stay_what_they_were():
    """Else a checkpoint goes on with another run, and a recipe that is trained again ends elsewhere."""
    assert mix(5, 9) == 3463469359243423475
    generator = torch.Generator().manual_seed(mix(5, 9))
    index, u = torch.randint(24, (4,), generator=generator), torch.rand(4, generator=generator)
    z = torch.randn(4, 1, 16, 16, generator=generator)
    sigma = torch.exp(math.log(0.01) + (torch.arange(4) + u) / 4 * math.log(100))
    drawn = draw(IMAGES, 4, (0.01, 1.0), 5, 9)
    assert all(torch.equal(a, b) for a, b in zip(drawn, (IMAGES[index], sigma, z)))


@pytest.mark.parametrize("power", [0, 0.5, 1.2, 2])
def test_weights_have_mean_one(power):
    low, high = 0.005, 1.0
    sigma = torch.exp(torch.linspace(math.log(low), math.log(high), 200_001, dtype=torch.float64))
    mean = torch.trapezoid(sigma**-power, sigma.log()) / math.log(high / low)
    assert abs(mean_weight(low, high, power) / mean - 1) < 1e-6


def test_every_noise_level_is_weighted_by_its_power():
    """One step's logged loss is the weighted mean of the errors at its noise levels."""
    log, power = [], 1.2
    start = network().train()
    x, sigma, z = draw(IMAGES, 4, (0.01, 0.8), 3, 0)
    y = (x + sigma.reshape(-1, 1, 1, 1) * z).contiguous(memory_format=torch.channels_last)
    error = (start(y) - x).square().mean(dim=(1, 2, 3))
    weights = sigma**-power / mean_weight(0.01, 0.8, power)
    expected = (weights * error).mean().item()
    gahb.fit(network(), IMAGES, steps=1, batch=4, seed=3, sigma_range=(0.01, 0.8), polish=0, log=log, progress=False)
    assert abs(log[0]["loss"] / expected - 1) < 1e-4


def test_schedule_rises_and_falls_to_nothing():
    for name in ("linear", "cosine", "constant"):
        how = Method(schedule=name)
        for steps in (1, 2, 7, 100, 1000):
            rates = [how.rate(step, steps) for step in range(steps)]
            assert all(0 < rate <= 1 for rate in rates)
            top = rates.index(max(rates))
            assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
        assert rates[19] == 1.0 and rates[9] == 0.5
        at = {"linear": {600: 1.0, 800: 0.5, 999: 1 / 400}, "constant": {600: 1.0, 999: 1.0},
              "cosine": {265: (1 + 0.5**0.5) / 2, 510: 0.5, 755: (1 - 0.5**0.5) / 2}}[name]
        assert {step: rates[step] for step in at} == pytest.approx(at, rel=1e-9)


# --- killed and resumed ------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("killed", [1, 7, 9, 10, 14, 19])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, killed, precision):
    """Polish begins at step 10, checkpoints every 3 steps: killed before the first, around and after."""
    settings = SETTINGS | dict(precision=precision)
    whole_log, log, file = [], [], tmp_path / "runs" / "a.checkpoint"
    whole = gahb.fit(network(), stream, log=whole_log, **settings)
    with pytest.raises(KilledError):
        gahb.fit(network(), interrupted_at(killed), checkpoint=file, **settings)
    assert file.exists() == (killed >= 3)
    resumed = gahb.fit(network(seed=8 if killed >= 3 else 0), stream, checkpoint=file, log=log, **settings)
    assert same(whole, resumed)
    assert without_time(log) == without_time(whole_log)
    assert [p.name for p in file.parent.iterdir()] == ["a.checkpoint"]


def test_killed_many_times(tmp_path):
    file, given = tmp_path / "a.checkpoint", smooth(9)
    whole = gahb.fit(network(), given, **SETTINGS)
    resumed, first = None, []
    while resumed is None:

        class Source:
            def __init__(self):
                self.calls = 0

        source = Source()
        save = checkpoints.save

        def dies_after_saving(*args, save=save, source=source):
            save(*args)
            source.calls += 1
            if source.calls == 2:
                first.append(args[4])
                raise KilledError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints, "save", dies_after_saving)
            try:
                resumed = gahb.fit(network(), given, checkpoint=file, **SETTINGS)
            except KilledError:
                continue
    assert first == [6, 12, 18] and same(whole, resumed)


def test_a_finished_run_is_only_read(tmp_path):
    file, log = tmp_path / "a.checkpoint", []
    whole = gahb.fit(network(), stream, checkpoint=file, **SETTINGS)
    stamp = file.stat().st_mtime_ns
    again = gahb.fit(network(seed=5), interrupted_at(1), checkpoint=file, log=log, **SETTINGS)
    assert same(whole, again) and not again.training and file.stat().st_mtime_ns == stamp
    assert log[-1]["step"] == 20


def read(file) -> tuple[dict, dict]:
    with safe_open(file, "pt") as f:
        return {k: f.get_tensor(k) for k in f.keys()}, f.metadata()


def forge(file, tensors, metadata) -> None:
    """Another checkpoint in place of `file`, with the checksum that is right for it."""
    texts = {k: metadata[k] for k in ("identity", "step", "log")}
    save_file(tensors, file, metadata=texts | dict(sha256=checksum(tensors, *texts.values())))


def test_seconds_go_on_counting(tmp_path):
    file, log = tmp_path / "a.checkpoint", []
    with pytest.raises(KilledError):
        gahb.fit(network(), interrupted_at(10), checkpoint=file, **SETTINGS)
    tensors, metadata = read(file)
    saved = json.loads(metadata["log"])
    saved[-1]["seconds"] = 1000.0
    forge(file, tensors, metadata | dict(log=json.dumps(saved)))
    gahb.fit(network(), stream, checkpoint=file, log=log, **SETTINGS)
    assert log[-1]["seconds"] >= 1000


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch):
    file, calls, save = tmp_path / "a.checkpoint", [], checkpoints.save_file

    def no_space(tensors, path, **keywords):
        calls.append(path)
        if len(calls) == 3:
            path.write_bytes(b"half of")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(tensors, path, **keywords)

    monkeypatch.setattr(checkpoints, "save_file", no_space)
    with pytest.raises(OSError, match="No space left on device"):
        gahb.fit(network(), stream, checkpoint=file, **SETTINGS)
    assert [p.name for p in tmp_path.iterdir()] == ["a.checkpoint"]
    assert read(file)[1]["step"] == "6"
    monkeypatch.setattr(checkpoints, "save_file", save)
    resumed = gahb.fit(network(), stream, checkpoint=file, **SETTINGS)
    assert same(resumed, gahb.fit(network(), stream, **SETTINGS))


def test_a_file_that_cannot_grow_leaves_the_last_checkpoint_whole(tmp_path):
    """What the system does to a write beyond a limit or on a full disk, and not what a test pretends."""
    resource, file = pytest.importorskip("resource"), tmp_path / "a.checkpoint"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def images(n, start):
        if start == 7 * n:  # between the second checkpoint and the third
            resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size // 2, limits[1]))
        return stream(n, start)

    try:
        with pytest.raises((OSError, SafetensorError), match="File too large"):
            gahb.fit(network(), images, checkpoint=file, **SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == ["a.checkpoint"] and read(file)[1]["step"] == "6"
    resumed = gahb.fit(network(seed=8), stream, checkpoint=file, **SETTINGS)
    assert same(resumed, gahb.fit(network(), stream, **SETTINGS))


def killed_as_it_writes(file: str) -> None:
    """Train; SIGKILL with half of the third checkpoint on the disk."""
    calls, save = [], checkpoints.save_file

    def half(tensors, path, **keywords):
        save(tensors, path, **keywords)
        calls.append(path)
        if len(calls) == 3:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.save_file = half
    gahb.fit(network(), stream, checkpoint=file, **SETTINGS)


@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
def test_a_writer_that_is_killed_leaves_the_last_checkpoint_whole(tmp_path):
    file, log = tmp_path / "a.checkpoint", []
    script = f"import test_loop; test_loop.killed_as_it_writes({str(file)!r})"
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent, env=threads)
    assert done.returncode == -signal.SIGKILL
    (partial,) = (p for p in tmp_path.iterdir() if p != file)
    os.utime(partial, (0, 0))  # long ago
    assert 0 < partial.stat().st_size < file.stat().st_size and read(file)[1]["step"] == "6"
    resumed = gahb.fit(network(seed=8), stream, checkpoint=file, log=log, **SETTINGS)
    assert same(resumed, gahb.fit(network(), stream, **SETTINGS))
    assert [entry["step"] for entry in log] == [3, 6, 9, 12, 15, 18, 20]
    assert [p.name for p in tmp_path.iterdir()] == ["a.checkpoint"]


def finished(path):
    gahb.fit(network(), IMAGES, checkpoint=path, **SETTINGS)
    return path


@pytest.mark.parametrize(
    "change",
    [
        dict(steps=21),
        dict(batch=5),
        dict(seed=4),
        dict(sigma_range=(0.01, 1.0)),
        dict(learning_rate=1e-4),
        dict(weight_power=1.0),
        dict(polish=0.4),
        dict(precision="bfloat16"),
        pytest.param(dict(compiled=True), marks=needs_compiler),
        dict(images=smooth(24, seed=1)),
        dict(images=IMAGES[:23]),
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_checkpoint_of_another_run_is_refused(tmp_path, change):
    file, other = finished(tmp_path / "a.checkpoint"), network(seed=1)
    content, settings = file.read_bytes(), dict(images=IMAGES) | SETTINGS | change
    with pytest.raises(ValueError, match=r"a\.checkpoint belongs to another run: it was made with .* remove it"):
        gahb.fit(other, checkpoint=file, **settings)
    assert file.read_bytes() == content and same(other, network(seed=1))


def test_the_checkpoint_of_another_device_is_refused(tmp_path):
    file = finished(tmp_path / "a.checkpoint")
    tensors, metadata = read(file)
    identity = json.loads(metadata["identity"])
    assert identity["device"] == "cpu"
    forge(file, tensors, metadata | dict(identity=json.dumps(identity | dict(device="cuda"))))
    with pytest.raises(ValueError, match=r'a\.checkpoint belongs to another run: it was made with .*"device": "cuda"'):
        gahb.fit(network(), IMAGES, checkpoint=file, **SETTINGS)


def test_the_checkpoint_of_another_stream_is_refused(tmp_path):
    def disks(seed: int):
        return lambda n, start: gahb.images.disks(n, 16, seed=seed, start=start)

    file = tmp_path / "a.checkpoint"
    gahb.fit(network(), disks(0), checkpoint=file, **SETTINGS)
    with pytest.raises(ValueError, match=r"a\.checkpoint belongs to another run"):
        gahb.fit(network(), disks(1), checkpoint=file, **SETTINGS)


def test_the_checkpoint_of_another_network_is_refused(tmp_path):
    file = finished(tmp_path / "a.checkpoint")
    for other in (gahb.UNet(6, 1), gahb.UNet(4, 2), gahb.BFCNN(4, 4)):
        before = {k: v.clone() for k, v in other.state_dict().items()}
        with pytest.raises(ValueError, match=r"a\.checkpoint belongs to another network"):
            gahb.fit(other, IMAGES, checkpoint=file, **SETTINGS)
        assert all(torch.equal(before[k], v) for k, v in other.state_dict().items())


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_checkpoint_is_refused(tmp_path, length):
    file = finished(tmp_path / "a.checkpoint")
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"a\.checkpoint is truncated or not a safetensors file"):
        gahb.fit(network(), IMAGES, checkpoint=file, **SETTINGS)


def test_a_checkpoint_with_one_bit_flipped_is_refused(tmp_path):
    """Anywhere: in the header, the log, the weights and what Adam remembers."""
    file = finished(tmp_path / "a.checkpoint")
    whole = file.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 60, dtype=int):
        content, other = bytearray(whole), network()
        content[place] ^= 4
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint .*a\.checkpoint (is truncated|belongs to|was tampered with)"):
            gahb.fit(other, IMAGES, checkpoint=file, **SETTINGS)
        assert same(other, network())


@pytest.mark.parametrize(
    "what", ["a weight", "no optimizer", "step", "no step", "log", "no log", "no sha256", "identity"]
)
def test_a_checkpoint_that_was_tampered_with_is_refused(tmp_path, what):
    file = finished(tmp_path / "a.checkpoint")
    tensors, metadata = read(file)
    if what == "a weight":
        tensors["network.encoder.0.0.weight"][0] += 1e-7
    elif what == "no optimizer":
        tensors = {k: v for k, v in tensors.items() if k.startswith("network.")}
    elif what.startswith("no "):
        del metadata[what[3:]]
    else:
        metadata[what] = {"step": "10", "log": "[]", "identity": "{"}[what]
    save_file(tensors, file, metadata=metadata)
    message = r"a\.checkpoint was tampered with or damaged: its contents do not match their checksum; remove it"
    with pytest.raises(ValueError, match=message):
        gahb.fit(network(), IMAGES, checkpoint=file, **SETTINGS)


def test_a_foreign_checkpoint_is_refused(tmp_path):
    file = tmp_path / "a.checkpoint"
    save_file({"weight": torch.zeros(2)}, file)
    with pytest.raises(ValueError, match=r"a\.checkpoint belongs to another run: it was made with None"):
        gahb.fit(network(), IMAGES, checkpoint=file, **SETTINGS)
    file.write_text("notes on the run\n" * 20)
    with pytest.raises(ValueError, match=r"a\.checkpoint is truncated or not a safetensors file"):
        gahb.fit(network(), IMAGES, checkpoint=file, **SETTINGS)


def test_integers_of_numpy_are_integers(tmp_path):
    settings = SETTINGS | dict(steps=np.int64(20), seed=np.int32(3), batch=np.int64(4))
    a = gahb.fit(network(), IMAGES, checkpoint=tmp_path / "a", **settings)
    assert same(a, gahb.fit(network(seed=1), IMAGES, checkpoint=tmp_path / "a", **SETTINGS))


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_killed_and_compiled_it_ends_with_the_same_bits(tmp_path):
    settings = SETTINGS | dict(compiled=True, optimiser="adam")  # Muon's bfloat16 would enlarge another rounding

    def chain() -> torch.nn.Module:
        torch.manual_seed(0)
        return gahb.BFCNN(width=4, layers=4)

    whole, plain = (gahb.fit(chain(), stream, **settings | dict(compiled=compiled)) for compiled in (True, False))
    with pytest.raises(KilledError):
        gahb.fit(chain(), interrupted_at(10), checkpoint=tmp_path / "a", **settings)
    assert same(whole, gahb.fit(chain(), stream, checkpoint=tmp_path / "a", **settings))
    for a, b in zip(whole.parameters(), plain.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_compiled_without_a_compiler_it_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    given, needed = network(), r"compiled=True needs a C\+\+ compiler, and '(g|clang)\+\+' is not found: install it, or"
    with pytest.raises(ValueError, match=needed):
        gahb.fit(given, interrupted_at(0), checkpoint=tmp_path / "a", **SETTINGS | dict(compiled=True))
    assert same(given, network()) and list(tmp_path.iterdir()) == []


def test_the_compiler_is_the_one_that_cxx_names(tmp_path, monkeypatch):
    """As for torch, which asks no other when CXX is set."""
    for name in ("mine", "g++", "clang++"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "mine")
    assert training.compiler() == str(tmp_path / "mine")
    monkeypatch.setenv("CXX", "another")
    assert training.compiler() is None
    monkeypatch.delenv("CXX")
    assert training.compiler() in (str(tmp_path / "g++"), str(tmp_path / "clang++"))


# --- on a GPU ----------------------------------------------------------------------------

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.cuda
@on_cuda
def test_noise_is_drawn_on_the_device():
    """From (seed, step) as well; images and noise levels are those of the CPU."""
    here = draw(IMAGES, 8, (0.01, 1.0), 5, 9)
    there, again = (draw(IMAGES.cuda(), 8, (0.01, 1.0), 5, 9, device=torch.device("cuda")) for _ in range(2))
    assert there[0].is_cuda and there[2].is_cuda and all(torch.equal(a, b) for a, b in zip(there, again))
    assert torch.equal(here[0], there[0].cpu()) and torch.equal(here[1], there[1].cpu())
    assert abs(there[2].mean()) < 4 / math.sqrt(2048) and abs(there[2].var() - 1) < 4 * math.sqrt(2 / 2048)


@pytest.mark.cuda
@on_cuda
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("precision", "compiled"), [("float32", False), ("bfloat16", False), ("bfloat16", True)])
def test_killed_on_cuda_it_ends_with_the_same_bits(tmp_path, precision, compiled):
    settings = SETTINGS | dict(precision=precision, compiled=compiled)
    for source, killed in ((lambda n, start: stream(n, start).cuda(), interrupted_at(10)), (IMAGES, None)):
        whole = gahb.fit(network().cuda(), source, **settings)
        file = tmp_path / f"{killed}.checkpoint"
        if killed is not None:
            with pytest.raises(KilledError):
                gahb.fit(network().cuda(), killed, checkpoint=file, **settings)
        resumed = gahb.fit(network().cuda(), source, checkpoint=file, **settings)
        assert same(whole, resumed) and next(resumed.parameters()).is_cuda
        assert not torch.backends.cudnn.deterministic


# --- refusals ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(images=2 * IMAGES), ValueError, r"images must have values in \[0, 1\], got values from 0.* to "),
        (dict(images=IMAGES - 0.5), ValueError, r"images must have values in \[0, 1\]"),
        (dict(images=IMAGES * math.nan), ValueError, r"images must have values in \[0, 1\], got values from nan"),
        (
            dict(images=IMAGES[:, 0]),
            ValueError,
            r"images must be \(n, C, H, W\) with at least one image, got shape \(24, 16, 16\)",
        ),
        (
            dict(images=IMAGES[:0]),
            ValueError,
            r"images must be \(n, C, H, W\) with at least one image, got shape \(0, ",
        ),
        (dict(images=IMAGES.byte()), TypeError, r"images must be floating point in \[0, 1\], got torch.uint8"),
        (dict(images=IMAGES[..., :15]), ValueError, r"\(16, 15\); this network pools by 2, .* divisible by 2"),
        (
            dict(images=IMAGES.expand(-1, 3, -1, -1)),
            ValueError,
            r"y must be \(B, 1, H, W\), got shape \(1, 3, 16, 16\)",
        ),
        (
            dict(images=lambda n, start: 255 * stream(n, start)),
            ValueError,
            r"images\(n, start\) must have values in \[0, 1\]",
        ),
        (
            dict(images=lambda n, start: stream(n, start)[:, 0]),
            ValueError,
            r"images\(n, start\) must be \(n, C, H, W\)",
        ),
        (
            dict(images=lambda n, start: stream(n + 1, start)),
            ValueError,
            r"images\(n, start\) must return n = 4 images, got 5",
        ),
        (dict(images=lambda n, start: [0.0]), TypeError, r"images\(n, start\) must be a torch tensor, got list"),
        (dict(steps=0), ValueError, "steps must be an integer of at least 1, got 0"),
        (dict(steps=1.5), ValueError, "steps must be an integer of at least 1, got 1.5"),
        (dict(batch=0), ValueError, "batch must be an integer of at least 1, got 0"),
        (dict(every=0), ValueError, "every must be an integer of at least 1, got 0"),
        (dict(seed=-1), ValueError, "seed must be an integer of at least 0, got -1"),
        (dict(polish=1.5), ValueError, r"polish must be in \[0, 1\], got 1.5"),
        (dict(polish=math.nan), ValueError, r"polish must be in \[0, 1\], got nan"),
        (dict(precision="float16"), ValueError, "precision must be 'float32' or 'bfloat16', got 'float16'"),
        (dict(sigma_range=(0, 1)), ValueError, r"sigma_range must satisfy 0 < low < high < inf, got \(0, 1\)"),
        (dict(sigma_range=(0.5, 0.1)), ValueError, r"sigma_range must satisfy .* got \(0.5, 0.1\)"),
        (dict(sigma_range=(0.1, math.nan)), ValueError, r"sigma_range must satisfy .* got \(0.1, nan\)"),
        (dict(sigma_range=0.1), ValueError, r"sigma_range must be two numbers \(low, high\), got 0.1"),
        (dict(sigma_range=(0.1, 0.2, 0.3)), ValueError, r"sigma_range must be two numbers \(low, high\)"),
    ],
)
def test_refuses(change, error, message, tmp_path):
    settings = dict(images=IMAGES) | SETTINGS | change
    with pytest.raises(error, match=message):
        gahb.fit(network(), checkpoint=tmp_path / "a.checkpoint", **settings)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_network_is_refused_by_name():
    images = gahb.images.disks(4, 8)
    with pytest.raises(TypeError, match="network must be a torch.nn.Module with weights to train, got Wavelet"):
        gahb.fit(gahb.Wavelet(), images, steps=1, progress=False)
    with pytest.raises(TypeError, match=r"network must be called as network\(y, sigma=None\), .* got Conv2d\(input"):
        gahb.fit(torch.nn.Conv2d(1, 1, 3, padding=1), images, steps=1, progress=False)


def test_a_checkpoint_that_cannot_be_written_is_found_before_the_training(tmp_path):
    (tmp_path / "file").touch()
    steps = []
    with pytest.raises(OSError, match=r"file"):
        gahb.fit(gahb.UNet(4, 1), gahb.images.disks(4, 8), steps=1, checkpoint=tmp_path / "file" / "a.checkpoint",
                 until=lambda: steps.append(1), progress=False)
    assert not steps
