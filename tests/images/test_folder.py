"""Folders of images: what is read, kept, cached and refused."""

from __future__ import annotations

import errno
import os
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gahb

folder = gahb.images.folder
module = sys.modules["gahb.images.folder"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the files that are opened, in order."""
    seen, read = [], module.read

    def spy(path, size, channels):
        seen.append(path.name)
        return read(path, size, channels)

    monkeypatch.setattr(module, "read", spy)
    return seen


def kept(cache: Path) -> list[Path]:
    """What is in the cache, but for the locks."""
    return [path for path in cache.iterdir() if path.suffix != ".lock"]


def noise(seed: int, height: int = 24, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Five unlike images in two folders; the order of their paths is 0 to 4."""
    root = tmp_path / "pictures"
    for k, name in enumerate(["a.png", "b/a.bmp", "b/c.png", "c.PNG", "d.tif"]):
        save(root / name, noise(k))
    (root / "notes.txt").write_text("not an image")
    return root


def load(root, size=24, **options):
    return folder(root, size, progress=False, **options)


def test_images_come_in_the_order_of_their_paths(pictures):
    x = load(pictures)
    assert x.shape == (5, 1, 24, 24) and x.dtype == torch.float32
    for k in range(5):
        np.testing.assert_array_equal((x[k, 0] * 255).round(), noise(k))
    assert x.min() >= 0 and x.max() <= 1
    assert torch.equal(load(str(pictures), limit=3), x[:3])
    assert torch.equal(load(pictures, limit=5), x)


def test_centre_crop_and_resize(tmp_path):
    """A wide picture keeps its middle; a small gray ramp is resized to itself; means are kept."""
    wide = np.zeros((40, 100), dtype=np.uint8)
    wide[:, 30:70] = np.linspace(50, 200, 40, dtype=np.uint8)
    save(tmp_path / "p" / "wide.png", wide)
    save(tmp_path / "p" / "tall.png", noise(1, 60, 20))
    x = load(tmp_path / "p", 20)
    np.testing.assert_array_equal((x[0, 0] * 255).round(), noise(1, 60, 20)[20:40])
    assert abs(x[1].mean() * 255 - wide[:, 30:70].mean()) < 1
    assert x[1].min() > 45 / 255  # nothing of the black sides
    assert torch.all(x[1, 0, :, 1:-1].diff(dim=1) > 0)  # Lanczos is off by a little at the ends
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    save(tmp_path / "q" / "stripes.png", stripes)
    assert (load(tmp_path / "q", 16) - 0.5).abs().max() < 0.1  # anti-aliased: gray, not stripes


def test_colours_turn_gray(tmp_path):
    gray = noise(0)
    save(tmp_path / "p" / "rgb.png", np.dstack([gray] * 3))
    save(tmp_path / "p" / "rgba.png", np.dstack([np.roll(noise(1), 3)] * 3 + [np.full_like(gray, 255)]))
    x = load(tmp_path / "p")
    np.testing.assert_array_equal((x[0, 0] * 255).round(), gray)
    red = np.zeros((24, 24, 3), dtype=np.uint8)
    red[..., 0] = noise(2)
    save(tmp_path / "q" / "red.png", red)
    expected = torch.from_numpy(noise(2) * 0.299 / 255).float()
    torch.testing.assert_close(load(tmp_path / "q")[0, 0], expected, rtol=0, atol=1 / 255)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, suffix):
    gray = noise(0)
    save(tmp_path / "p" / f"deep.{suffix}", gray.astype(np.uint16) * 257)
    np.testing.assert_array_equal((load(tmp_path / "p")[0, 0] * 255).round(), gray)


