"""Messages at the public boundary."""

from __future__ import annotations

import pytest

from gahb._validate import MissingExtra, nearest_names, require_extra, suggestion

NETWORKS = ["calpha-1", "calpha-2", "calpha-2-long", "disks", "faces", "faces-n10-first", "photos"]


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("photo", ["photos"]),
        ("Photos", ["photos"]),
        ("calpha_2", ["calpha-2", "calpha-1", "calpha-2-long"]),
        ("n10", ["faces-n10-first"]),
        ("elephant", []),
        ("", []),
    ],
)
def test_nearest_names(given, near):
    assert nearest_names(given, NETWORKS) == near


def test_at_most_so_many():
    assert len(nearest_names("calpha", NETWORKS, most=2)) == 2


def test_suggestions():
    assert suggestion("calpha", NETWORKS) == "did you mean calpha-2, calpha-1 or calpha-2-long?"
    assert suggestion("elephant", ["a", "b"]) == "there are: a, b"
    assert suggestion("elephant", []) == "there are: none"
    assert suggestion("elephant", map(str, range(124))) == "there are 124, for example 0, 1, 2"


def test_a_missing_extra_says_how_to_install_it():
    require_extra("book", "gahb rerun", "json")
    message = r"^gahb rerun needs the extra \[book\]: pip install 'gahb\[book\]' \(not installed: no_such_module\)$"
    with pytest.raises(MissingExtra, match=message):
        require_extra("book", "gahb rerun", "json", "no_such_module")
