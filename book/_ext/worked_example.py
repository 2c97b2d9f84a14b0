"""Sphinx extension: the directive `{worked-example}` shows Python code, what it prints, and its figure.

The code stands by itself, so that a reader can paste it. What it has led to is
stored under a hash of the code and of the package (`cache`). If it leaves a
`figure`, that is shown with the caption and the text for those who do not see it:

    ```{worked-example}
    :caption: What is to be seen.
    :alt: The same, in words.

    import gahb
    ...
    ```
"""

from __future__ import annotations

import contextlib
import io
import textwrap
from pathlib import Path

import matplotlib
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gahb import figures
from gahb._files import replacing

from .cache import PLACE, cached, code_of, digest

WIDTH = 79  # of what is printed; the page cuts longer lines off


def made(folder: Path, code: str, caption: str, alt: str) -> str:
    """MyST of the code and of what it leads to; its figure is put into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"example-{digest('|'.join((code, caption, alt)).encode())}"

    def make(stem: Path) -> str:
        printed, left = io.StringIO(), {"__name__": "__main__"}
        with matplotlib.rc_context(), contextlib.redirect_stdout(printed):
            figures.use_style()
            exec(compile(code, "worked example", "exec"), left)
            parts = [f"```python\n{code}\n```"]
            if lines := printed.getvalue().splitlines():
                parts.append("\n".join(["```text", *(textwrap.fill(line, WIDTH) for line in lines), "```"]))
            if "figure" in left:
                path = stem.with_name(f"{stem.name}.png")
                with replacing(path) as partial:
                    left["figure"].savefig(partial, format="png")
                width = round(96 * left["figure"].get_figwidth())
                parts.append(f":::{{figure}} /{PLACE}/{path.name}\n:alt: {alt}\n:width: {width}px\n\n{caption}\n:::")
        return "\n\n".join(parts) + "\n"

    return cached(folder, name, code_of(__file__), make)[1]


class WorkedExample(SphinxDirective):
    """Code, and what it leads to."""

    has_content = True
    option_spec = {"caption": directives.unchanged, "alt": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        text = made(Path(self.env.srcdir, PLACE), "\n".join(self.content), self.options.get("caption", ""),
                    self.options.get("alt", ""))
        holder = nodes.container()
        self.state.nested_parse(StringList(text.splitlines(), "worked example"), self.content_offset, holder)
        return holder.children


def outdated(app: Sphinx, env, added, changed, removed) -> list[str]:
    """Pages with an example are read again when the package has changed."""
    about = sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in code_of(__file__))
    before, env.gahb_examples = getattr(env, "gahb_examples", None), about
    return ["book/copies"] if about != before and "book/copies" in env.found_docs else []


def setup(app: Sphinx) -> dict:
    app.add_directive("worked-example", WorkedExample)
    app.connect("env-get-outdated", outdated)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
