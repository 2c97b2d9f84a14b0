"""Running the book's chapters.

A chapter is `notebooks/NN_name.md` (MyST) with its Jupytext twin `.ipynb`. The
text is what runs. An executed copy keeps in its metadata, under `gahb`, what
its outputs depend on: a stamp of the code and the values, and a record of the
files that the run imported and read. It runs again only if one of them changes.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict
from importlib.metadata import version
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from .._files import replacing, scratch_folder
from .._threads import WAIT_POLICY
from .._validate import InputError
from . import ledger, ranges, recording
from .chapters import Chapter, chapters, code_cells, parameters, profile_values, source, tags

PACKAGE = Path(__file__).resolve().parents[1]
RECORD = "record"  # id of the cell that shows what the run depends on


class ChapterFailed(RuntimeError):  # noqa: N818
    """A chapter stopped at a cell; what had run so far is kept beside its output."""


def stamp(chapter: Chapter, values: dict[str, Any]) -> str:
    """SHA-256 of what is known before a run: the chapter's code and claims, the values, and torch's version.

    Prose, and tags that only change how a page looks, are not in it.
    """
    about = {
        "code": [cell.source for cell in code_cells(source(chapter))],
        "values": values,
        "claims": [asdict(c) for c in ledger.load(_root_of(chapter)) if c.chapter == chapter.stem],
        "torch": version("torch"),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def is_current(executed, chapter: Chapter, values: dict[str, Any]) -> bool:
    """Whether running the chapter with `values` could give other outputs than the notebook `executed` has.

    False, so that it runs, if the stamp differs, if a file that the run imported or read has changed
    since, or if there is no record of these.
    """
    about = executed.metadata.get("gahb", {})
    if about.get("stamp") != stamp(chapter, values) or "record" not in about:
        return False
    return not recording.has_changed(about["record"], _root_of(chapter), PACKAGE)


def execute(chapter: Chapter, out: Path, values: dict[str, Any], progress: bool = True) -> None:
    r"""Run the chapter with `values` and put the executed notebook at `out`, whole or not at all.

    Parameters
    ----------
    chapter : of `gahb.book.chapters.find`.
    out : file of the executed notebook, not among the chapters.
    values : all parameters by name, `profile` among them: those of
        `gahb.book.chapters.parameters`, with what is to be changed.
    progress : whether a terminal shows a bar.

    Raises
    ------
    ValueError : for a value that is not allowed, before anything runs.
    RuntimeError : names the cell that failed and its error; `out` stays as it was,
        and the half-run notebook lies beside it as `<stem>.failed.ipynb`.

    Examples
    --------
    A chapter of two cells, run with another parameter:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import gahb, nbformat
    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> defaults = new_code_cell("n = 3\nprofile = 'book'", metadata={"tags": ["parameters"]})
    >>> cells = [defaults, new_code_cell("print(n**2)")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clone, out = Path(folder), Path(folder, "squares.ipynb")
    ...     Path(clone, "notebooks").mkdir()
    ...     nbformat.write(new_notebook(cells=cells), clone / "notebooks" / "01_squares.ipynb")
    ...     chapter = gahb.book.chapters.find(clone, "squares")
    ...     gahb.book.running.execute(chapter, out, {"n": 5, "profile": "book"})
    ...     print(nbformat.read(out, as_version=4).cells[-1].outputs[0].text)
    25
    """
    import nbformat
    import papermill

    out = Path(out)
    if out.resolve().parent == chapter.path.resolve().parent:
        raise InputError(f"out is {out}: an executed notebook must not lie among the chapters")
    ranges.check(chapter, values)
    notebook, defaults, label = source(chapter), parameters(chapter), stamp(chapter, values)
    changed = {name: _plain(value) for name, value in values.items() if value != defaults[name]}
    out.parent.mkdir(parents=True, exist_ok=True)
    failed = out.with_name(f"{out.stem}.failed.ipynb")
    manager, peak = _kernel_manager(_root_of(chapter), values["profile"])
    with scratch_folder(out) as folder:
        start, running = folder / "start.ipynb", folder / "running.ipynb"
        nbformat.write(_recorded(notebook), start)
        began = time.monotonic()
        try:
            ran = papermill.execute_notebook(
                start, running, changed, kernel_name="python3", language="python", start_timeout=120,
                progress_bar={"desc": chapter.stem} if progress and sys.stderr.isatty() else False,
                kernel_manager_class=manager,
            )  # fmt: skip
        except BaseException as error:
            if (half := _read(running)) is not None:
                half.cells = [cell for cell in half.cells if cell.id != RECORD]
                _replace(half, failed)
            if reason := _reason(error):
                raise ChapterFailed(f"{chapter.stem}: {reason}; the half-run notebook is {failed}") from None
            raise
    ran.metadata["gahb"] = {
        "chapter": chapter.stem, "profile": values["profile"], "stamp": label, "torch": version("torch"),
        "parameters": {name: _plain(value) for name, value in values.items()},
        "seconds": round(time.monotonic() - began, 1), "machine": machine(), **peak,
        "threads": _threads(values["profile"]),
        "record": ran.cells.pop().outputs[-1].metadata[recording.KEY],
    }  # fmt: skip
    _replace(_with_outputs(notebook, ran), out)
    failed.unlink(missing_ok=True)


def _recorded(notebook):
    """The notebook with one more cell at its end, which shows what the run has imported and read."""
    import nbformat

    recorded = copy.deepcopy(notebook)
    code = "from gahb.book import recording\n\nrecording.show()"
    recorded.cells.append(nbformat.v4.new_code_cell(code, id=RECORD))
    return recorded


def bring_up_to_date(
    root: str | os.PathLike,
    out_dir: str | os.PathLike,
    profile: str = "book",
    progress: bool = True,
    tell: Callable[[str], None] | None = None,
    jobs: int = 1,
) -> list[str]:
    r"""Bring the executed chapters in `out_dir` up to date; return the stems of those that had to run.

    A chapter that `is_current` is not run: if its prose has changed, the new
    text takes the stored outputs. `tell` is called with a line before each run.
    Up to `jobs` chapters run side by side, each with its share of the cores and no
    progress bar; when one fails, no other begins, and those that run are finished first.
    Errors are those of `execute`.

    A second call finds everything as it should be:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import gahb, nbformat
    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> defaults = new_code_cell("n = 3\nprofile = 'book'", metadata={"tags": ["parameters"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clone, out = Path(folder), Path(folder, "executed")
    ...     Path(clone, "notebooks", "profiles").mkdir(parents=True)
    ...     Path(clone, "notebooks", "profiles", "book.yaml").touch()
    ...     nbformat.write(new_notebook(cells=[defaults]), clone / "notebooks" / "01_squares.ipynb")
    ...     gahb.book.running.bring_up_to_date(clone, out)
    ...     gahb.book.running.bring_up_to_date(clone, out)
    ['01_squares']
    []
    """
    root, stale = Path(root), []
    for chapter in chapters(root):
        out = Path(out_dir) / f"{chapter.stem}.ipynb"
        values = profile_values(root, profile, chapter)
        old = _read(out)
        if old is not None and is_current(old, chapter, values):
            new = _with_outputs(source(chapter), old)
            if new != old:
                _replace(new, out)
            continue
        stale.append((chapter, out, values))

    def with_a_line(run):
        if tell:
            tell(f"running {run[0].stem} (profile {profile})")
        return run

    if jobs == 1 or len(stale) < 2:
        for run in stale:
            execute(*with_a_line(run), progress)
    else:
        _side_by_side(map(with_a_line, stale), jobs)
    return [chapter.stem for chapter, *_ in stale]


def _side_by_side(runs: Iterator[tuple[Chapter, Path, dict[str, Any]]], jobs: int) -> None:
    """`execute` each in a process of its own, the next one asked for when there is room for it."""
    share = max(1, cores() // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _compute_with, (share,)) as pool:
        running = {pool.submit(execute, *run, False) for run in islice(runs, jobs)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for run in done:
                run.result()  # an error leaves the block, at whose end the others are waited for
            running |= {pool.submit(execute, *run, False) for run in islice(runs, len(done))}


def _compute_with(threads: int) -> None:
    """So many threads in what this process starts, unless the user has asked for a number."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def claims_of(path: Path) -> tuple[ledger.Claim, ...]:
    """The claims that an executed notebook carries, in order; of a claim checked twice, the last.

    InputError for a file that is not there or is no notebook.

    A claim is in the metadata of the output that shows it:

    >>> import tempfile
    >>> from dataclasses import asdict
    >>> from pathlib import Path
    >>> import gahb, nbformat
    >>> from nbformat.v4 import new_code_cell, new_notebook, new_output
    >>> gahb.claims.begin(chapter="01_miyasawa", profile="book")
    >>> claim = gahb.claims.check("miyasawa.score", 3e-15)
    >>> output = new_output("display_data", metadata={"gahb_claim": asdict(claim)})
    >>> notebook = new_notebook(cells=[new_code_cell(outputs=[output])])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "01_miyasawa.ipynb")
    ...     nbformat.write(notebook, path)
    ...     (again,) = gahb.book.running.claims_of(path)
    >>> again == claim
    True
    """
    content = _content(path)
    if content is None:
        raise InputError(f"{path} is not a notebook that can be read")
    found = {}
    for cell in content["cells"]:
        for output in cell.get("outputs", ()):
            if record := output.get("metadata", {}).get(ledger.KEY):
                found[record["id"]] = ledger.from_json(record)
    return tuple(found.values())


def warnings_of(path: Path) -> list[str]:
    """What an executed notebook warned of, such as the images of a folder that were left out; each once, in order.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import gahb, nbformat
    >>> from nbformat.v4 import new_code_cell, new_notebook, new_output
    >>> text = "cell.py:2: UserWarning: 9 images read; skipped 1 unreadable file (a.png)\\n  images = folder(path)\\n"
    >>> cell = new_code_cell(outputs=[new_output("stream", name="stderr", text=text)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "01_miyasawa.ipynb")
    ...     nbformat.write(new_notebook(cells=[cell]), path)
    ...     gahb.book.running.warnings_of(path)
    ['9 images read; skipped 1 unreadable file (a.png)']
    """
    outputs = [output for cell in _content(path)["cells"] for output in cell.get("outputs", ())]
    said = "".join("".join(output["text"]) for output in outputs if output.get("name") == "stderr")
    return list(dict.fromkeys(re.findall(r"^.+:\d+: \w*Warning: (.+)$", said, re.MULTILINE)))


def glued(path: Path, name: str) -> str | None:
    """The text that an executed notebook keeps for its prose under this name; None if it keeps none.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import gahb, nbformat
    >>> from nbformat.v4 import new_code_cell, new_notebook, new_output
    >>> data = {"application/papermill.record/text/plain": "'2.35 dB'"}
    >>> output = new_output("display_data", data, metadata={"scrapbook": {"name": "gain"}})
    >>> notebook = new_notebook(cells=[new_code_cell(outputs=[output])])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "01_miyasawa.ipynb")
    ...     nbformat.write(notebook, path)
    ...     gahb.book.running.glued(path, "gain")
    '2.35 dB'
    """
    for cell in _content(path)["cells"]:
        for output in cell.get("outputs", ()):
            if output.get("metadata", {}).get("scrapbook", {}).get("name", "").rpartition("/")[2] == name:
                return str(ast.literal_eval("".join(output["data"]["application/papermill.record/text/plain"])))
    return None


def machine() -> str:
    """System, processor and the number of cores that this process may use: `Linux x86_64, 2 cores`."""
    return f"{platform.system()} {platform.machine()}, {cores()} core{'s' * (cores() > 1)}"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads(profile: str) -> int:
    """How many threads a kernel that starts now computes with: what the user asks for, else as many as help.

    The smoke profile's problems are so small that a second thread gains nothing.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit():
        return int(asked)
    return 1 if profile.partition(",")[0] == "smoke" else cores()


def record_of(path: Path) -> dict[str, Any]:
    """What `execute` wrote down about a run: profile, parameters, seconds, machine, …; {} if there is nothing."""
    content = _content(path)
    return {} if content is None else content["metadata"].get("gahb", {})


def _with_outputs(notebook, executed):
    """The source's cells with the executed notebook's outputs, by order of code cells."""
    new = copy.deepcopy(notebook)
    injected = [cell for cell in code_cells(executed) if "injected-parameters" in tags(cell)]
    stored = [cell for cell in code_cells(executed) if "injected-parameters" not in tags(cell)]
    for cell, ran in zip(code_cells(new), stored, strict=True):
        cell.outputs, cell.execution_count = copy.deepcopy(ran.outputs), ran.execution_count
    for cell in injected:  # right after the defaults that it overrides
        position = next(i for i, c in enumerate(new.cells) if "parameters" in tags(c))
        new.cells.insert(position + 1, copy.deepcopy(cell))
        new.cells[position + 1].update(id="injected-parameters")
        new.cells[position + 1].metadata = {"tags": ["injected-parameters"]}
    for key in ("gahb", "widgets", "language_info"):
        if key in executed.metadata:
            new.metadata[key] = copy.deepcopy(executed.metadata[key])
    new.metadata["gahb"]["sources"] = _sources(new.cells)
    return new


def is_own_result(path: Path, chapter: Chapter) -> bool:
    """Whether `execute` wrote the notebook at `path` for this chapter, and nobody has edited it since."""
    content = _content(path)
    about = content["metadata"].get("gahb", {}) if content else {}
    return about.get("chapter") == chapter.stem and about.get("sources") == _sources(content["cells"])


def _sources(cells: list[dict[str, Any]]) -> str:
    """SHA-256 of the texts of all cells, as nbformat or the notebook's file holds them."""
    texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _reason(error: BaseException) -> str | None:
    """What went wrong in a notebook, on one line; None for what is not the notebook's doing."""
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        line = next((line for line in error.source.splitlines() if line.strip()), "")
        said = f"{error.ename}: {' '.join(error.evalue.split())}"
        return f"cell In [{error.exec_count}] ({line.strip()!r}) raised {said}"
    return "its kernel died, perhaps for want of memory" if isinstance(error, DeadKernelError) else None


def _kernel_manager(root: Path, profile: str) -> tuple[type, dict[str, int]]:
    """A kernel of the very interpreter that runs this, and, once it is done, its peak memory."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    quiet = "--IPKernelApp.log_level=50"  # else a line about sockets or an interrupt at every end of a good run
    extension = f"--IPKernelApp.extra_extensions={recording.__name__}"
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", quiet, extension]
    environment = {
        "GAHB_ROOT": str(root),
        "GAHB_PROFILE": profile,  # in the short ones the zoo trains nothing
        # figures go into the notebook, whatever MPLBACKEND the caller has
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", WAIT_POLICY),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(_threads(profile))),
    }
    spec = KernelSpec(argv=command, display_name="Python 3", language="python", env=environment)
    peak: dict[str, int] = {}

    class Manager(AsyncKernelManager):
        @property
        def kernel_spec(self):
            return spec

        async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
            status = Path(
                f"/proc/{getattr(self.provisioner, 'pid', None)}/status"
            )  # Linux; elsewhere not said
            if status.exists() and (match := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
                peak["peak_mib"] = int(match[1]) // 1024
            await super().shutdown_kernel(now=now, restart=restart)

    return Manager, peak


def _read(path: Path):
    """The notebook at `path`, or None if there is none or it is broken."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, AttributeError, nbformat.ValidationError):
        return None


def _content(path: Path) -> dict[str, Any] | None:
    """What the notebook at `path` holds, as JSON; `_read` checks it against the schema too, which takes seconds."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return content if {"cells", "metadata"} <= set(content) else None
    except (OSError, ValueError, TypeError):
        return None


def _replace(notebook, out: Path) -> None:
    """Write the notebook at `out`, whole or not at all."""
    import nbformat

    with replacing(out) as partial, open(partial, "w", encoding="utf-8") as file:
        nbformat.write(notebook, file)


def _plain(value):
    """Tuples as lists: papermill would inject a tuple as a string."""
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _root_of(chapter: Chapter) -> Path:
    return chapter.path.resolve().parent.parent
