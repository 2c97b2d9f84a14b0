"""What the numbers in an image file mean: transparency, depth, colour, orientation, names, links and permissions."""

from __future__ import annotations

import os
import shutil
import struct
import sys
import tempfile
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gahb.images import folder

SIDE = 24
WHITE = 255


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape or (SIDE, SIDE), dtype=np.uint8)


def levels(root: Path, channels: int = 1, size: int = SIDE) -> np.ndarray:
    """The pictures of the folder in grey levels of 0 to 255: (n, channels, size, size)."""
    return folder(root, size, channels=channels, progress=False).numpy() * 255


def luma(picture: np.ndarray) -> np.ndarray:
    return picture[..., :3].astype(float) @ [0.299, 0.587, 0.114]


# --- transparency: on a white ground ------------------------------------------------------------


def on_white(picture: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) on white by opacity (H, W) in [0, 1]."""
    return picture * opacity[..., None] + WHITE * (1 - opacity[..., None])


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_colours_under_transparent_pixels_are_not_seen(root, suffix):
    """Three bands: clear, half clear, opaque; the colours under all of them are noise."""
    picture, opacity = noise(0, SIDE, SIDE, 3), np.zeros((SIDE, SIDE), dtype=np.uint8)
    opacity[8:16], opacity[16:] = 128, 255
    exact = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(np.dstack([picture, opacity])).save(root / f"a.{suffix}", **exact)
    expected = on_white(picture, opacity / 255)
    assert abs(levels(root, 3)[0].transpose(1, 2, 0) - expected).max() <= 1
    assert abs(levels(root)[0, 0] - luma(expected)).max() <= 1.5
    assert (levels(root)[0, 0, :8] == WHITE).all()


def test_opaque_pixels_keep_their_colours(root):
    picture = noise(0, SIDE, SIDE, 3)
    Image.fromarray(np.dstack([picture, np.full((SIDE, SIDE), 255, dtype=np.uint8)])).save(root / "a.png")
    np.testing.assert_array_equal(levels(root, 3)[0].round().transpose(1, 2, 0), picture)


def test_grey_with_opacity(root):
    grey, opacity = noise(0), noise(1)
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(opacity)]).save(root / "a.png")
    expected = on_white(grey[..., None], opacity / 255)[..., 0]
    assert abs(levels(root)[0, 0] - expected).max() <= 1.5


@pytest.mark.parametrize("clear", [3, bytes([255, 255, 255, 0])], ids=["one colour", "an opacity a colour"])
def test_a_palette_with_transparency(root, clear):
    index = np.random.default_rng(0).integers(0, 4, (SIDE, SIDE), dtype=np.uint8)
    palette = np.array([[10, 20, 30], [200, 100, 50], [0, 255, 0], [255, 0, 255]], dtype=np.uint8)
    picture = Image.frombytes("P", (SIDE, SIDE), index.tobytes())
    picture.putpalette(palette.tobytes())
    picture.save(root / "a.png", transparency=clear)
    expected = palette[index]
    expected[index == 3] = WHITE
    np.testing.assert_array_equal(levels(root, 3)[0].round().transpose(1, 2, 0), expected)


def test_a_transparent_gif(root):
    index = np.random.default_rng(0).integers(0, 3, (SIDE, SIDE), dtype=np.uint8)
    palette = np.array([[255, 0, 0], [0, 0, 255], [0, 255, 0]], dtype=np.uint8)
    picture = Image.frombytes("P", (SIDE, SIDE), index.tobytes())
    picture.putpalette(palette.tobytes())
    picture.save(root / "a.gif", transparency=1)
    expected = palette[index]
    expected[index == 1] = WHITE
    np.testing.assert_array_equal(levels(root, 3)[0].round().transpose(1, 2, 0), expected)


def png(path: Path, values: np.ndarray, colour_type: int, clear: bytes) -> None:
    """A PNG file of these values (H, W, …) that names one of their colours as transparent."""
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 8 * values.itemsize, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(values.dtype.newbyteorder(">")).tobytes() for row in values)
    chunks = [(b"IHDR", head), (b"tRNS", clear), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks))


@pytest.mark.parametrize("kind", ["colour", "grey", "16 bits"])
def test_one_transparent_colour(root, kind):
    grey = noise(0) // 2  # up to 127: no pixel is white by itself
    grey[:8] = 77
    values, colour_type, clear = {
        "colour": (np.dstack([grey] * 3), 2, (77, 77, 77)),
        "grey": (grey, 0, (77,)),
        "16 bits": (grey.astype(np.uint16) * 257, 0, (77 * 257,)),
    }[kind]
    png(root / "a.png", values, colour_type, struct.pack(f">{len(clear)}H", *clear))
    np.testing.assert_array_equal(levels(root)[0, 0].round(), np.where(grey == 77, WHITE, grey))


# --- integers by their range ------------------------------------------------------------------------


def tiff(path: Path, values: np.ndarray, **tags: int) -> None:
    """The values as they are in a TIFF file without compression; tags by name replace what their type says."""
    numbers = {"bits": 258, "photometric": 262, "sample_format": 339}
    fields = {256: values.shape[1], 257: values.shape[0], 258: 8 * values.itemsize, 259: 1, 262: 1, 273: 0, 277: 1,
              278: values.shape[0], 279: values.nbytes}
    fields |= {numbers[name]: value for name, value in tags.items()}
    head = 8 + 2 + 12 * len(fields) + 4
    fields[273] = head
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(fields.items()))
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4) + values.tobytes())


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits(root, suffix):
    grey = noise(0)
    deep = grey.astype(np.uint16) * 257
    if suffix == "pgm":
        (root / "deep.pgm").write_bytes(f"P5 {SIDE} {SIDE} 65535\n".encode() + deep.astype(">u2").tobytes())
    else:
        Image.fromarray(deep).save(root / f"deep.{suffix}")
    np.testing.assert_array_equal(levels(root)[0, 0].round(), grey)
    np.testing.assert_array_equal(levels(root, 3)[0].round(), np.stack([grey] * 3))


def test_a_dark_image_of_sixteen_bits_stays_dark(root):
    """Scaled by the range of the type, not by the image's own: 1,000 of 65,535 is nearly black."""
    Image.fromarray(noise(0).astype(np.uint16) * 4).save(root / "dark.png")
    assert levels(root).max() <= 4


