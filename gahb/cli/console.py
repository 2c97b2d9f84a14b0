"""Output that every console can show, and messages of one line about files that can't be written."""

from __future__ import annotations

import codecs
import sys
import unicodedata

from .._files import explained

_PLAIN = {
    "σ": "sigma", "α": "alpha", "−": "-", "–": "-", "±": "+/-", "×": "x", "≤": "<=", "≥": ">=", "·": "*",
    "’": "'", "…": "...", "✓": "v", "✗": "x",
}  # fmt: skip


def show_everything() -> None:
    """From now on characters that the console's encoding lacks are written in plain ones: σ as sigma."""
    codecs.register_error("gahb.plain", _in_plain_characters)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="gahb.plain")


def complain(error: BaseException | str) -> None:
    """One line on standard error that says what is wrong, and where it can be the way round."""
    said = explained(error) if isinstance(error, OSError) else str(error)
    print(f"gahb: {' '.join(said.split())}", file=sys.stderr)


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """Handler for `codecs`: what is written in place of characters that can't be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character) or _base(character) for character in characters), error.end


def _base(character: str) -> str:
    """The ASCII letter under an accent, else a question mark."""
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"
