"""The ledger: what the paper says, what would confirm it, and what was measured.

`notebooks/claims.yaml` is a list of expectations, written down before anything
is measured. An entry is of one of two kinds. A *claim* is a sentence about the
world. A *check* (`kind: check`) tests the instrument: an identity, a null, a
case with a known answer. Each has an `id`, a `chapter` (01_miyasawa), a
`statement`, a `source` (paper section, figure or equation), and one of

- `expect` and `tolerance`: the allowed range R is [expect − tolerance, expect + tolerance];
- `at_most` or `at_least`: R is the half line up to, or from, the bound.

The verdict follows from R, the measured value m, its standard error s and
Student's quantile t at the degrees of freedom of s: the record *holds* if
[m − ts, m + ts] lies in R, *falls short* if it lies outside R, and is *open*
otherwise.

Where something had been measured or seen before, an entry says so in `known`:
an expectation that was not written blind is shown as such.

A claim whose measure was replaced stays, with its expectation and with its last
record in `known`; `replaced_by` names the claim that is measured in its place.

A chapter calls `begin` once, then `check` (one value) or `check_all` (a
sentence about all members of a family) for each entry. An executed notebook
carries its records, and the page *Claims* gathers them.
"""

from __future__ import annotations

import html
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path

from .._files import root
from .._text import plus_minus
from .._validate import InputError

KEY = "gahb_claim"  # in the metadata of an output: a MIME type of our own would make the pages' builder warn
VERDICTS = {"holds": "✓", "falls short": "✗", "open": "?", "not judged": "–"}
KINDS = ("claim", "check")
CONFIDENCE = 0.95  # of the interval m ± ts, two-sided

