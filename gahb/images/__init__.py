"""Random image classes and real image folders: float32 (n, 1, size, size) in [0, 1]."""

from .folder import folder
from .photos import TEST, TRAIN, photograph, photos

__all__ = ["TEST", "TRAIN", "folder", "photograph", "photos"]
