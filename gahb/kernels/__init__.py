"""Inner loops, apart from what they are used for."""
