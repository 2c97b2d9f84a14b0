"""Progress bars where a person looks: on a terminal or in a notebook."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm


def bar(items, *, progress: bool, **arguments) -> tqdm:
    """A tqdm bar over `items`; silent if `progress` is false or nobody is looking."""
    looked_at = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(items, disable=not (progress and looked_at), **arguments)
