"""Denoisers: ``denoiser(y, sigma=None) -> x_hat``, same shape, dtype and device as y."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