def test_near_duplicates_are_dropped_and_the_first_is_kept(tmp_path):
    base, other = noise(0, 40, 40), noise(1, 40, 40)
    fuzzy = np.clip(base.astype(int) + np.random.default_rng(5).integers(-8, 9, base.shape), 0, 255)
    half = (base.astype(int) + other) // 2  # correlates by about 0.7 with both: kept
    named = [base, other, fuzzy.astype(np.uint8), (base // 2 + 60), half.astype(np.uint8), other, 255 - base]
    for k, picture in enumerate(named):
        save(tmp_path / "p" / f"{k}.png", picture)
    with pytest.warns(UserWarning, match=r"; skipped 4 near-duplicates \(2\.png, 3\.png, 5\.png, 6\.png\)$"):
        x = load(tmp_path / "p", 40)
    kept = [(image[0] * 255).round().numpy() for image in x]
    assert len(kept) == 3
    for ours, expected in zip(kept, (base, other, half)):
        np.testing.assert_array_equal(ours, expected)


def test_the_second_time_nothing_is_read(pictures, cache, reads):
    first = load(pictures)
    (file,) = kept(cache)
    with np.load(file) as stored:
        assert len(reads) == 5 and stored["images"].dtype == np.uint8
    assert torch.equal(load(pictures), first) and torch.equal(load(pictures, limit=2), first[:2])
    assert len(reads) == 5
    load(pictures, 12)  # another size is another cache
    assert len(reads) == 10 and len(kept(cache)) == 2
    load(pictures, channels=3)  # and so is colour
    assert len(reads) == 15 and len(kept(cache)) == 3


def test_of_two_at_once_the_second_waits_for_the_first(pictures, reads, monkeypatch):
    found, read = [], module.read
    second = threading.Thread(target=lambda: found.append(load(pictures)))

    def slow(*arguments):
        if len(reads) == 0:  # the first is about to read its first picture
            second.start()
            second.join(timeout=0.5)  # in which the second could read them all
        return read(*arguments)

    monkeypatch.setattr(module, "read", slow)
    first = load(pictures)
    second.join()
    assert torch.equal(found[0], first) and len(reads) == 5


def test_a_cache_that_is_there_needs_no_lock(pictures, cache, reads, monkeypatch):
    """It may be another's, and only be read."""
    first = load(pictures)
    monkeypatch.setattr(module, "FileLock", None)
    assert torch.equal(load(pictures), first) and len(reads) == 5


def test_a_changed_folder_is_read_again(pictures, reads):
    first = load(pictures)
    save(pictures / "e.png", noise(9))
    assert len(load(pictures)) == 6 and len(reads) == 11
    os.utime(pictures / "a.png", ns=(1, 1))
    load(pictures)
    assert len(reads) == 17
    (pictures / "e.png").unlink()
    os.utime(pictures / "a.png", ns=(2, 2))
    assert torch.equal(load(pictures), first)


def test_a_damaged_cache_is_made_anew(pictures, cache, reads):
    first = load(pictures)
    (file,) = kept(cache)
    for content in (b"", b"rubbish", file.read_bytes()[:-7]):
        file.write_bytes(content)
        assert torch.equal(load(pictures), first)
    assert len(reads) == 20


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert module.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("GAHB_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert module.cache_dir() == tmp_path / "home" / ".cache" / "gahb"


def test_a_full_disk_leaves_no_half_cache(pictures, cache, monkeypatch):
    def no_space(file, **arrays):
        file.write(b"half of")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.np, "savez", no_space)
    with pytest.raises(OSError, match="No space left on device"):
        load(pictures)
    assert kept(cache) == []


def test_an_interruption_leaves_nothing(pictures, cache, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "read", stop)
    with pytest.raises(KeyboardInterrupt):
        load(pictures)
    assert kept(cache) == []


def test_broken_images_are_skipped_counted_and_named(pictures):
    whole = load(pictures)
    (pictures / "a0.png").write_bytes(b"")
    (pictures / "b" / "b.jpg").write_bytes(b"no picture")
    (pictures / "z.png").write_bytes((pictures / "a.png").read_bytes()[:300])
    save(pictures / "zz.tif", np.linspace(0, 1, 24 * 24, dtype=np.float32).reshape(24, 24))
    message = (r"^5 images read from '.*pictures'; skipped 4 unreadable files "
               r"\(a0\.png: not an image that Pillow knows, b/b\.jpg: not an image that Pillow knows, "
               r"z\.png: .*truncated.*, zz\.tif: a floating-point image does not say which value is white\)$")
    with pytest.warns(UserWarning, match=message) as caught:
        x = load(pictures)
    assert torch.equal(x, whole) and len(caught) == 1
    assert caught[0].filename == __file__


def test_only_five_broken_images_are_named(pictures):
    for k in range(8):
        (pictures / f"x{k}.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"8 unreadable files \(x0\.png: .*, x4\.png: [^,]* and 3 more\)$"):
        load(pictures)


def test_refuses(pictures, tmp_path, reads):
    empty, broken = tmp_path / "empty", tmp_path / "broken"
    empty.mkdir()
    (empty / "notes.txt").write_text("nothing")
    broken.mkdir()
    (broken / "a.png").write_bytes(b"")
    (broken / "b.jpg").write_bytes(b"x")
    with pytest.raises(
        FileNotFoundError, match=r"path must be a folder of images, got '.*nowhere', which is not a folder"
    ):
        load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"a\.png', which is not a folder"):
        load(pictures / "a.png")
    with pytest.raises(ValueError, match=r"empty' holds no images \(\.bmp, .*\.webp\)"):
        load(empty)
    with pytest.raises(ValueError, match="limit is 6, but .*pictures' holds only 5 images"):
        load(pictures, limit=6)
    with pytest.raises(ValueError, match="size must be an integer of at least 1, got 0"):
        load(pictures, 0)
    with pytest.raises(ValueError, match="limit must be an integer of at least 1, got 0"):
        load(pictures, limit=0)
    for channels in (0, 2, 4, True, 3.0, "rgb", None, [3]):
        message = f"channels must be 1 (grey) or 3 (red, green, blue), got {channels!r}"
        with pytest.raises(ValueError, match=re.escape(message)):
            load(pictures, channels=channels)
    with pytest.raises(TypeError, match="path must be the path of a folder, got NoneType"):
        load(None)
    with pytest.raises(FileNotFoundError, match="path must be a folder of images, got '', which is not a folder"):
        load("")  # not the folder that the program runs in
    assert reads == []  # all of that before any image is opened
    with pytest.raises(ValueError, match=r"broken': none of its 2 images could be read \(a\.png: .*, b\.jpg: .*\)"):
        load(broken)


def test_a_limit_counts_distinct_readable_images(pictures):
    save(pictures / "e.png", noise(0))
    message = "limit is 6, but .*pictures' holds only 5 distinct, readable images; skipped 1 near-duplicate \\(e.png\\)"
    with pytest.raises(ValueError, match=message):
        load(pictures, limit=6)
    with pytest.warns(UserWarning, match="skipped 1 near-duplicate"):
        assert len(load(pictures, limit=5)) == 5
