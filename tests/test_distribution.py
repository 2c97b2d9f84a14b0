"""What is built and installed: wheel and sdist hold what they should, and the package works from its wheel alone.

The wheel goes into an environment that has the base requirements and nothing else: no
Jupyter, no extra, and no clone of the book in sight.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]  # setuptools has its own sys.argv
build_meta.build_wheel(out)
build_meta.build_sdist(out)
"""
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the empty environment is made of symbolic links")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder of wheel and sdist, built from a copy of what git knows: the clone itself stays as it is."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a clone: git does not say which files belong to it")
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    command = [sys.executable, "-c", BUILD, str(out)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (path,) = built.glob("*.whl")
    return path


def base_requirements() -> set[str]:
    """Names of the installed distributions that the base of gahb needs, directly or not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found, todo = set(), [Requirement(text) for text in project["dependencies"]]
    while todo:
        requirement = todo.pop()
        if requirement.name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(requirement.name)
        todo += map(Requirement, metadata.requires(requirement.name) or [])
    return found


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A new environment with the wheel, and links to the base requirements that are installed here."""
    place = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    for name in base_requirements():
        distribution = metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution.locate_file(top))
    install = [sys.executable, "-m", "pip", "--python", str(place), "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*install, "--disable-pip-version-check", str(wheel)], check=True)
    return place


@pytest.fixture
def run(environment, tmp_path):
    """Run a command of that environment in an empty folder; its exit code and what it printed."""

    def run(*command: str) -> tuple[int, str]:
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "GAHB_ROOT")}
        variables = dict(kept, GAHB_CACHE=str(tmp_path / "cache"), OMP_NUM_THREADS="1")
        program, *arguments = command
        done = subprocess.run([environment / "bin" / program, *arguments], cwd=tmp_path, env=variables,
                              capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


# --- what is in them ------------------------------------------------------------------


def test_the_wheel_holds_the_package_and_is_small(wheel):
    assert wheel.stat().st_size <= 15e6
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gahb"}
    shipped = {name for name in names if name.startswith("gahb/weights/")}
    assert {"gahb/weights/photos.safetensors", "gahb/weights/photos.yaml"} <= shipped
    assert shipped == {f"gahb/weights/{path.name}" for path in (ROOT / "gahb" / "weights").iterdir()}
    assert {"gahb/py.typed", "gahb/__init__.pyi", "gahb/widgets/live.js"} <= set(names)
    assert sum(name.endswith(("licenses/LICENSE", "licenses/WEIGHTS.md")) for name in names) == 2


def test_the_wheel_says_what_it_is(wheel):
    text = next(
        zipfile.ZipFile(wheel).read(name).decode() for name in zipfile.ZipFile(wheel).namelist()
        if name.endswith(".dist-info/METADATA")
    )  # fmt: skip
    (version,) = re.findall(r'^__version__ = "(.*)"$', (ROOT / "gahb" / "__init__.py").read_text(), re.MULTILINE)
    assert f"\nVersion: {version}\n" in text and wheel.name == f"gahb-{version}-py3-none-any.whl"
    extras = re.findall(r"^Provides-Extra: (.*)$", text, re.MULTILINE)
    assert {"widgets", "book", "lab", "cluster", "gpu"} <= set(extras)
    base = re.findall(r"^Requires-Dist: ([\w.-]+)[^;]*$", text, re.MULTILINE)
    jupyter = {"ipywidgets", "anywidget", "traitlets", "nbformat", "nbclient", "nbconvert", "papermill", "ipykernel"}
    assert "torch" in base and not jupyter & set(base)


def test_the_sdist_holds_the_tests_and_not_the_weights_of_the_chapters(built):
    (path,) = built.glob("*.tar.gz")
    assert path.stat().st_size <= 20e6
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("tests/references.py", "tests/conftest.py", "tests/denoisers/test_networks.py", "tests/unit.txt",
                 "notebooks/01_miyasawa.md", "notebooks/profiles/smoke.yaml", "notebooks/claims.yaml",
                 "book/references.bib", "CHANGELOG.md", "CITATION.cff", "LICENSE", "WEIGHTS.md", "requirements.lock",
                 "gahb/weights/photos.safetensors"):  # fmt: skip
        assert name in names, name
    assert not [name for name in names if name.startswith("notebooks/weights/") and name.endswith(".safetensors")]
    assert not [name for name in names if "node_modules" in name or "_executed" in name or "__pycache__" in name]


# --- what the wheel does ---------------------------------------------------------------


def test_the_environment_has_the_wheel_and_no_extra(run, environment):
    code, said = run("python", "-c", "import gahb; print(gahb.__file__)")
    assert code == 0 and Path(said.strip()).resolve().is_relative_to(environment.resolve()), said
    for module in ("anywidget", "ipywidgets", "IPython", "nbformat", "papermill", "jupytext", "distributed"):
        code, said = run("python", "-c", f"import importlib.util; print(importlib.util.find_spec({module!r}))")
        assert said == "None\n", module


def test_the_example_of_the_readme(run, tmp_path):
    """It runs, and every denoiser of it, the one that it trains too, leaves less noise than there was."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert "gahb.zoo.load(" in code and "gahb.adaptive_basis(" in code
    (tmp_path / "example.py").write_text(code)
    status, said = run("python", "-W", "error", "example.py")
    assert status == 0, said
    tensors = re.findall(r"tensor\(\[(\d.*?)\]", said, re.DOTALL)
    rows = [[float(number) for number in tensor.split(",")] for tensor in tensors]
    curves = list(zip(rows[0:6:2], rows[1:6:2]))
    assert len(curves) == 3 and all(len(after) == 3 for _, after in curves)
    assert all(gained > given for before, after in curves for given, gained in zip(before, after)), said
    assert said.count("torch.Size([2, 1, 48, 48])") == 3
    assert "torch.Size([1, 4]) torch.Size([1, 4, 1, 48, 48])" in said


FACE = """
import pydoc
import types

from gahb import *
import gahb

for name in dir(gahb):
    thing = getattr(gahb, name)
    if isinstance(thing, types.ModuleType):
        pydoc.render_doc(thing)
        [getattr(thing, each) for each in dir(thing)]
pydoc.render_doc(gahb)
print(hasattr(gahb, "widgets"), [name for name in dir(gahb.widgets) if name[0] != "_"])
try:
    gahb.widgets.live
except ImportError as error:
    print("missing:", error)
for name in gahb.zoo.names():
    gahb.zoo.load(name)
    print("loaded:", name)
"""


def test_all_names_can_be_looked_at_and_every_network_loads(run):
    """By `dir`, `help` and a star; only a widget that is used needs an extra."""
    status, said = run("python", "-c", FACE)
    assert status == 0, said
    looked, missing, *loaded = said.splitlines()
    assert looked == "True []"
    assert missing.startswith("missing: gahb.widgets.live needs the extra [widgets]: pip install 'gahb[widgets]'")
    stems = sorted(path.stem for path in (ROOT / "gahb" / "weights").glob("*.safetensors"))
    assert loaded == [f"loaded: {stem}" for stem in stems]


def test_the_doctor_says_what_is_missing(run):
    status, said = run("gahb", "doctor")
    assert status == 0, said
    for name in ("python", "torch", "cuda", "zoo"):
        assert re.search(rf"^.? +{name} ", said, re.MULTILINE), said
    assert "no chapters found" in said


def test_rerun_says_that_it_needs_a_clone(run):
    status, said = run("gahb", "rerun", "miyasawa")
    assert status == 2
    assert re.fullmatch(r"gahb: no chapters found above .*: run inside a clone of the book, .*\n", said), said
