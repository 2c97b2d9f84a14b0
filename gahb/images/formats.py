"""One image file as a square picture of 8 bits: what the numbers in the file mean, by its format."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_SAMPLE_FORMAT, _ORIENTATION = 258, 262, 339, 274
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Picture(NamedTuple):
    """A file, read."""

    pixels: np.ndarray  #: uint8 (channels, size, size)
    side: int  #: of the central square, as it was
    is_dim: bool = False  #: whether all numbers of a file of more than 8 bits are below 256: its white may be 255


def read(path: Path | BinaryIO, size: int, channels: int) -> Picture:
    """The central square of a picture, resized."""
    with Image.open(path) as file:
        picture = square(_upright(_eight_bits(file), file), size, channels)
        return picture._replace(is_dim=file.mode.startswith("I") and 0 < np.asarray(file).max() <= 255)


def square(picture: Image.Image, size: int, channels: int) -> Picture:
    """The central square of a picture of 8 bits, resized, grey or in colour."""
    picture = picture.convert("L" if channels == 1 else "RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    if side == size:
        picture = picture.crop(box)
    else:
        picture = picture.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return Picture(np.asarray(picture).reshape(size, size, channels).transpose(2, 0, 1), side)


def _eight_bits(file: Image.Image) -> Image.Image:
    """The picture with 8 bits a channel and nothing transparent, not yet turned upright."""
    file.load()
    if 2 in _tiff(file, _TIFF_SAMPLE_FORMAT):
        raise ValueError("signed integers do not say which value is white")
    if file.mode == "F":
        raise ValueError("a floating-point image does not say which value is white")
    if file.mode.startswith("I"):
        return _from_deep(file)
    if file.mode == "La":  # grey multiplied by its opacity
        file = file.convert("LA")
    if file.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in file.info or _has_clear_colours(file):
        picture = file.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return file.convert("RGB") if file.mode == "LAB" else file


def _from_deep(file: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled by the largest number of so many bits. Pillow's conversion clips it to white."""
    if file.mode == "I" and file.format not in ("PNG", "PPM"):  # which Pillow reads as 16 bits in this mode
        raise ValueError("32-bit integers do not say which value is white")
    bits = (*_tiff(file, _TIFF_BITS), 16)[0]
    share = np.asarray(file) / (2**bits - 1)
    if 0 in _tiff(file, _TIFF_PHOTOMETRIC):  # 0 is white
        share = 1 - share
    if (clear := file.info.get("transparency")) is not None:
        share = np.where(np.asarray(file) == clear, 1, share)
    return Image.fromarray((share * 255).round().clip(0, 255).astype(np.uint8))


def _tiff(file: Image.Image, tag: int) -> tuple:
    value = getattr(file, "tag_v2", {}).get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def _has_clear_colours(file: Image.Image) -> bool:
    return file.mode == "P" and file.palette is not None and file.palette.mode == "RGBA"


def _upright(picture: Image.Image, file: Image.Image) -> Image.Image:
    """The picture as a viewer shows it, by the orientation that the file states."""
    if file.format == "TIFF":  # Pillow has turned it while it loaded it, and some versions still state the orientation
        return picture
    try:
        orientation = file.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF, of which Pillow raises nearly anything: the picture itself is whole
        return picture
    way = _TURNS.get(orientation)
    return picture if way is None else picture.transpose(way)