def test_twelve_bits(root):
    """Two pixels in three bytes: the largest value is 4,095."""
    grey = noise(0)
    deep = np.round(grey / 255 * 4095).astype(int)
    deep[0, 0], deep[0, 1] = 0, 4095
    packed = np.stack([deep[:, ::2] >> 4, (deep[:, ::2] & 15) << 4 | deep[:, 1::2] >> 8, deep[:, 1::2] & 255], axis=2)
    packed = packed.astype(np.uint8).reshape(SIDE, -1)
    tiff(root / "a.tif", packed, bits=12)
    data = bytearray((root / "a.tif").read_bytes())
    at = data.index(struct.pack("<HHII", 256, 4, 1, packed.shape[1]))
    data[at : at + 12] = struct.pack("<HHII", 256, 4, 1, SIDE)
    (root / "a.tif").write_bytes(bytes(data))
    found = levels(root)[0, 0]
    assert found[0, 0] == 0 and found[0, 1] == 255
    assert abs(found - deep / 4095 * 255).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_images_of_small_numbers_are_named_each_time(root, suffix):
    """0 to 255 in 16 bits: scaled by 65,535, as the format says, it is black, and probably not meant."""
    Image.fromarray(noise(0).astype(np.uint16)).save(root / f"dim.{suffix}")
    Image.fromarray(noise(1).astype(np.uint16) * 4).save(root / f"deep.{suffix}")
    for _ in range(2):  # read, and from the cache
        with pytest.warns(UserWarning, match=rf"1 of more than 8 bits .* nearly black \(dim.{suffix}\)$"):
            images = folder(root, 24, progress=False)
    assert images[1].max() < 0.004 < images[0].max()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_where_zero_is_white(root, dtype):
    top = np.iinfo(dtype).max
    tiff(root / "a.tif", (top - noise(0).astype(dtype) * (top // 255)).astype(dtype), photometric=0)
    np.testing.assert_array_equal(levels(root)[0, 0].round(), noise(0))


def test_a_maximum_that_is_stated(root):
    """PGM states its largest value."""
    tens = (noise(0) % 101).astype(">u2")
    (root / "a.pgm").write_bytes(f"P5 {SIDE} {SIDE} 100\n".encode() + tens.astype(np.uint8).tobytes())
    (root / "b.pgm").write_bytes(f"P5 {SIDE} {SIDE} 1000\n".encode() + (tens[::-1] * 10).astype(">u2").tobytes())
    found = levels(root)
    assert abs(found[0, 0] - tens * 2.55).max() <= 0.51
    assert abs(found[1, 0] - tens[::-1] * 2.55).max() <= 0.51


@pytest.mark.parametrize(
    ("values", "tags", "reason"),
    [
        (noise(0).astype(np.uint32), {}, "32-bit integers do not say which value is white"),
        (noise(0).astype(np.int32), {"sample_format": 2}, "signed integers do not say which value is white"),
        (noise(0).astype(np.int16), {"sample_format": 2}, "signed integers do not say which value is white"),
        (noise(0).astype(np.int8), {"sample_format": 2}, "signed integers do not say which value is white"),
        (noise(0).astype(np.float32), {"sample_format": 3}, "a floating-point image does not say which value is white"),
    ],
    ids=["uint32", "int32", "int16", "int8", "float32"],
)
def test_values_without_a_known_white_are_refused_by_name(root, values, tags, reason):
    tiff(root / "a.tif", values, **tags)
    with pytest.raises(ValueError, match=rf"none of its 1 images could be read \(a\.tif: {reason}\)"):
        levels(root)


def test_an_image_of_thirty_two_bits_as_pillow_writes_it(root):
    Image.fromarray(noise(0).astype(np.int32)).save(root / "a.tif")
    Image.fromarray(noise(1)).save(root / "b.tif")
    with pytest.warns(UserWarning, match=r"skipped 1 unreadable file \(a\.tif: signed integers do not say"):
        np.testing.assert_array_equal(levels(root)[0, 0].round(), noise(1))


def test_black_and_white(root):
    Image.fromarray(noise(0) > 127).save(root / "a.png")
    Image.fromarray(noise(1) > 127).save(root / "b.pbm")
    Image.fromarray(noise(2) > 127).save(root / "c.tif", compression="group4")
    for k, found in enumerate(levels(root)):
        np.testing.assert_array_equal(found[0], (noise(k) > 127) * 255)


# --- colour -------------------------------------------------------------------------------------------


def test_three_channels_are_red_green_and_blue(root):
    picture = noise(0, SIDE, SIDE, 3)
    Image.fromarray(picture).save(root / "a.png")
    found = folder(root, SIDE, channels=3, progress=False)
    assert found.shape == (1, 3, SIDE, SIDE) and found.dtype == torch.float32 and found.is_contiguous()
    np.testing.assert_array_equal((found[0] * 255).round(), picture.transpose(2, 0, 1))
    assert abs(levels(root)[0, 0] - luma(picture)).max() <= 1


def test_colours_are_cropped_and_resized_like_grey(root):
    """With three equal channels, each is what grey gives."""
    grey = noise(0, 50, 90)
    Image.fromarray(np.dstack([grey] * 3)).save(root / "a.png")
    np.testing.assert_array_equal(levels(root, 3, 16)[0], np.repeat(levels(root, 1, 16)[0], 3, axis=0))


def test_grey_in_three_channels(root):
    Image.fromarray(noise(0)).save(root / "a.png")
    np.testing.assert_array_equal(levels(root, 3)[0].round(), np.stack([noise(0)] * 3))


@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_inks(root, suffix):
    """Cyan, magenta, yellow and black: no ink is white, each ink takes its colour away, black takes all."""
    inks = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
    inks[:8, 8:16, 0], inks[:8, 16:, 1] = 255, 255
    inks[8:16, :8, 2], inks[8:16, 8:16, 3], inks[8:16, 16:, 3] = 255, 255, 128
    Image.frombytes("CMYK", (SIDE, SIDE), inks.tobytes()).save(root / f"a.{suffix}", **(
        {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}))
    found = levels(root, 3)[0][:, 4::8, 4::8].transpose(1, 2, 0)  # the middle of each of the nine squares
    expected = [[[255, 255, 255], [0, 255, 255], [255, 0, 255]],
                [[255, 255, 0], [0, 0, 0], [127, 127, 127]],
                [[255, 255, 255]] * 3]
    assert abs(found - expected).max() <= 3
    assert abs(levels(root)[0, 0, 4::8, 4::8] - luma(np.array(expected))).max() <= 3


def test_near_duplicates_in_colour(root):
    """A brighter copy goes; the same pattern in other colours is another picture."""
    picture = noise(0, SIDE, SIDE, 3)
    grey = noise(1)
    other = [np.dstack([grey, noise(2), noise(3)]), np.dstack([255 - grey, noise(3), noise(2)])]
    for k, pixels in enumerate([picture, picture // 2 + 50, *other]):
        Image.fromarray(pixels).save(root / f"{k}.png")
    with pytest.warns(UserWarning, match=r"skipped 1 near-duplicate \(1\.png\)"):
        assert len(folder(root, SIDE, channels=3, progress=False)) == 3


def test_a_common_tint_makes_no_duplicates(root):
    """Six unlike pictures in shades of orange: their mean colours are alike, and are not what is compared."""
    for k in range(6):
        Image.fromarray((noise(k)[..., None] / 255 * [40, 20, 10] + [210, 120, 10]).astype(np.uint8)).save(
            root / f"{k}.png")
    assert len(folder(root, SIDE, channels=3, progress=False)) == 6


# --- orientation ----------------------------------------------------------------------------------------

# what a viewer does to the stored pixels, by the number in EXIF
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


def oriented(path: Path, picture: Image.Image, orientation: int, **options) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif, **options)


def checks(seed: int) -> np.ndarray:
    """3 × 4 squares of 8 pixels in random colours: (24, 32, 3)."""
    return noise(seed, 3, 4, 3).repeat(8, axis=0).repeat(8, axis=1)


def central(picture: np.ndarray) -> np.ndarray:
    top, left = (picture.shape[0] - SIDE) // 2, (picture.shape[1] - SIDE) // 2
    return picture[top : top + SIDE, left : left + SIDE].astype(float)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation(root, suffix, orientation):
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    stored = checks(0)
    oriented(root / f"a.{suffix}", Image.fromarray(stored), orientation, **options)
    apart = abs(levels(root, 3)[0].transpose(1, 2, 0) - central(UPRIGHT[orientation](stored)))
    assert (apart.mean() if suffix == "jpg" else apart.max()) < 1.5


@pytest.mark.parametrize("mode", ["P", "RGBA", "I;16", "LA"])
def test_orientation_of_other_kinds_of_pixels(root, mode):
    """Those whose pixels are converted by other ways than plain colours."""
    grey = checks(0)[..., 0]
    picture = {
        "P": lambda: Image.fromarray(grey).convert("P"),
        "RGBA": lambda: Image.fromarray(grey).convert("RGBA"),
        "LA": lambda: Image.fromarray(grey).convert("LA"),
        "I;16": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
    }[mode]()
    oriented(root / "a.png", picture, 6)
    np.testing.assert_array_equal(levels(root)[0, 0].round(), central(UPRIGHT[6](grey)))


def test_a_compressed_tiff_is_turned_once(root):
    oriented(root / "a.tif", Image.fromarray(checks(0)), 8, compression="tiff_lzw")
    np.testing.assert_array_equal(levels(root, 3)[0].round().transpose(1, 2, 0), central(UPRIGHT[8](checks(0))))


def test_a_whole_image_with_damaged_exif_is_read(root):
    Image.fromarray(checks(0)).save(root / "a.png", exif=b"Exif\0\0nothing that is EXIF")
    np.testing.assert_array_equal(levels(root, 3)[0].round().transpose(1, 2, 0), central(checks(0)))


# --- names, links, folders and permissions ----------------------------------------------------------------


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed)).save(path, format="PNG")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such names")
def test_a_name_that_is_not_utf_8_stops_nothing(root):
    save(root / "a.png", 0)
    name = os.fsdecode(b"caf\xe9.png")
    save(root / name, 1)
    save(root / os.fsdecode(b"\xff") / "b.png", 2)
    assert len(levels(root)) == 3 and len(levels(root)) == 3  # the second from the cache
    (root / os.fsdecode(b"broken \xe9\n.png")).write_bytes(b"")
    with pytest.warns(UserWarning, match=r"skipped 1 unreadable file \(broken \\udce9\\n\.png: ") as caught:
        levels(root)
    str(caught[0].message).encode()  # can be written anywhere
    inner = root / os.fsdecode(b"\xff")
    assert len(levels(inner)) == 1  # nor if the folder's own name is such
    assert len(folder(os.fsencode(inner), SIDE, progress=False)) == 1


def test_what_is_skipped_is_said_every_time(root, recwarn):
    """Of each kind once, in one sentence, also from the cache."""
    for k in range(3):
        save(root / f"{k}.png", k)
    save(root / "copy.png", 0)
    save(root / "old.xyz", 4)
    (root / "photo.heic").write_bytes(b"no format that is read")
    (root / "broken.png").write_bytes(b"")
    (root / "list.txt").write_text("0.png")  # no image, and nothing is said
    (root / ".hidden").write_text("")
    if hasattr(os, "symlink"):
        (root / "loop").symlink_to(root, target_is_directory=True)
        (root / "nowhere.png").symlink_to(root / "missing.png")
    said = (f"3 images read from '{root}'; skipped 1 near-duplicate (copy.png), "
            "1 unreadable file (broken.png: not an image that Pillow knows), "
            "2 files in formats that are not read (old.xyz, photo.heic), "
            "2 links that are not followed (loop, nowhere.png: No such file or directory)")
    for time in range(3):
        assert len(levels(root)) == 3
        assert [str(w.message) for w in recwarn] == [said] * (time + 1)


def test_it_is_said_each_time_by_pythons_own_rules(root):
    """By default Python shows the same warning once a line."""
    save(root / "a.png", 0)
    save(root / "b.png", 0)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(3):
            levels(root)
    assert len(seen) == 3 and {w.filename for w in seen} == {__file__}


def test_nothing_is_said_where_nothing_is_skipped(root, recwarn):
    save(root / "a.png", 0)
    levels(root), levels(root)
    assert not recwarn.list


def test_small_images_are_counted_every_time(root):
    save(root / "a.png", 0)
    Image.fromarray(noise(1, 40, 30)).save(root / "b.png")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"^2 images read from '.*'; 1 smaller than size = 28 and enlarged$"):
            levels(root, size=28)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_links_to_files_are_read_and_loops_end(root, tmp_path):
    save(tmp_path / "elsewhere.png", 0)
    save(tmp_path / "others" / "x.png", 5)
    save(root / "deep" / "b.png", 1)
    (root / "a.png").symlink_to(tmp_path / "elsewhere.png")
    (root / "deep" / "up").symlink_to(root, target_is_directory=True)
    (root / "others").symlink_to(tmp_path / "others", target_is_directory=True)
    (root / "c.png").symlink_to(root / "d.png")
    (root / "d.png").symlink_to(root / "c.png")
    with pytest.warns(UserWarning, match=r"skipped 4 links that are not followed \(others, c\.png: .*, d\.png: .*, "
                                         r"deep/up\)$"):
        found = levels(root)
    np.testing.assert_array_equal(found[:, 0].round(), [noise(0), noise(1)])
    linked = tmp_path / "linked"
    linked.symlink_to(root / "deep", target_is_directory=True)
    with pytest.warns(UserWarning, match="1 link that is not followed"):
        assert len(levels(linked)) == 1  # the folder itself may be a link


@contextmanager
def as_somebody():
    """Files of others are unreadable to everybody but root, as whom tests may run."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no such permissions here")
def test_unreadable_files_and_folders(monkeypatch):
    base = Path(tempfile.mkdtemp())
    try:
        root, cache = base / "pictures", base / "cache"
        for k, name in enumerate(["a.png", "b.png", "open/c.png", "shut/d.png", "shut/e.png"]):
            save(root / name, k)
        os.mkfifo(root / "pipe.png")  # to open it would wait for ever
        cache.mkdir()
        monkeypatch.setenv("GAHB_CACHE", str(cache))
        for path in (base, cache):
            path.chmod(0o777)
        (root / "b.png").chmod(0)
        (root / "shut").chmod(0)
        with as_somebody():
            for _ in range(2):
                with pytest.warns(UserWarning, match=r"^2 images read from '.*'; skipped 2 unreadable files "
                                  r"\(pipe\.png: not a regular file, b\.png: Permission denied\), "
                                  r"1 unreadable folder \(shut: Permission denied\)$"):
                    assert len(levels(root)) == 2
        (root / "b.png").chmod(0o644)
        (root / "shut").chmod(0o755)
        (root / "pipe.png").unlink()
        with as_somebody():
            assert len(levels(root)) == 5  # what has become readable is read
        root.chmod(0)
        with as_somebody(), pytest.raises(ValueError, match=r"holds no images .*; skipped 1 unreadable folder \(\.: "):
            levels(root)
        root.chmod(0o755)
    finally:
        shutil.rmtree(base)


def test_a_cache_that_cannot_be_written_names_the_way_round(root, tmp_path, monkeypatch):
    save(root / "a.png", 1)
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(NotADirectoryError, match="variable GAHB_CACHE may name another folder"):
        levels(root)
    cache = tmp_path / "shut"
    monkeypatch.setenv("GAHB_CACHE", str(cache))
    monkeypatch.setattr("filelock.FileLock.acquire", lambda lock: os.open(tmp_path / "gone" / "x", 0))
    with pytest.raises(FileNotFoundError, match="variable GAHB_CACHE may name another folder .*shut"):
        levels(root)


def test_a_folder_that_is_named_like_an_image(root):
    save(root / "a.png" / "b.png", 0)
    assert len(levels(root)) == 1
