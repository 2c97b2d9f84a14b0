"""Claims: what the paper says, what would confirm it, and what was measured.

`notebooks/claims.yaml` is a list of expectations, written down before anything
is measured. Each has an `id`, a `chapter` (01_miyasawa), a `statement`, a
`source` (paper section, figure or equation), and one of

- `expect` and `tolerance`: the value lies in expect ± tolerance;
- `at_most` or `at_least`: the value lies on the right side of the bound; a
  `tolerance` beside it says how exactly it must be known.

Where something had been measured or seen before, an entry says so in `known`,
one short sentence: an expectation that was not written blind is shown as such.

A chapter calls `begin` once and `check` for each claim; an executed notebook
so carries its claims, and the page *Claims* gathers them.
"""

from __future__ import annotations

import html
import math
import re
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path

from .._files import root
from .._validate import InputError

KEY = "gahb_claim"  # in the metadata of an output: a MIME type of our own would make the pages' builder warn
VERDICTS = {"holds": "✓", "falls short": "✗", "open": "?", "not judged": "–"}

_TEXTS = ("id", "chapter", "statement", "source", "known")
_NUMBERS = ("expect", "tolerance", "at_most", "at_least")
_running: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One entry of claims.yaml: a sentence, its source, and the interval the measured value must lie in.

    `known` is what had been measured or seen before the expectation was
    written, or before the networks that it is measured on were trained; None
    if nothing had.
    """

    id: str
    chapter: str
    statement: str
    source: str
    expect: float | None = None
    tolerance: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    known: str | None = None

    @property
    def expected(self) -> str:
        """The expectation in words a table can hold: `0.5 ± 0.1`, `≤ 1e-10`."""
        if self.expect is not None:
            return f"{self.expect:.4g} ± {self.tolerance:.2g}"
        sign, bound = ("≤", self.at_most) if self.at_most is not None else ("≥", self.at_least)
        return f"{sign} {bound:.4g}".replace("-", "−") + (
            f", known to ± {self.tolerance:.2g}" if self.tolerance is not None else ""
        )

    def judge(self, measured: float, stderr: float | None = None) -> str:
        """The verdict on a measured value with standard error s (None: exact, s = 0).

        *holds*: the value lies inside, and s is at most half the tolerance, so
        that two standard errors fit into it. A bound without a tolerance has
        its slack |bound − measured| instead: the value must be two standard
        errors clear of the bound. *falls short*: the value lies outside by
        more than 2 s. *open*: neither can be said.
        """
        s = stderr or 0.0
        if self.expect is not None:
            slack = self.tolerance - abs(measured - self.expect)
        else:
            slack = self.at_most - measured if self.at_most is not None else measured - self.at_least
        if slack >= 0:
            room = slack if self.tolerance is None else self.tolerance
            return "holds" if s <= room / 2 else "open"
        return "falls short" if -slack > 2 * s else "open"


@dataclass(frozen=True, kw_only=True)
class Claim(Expectation):
    """An expectation with what was measured; `profile` says at which sizes."""

    measured: float
    stderr: float | None
    profile: str
    verdict: str

    @property
    def found(self) -> str:
        """The measured value as text, with its standard error if it has one."""
        if not self.stderr or self.stderr < 1e-6:
            return f"{self.measured:.4g}".replace("-", "−")
        places = max(0, 1 - int(f"{self.stderr:.1e}".split("e")[1]))  # two digits of the error
        return f"{self.measured:.{places}f} ± {self.stderr:.{places}f}".replace("-", "−")

    def __str__(self) -> str:
        numbers = f"measured {self.found}, expected {self.expected}"
        return f"{self.id}: {self.verdict}; {numbers} (profile {self.profile})"

    def _ipython_display_(self) -> None:
        """Nothing: `check` has shown the record, and a cell that ends with it must not show it twice."""

    def to_html(self) -> str:
        """A small box: verdict as sign and word, sentence, numbers, source, and what was known before."""
        kind = self.verdict.replace(" ", "-")
        sign = f'<span aria-hidden="true">{VERDICTS[self.verdict]}</span>'
        numbers = f"measured {self.found} · expected {self.expected} · profile {self.profile}"
        known = f'<span class="gahb-numbers">known before: {inline(self.known)}</span>' if self.known else ""
        return (
            f'<div class="gahb-claim gahb-claim-{kind}" id="claim-{html.escape(self.id)}">'
            f'<span class="gahb-verdict">{sign} {self.verdict}</span> '
            f'<span class="gahb-statement">{inline(self.statement)}</span> '
            f'<span class="gahb-numbers">{html.escape(numbers)} · {inline(self.source)}</span>{known}</div>'
        )


def begin(*, chapter: str, profile: str) -> None:
    """Say which chapter runs and in which profile; the claims checked after it record both."""
    for name, value in (("chapter", chapter), ("profile", profile)):
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{name} must be a name, got {value!r}")
    _running.clear()
    _running.update(chapter=chapter, profile=profile)


def check(id: str, measured: float, *, stderr: float | None = None) -> Claim:
    """Compare a measured value with claim `id` of claims.yaml, show the result, and return it.

    `measured` is one finite number (a one-element tensor or array will do),
    `stderr` its standard error, None where the value is exact. The smoke
    profile is too small to judge by: its verdict is *not judged*.
    """
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
    value = _number("measured", measured)
    error = None if stderr is None else _number("stderr", stderr)
    if error is not None and error < 0:
        raise InputError(f"stderr of claim {id!r} must be 0 or more, got {error}")
    profile = _running.get("profile", "not stated")
    verdict = "not judged" if profile.split(",")[0] == "smoke" else entry.judge(value, error)
    claim = Claim(**asdict(entry), measured=value, stderr=error, profile=profile, verdict=verdict)
    _show(claim)
    return claim


def load(folder: Path | None = None) -> tuple[Expectation, ...]:
    """The entries of notebooks/claims.yaml under `folder` (default `root()`), validated; () without it."""
    import yaml

    path = (folder or root()) / "notebooks" / "claims.yaml"
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
    return loaded


def from_json(record: dict) -> Claim:
    """The record that an executed notebook carries; one from before there was `known` has None."""
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
    texts = [key for key in _TEXTS if key != "known" or "known" in entry]
    for key in texts:
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise InputError(f"{name} needs {key} as text, got {entry.get(key)!r}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", entry["id"]):
        raise InputError(f"{name}: an id has small letters, digits, dots, hyphens and underscores")
    values = {key: _number(f"{name}: {key}", entry[key]) for key in _NUMBERS if entry.get(key) is not None}
    kinds = [key for key in ("expect", "at_most", "at_least") if key in values]
    if len(kinds) != 1:
        raise InputError(
            f"{name} needs exactly one of expect, at_most, at_least; got {', '.join(kinds) or 'none'}"
        )
    if kinds == ["expect"] and "tolerance" not in values:
        raise InputError(f"{name} has expect without tolerance")
    if values.get("tolerance", 0) < 0:
        raise InputError(f"{name}: tolerance must be 0 or more, got {values['tolerance']}")
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
