"""A record of the ledger: an expectation with what was measured, as text and as a box in a page."""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .._text import plus_minus
from .._validate import InputError
from .expectations import KINDS, Expectation

VERDICTS = {"holds": "✓", "falls short": "✗", "open": "?", "not judged": "–"}


@dataclass(frozen=True, kw_only=True)
class Claim(Expectation):
    """An expectation with what was measured.

    `df` are the degrees of freedom of `stderr` (None: so many that Student's
    law is normal). `looks` is the number of members that the sentence is
    about, and `member` names the one that was judged, the worst; 1 and None
    for a sentence about one value. `ends` are those of an exact interval that
    stands for m ± ts, of which `counted` says what it rests on. `profile` says
    at which sizes it was measured.

    :func:`check`, and the others that check, return it.

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
    ends: tuple[float, float] | None = None
    counted: str | None = None
    profile: str
    verdict: str

    @property
    def found(self) -> str:
        """The measured value as text, with its standard error if it has one."""
        return plus_minus(self.measured, self.stderr if self.stderr and self.stderr >= 1e-6 else None)

    @property
    def interval(self) -> tuple[float, float]:
        """[m − ts, m + ts], or the exact one, which the verdict compares with `allowed`."""
        if self.ends is not None:
            return self.ends
        reach = self.reach(self.measured, self.stderr, df=self.df, looks=self.looks)
        return self.measured - reach, self.measured + reach

    @property
    def basis(self) -> str:
        """What the interval rests on, in words: degrees of freedom or counts, and the number of members looked at."""
        said = []
        if self.ends is not None:
            low, high = self.ends
            said.append(f"{self.counted}, 95 % interval {low:.3g} to {high:.3g}".replace("-", "−"))
        elif math.isinf(self.interval[0]):
            said.append("all values equal, which does not say how large the error is")
        elif self.stderr and self.df is not None:
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
        ends = record.get("ends")  # JSON has lists
        return Claim(**record | ({"ends": tuple(ends)} if ends else {}))
    except TypeError as error:
        raise InputError(
            f"a claim written by another version of gahb; run the chapter again ({error})"
        ) from None


def inline(text: str) -> str:
    """Text for HTML, with $…$ as mathematics in the class that MathJax is told to read."""
    return re.sub(r"\$([^$]+)\$", r'<span class="math notranslate nohighlight">\\(\1\\)</span>', html.escape(text))


def _count(df: float) -> str:
    """Degrees of freedom as text; those of a combined error need not be whole."""
    return f"{df:,.0f}" if df == round(df) or df >= 100 else f"{df:.1f}"
