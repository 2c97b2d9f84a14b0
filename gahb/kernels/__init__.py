"""Numerical inner loops, independent of the classes that use them."""
