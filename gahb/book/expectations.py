"""What is expected of each claim, written down before anything is measured.

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
otherwise. An error that was estimated from data and came out as zero is no
error: see `Expectation.reach`.

Where something had been measured or seen before, an entry says so in `known`:
an expectation that was not written blind is shown as such.

A claim whose measure was replaced stays, with its expectation and with its last
record in `known`; `replaced_by` names the claim that is measured in its place.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from .._files import root
from .._validate import InputError

KINDS = ("claim", "check")
CONFIDENCE = 0.95  # of the interval m ± ts, two-sided
ROUNDING = 1e-12  # standard errors below this share of the value are those of rounding

_TEXTS = ("id", "chapter", "statement", "source", "known", "kind", "replaced_by")
_OPTIONAL = ("known", "kind", "replaced_by")
_NUMBERS = ("expect", "tolerance", "at_most", "at_least")


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
        """The verdict on a measured value m with standard error s (None: exact).

        With t = `quantile(df, looks)` and R = `allowed`: *holds* if
        [m − ts, m + ts] lies in R, *falls short* if it lies outside R, *open*
        otherwise. A bound belongs to R. See `reach` for s = 0.

        >>> import gahb
        >>> entry = gahb.claims.Expectation(id="slope", chapter="01_x", statement="…", source="…", at_most=1.0)
        >>> entry.judge(0.8, 0.05), entry.judge(0.8, 0.05, df=1)
        ('holds', 'open')
        """
        reach = self.reach(measured, stderr, df=df, looks=looks)
        return self.compare(measured - reach, measured + reach)

    def compare(self, first: float, last: float) -> str:
        """The verdict on the interval [first, last]."""
        low, high = self.allowed
        if low <= first and last <= high:
            return "holds"
        return "falls short" if last < low or first > high else "open"

    def reach(self, measured: float, stderr: float | None, *, df: float | None = None, looks: int = 1) -> float:
        """Half the width of the interval, ts; 0 for an exact value, whose error is None.

        An error that came out as zero, or as the rounding of the value, means
        that all values of the sample were equal. It does not bound what other
        images or another training would give: three pictures of three are
        copies where the share of copies is 0.5 in one case of eight. So the
        interval of a *claim* is then without bounds, and it stays open. A
        *check* tests an identity, of which equal values are what is expected:
        there it is 0.

        >>> import gahb
        >>> entry = gahb.claims.Expectation(id="slope", chapter="01_x", statement="…", source="…", at_most=1.0)
        >>> entry.reach(0.8, None), entry.reach(0.8, 0.0)
        (0.0, inf)
        """
        if stderr is None:
            return 0.0
        if stderr > ROUNDING * abs(measured):
            return quantile(df, looks) * stderr
        return math.inf if self.kind == "claim" else 0.0


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


def load(folder: str | os.PathLike | None = None) -> tuple[Expectation, ...]:
    """The entries of notebooks/claims.yaml under `folder` (by default the clone's root), validated; () without it.

    InputError names the entry that is wrong, and why.

    >>> import gahb
    >>> entries = {entry.id: entry for entry in gahb.claims.load()}
    >>> entry = entries["miyasawa.score"]
    >>> entry.kind, entry.source, entry.expected
    ('check', 'equation (3)', '≤ 1e−10')
    """
    path = Path(folder or root()) / "notebooks" / "claims.yaml"
    return _parsed(path.read_text(encoding="utf-8")) if path.exists() else ()


@lru_cache(maxsize=2)  # a build asks some thirty times, a chapter once for each check
def _parsed(text: str) -> tuple[Expectation, ...]:
    import yaml

    try:
        entries = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or []
    except yaml.YAMLError as error:
        raise InputError(f"claims.yaml is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(entries, list):
        raise InputError(f"claims.yaml must be a list of claims, each with an id; got a {type(entries).__name__}")
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
    values = {key: one_number(f"{name}: {key}", entry[key]) for key in _NUMBERS if entry.get(key) is not None}
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


def one_number(name: str, value) -> float:
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
