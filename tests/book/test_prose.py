"""What chapters put into sentences."""

from __future__ import annotations

from gahb.book import prose


def test_a_pair_is_kept_as_text_and_nothing_is_shown(monkeypatch):
    kept = {}

    def keep(name, value, display=True):
        assert not display
        kept[name] = value

    monkeypatch.setattr("myst_nb.glue", keep)
    assert prose.glue(error=(0.5, 0.0996), count=3, label="twins") is None
    assert kept == {"error": "0.50 ± 0.10", "count": 3, "label": "twins"}


def test_shares_are_written_in_per_cent():
    assert prose.percent(0.5475, 0.0233) == "54.8 ± 2.3 %"
    assert prose.percent(0.5) == "50 %"
