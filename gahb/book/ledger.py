"""The ledger: what the paper says, what would confirm it, and what was measured.

Expectations stand in `notebooks/claims.yaml` (see `expectations`). A chapter
calls `begin` once, then for each entry `check` (one value), `check_mean`,
`check_ratio` or `check_share` (one value for each image, path or picture), or
`check_all` (a sentence about all members of a family). An executed notebook
carries its `records`, and the page *Claims* gathers them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING

from .._validate import InputError
from .expectations import ROUNDING, Expectation, one_number
from .expectations import load as load
from .expectations import quantile as quantile
from .records import VERDICTS as VERDICTS
from .records import Claim as Claim
from .records import from_json as from_json
from .records import inline as inline
from .records import summary as summary

if TYPE_CHECKING:  # the command line reads the ledger without torch
    from torch import Tensor

KEY = "gahb_claim"  # in the metadata of an output: a MIME type of our own would make the pages' builder warn
_running: dict[str, str] = {}


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
    stderr : its standard error, None where the value is exact. An error that came
        out as 0 leaves a claim open (`Expectation.reach`): the sample was too small,
        or too much of one kind, to show how much other values differ.
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


def check_mean(id: str, values: Tensor, *, bounds: tuple[float, float] | None = None) -> Claim:
    r"""Compare the mean of n values, one for each image, with entry `id` of claims.yaml.

    $$m = \frac1n \sum_i v_i, \qquad s = \Bigl[\frac1{n(n-1)} \sum_i (v_i - m)^2\Bigr]^{1/2}$$

    with n − 1 degrees of freedom: the error is over what the values are of,
    such as images, paths or pictures, which must be independent.

    Parameters
    ----------
    id : of the entry, a claim or a check.
    values : (n,) with n ≥ 2, of any dtype; the mean is taken in float64.
    bounds : the range that values cannot leave by their definition, such as −1 and
        1 for correlations. With it, values that all came out equal have the
        interval of :func:`gahb.statistics.equal_values_interval`; without it a
        claim about them is open. Of values that nearly all lie at a bound, and are
        not all equal, Student's interval is too narrow: count them, by `check_share`.

    Raises
    ------
    ValueError : as for :func:`check`, for values that are not (n,) with n ≥ 2, and
        for values outside the bounds.

    Examples
    --------
    >>> import gahb, torch
    >>> gahb.claims.begin(chapter="01_miyasawa", profile="book")
    >>> values = torch.tensor([0.01, -0.02, 0.02, 0.01, 0.0, -0.01])
    >>> print(gahb.claims.check_mean("miyasawa.sure-linear", values))
    miyasawa.sure-linear: holds; measured 0.0017 ± 0.0060 (5 degrees of freedom), expected 0 ± 0.05 (profile book)
    """
    from ..measure.statistics import equal_values_interval, mean_and_error

    entry = _find(id)
    _sample(id, "values", values)
    value, error = (part.item() for part in mean_and_error(values))
    if bounds is not None:
        low, high = min(bounds[0], values.min().item()), max(bounds[1], values.max().item())
        if low < bounds[0] - ROUNDING or high > bounds[1] + ROUNDING:
            raise InputError(f"values of claim {id!r} must lie in bounds, {bounds}, got {low:g} to {high:g}")
        if error <= ROUNDING * abs(value):
            n, value = len(values), min(max(value, bounds[0]), bounds[1])
            ends = equal_values_interval(value, n, bounds)
            return _record(entry, value, None, None, ends=ends, counted=f"all {n} values equal")
    return check(id, value, stderr=error, df=len(values) - 1)


def check_share(id: str, hits: Tensor) -> Claim:
    """Compare the share of hits, k of n, with entry `id` of claims.yaml, by its exact interval.

    That of Clopper and Pearson (:func:`gahb.statistics.share_interval`) stands for
    m ± ts: a share near 0 or 1 is not normal, and the standard error of n hits of n
    is 0, though the share of all may be less than 1.

    Parameters
    ----------
    id : of the entry, a claim or a check.
    hits : (n,) with n ≥ 1, true or 1 for each hit, else false or 0.

    Raises
    ------
    ValueError : as for :func:`check`, and for hits that are not (n,) of 0 and 1.

    Examples
    --------
    All of 20 are not enough for a bound of 0.9, and all of 40 are:

    >>> import gahb, torch
    >>> gahb.claims.begin(chapter="03_transition", profile="book")
    >>> print(gahb.claims.check_share("transition.copies", torch.ones(20)))
    transition.copies: open; measured 1 (20 of 20, 95 % interval 0.832 to 1), expected ≥ 0.9 (profile book)
    >>> gahb.claims.check_share("transition.copies", torch.ones(40)).verdict
    'holds'
    """
    from ..measure.statistics import share_interval

    entry = _find(id)
    _sample(id, "hits", hits, at_least=1)
    if not bool(((hits == 0) | (hits == 1)).all()):
        raise InputError(f"hits of claim {id!r} must be 0 or 1, got {hits.min().item():g} to {hits.max().item():g}")
    n, k = len(hits), int(hits.sum())
    return _record(entry, k / n, None, None, ends=share_interval(k, n), counted=f"{k:,} of {n:,}")


def check_ratio(id: str, a: Tensor, b: Tensor) -> Claim:
    r"""Compare the ratio of two means over the same n images with entry `id` of claims.yaml.

    $$m = \frac{\bar a}{\bar b}, \qquad s = \frac{\operatorname{sd}(a - m\,b)}{\bar b \sqrt n}$$

    by the delta method (:func:`gahb.ratio_of_means`), with n − 1 degrees of freedom.

    Parameters
    ----------
    id : of the entry, a claim or a check.
    a, b : (n,) with n ≥ 2, paired: the i-th of both is of one image.

    Raises
    ------
    ValueError : as for :func:`check`, and for a and b that are not both (n,) with n ≥ 2.

    Examples
    --------
    >>> import gahb, torch
    >>> gahb.claims.begin(chapter="01_miyasawa", profile="book")
    >>> after, before = torch.tensor([1.0, 2.1, 2.9]), torch.tensor([2.0, 4.0, 6.0])
    >>> gahb.claims.check_ratio("miyasawa.falls", after, before).found
    '0.500 ± 0.014'
    """
    from ..measure.statistics import ratio_of_means

    _sample(id, "a", a)
    _sample(id, "b", b)
    value, error = ratio_of_means(a, b)
    return check(id, value, stderr=error, df=len(a) - 1)


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


def _sample(id: str, name: str, values: Tensor, *, at_least: int = 2) -> None:
    shape = getattr(values, "shape", None)
    if shape is None or len(shape) != 1 or len(values) < at_least:
        got = type(values).__name__ if shape is None else tuple(shape)
        raise InputError(f"{name} of claim {id!r} must be a tensor (n,) with n ≥ {at_least}, got {got}")


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
    reach = entry.reach(value, stderr, df=df)
    return distance / reach if reach else math.copysign(math.inf, distance), distance


def _record(entry: Expectation, value, stderr, df, *, looks: int = 1, member: str | None = None,
            ends: tuple[float, float] | None = None, counted: str | None = None) -> Claim:
    profile = _running.get("profile", "not stated")
    smoke = profile.split(",")[0] == "smoke"
    judged = entry.judge(value, stderr, df=df, looks=looks) if ends is None else entry.compare(*ends)
    claim = Claim(**asdict(entry), measured=value, stderr=stderr, df=df, looks=looks, member=member, ends=ends,
                  counted=counted, profile=profile, verdict="not judged" if smoke else judged)
    _show(claim)
    return claim


def _show(claim: Claim) -> None:
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return
    if get_ipython() is not None:
        shown = {"text/html": claim.to_html(), "text/plain": str(claim)}
        display(shown, raw=True, metadata={KEY: asdict(claim)})
