"""Tables of a chapter, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape

from .._text import plus_minus


def table(
    header: Sequence[str],
    rows: Sequence[Sequence],
    *,
    caption: str = "",
    groups: Mapping[str, int] | None = None,
    bold_best: bool = False,
):
    """An HTML table for a notebook.

    A number has two decimals, a pair (value, standard error) is written as
    `value ± error`, None as a dash, and text as it is (``<`` is no tag).

    `groups` (label → columns) is a second header above the last columns. With
    `bold_best` the largest number of each row is bold, in each group apart.
    The result is an `IPython.display.HTML`, whose text is `data`.

    >>> import gahb
    >>> rows = [["cat", 24.3, 25.61], ["coins", (23.972, 0.112), None]]
    >>> table = gahb.figures.table(["picture", "wavelet", "network"], rows, caption="PSNR in dB.", bold_best=True)
    >>> print(table.data)
    <table class="table gahb-table"><caption>PSNR in dB.</caption>
    <thead>
    <tr><th scope="col">picture</th><th scope="col">wavelet</th><th scope="col">network</th></tr></thead><tbody>
    <tr><td>cat</td><td>24.30</td><td><strong>25.61</strong></td></tr>
    <tr><td>coins</td><td>23.97 ± 0.11</td><td>–</td></tr></tbody></table>
    """
    from IPython.display import HTML

    safe = partial(escape, quote=False)
    lines = [f"<caption>{safe(caption)}</caption>"] if caption else []
    groups = groups or {}
    first = len(header) - sum(groups.values())
    spans = [(first + sum(list(groups.values())[:k]), n) for k, n in enumerate(groups.values())] or [(0, len(header))]
    if groups:
        above = "".join(f'<th scope="colgroup" colspan="{n}">{safe(label)}</th>' for label, n in groups.items())
        lines.append(f'<thead><tr><td colspan="{first}"></td>{above}</tr>')
    else:
        lines.append("<thead>")
    lines.append("<tr>" + "".join(f'<th scope="col">{safe(h)}</th>' for h in header) + "</tr></thead><tbody>")
    for row in rows:
        cells = [safe(_cell(cell)) for cell in row]
        for start, n in spans if bold_best else ():
            numbers = [k for k in range(start, start + n) if isinstance(row[k], float)]
            if numbers:
                best = max(numbers, key=lambda k: row[k])
                cells[best] = f"<strong>{cells[best]}</strong>"
        lines.append("<tr>" + "".join(f"<td>{text}</td>" for text in cells) + "</tr>")
    return HTML('<table class="table gahb-table">' + "\n".join(lines) + "</tbody></table>")


def _cell(value) -> str:
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return plus_minus(*value)
    return f"{value:,.2f}".replace("-", "−") if isinstance(value, float) else str(value)
