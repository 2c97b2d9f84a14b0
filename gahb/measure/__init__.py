"""What is measured of a denoiser: its risk, its density error, memorization, bases, rates; and statistics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
