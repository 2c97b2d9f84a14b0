"""Images that stay on the disk: folders, arrays and archives, read alike, in parts, and once."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from references import peak_memory

import gahb

stored = gahb.images.stored
module = sys.modules["gahb.images.stored"]
sources = sys.modules["gahb.images.sources"]
N, SIZE = 7, 12


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pixels() -> np.ndarray:
    """Bytes (n, H, W, 3)."""
    return np.random.default_rng(0).integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8)


def png(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(out, format="png")
    return out.getvalue()


def archive(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write(folder: Path, pixels: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for k, picture in enumerate(pixels):
        (folder / f"{k:03d}.png").write_bytes(png(picture))
    return folder


def every_kind(folder: Path, pixels: np.ndarray) -> dict[str, Path]:
    """The same images in every form."""
    first, share = np.moveaxis(pixels, 3, 1), pixels.astype(np.float32) / 255
    files = {f"{k:03d}.png": png(picture) for k, picture in enumerate(pixels)}
    paths = {kind: folder / f"images.{kind}" for kind in ("npy", "npz", "pt", "tar", "tar.gz")}
    np.save(paths["npy"], pixels)
    np.savez_compressed(paths["npz"], images=first, labels=np.arange(N))
    torch.save({"images": torch.from_numpy(np.moveaxis(share, 3, 1) * 2 - 1), "epoch": 3}, paths["pt"])
    archive(paths["tar"], {**files, "000.cls": b"3", "000.json": b"{}"})
    archive(paths["tar.gz"], files, "w:gz")
    paths["folder"] = write(folder / "images", pixels)
    paths["shards"] = folder / "shards"
    paths["shards"].mkdir()
    archive(paths["shards"] / "b.tar", dict(list(files.items())[4:]))
    archive(paths["shards"] / "a.tar", dict(list(files.items())[:4]))
    return paths


def read(path, size=SIZE, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what was skipped, and how numbers were read
        return stored(path, size, progress=False, **options)


@pytest.mark.parametrize("kind", ["folder", "npy", "npz", "pt", "tar", "tar.gz", "shards"])
def test_every_kind_of_source_gives_the_same_images(tmp_path, pixels, kind, monkeypatch):
    monkeypatch.setattr(sources, "_CHUNK", 3)
    path = every_kind(tmp_path, pixels)[kind]
    colour = read(path, channels=3)
    assert colour.shape == (N, 3, SIZE, SIZE) and len(colour) == len(colour.names) == N
    np.testing.assert_array_equal(colour[0:N], np.moveaxis(pixels, 3, 1))
    np.testing.assert_array_equal(colour[2:5:2], np.moveaxis(pixels, 3, 1)[2:5:2])
    np.testing.assert_array_equal(colour[-1], np.moveaxis(pixels, 3, 1)[-1])
    assert colour[5:2].shape == (0, 3, SIZE, SIZE)
    with pytest.raises(IndexError):
        colour[N]
    expected = gahb.images.folder(tmp_path / "images", 8, progress=False)
    np.testing.assert_array_equal(read(path, 8)[0:N], (255 * expected).round())


def test_grey_arrays_of_three_axes_and_other_numbers(tmp_path, pixels):
    grey = pixels[..., 0]
    forms = {
        "bytes": grey,
        "sixteen": grey.astype(np.uint16) * 257,
        "half": (grey / 255).astype(np.float16),
        "hundreds": grey.astype(np.float64),
        "one": grey[:, None],
        "last": grey[..., None],
        "overshoot": (grey / 255).astype(np.float32) * 1.2 - 0.1,
    }
    for name, array in forms.items():
        np.save(tmp_path / f"{name}.npy", array)
        found = read(tmp_path / f"{name}.npy")
        expected = (grey * 1.2 - 25.5).clip(0, 255) if name == "overshoot" else grey
        np.testing.assert_allclose(found[0:N].numpy()[:, 0], expected, atol=1)
    np.save(tmp_path / "bits.npy", grey > 127)
    assert set(read(tmp_path / "bits.npy")[0:N].unique().tolist()) == {0, 255}
    np.save(tmp_path / "odd.npy", 1000.0 + grey)
    odd = read(tmp_path / "odd.npy")
    assert odd.said == "its numbers were taken to lie in [1000, 1255]"
    assert odd.names[3] == "odd.npy[3]"
    np.testing.assert_array_equal(odd[0:N].numpy()[:, 0], grey)
    torch.save(torch.from_numpy(grey / 255).bfloat16(), tmp_path / "b.pt")
    np.testing.assert_allclose(read(tmp_path / "b.pt")[0:N].numpy()[:, 0], grey, atol=1)
    torch.save(torch.from_numpy(grey), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(read(tmp_path / "old.pt")[0:N].numpy()[:, 0], grey)


def test_what_is_skipped_is_said(tmp_path, pixels):
    root = write(tmp_path / "pictures", pixels)
    (root / "003.png").write_bytes(b"broken")
    (root / "clip.mp4").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"6 images read from '.*pictures'; skipped 1 unreadable file \(003.png: not "
                                         r"an image that Pillow knows\), 1 file in a format that is not read \(clip"):
        found = stored(root, SIZE)
    assert "003.png" not in found.names and len(found) == N - 1
    with pytest.warns(UserWarning, match="6 smaller than size = 20 and enlarged"):
        stored(root, 20)
    with pytest.warns(UserWarning, match="6 images read"):  # from the cache too
        stored(root, SIZE)


@pytest.mark.parametrize("kind", ["folder", "npy", "npz", "pt", "tar.gz", "shards"])
def test_a_reading_that_was_interrupted_goes_on(tmp_path, pixels, kind, monkeypatch):
    monkeypatch.setattr(sources, "_CHUNK", 2)
    path = every_kind(tmp_path, pixels)[kind]
    seen, add = [], module._Reading._add

    def stopping(self, name, *arguments):
        seen.append(name)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return add(self, name, *arguments)

    monkeypatch.setattr(module._Reading, "_add", stopping)
    with pytest.raises(KeyboardInterrupt):
        read(path, channels=3)
    found = read(path, channels=3)
    assert len(seen) == N + 1 and seen[4] == seen[5]
    np.testing.assert_array_equal(found[0:N], np.moveaxis(pixels, 3, 1))
    read(path, channels=3)
    assert len(seen) == N + 1  # nothing is read twice


def test_a_changed_file_is_read_again_and_a_damaged_store_too(tmp_path, pixels, cache):
    path = tmp_path / "images.npy"
    np.save(path, pixels)
    read(path, channels=3)
    np.save(path, pixels[::-1])
    os.utime(path, (1, 1))
    np.testing.assert_array_equal(read(path, channels=3)[0], np.moveaxis(pixels, 3, 1)[-1])
    for file in cache.glob("stored-*/pixels"):
        file.write_bytes(file.read_bytes()[:50])
    np.testing.assert_array_equal(read(path, channels=3)[0:N], np.moveaxis(pixels[::-1], 3, 1))


def test_memory_does_not_grow_with_their_number(tmp_path):
    held = []
    for n in (512, 4096):
        np.save(tmp_path / f"{n}.npy", np.zeros((n, 16, 16), dtype=np.uint8))
        images = read(tmp_path / f"{n}.npy", 16)
        held.append(peak_memory(lambda images=images: [images[k : k + 64].float().sum() for k in range(0, 512, 64)]))
    assert held[0] == held[1]


class Harm:
    """What a file that runs code holds."""

    def __reduce__(self):
        return os.remove, ("of-the-reader",)


def test_bad_input(tmp_path, pixels, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("of-the-reader").touch()
    Path("empty").mkdir()
    Path("broken").mkdir()
    for k in range(3):
        Path("broken", f"{k}.png").write_bytes(b"no image")
    Path("cut.tar").write_bytes(Path(archive(tmp_path / "whole.tar", {"a.png": png(pixels[0])})).read_bytes()[:300])
    archive(tmp_path / "texts.tar", {"a.txt": b"text"})
    np.save("four.npy", np.zeros((2, 5, 5, 4), dtype=np.uint8))
    np.save("flat.npy", np.zeros((2, 5)))
    np.save("none.npy", np.zeros((0, 5, 5)))
    np.save("signed.npy", np.zeros((2, 5, 5), dtype=np.int64))
    np.save("nan.npy", np.full((2, 5, 5), np.nan))
    np.savez("two.npz", a=np.zeros((2, 5, 5)), b=np.zeros((2, 5, 5)))
    Path("cut.npy").write_bytes(Path("none.npy").read_bytes()[:40])
    Path("cut.npz").write_bytes(Path("two.npz").read_bytes()[:90])
    torch.save([Harm()], "harm.pt")
    torch.save({"a": 3}, "numbers.pt")
    Path("cut.pt").write_bytes(Path("harm.pt").read_bytes()[:90])
    Path("words.txt").write_text("words")
    cases = {
        "nowhere": (FileNotFoundError, "path must be a folder or a file of images, and there is nothing at "),
        "empty": (ValueError, r"path 'empty' holds no images \(.bmp"),
        "broken": (ValueError, r"path 'broken': none of its 3 images could be read \(0.png: not an image"),
        "words.txt": (ValueError, "path must be a folder, or a file .npy, .npz, .pt, .pth, .tar, .tar.gz, .tgz, got"),
        "cut.tar": (ValueError, "path 'cut.tar' is no tar archive that can be read: "),
        "texts.tar": (ValueError, "path 'texts.tar' holds no images"),
        "four.npy": (ValueError, r"path 'four.npy' must hold images \(n, H, W\), .* got \(2, 5, 5, 4\)"),
        "flat.npy": (ValueError, r"path 'flat.npy' must hold images .* got \(2, 5\)"),
        "none.npy": (ValueError, r"path 'none.npy' must hold images .* with n ≥ 1 .* got \(0, 5, 5\)"),
        "signed.npy": (ValueError, "path 'signed.npy' must hold bytes, other unsigned integers or .* got int64"),
        "nan.npy": (ValueError, "path 'nan.npy' must hold finite numbers, got NaN or infinity"),
        "two.npz": (ValueError, r"path 'two.npz' must hold one array of images, .* got a \(2, 5, 5\), b \(2, 5, 5\)"),
        "cut.npy": (ValueError, "path 'cut.npy' is damaged, or no .npy file: "),
        "cut.npz": (ValueError, "path 'cut.npz' is damaged, or no .npz file: "),
        "cut.pt": (ValueError, "path 'cut.pt' is damaged, or no .pt file: "),
        "harm.pt": (ValueError, "path 'harm.pt' holds more than tensors, and loading it would run code"),
        "numbers.pt": (ValueError, "path 'numbers.pt' must hold one array of images, .* got none"),
    }  # fmt: skip
    for name, (error, message) in cases.items():
        with pytest.raises(error, match=message):
            read(name)
    assert Path("of-the-reader").exists()
    with pytest.raises(TypeError, match="path must be a folder or a file of images, got int"):
        read(3)
    with pytest.raises(ValueError, match="size must be an integer of at least 1, got 0"):
        read("flat.npy", 0)
    with pytest.raises(ValueError, match=r"channels must be 1 \(grey\) or 3"):
        read("flat.npy", channels=2)


def test_a_full_disk_names_the_place(tmp_path, pixels, monkeypatch, cache):
    np.save(tmp_path / "images.npy", pixels)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device; the environment variable GAHB_CACHE .*stored-"):
        read(tmp_path / "images.npy", channels=3)
