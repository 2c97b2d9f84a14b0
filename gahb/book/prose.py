"""What a chapter needs to put its numbers into sentences."""

from __future__ import annotations

from .._text import plus_minus

RECORD = "application/papermill.record/"  # kept, and not shown


def glue(**values) -> None:
    """Keep values for the text of a chapter, where `{glue:text}` takes them by name.

    A pair (value, standard error) is kept as the text `value ± error`. Outside
    of a notebook there is no text to keep them for, and nothing is done.

    After this cell, ``a gain of {glue:text}`gain` dB`` reads "a gain of 2.35 ± 0.12 dB":

    >>> from gahb.book.prose import glue
    >>> glue(gain=(2.346, 0.12), images=128)
    """
    from IPython import get_ipython
    from IPython.core.formatters import format_display_data
    from IPython.display import display

    if get_ipython() is None:
        return
    for name, value in values.items():
        # as myst_nb.glue does, which takes 1.5 seconds to import
        found, metadata = format_display_data(plus_minus(*value) if isinstance(value, tuple) else value)
        metadata["scrapbook"] = {"name": name, "mime_prefix": RECORD}
        display({RECORD + kind: text for kind, text in found.items()}, raw=True, metadata=metadata)


def percent(value: float, stderr: float | None = None) -> str:
    """A share with its standard error, in per cent: `54.8 ± 2.3 %`.

    >>> from gahb.book.prose import percent
    >>> percent(0.5475, 0.0233)
    '54.8 ± 2.3 %'
    """
    return plus_minus(100 * value, None if stderr is None else 100 * stderr, unit=" %")
