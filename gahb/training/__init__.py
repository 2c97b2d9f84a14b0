"""Fitting denoisers by least squares at every noise level.

`loop` holds :func:`fit`; what it is made of has a module each: `method` (how
the weights are moved), `batches` (what one step sees), `objective` (what the
network is asked for), `constraint` (a law that clean images obey), `optimiser`,
`course` (the steps, and the records, checkpoints and stop between them),
`checkpoint` and `processes` (several that train one network together). `field`
fits an autoencoder of images at several sizes, with the same course.
"""

from .batches import ImageSource
from .constraint import Constraint, Penalty
from .course import EVERY, StoppedError, records
from .field import SizedSource, fit_field
from .loop import fit
from .method import Method, compiler

__all__ = [
    "EVERY", "Constraint", "ImageSource", "Method", "Penalty", "SizedSource", "StoppedError", "compiler", "fit",
    "fit_field", "records",
]
