"""Claims: the verdict rule, the ledger's entries, and every refusal's message."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict

import numpy as np
import pytest
import torch

from gahb import claims

ENTRY = {"id": "one", "chapter": "01_tiny", "statement": "A number.", "source": "equation (3)"}
LEDGER = """
- id: value
  chapter: 01_tiny
  statement: The slope is $\\alpha$ < 1.
  source: equation (3)
  expect: 0.5
  tolerance: 1e-1
- id: upper
  chapter: 01_tiny
  statement: An error
    over two lines.
  source: Figure 1
  at_most: 1e-10
- id: other
  chapter: 02_other
  statement: Another chapter's.
  source: Figure 2
  at_least: 2
"""


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """A root whose claims.yaml the test may rewrite; no chapter has begun."""
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / "claims.yaml"
    path.write_text(LEDGER)
    monkeypatch.setenv("GAHB_ROOT", str(tmp_path))
    monkeypatch.setattr(claims, "_running", {})
    return path


@pytest.mark.parametrize(
    ("measured", "stderr", "verdict"),
    [
        (0.5, None, "holds"),
        (0.59, None, "holds"),
        (0.59, 0.05, "holds"),  # half the tolerance is still known well enough
        (0.5, 0.051, "open"),
        (0.61, None, "falls short"),
        (0.61, 0.004, "falls short"),
        (0.61, 0.006, "open"),  # outside, but by less than two standard errors
        (0.39, 0.004, "falls short"),
    ],
)
def test_value_with_tolerance(measured, stderr, verdict):
    entry = claims.Expectation(**ENTRY, expect=0.5, tolerance=0.1)
    assert entry.judge(measured, stderr) == verdict


@pytest.mark.parametrize(
    ("measured", "stderr", "verdict"),
    [
        (1.0, None, "holds"),  # on the bound, and exact
        (0.75, 0.125, "holds"),  # two standard errors clear of it
        (0.75, 0.126, "open"),
        (1.0, 0.01, "open"),
        (1.1, None, "falls short"),
        (1.1, 0.04, "falls short"),
        (1.1, 0.06, "open"),
    ],
)
def test_bound_either_way(measured, stderr, verdict):
    assert claims.Expectation(**ENTRY, at_most=1.0).judge(measured, stderr) == verdict
    assert claims.Expectation(**ENTRY, at_least=-1.0).judge(-measured, stderr) == verdict


def test_bound_with_its_own_tolerance():
    entry = claims.Expectation(**ENTRY, at_most=1.0, tolerance=0.2)
    assert entry.judge(0.99, 0.1) == "holds"
    assert entry.judge(0.5, 0.11) == "open"  # far below, but not known as well as was asked
    assert entry.judge(1.1, 0.04) == "falls short"  # the tolerance does not move the bound


def test_check_records_what_was_measured(ledger):
    claims.begin(chapter="01_tiny", profile="book, with sigma=0.2")
    claim = claims.check("value", torch.tensor([0.52]), stderr=np.float32(0.01))
    assert (claim.id, claim.verdict, claim.profile) == ("value", "holds", "book, with sigma=0.2")
    assert (claim.expect, claim.tolerance, claim.source) == (0.5, 0.1, "equation (3)")
    assert claim.measured == pytest.approx(0.52)
    assert isinstance(claim.measured, float)
    with pytest.raises(FrozenInstanceError):
        claim.verdict = "open"
    assert claims.from_json(json.loads(json.dumps(asdict(claim)))) == claim
    assert "measured 0.520 ± 0.010, expected 0.5 ± 0.1" in str(claim)


def test_scientific_notation_without_a_point_is_a_number(ledger):
    assert {c.id: c.at_most for c in claims.load()}["upper"] == 1e-10
    assert {c.id: c.statement for c in claims.load()}["upper"] == "An error over two lines."


@pytest.mark.parametrize("profile", ["smoke", "smoke, with sigma=0.2"])
def test_smoke_writes_no_verdict(ledger, profile):
    claims.begin(chapter="01_tiny", profile=profile)
    assert claims.check("value", 9.0).verdict == "not judged"


def test_without_begin_the_profile_is_not_stated(ledger):
    claim = claims.check("value", 0.5)
    assert (claim.profile, claim.verdict) == ("not stated", "holds")


def test_html_says_the_verdict_in_words_and_escapes(ledger):
    box = claims.check("value", 0.9).to_html()
    assert "gahb-claim-falls-short" in box
    assert "</span> falls short</span>" in box
    assert r'The slope is <span class="math notranslate nohighlight">\(\alpha\)</span> &lt; 1.' in box
    assert 'id="claim-value"' in box


def test_what_was_known_before_goes_into_the_record_and_the_box(ledger):
    ledger.write_text(LEDGER.replace("  expect: 0.5", "  known: a slope of 0.4,\n    < $\\alpha$\n  expect: 0.5"))
    claim = claims.check("value", 0.5)
    assert claim.known == r"a slope of 0.4, < $\alpha$"
    record = json.loads(json.dumps(asdict(claim)))
    assert record["known"] == claim.known
    assert claims.from_json(record) == claim
    known = r'known before: a slope of 0.4, &lt; <span class="math notranslate nohighlight">\(\alpha\)</span></span>'
    assert known in claim.to_html()
    assert claims.check("upper", 0.0).known is None
    assert "known" not in claims.check("upper", 0.0).to_html()


def test_a_record_from_before_there_was_known_is_read(ledger):
    record = asdict(claims.check("value", 0.5))
    del record["known"]
    assert claims.from_json(record) == claims.check("value", 0.5)


def test_no_ledger_is_an_empty_ledger(ledger):
    ledger.unlink()
    assert claims.load() == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id": "vale", "measured": 1}, r"no claim 'vale' in notebooks/claims.yaml; near it: value"),
        ({"id": "zzz", "measured": 1}, r"no claim 'zzz' .*: other, upper, value"),
        ({"id": "value", "measured": float("nan")}, "measured must be finite, got nan"),
        ({"id": "value", "measured": float("inf")}, "measured must be finite, got inf"),
        ({"id": "value", "measured": torch.zeros(3)}, r"measured must be one number, got shape \(3,\)"),
        ({"id": "value", "measured": None}, "measured must be one number, got None"),
        ({"id": "value", "measured": True}, "measured must be one number, got True"),
        ({"id": "value", "measured": "high"}, "measured must be one number, got 'high'"),
        (
            {"id": "value", "measured": 0.5, "stderr": -0.1},
            "stderr of claim 'value' must be 0 or more, got -0.1",
        ),
        ({"id": "value", "measured": 0.5, "stderr": float("nan")}, "stderr must be finite, got nan"),
        ({"id": "other", "measured": 3}, "claim 'other' belongs to chapter 02_other, but 01_tiny is running"),
    ],
)
def test_check_refuses(ledger, arguments, message):
    claims.begin(chapter="01_tiny", profile="book")
    with pytest.raises(claims.InputError, match=message):
        claims.check(**arguments)


def test_begin_refuses_no_name(ledger):
    with pytest.raises(claims.InputError, match="profile must be a name, got ''"):
        claims.begin(chapter="01_tiny", profile="")
    with pytest.raises(claims.InputError, match="chapter must be a name, got 1"):
        claims.begin(chapter=1, profile="book")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "claims.yaml is not YAML"),
        ("a: 1", "must be a list of claims, each with an id; got a dict"),
        ("- 3", "claim number 1 in claims.yaml must be a mapping, got 3"),
        (
            "- {chapter: a, statement: b, source: c, at_most: 1}",
            "claim 'number 1' .* needs id as text, got None",
        ),
        ("- {id: x, chapter: a, statement: b, at_most: 1}", "claim 'x' .* needs source as text, got None"),
        ("- {id: x, chapter: a, statement: b, source: c, at_most: 1, known: 0.77}", "needs known as text, got 0.77"),
        ("- {id: x, chapter: a, statement: b, source: c, at_most: 1, known: }", "needs known as text, got None"),
        (
            "- {id: x, chapter: a, statement: b, source: c}",
            "exactly one of expect, at_most, at_least; got none",
        ),
        ("- {id: x, chapter: a, statement: b, source: c, at_most: 1, at_least: 0}", "got at_most, at_least"),
        ("- {id: x, chapter: a, statement: b, source: c, expect: 1}", "'x' .* has expect without tolerance"),
        ("- {id: x, chapter: a, statement: b, source: c, at_most: .nan}", "at_most must be finite, got nan"),
        (
            "- {id: x, chapter: a, statement: b, source: c, at_most: low}",
            "at_most must be one number, got 'low'",
        ),
        (
            "- {id: x, chapter: a, statement: b, source: c, expect: 1, tolerance: -1}",
            "tolerance must be 0 or more",
        ),
        (
            "- {id: x, chapter: a, statement: b, source: c, atmost: 1}",
            "unknown key 'atmost'; allowed: id, chapter",
        ),
        ("- {id: X Y, chapter: a, statement: b, source: c, at_most: 1}", "an id has small letters"),
        ("- &a {id: x, chapter: a, statement: b, source: c, at_most: 1}\n- *a", "two claims with id 'x'"),
    ],
)
def test_load_refuses(ledger, text, message):
    ledger.write_text(text)
    with pytest.raises(claims.InputError, match=message):
        claims.load()


def test_a_record_of_another_version_is_refused():
    with pytest.raises(claims.InputError, match="another version of gahb; run the chapter again"):
        claims.from_json({"id": "x", "colour": "red"})
