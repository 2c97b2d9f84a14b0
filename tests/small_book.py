"""A book of one or two pages, built by Sphinx in this process: what a test of an extension needs of it."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "nb_execution_mode": "off",
    "numfig": True,
    "myst_enable_extensions": ["dollarmath", "colon_fence"],
    "exclude_patterns": ["_build", "jupyter_execute", "notebooks", "book/_executed/cache", "**.failed.ipynb"],
    "nitpicky": True,
}


def build(place: Path, root_doc: str, extensions: list[str], **settings) -> Path:
    """Build the pages of `place` with modules of book/_ext; where they are. A warning is an error."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    out, said = place / "_build", io.StringIO()
    about = SETTINGS | {"root_doc": root_doc, "extensions": ["myst_nb", *(f"_ext.{name}" for name in extensions)]}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), patch_docutils(), docutils_namespace():
        warnings.simplefilter("ignore")  # what tools deprecate is not tested here
        patch.setattr(sys, "path", [str(ROOT / "book"), *sys.path])
        app = Sphinx(place, None, out, out / ".doctrees", "html", about | settings, status=None, warning=said)
        app.build()
    assert said.getvalue() == "", said.getvalue()
    return out
