"""The ledger: what the paper says, what would confirm it, and what was measured.

Expectations stand in `notebooks/claims.yaml` (see `expectations`). A chapter
calls `begin` once, then `check` (one value) or `check_all` (a sentence about
all members of a family) for each entry. An executed notebook carries its
records, and the page *Claims* gathers them.
"""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches

from .._text import plus_minus
from .._validate import InputError
from .expectations import KINDS, Expectation, one_number
from .expectations import load as load
from .expectations import quantile as quantile

KEY = "gahb_claim"  # in the metadata of an output: a MIME type of our own would make the pages' builder warn
VERDICTS = {"holds": "✓", "falls short": "✗", "open": "?", "not judged": "–"}
_running: dict[str, str] = {}


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
    value = one_number("measured", measured)
    error = None if stderr is None else one_number("stderr", stderr)
    if error is not None and error < 0:
        raise InputError(f"stderr of claim {id!r} must be 0 or more, got {error}")
    freedom = None if df is None else one_number("df", df)
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
