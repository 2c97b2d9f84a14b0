"""What chapters put into sentences."""

from __future__ import annotations

import pytest

from gahb.book import prose


@pytest.fixture
def kept(monkeypatch) -> dict:
    """What has been kept for the text, by name."""
    found = {}

    def keep(name, value, display=True):
        assert not display
        found[name] = value

    monkeypatch.setattr("myst_nb.glue", keep)
    return found


def test_a_pair_is_kept_as_text_and_nothing_is_shown(kept, monkeypatch):
    monkeypatch.setattr("IPython.get_ipython", object)
    assert prose.glue(error=(0.5, 0.0996), count=3, label="twins") is None
    assert kept == {"error": "0.50 ± 0.10", "count": 3, "label": "twins"}


def test_outside_of_a_notebook_nothing_is_kept(kept, monkeypatch):
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    prose.glue(count=3)
    assert kept == {}


def test_shares_are_written_in_per_cent():
    assert prose.percent(0.5475, 0.0233) == "54.8 ± 2.3 %"
    assert prose.percent(0.5) == "50 %"
