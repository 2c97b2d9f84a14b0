"""Denoisers: ``denoiser(y, sigma=None) -> x_hat``, same shape, dtype and device as y."""
