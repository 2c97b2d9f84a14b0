"""Random image classes, photographs and folders of images: float32 (n, 1, size, size), values in [0, 1].

Image i of a class depends only on the arguments of the class, the seed and
start + i, so that any part of a class can be made alone.
"""

from .calpha import c_alpha, c_alpha_spectrum
from .darcy import darcy, darcy_fields, darcy_images, darcy_pressure, darcy_residual
from .disk_projection import DiskProjection, project_on_disks
from .disks import disks
from .duplicates import near_duplicates
from .folder import folder, folder_checksum, folder_names
from .leaves import dead_leaves
from .photos import TEST, TRAIN, centre, crops, photograph, photos
from .stored import StoredImages, stored
from .subsets import shuffle_pixels, split

__all__ = [
    "TEST", "TRAIN", "DiskProjection", "StoredImages", "c_alpha", "c_alpha_spectrum", "centre", "crops", "darcy",
    "darcy_fields", "darcy_images", "darcy_pressure", "darcy_residual", "dead_leaves", "disks", "folder",
    "folder_checksum", "folder_names", "near_duplicates", "photograph", "photos", "project_on_disks",
    "shuffle_pixels", "split", "stored",
]
