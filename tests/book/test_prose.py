"""What chapters put into sentences."""

from __future__ import annotations

import myst_nb
import pytest
from IPython.core.interactiveshell import InteractiveShell

from gahb.book import prose


@pytest.fixture
def shown(monkeypatch) -> list:
    """The outputs that a cell would have: (data, metadata)."""
    found = []
    def keep(data, metadata=None, **rest):
        found.append((data, metadata))

    monkeypatch.setattr(InteractiveShell.instance().display_pub, "publish", keep)
    yield found
    InteractiveShell.clear_instance()


def test_a_pair_is_kept_as_text_and_nothing_is_shown(shown):
    assert prose.glue(error=(0.5, 0.0996), count=3, label="twins") is None
    ours = shown.copy()
    shown.clear()
    for name, value in {"error": "0.50 ± 0.10", "count": 3, "label": "twins"}.items():
        myst_nb.glue(name, value, display=False)
    assert len(ours) == 3 and ours == shown


def test_outside_of_a_notebook_nothing_is_kept(shown, monkeypatch):
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    prose.glue(count=3)
    assert shown == []


def test_shares_are_written_in_per_cent():
    assert prose.percent(0.5475, 0.0233) == "54.8 ± 2.3 %"
    assert prose.percent(0.5) == "50 %"
