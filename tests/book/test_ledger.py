"""Claims: the verdict rule, the ledger's entries, and every refusal's message."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, asdict

import numpy as np
import pytest
import scipy.integrate
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


def entry(**given):
    return claims.Expectation(**ENTRY, **given)


@pytest.mark.parametrize(
    ("measured", "stderr", "verdict"),
    [
        (0.5, None, "holds"),
        (0.59, None, "holds"),
        (0.75, None, "holds"),  # the ends belong to the range
        (0.25, None, "holds"),
        (0.7501, None, "falls short"),
        (0.5, 0.1275, "holds"),  # 1.96 × 0.1275 < 0.25
        (0.5, 0.1276, "open"),  # 1.96 × 0.1276 > 0.25: an interval wider than the range decides nothing
        (0.74, 0.01, "open"),  # inside, but not clearly
        (0.76, 0.01, "open"),  # outside, but not clearly
        (0.76, 0.005, "falls short"),
        (0.24, 0.005, "falls short"),
    ],
)
def test_value_with_tolerance(measured, stderr, verdict):
    """With hundreds of items, t = 1.96: the whole interval lies inside, outside, or neither."""
    assert entry(expect=0.5, tolerance=0.25).judge(measured, stderr) == verdict


@pytest.mark.parametrize(
    ("measured", "stderr", "verdict"),
    [
        (1.0, None, "holds"),  # on the bound, and exact
        (1.0, 0.01, "open"),
        (0.75, 0.127, "holds"),
        (0.75, 0.128, "open"),
        (1.25, 0.127, "falls short"),
        (1.25, 0.128, "open"),
    ],
)
def test_bound_either_way(measured, stderr, verdict):
    assert entry(at_most=1.0).judge(measured, stderr) == verdict
    assert entry(at_least=-1.0).judge(-measured, stderr) == verdict


@pytest.mark.parametrize(
    ("stderr", "verdict"), [(0.0078, "holds"), (0.0079, "open")]  # 12.706 × 0.0078 = 0.0991
)
def test_two_runs_leave_one_degree_of_freedom(stderr, verdict):
    """t = 12.7: what is far inside by the normal law is open."""
    assert entry(expect=0.5, tolerance=0.1).judge(0.5, stderr, df=1) == verdict
    assert entry(expect=0.5, tolerance=0.1).judge(0.5, stderr) == "holds"
    assert entry(at_most=0.4).judge(0.5, stderr, df=1) == ("falls short" if verdict == "holds" else "open")


def student(t: float, df: float) -> float:
    """The distribution function by integrating the density."""
    scale = math.gamma((df + 1) / 2) / math.gamma(df / 2) / math.sqrt(df * math.pi)
    return 0.5 + scipy.integrate.quad(lambda u: scale * (1 + u**2 / df) ** (-(df + 1) / 2), 0, t)[0]


@pytest.mark.parametrize("looks", [1, 2, 8])
@pytest.mark.parametrize("df", [1, 2, 7, 63])
def test_the_quantile_is_students_for_that_many_looks(df, looks):
    assert student(claims.quantile(df, looks), df) == pytest.approx(1 - 0.025 / looks, abs=1e-9)


def test_quantiles_of_the_tables():
    assert claims.quantile(1) == pytest.approx(12.706, abs=5e-4)
    assert claims.quantile(2) == pytest.approx(4.303, abs=5e-4)
    assert claims.quantile() == pytest.approx(1.960, abs=5e-4)
    assert claims.quantile(1e9) == pytest.approx(claims.quantile(), abs=1e-6)
    assert claims.quantile(looks=8) == pytest.approx(2.734, abs=5e-4)


def test_the_worst_of_many_is_worst_in_standard_errors(ledger):
    """Not the largest value: 0.95 is known exactly, and 0.9 may be anything."""
    ledger.write_text("- {id: all, chapter: 01_tiny, statement: All., source: Figure 1, at_most: 1}")
    members = {"sharp": (0.95, 0.001), "vague": (0.9, 0.2), "low": (0.1, 0.01)}
    claim = claims.check_all("all", members)
    assert (claim.member, claim.measured, claim.stderr, claim.looks) == ("vague", 0.9, 0.2, 3)
    assert claim.verdict == "open"
    del members["vague"]
    assert claims.check_all("all", members).verdict == "holds"
    assert claims.check_all("all", {**members, 0.1: (1.01, 0.001)}).verdict == "falls short"


def test_more_looks_need_a_clearer_worst_member(ledger):
    ledger.write_text("- {id: all, chapter: 01_tiny, statement: All., source: Figure 1, at_most: 1}")
    members = dict.fromkeys(range(7), (0.0, 0.1))
    assert claims.check_all("all", {0: (0.75, 0.1)}).verdict == "holds"  # 2.5 standard errors clear
    assert claims.check_all("all", {**members, 7: (0.75, 0.1)}).verdict == "open"  # eight looks ask for 2.73
    assert claims.check_all("all", {**members, 7: (0.7, 0.1)}).verdict == "holds"
    assert claims.check_all("all", {**members, 7: (0.7, 0.1)}, df=7).verdict == "open"  # and 3.5 of Student's


def test_members_without_errors_are_judged_by_the_nearest_to_the_edge(ledger):
    ledger.write_text("- {id: all, chapter: 01_tiny, statement: All., source: F, expect: 0, tolerance: 1}")
    claim = claims.check_all("all", {"a": (0.5, None), "b": (-0.9, None), "c": (0.2, 0.01)})
    assert claim.member == "c", "an exact value inside is infinitely many standard errors clear"
    assert claims.check_all("all", {"a": (0.5, None), "b": (-0.9, None)}).member == "b"
    assert claims.check_all("all", {"a": (0.5, 0.1), "b": (-1.1, None)}).verdict == "falls short"
    with pytest.raises(claims.InputError, match="claim 'all' needs at least one member"):
        claims.check_all("all", {})


def test_a_mean_over_images_has_the_error_and_the_freedom_of_its_values(ledger):
    values = torch.tensor([0.4, 0.5, 0.6, 0.7])  # float32: the mean is taken in float64
    claim = claims.check_mean("value", values)
    assert claim.measured == pytest.approx(0.55, abs=1e-7) and claim.df == 3
    assert claim.stderr == pytest.approx(math.sqrt((2 * 0.15**2 + 2 * 0.05**2) / 3 / 4), abs=1e-7)
    hits = torch.tensor([True, False, True, False])
    assert claims.check_mean("value", hits).measured == 0.5
    assert claims.check_mean("value", hits.long()).stderr == pytest.approx(math.sqrt(1 / 12))


def test_a_ratio_of_means_is_that_of_paired_values(ledger):
    a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.5])
    claim = claims.check_ratio("value", a, b)
    off = a.double() - 6 / 12.5 * b.double()
    assert (claim.measured, claim.df) == (pytest.approx(6 / 12.5), 2)
    assert claim.stderr == pytest.approx(off.std().item() / (12.5 / 3) / math.sqrt(3))


@pytest.mark.parametrize("stderr", [0.0, 1e-17])  # of equal values, exactly or to rounding
def test_an_error_that_came_out_as_zero_leaves_a_claim_open_and_not_a_check(ledger, stderr):
    claim = claims.check("value", 0.5, stderr=stderr, df=3)
    assert claim.verdict == "open" and claim.interval == (-math.inf, math.inf)
    assert "measured 0.5 (all values equal, which does not say how large the error is)" in str(claim)
    assert claims.check("value", 0.5).verdict == "holds", "without an error it is exact"
    assert claims.check_mean("value", torch.full((4,), 0.1)).verdict == "open"
    ledger.write_text(LEDGER.replace("  expect: 0.5", "  kind: check\n  expect: 0.5"))
    check = claims.check("value", 0.5, stderr=stderr, df=3)
    assert (check.verdict, check.interval, check.basis) == ("holds", (0.5, 0.5), "3 degrees of freedom" * bool(stderr))


def test_a_member_whose_error_is_zero_is_neither_inside_nor_outside(ledger):
    ledger.write_text("- {id: all, chapter: 01_tiny, statement: All., source: Figure 1, at_most: 1}")
    members = {"sharp": (0.5, 0.001), "equal": (0.0, 0.0)}
    claim = claims.check_all("all", members, df=7)
    assert (claim.member, claim.verdict) == ("equal", "open")
    assert claims.check_all("all", {**members, "outside": (1.5, 0.01)}, df=7).verdict == "falls short"


@pytest.mark.parametrize(("k", "n", "verdict"), [(40, 40, "holds"), (20, 20, "open"), (16, 40, "falls short")])
def test_a_share_is_judged_by_its_exact_interval(ledger, k, n, verdict):
    """P(k or more hits of n) is 2.5 % at the lower end, P(k or fewer) at the upper."""
    ledger.write_text("- {id: most, chapter: 01_tiny, statement: Most., source: Figure 1, at_least: 0.9}")
    claim = claims.check_share("most", torch.arange(n) < k)
    low, high = claim.interval
    assert (claim.verdict, claim.measured, claim.stderr) == (verdict, k / n, None)
    assert sum(binomial(j, n, low) for j in range(k, n + 1)) == pytest.approx(0.025)
    assert high == 1 if k == n else sum(binomial(j, n, high) for j in range(k + 1)) == pytest.approx(0.025)
    assert f"({k} of {n}, 95 % interval {low:.3g} to {high:.3g})" in str(claim)
    assert claims.from_json(json.loads(json.dumps(asdict(claim)))) == claim


def binomial(k: int, n: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def test_equal_values_in_a_known_range_are_judged_by_what_others_could_be(ledger):
    ledger.write_text("- {id: low, chapter: 01_tiny, statement: Low., source: Figure 1, at_most: -0.8}")
    for n, verdict in ((8, "open"), (40, "holds")):
        claim = claims.check_mean("low", torch.full((n,), -1.0), bounds=(-1, 1))
        assert claim.verdict == verdict and claim.basis.startswith(f"all {n} values equal, 95 % interval −1 to −0.")
        assert (1 - (claim.interval[1] + 1) / 2) ** n == pytest.approx(0.025)  # n of n, were the others all 1
    spread = torch.tensor([-1.0, -0.9, -1.0])
    assert claims.check_mean("low", spread, bounds=(-1, 1)) == claims.check_mean("low", spread)
    ones = torch.ones(40)
    as_share, as_mean = claims.check_share("low", ones), claims.check_mean("low", ones, bounds=(0, 1))
    assert as_mean.interval == pytest.approx(as_share.interval)
    with pytest.raises(claims.InputError, match=r"values of claim 'low' must lie in bounds, \(-1, 1\), got -1 to 2"):
        claims.check_mean("low", torch.tensor([0.0, 2.0]), bounds=(-1, 1))
    with pytest.raises(claims.InputError, match="hits of claim 'low' must be 0 or 1, got 0 to 0.5"):
        claims.check_share("low", torch.tensor([0.0, 0.5]))
    with pytest.raises(claims.InputError, match=r"hits of claim 'low' must be a tensor \(n,\) with n ≥ 1, got \(0,\)"):
        claims.check_share("low", torch.zeros(0))


@pytest.mark.parametrize(
    ("values", "got"), [(torch.zeros(1), r"\(1,\)"), (torch.zeros(2, 3), r"\(2, 3\)"), ([0.5, 0.6], "list")]
)
def test_a_mean_is_one_of_two_values_or_more(ledger, values, got):
    with pytest.raises(claims.InputError, match=rf"values of claim 'value' must be a tensor \(n,\) .*, got {got}"):
        claims.check_mean("value", values)
    with pytest.raises(claims.InputError, match=rf"b of claim 'value' must be a tensor \(n,\) with n ≥ 2, got {got}"):
        claims.check_ratio("value", torch.zeros(2), values)


def test_the_record_says_what_the_interval_rests_on(ledger):
    claim = claims.check("value", 0.5, stderr=0.01, df=1)
    assert claim.interval == pytest.approx((0.5 - 0.12706, 0.5 + 0.12706), abs=1e-5)
    assert "measured 0.500 ± 0.010 (1 degree of freedom), expected 0.5 ± 0.1" in str(claim)
    claim = claims.check_all("value", {"σ = 1": (0.5, 0.01), "σ = 2": (0.6, 0.01)}, df=7)
    assert "(7 degrees of freedom, worst of 2: σ = 2)" in claim.to_html()
    assert claims.from_json(json.loads(json.dumps(asdict(claim)))) == claim
    assert claims.check("value", 0.5).basis == ""


def test_checks_stand_apart_from_claims(ledger):
    ledger.write_text(LEDGER.replace("  at_most: 1e-10", "  kind: check\n  at_most: 1e-10"))
    found = [claims.check("value", 0.5), claims.check("upper", 0.0), claims.check("value", 0.9)]
    assert [record.kind for record in found] == ["claim", "check", "claim"]
    assert "gahb-kind-check" in found[1].to_html()
    assert claims.summary(found) == "claims 2: holds 1, falls short 1; checks 1: holds 1"
    assert claims.summary([]) == "no claims"


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


def test_an_older_record_is_read(ledger):
    record = asdict(claims.check("value", 0.5))
    for name in ("known", "kind", "df", "looks", "member", "ends", "counted"):
        del record[name]
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
        ({"id": "value", "measured": 0.5, "stderr": 0.1, "df": 0}, r"df of claim 'value' must be more than 0 \(n − 1"),
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


def test_a_replaced_claim_stays_with_its_record_and_is_measured_no_more(ledger):
    more = "  known: 0.5 ± 0.1, which fell short\n  replaced_by: value\n"
    ledger.write_text(LEDGER.replace("  at_most", f"{more}  at_most"))
    replaced = {entry.id: entry for entry in claims.load()}["upper"]
    assert (replaced.replaced_by, replaced.known) == ("value", "0.5 ± 0.1, which fell short")
    with pytest.raises(claims.InputError, match="claim 'upper' was replaced by 'value': check that one"):
        claims.check("upper", 0.0)


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
            "- {id: x, chapter: a, statement: b, source: c, at_most: 1, tolerance: 1}",
            "'x' .* has a tolerance beside at_most; a bound has none",
        ),
        (
            "- {id: x, chapter: a, statement: b, source: c, at_most: 1, kind: guess}",
            "'x' .*: kind must be claim or check, got 'guess'",
        ),
        (
            "- {id: x, chapter: a, statement: b, source: c, atmost: 1}",
            "unknown key 'atmost'; allowed: id, chapter",
        ),
        (
            "- {id: x, chapter: a, statement: b, source: c, at_most: 1, replaced_by: y}",
            "'x' .* was replaced and needs its last record in known",
        ),
        (
            "- {id: x, chapter: a, statement: b, source: c, at_most: 1, known: 0.5 ± 0.1, replaced_by: x}",
            "'x' .*: replaced_by must be the id of another claim, got 'x'",
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
