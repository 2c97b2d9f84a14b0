"""Random image classes, photographs and folders of images: float32 (n, 1, size, size), values in [0, 1].

Image i of a class depends only on the arguments of the class, the seed and
start + i, so that any part of a class can be made alone.
"""

from .calpha import c_alpha, c_alpha_spectrum
from .disk_projection import DiskProjection, project_on_disks
from .disks import disks
from .folder import folder, folder_names
from .leaves import dead_leaves
from .photos import TEST, TRAIN, centre, crops, photograph, photos
from .subsets import shuffle_pixels, split

__all__ = [
    "TEST", "TRAIN", "DiskProjection", "c_alpha", "c_alpha_spectrum", "centre", "crops", "dead_leaves", "disks",
    "folder", "folder_names", "photograph", "photos", "project_on_disks", "shuffle_pixels", "split",
]
