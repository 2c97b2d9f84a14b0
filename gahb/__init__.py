"""Numerical kernels of the book *Why diffusion models generalise*.

Every denoiser obeys one contract, ``denoiser(y, sigma=None) -> x_hat``, and
every measurement takes any of them. Names are imported when first used; the
stub beside this file says from where.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
