"""What the widgets over stored results share: up to three sliders, and checks of what is handed over."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from pathlib import Path

import anywidget
import numpy as np
import traitlets

MOST_BYTES = 1_500_000  # of one widget, as its page carries it


def source(*names: str) -> str:
    """Files of this folder, joined: what the widgets share comes before what is one's own."""
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)


class SliderWidget(anywidget.AnyWidget):
    """Stored results over sliders; `value`, an index on each, follows the reader's hand, and may be set."""

    names = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    labels = traitlets.List(read_only=True).tag(sync=True)  # of each slider's positions
    alt = traitlets.Unicode(read_only=True).tag(sync=True)
    value = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, sliders: Mapping[str, list[str]], **fixed):
        for name, value in {"names": list(sliders), "labels": list(sliders.values()), **fixed}.items():
            self.set_trait(name, value)
        super().__init__(value=[0] * len(sliders))

    @traitlets.validate("value")
    def _check_value(self, proposal):
        lengths = [len(labels) for labels in self.labels]
        value = proposal["value"]
        if len(value) != len(lengths) or not all(0 <= v < n for v, n in zip(value, lengths)):
            allowed = ", ".join(f"{name} in 0 … {n - 1}" for name, n in zip(self.names, lengths)) or "nothing"
            raise ValueError(f"value must be an index for each slider, {allowed}; got {value}")
        return value

    def __repr__(self) -> str:
        over = " × ".join(f"{name} ({len(labels)})" for name, labels in zip(self.names, self.labels))
        return f"<{self.alt}>" if not over else f"<{self.alt}; sliders: {over}>"


def check_sliders(sliders) -> dict[str, list[str]]:
    """Name → labels, as text."""
    if not isinstance(sliders, Mapping) or not 1 <= len(sliders) <= 3:
        given = f"{len(sliders)} of them" if isinstance(sliders, Mapping) else repr(sliders)
        raise ValueError(f"sliders must map one, two or three names to their labels, got {given}")
    found = {}
    for name, labels in sliders.items():
        if isinstance(labels, str) or not hasattr(labels, "__iter__"):
            raise ValueError(f"sliders[{name!r}] must be a list of numbers or texts, got {labels!r}")
        found[str(name)] = [_text(label) for label in (labels.tolist() if hasattr(labels, "tolist") else labels)]
        if not found[str(name)]:
            raise ValueError(f"sliders[{name!r}] must have at least one label, got none")
    return found


def check_text(name: str, text) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} must be a text that says what is shown, got {text!r}")
    return text


def finite(name: str, values) -> np.ndarray:
    """Float64 from lists, numpy or torch (on any device, with or without grad)."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, got a {type(values).__name__}") from None
    if bad := (~np.isfinite(array)).sum():
        raise ValueError(f"{name} must be finite, got {bad} of {array.size} values that are not")
    return array


def check_size(name: str, size: int, remedy: str) -> None:
    if size > MOST_BYTES:
        most, given = MOST_BYTES / 1e6, size / 1e6
        raise ValueError(f"{name} must take at most {most:g} MB on the page, got {given:.2f} MB: {remedy}")


def _text(label) -> str:
    return f"{label:g}" if isinstance(label, numbers.Real) and not isinstance(label, numbers.Integral) else str(label)