_TEXTS = ("id", "chapter", "statement", "source", "known", "kind", "replaced_by")
_OPTIONAL = ("known", "kind", "replaced_by")
_NUMBERS = ("expect", "tolerance", "at_most", "at_least")
_running: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One entry of claims.yaml: a sentence, its source, and the interval the measured value must lie in.

    `kind` is "claim", a sentence about the world, or "check", a test of the
    instrument. `known` is what had been measured or seen before the
    expectation was written, or before the networks that it is measured on were
    trained; None if nothing had. `replaced_by` is the id of the claim that is
    measured in the place of this one, which is measured no more.
    """

    id: str
    chapter: str
    statement: str
    source: str
    kind: str = "claim"
    expect: float | None = None
    tolerance: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    known: str | None = None
    replaced_by: str | None = None

    @property
    def expected(self) -> str:
        """The expectation in words a table can hold: `0.5 ± 0.1`, `≤ 1e-10`."""
        if self.expect is not None:
            return f"{self.expect:.4g} ± {self.tolerance:.2g}"
        sign, bound = ("≤", self.at_most) if self.at_most is not None else ("≥", self.at_least)
        return f"{sign} {bound:.4g}".replace("-", "−")

    @property
    def allowed(self) -> tuple[float, float]:
        """The range R in which the measured value must lie; one end of a half line is infinite."""
        if self.expect is not None:
            return self.expect - self.tolerance, self.expect + self.tolerance
        if self.at_most is not None:
            return -math.inf, self.at_most
        return self.at_least, math.inf

    def judge(self, measured: float, stderr: float | None = None, *, df: float | None = None, looks: int = 1) -> str:
        """The verdict on a measured value m with standard error s (None: exact, s = 0).

        With t = `quantile(df, looks)` and R = `allowed`: *holds* if
        [m − ts, m + ts] lies in R, *falls short* if it lies outside R, *open*
        otherwise. A bound belongs to R.

        >>> import gahb
        >>> entry = gahb.claims.Expectation(id="slope", chapter="01_x", statement="…", source="…", at_most=1.0)
        >>> entry.judge(0.8, 0.05), entry.judge(0.8, 0.05, df=1)
        ('holds', 'open')
        """
        reach = quantile(df, looks) * stderr if stderr else 0.0
        low, high = self.allowed
        if low <= measured - reach and measured + reach <= high:
            return "holds"
        if measured + reach < low or measured - reach > high:
            return "falls short"
        return "open"


@dataclass(frozen=True, kw_only=True)
class Claim(Expectation):
    """An expectation with what was measured.

    `df` are the degrees of freedom of `stderr` (None: so many that Student's
    law is normal). `looks` is the number of members that the sentence is
    about, and `member` names the one that was judged, the worst; 1 and None
    for a sentence about one value. `profile` says at which sizes it was
    measured.

    :func:`check` and :func:`check_all` return it.

    >>> import gahb
    >>> gahb.claims.begin(chapter="01_miyasawa", profile="book")
    >>> claim = gahb.claims.check("miyasawa.sure-linear", 0.02, stderr=0.01, df=7)
    >>> claim.found, claim.expected, claim.verdict
    ('0.020 ± 0.010', '0 ± 0.05', 'holds')
    >>> low, high = claim.interval
    >>> print(f"{low:.3f} to {high:.3f}")
    -0.004 to 0.044
    """

    measured: float
    stderr: float | None
    df: float | None = None
    looks: int = 1
    member: str | None = None
    profile: str
    verdict: str

    @property
    def found(self) -> str:
        """The measured value as text, with its standard error if it has one."""
        return plus_minus(self.measured, self.stderr if self.stderr and self.stderr >= 1e-6 else None)

    @property
    def interval(self) -> tuple[float, float]:
        """[m − ts, m + ts], which the verdict compares with `allowed`."""
        reach = quantile(self.df, self.looks) * self.stderr if self.stderr else 0.0
        return self.measured - reach, self.measured + reach

    @property
    def basis(self) -> str:
        """What the interval rests on, in words: the degrees of freedom, and the number of members looked at."""
        said = []
        if self.stderr and self.df is not None:
            said.append(f"{_count(self.df)} degree{'s' * (self.df != 1)} of freedom")
        if self.looks > 1:
            said.append(f"worst of {self.looks}" + (f": {self.member}" if self.member else ""))
        return ", ".join(said)

    @property
    def numbers(self) -> str:
        """Measured value, what it rests on, and the expectation, in one line."""
        basis = f" ({self.basis})" if self.basis else ""
        return f"measured {self.found}{basis}, expected {self.expected}"

    def __str__(self) -> str:
        return f"{self.id}: {self.verdict}; {self.numbers} (profile {self.profile})"

    def _ipython_display_(self) -> None:
        """Nothing: `check` has shown the record, and a cell that ends with it must not show it twice."""

    def to_html(self) -> str:
        """A small box: verdict as sign and word, sentence, numbers, source, and what was known before."""
        verdict = self.verdict.replace(" ", "-")
        sign = f'<span aria-hidden="true">{VERDICTS[self.verdict]}</span>'
        numbers = f"{self.numbers} · profile {self.profile}".replace(", expected", " · expected")
        known = f'<span class="gahb-numbers">known before: {inline(self.known)}</span>' if self.known else ""
        return (
            f'<div class="gahb-claim gahb-kind-{self.kind} gahb-claim-{verdict}" id="claim-{html.escape(self.id)}">'
            f'<span class="gahb-verdict">{sign} {self.verdict}</span> '
            f'<span class="gahb-statement">{inline(self.statement)}</span> '
            f'<span class="gahb-numbers">{html.escape(numbers)} · {inline(self.source)}</span>{known}</div>'
        )


def quantile(df: float | None = None, looks: int = 1) -> float:
    """The factor t of the interval m ± ts: Student's quantile at `df` degrees of freedom.

    For one look it is the 97.5 % quantile; for the worst of k members it is
    the quantile at 1 − 0.025/k, by which all k intervals hold together with
    95 % (Bonferroni's inequality). Without `df` it is that of the normal law.

    Parameters
    ----------
    df : degrees of freedom of the standard error, > 0: n − 1 for the mean of n items.
    looks : number of members among which the worst was taken, ≥ 1.

    Examples
    --------
    >>> import gahb
    >>> [round(gahb.claims.quantile(df), 2) for df in (1, 7, None)]
    [12.71, 2.36, 1.96]
    >>> round(gahb.claims.quantile(7, looks=5), 2)  # of the worst of five
    3.5
    """
    from scipy.special import ndtri, stdtrit

    level = 1 - (1 - CONFIDENCE) / 2 / looks
    return float(ndtri(level) if df is None else stdtrit(df, level))


def begin(*, chapter: str, profile: str) -> None:
    """Say which chapter runs and in which profile; the claims checked after it record both.

    Parameters
    ----------
    chapter : its stem, as in claims.yaml. Claims of another chapter are refused from then on.
    profile : "smoke", "book" or "paper", with words after a comma if the parameters are changed.

    Raises
    ------
    ValueError : if one of them is not a text, or empty.

    Examples
    --------
    >>> import gahb
    >>> gahb.claims.begin(chapter="01_miyasawa", profile="smoke")
    >>> print(gahb.claims.check("miyasawa.score", 3e-15))
    miyasawa.score: not judged; measured 3e−15, expected ≤ 1e−10 (profile smoke)
    """
    for name, value in (("chapter", chapter), ("profile", profile)):
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{name} must be a name, got {value!r}")
    _running.clear()
    _running.update(chapter=chapter, profile=profile)


def check(id: str, measured: float, *, stderr: float | None = None, df: float | None = None) -> Claim:
    """Compare a measured value with entry `id` of claims.yaml, show the result, and return it.

    Parameters
    ----------
    id : of the entry, a claim or a check.
    measured : one finite number; a one-element tensor or array will do.
    stderr : its standard error, None where the value is exact.
    df : degrees of freedom of `stderr`, n − 1 for the mean of n items. Without
        it the quantile is that of the normal law, which is right where the
        error comes from hundreds of items and too small where it comes from few.

    The smoke profile is too small to judge by: its verdict is *not judged*.

    Raises
    ------
    ValueError : for an id that is unknown, of another chapter than the one that
        has begun, or of a claim that was replaced, and a number that is not finite or out of range.

    Examples
    --------
    The interval m ± ts of a mean of 8 items lies in R, that of a mean of 2 does not:

    >>> import gahb
    >>> gahb.claims.begin(chapter="01_miyasawa", profile="book")
    >>> print(gahb.claims.check("miyasawa.sure-linear", 0.02, stderr=0.01, df=7))
    miyasawa.sure-linear: holds; measured 0.020 ± 0.010 (7 degrees of freedom), expected 0 ± 0.05 (profile book)
    >>> gahb.claims.check("miyasawa.sure-linear", 0.02, stderr=0.01, df=1).verdict
    'open'
    """
    return _record(_find(id), *_checked(id, measured, stderr, df))


def check_all(id: str, members: Mapping[str, tuple], *, df: float | None = None) -> Claim:
    """Check a sentence about all members of a family (every σ, every class) by its worst member.

    The worst member is the one whose distance to the edge of the allowed range
    is least (negative outside) in standard errors, each counted t times where
    degrees of freedom differ. It is judged with the quantile for as many looks
    as there are members; see `quantile`.

    Parameters
    ----------
    members : label → (measured value, standard error or None), or with the
        degrees of freedom of the error as a third.
    df : degrees of freedom of each standard error, as in `check`.

    Raises
    ------
    ValueError : as for `check`, and without members.

    Examples
    --------
    >>> import gahb
    >>> gahb.claims.begin(chapter="01_miyasawa", profile="book")
    >>> ratios = {"σ = 0.1": (0.42, 0.03), "σ = 0.5": (0.61, 0.05), "σ = 1": (0.55, 0.01)}
    >>> claim = gahb.claims.check_all("miyasawa.falls", ratios)
    >>> claim.verdict, claim.member, claim.looks
    ('holds', 'σ = 0.5', 3)
    """
    entry = _find(id)
    if not members:
        raise InputError(f"claim {id!r} needs at least one member")
    values = {}
    for label, (value, stderr, *own) in members.items():
        values[str(label)] = _checked(id, value, stderr, own[0] if own else df)
    worst = min(values, key=lambda label: _clearance(entry, *values[label]))
    return _record(entry, *values[worst], looks=len(values), member=worst)


def _find(id: str) -> Expectation:
    entries = {entry.id: entry for entry in load()}
    if id not in entries:
        near = get_close_matches(str(id), entries, n=3, cutoff=0.4) or sorted(entries)
        raise InputError(
            f"no claim {id!r} in notebooks/claims.yaml; near it: {', '.join(near) or 'nothing, it is empty'}"
        )
    entry = entries[id]
    if _running and entry.chapter != _running["chapter"]:
        raise InputError(
            f"claim {id!r} belongs to chapter {entry.chapter}, but {_running['chapter']} is running"
        )
    if entry.replaced_by:
        raise InputError(f"claim {id!r} was replaced by {entry.replaced_by!r}: check that one")
    return entry


def _checked(id: str, measured, stderr, df) -> tuple[float, float | None, float | None]:
    value = _number("measured", measured)
    error = None if stderr is None else _number("stderr", stderr)
    if error is not None and error < 0:
        raise InputError(f"stderr of claim {id!r} must be 0 or more, got {error}")
    freedom = None if df is None else _number("df", df)
    if freedom is not None and freedom <= 0:
        raise InputError(f"df of claim {id!r} must be more than 0 (n − 1 for n items), got {freedom:g}")
    return value, error, freedom


def _clearance(entry: Expectation, value: float, stderr: float | None, df: float | None) -> tuple[float, float]:
    """Distance from a value to the edge of the allowed range, negative outside: in units of ts, then as it is."""
    low, high = entry.allowed
    distance = min(value - low, high - value)
    if stderr:
        return distance / (quantile(df) * stderr), distance
    return math.copysign(math.inf, distance), distance


def _count(df: float) -> str:
    """Degrees of freedom as text; those of a combined error need not be whole."""
    return f"{df:,.0f}" if df == round(df) or df >= 100 else f"{df:.1f}"


def _record(entry: Expectation, value, stderr, df, *, looks: int = 1, member: str | None = None) -> Claim:
    profile = _running.get("profile", "not stated")
    smoke = profile.split(",")[0] == "smoke"
    verdict = "not judged" if smoke else entry.judge(value, stderr, df=df, looks=looks)
    claim = Claim(
        **asdict(entry), measured=value, stderr=stderr, df=df, looks=looks, member=member,
        profile=profile, verdict=verdict,
    )  # fmt: skip
    _show(claim)
    return claim


def load(folder: str | os.PathLike | None = None) -> tuple[Expectation, ...]:
    """The entries of notebooks/claims.yaml under `folder` (by default the clone's root), validated; () without it.

    InputError names the entry that is wrong, and why.

    >>> import gahb
    >>> entries = {entry.id: entry for entry in gahb.claims.load()}
    >>> entry = entries["miyasawa.score"]
    >>> entry.kind, entry.source, entry.expected
    ('check', 'equation (3)', '≤ 1e−10')
    """
    import yaml

    path = Path(folder or root()) / "notebooks" / "claims.yaml"
    if not path.exists():
        return ()
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except yaml.YAMLError as error:
        raise InputError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(entries, list):
        raise InputError(
            f"{path.name} must be a list of claims, each with an id; got a {type(entries).__name__}"
        )
    loaded = tuple(_entry(entry, number) for number, entry in enumerate(entries, 1))
    seen: set[str] = set()
    for entry in loaded:
        if entry.id in seen:
            raise InputError(f"claims.yaml has two claims with id {entry.id!r}")
        seen.add(entry.id)
    for entry in loaded:
        if entry.replaced_by and entry.replaced_by not in seen - {entry.id}:
            raise InputError(f"claim {entry.id!r} in claims.yaml: replaced_by must be the id of another claim, "
                             f"got {entry.replaced_by!r}")
    return loaded


def summary(records: Sequence[Claim]) -> str:
    """How many claims, and how many checks, have which verdict: `claims 3: holds 2, open 1; checks 1: holds 1`."""
    said = []
    for kind in KINDS:
        counts = Counter(record.verdict for record in records if record.kind == kind)
        if counts:
            verdicts = ", ".join(f"{verdict} {counts[verdict]}" for verdict in VERDICTS if counts[verdict])
            said.append(f"{kind}s {counts.total()}: {verdicts}")
    return "; ".join(said) or "no claims"


def from_json(record: dict) -> Claim:
    """The record that an executed notebook carries; fields that older records lack have their defaults."""
    try:
        return Claim(**record)
    except TypeError as error:
        raise InputError(
            f"a claim written by another version of gahb; run the chapter again ({error})"
        ) from None


def _entry(entry, number: int) -> Expectation:
    if not isinstance(entry, dict):
        raise InputError(f"claim number {number} in claims.yaml must be a mapping, got {entry!r}")
    name = f"claim {entry.get('id', f'number {number}')!r} in claims.yaml"
    allowed = [field.name for field in fields(Expectation)]
    if unknown := sorted(set(map(str, entry)) - set(allowed)):
        raise InputError(f"{name} has the unknown key {unknown[0]!r}; allowed: {', '.join(allowed)}")
    texts = [key for key in _TEXTS if key not in _OPTIONAL or key in entry]
    for key in texts:
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise InputError(f"{name} needs {key} as text, got {entry.get(key)!r}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", entry["id"]):
        raise InputError(f"{name}: an id has small letters, digits, dots, hyphens and underscores")
    if entry.get("kind", "claim") not in KINDS:
        raise InputError(f"{name}: kind must be {' or '.join(KINDS)}, got {entry['kind']!r}")
    values = {key: _number(f"{name}: {key}", entry[key]) for key in _NUMBERS if entry.get(key) is not None}
    kinds = [key for key in ("expect", "at_most", "at_least") if key in values]
    if len(kinds) != 1:
        raise InputError(
            f"{name} needs exactly one of expect, at_most, at_least; got {', '.join(kinds) or 'none'}"
        )
    if kinds == ["expect"] and "tolerance" not in values:
        raise InputError(f"{name} has expect without tolerance")
    if kinds != ["expect"] and "tolerance" in values:
        raise InputError(f"{name} has a tolerance beside {kinds[0]}; a bound has none")
    if values.get("tolerance", 0) < 0:
        raise InputError(f"{name}: tolerance must be 0 or more, got {values['tolerance']}")
    if entry.get("replaced_by") and not entry.get("known"):
        raise InputError(f"{name} was replaced and needs its last record in known")
    return Expectation(**{key: " ".join(entry[key].split()) for key in texts}, **values)


def _number(name: str, value) -> float:
    """A finite float from a number, its text (YAML reads 1e-10 as text), or a one-element tensor or array."""
    shape = tuple(getattr(value, "shape", ()))
    if isinstance(value, (bool, type(None))) or math.prod(shape) != 1:
        raise InputError(f"{name} must be one number, got {f'shape {shape}' if shape else repr(value)}")
    try:
        number = float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be one number, got {value!r}") from None
    if not math.isfinite(number):
        raise InputError(f"{name} must be finite, got {number}")
    return number


def inline(text: str) -> str:
    """Text for HTML, with $…$ as mathematics in the class that MathJax is told to read."""
    return re.sub(r"\$([^$]+)\$", r'<span class="math notranslate nohighlight">\\(\1\\)</span>', html.escape(text))


def _show(claim: Claim) -> None:
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return
    if get_ipython() is not None:
        shown = {"text/html": claim.to_html(), "text/plain": str(claim)}
        display(shown, raw=True, metadata={KEY: asdict(claim)})
