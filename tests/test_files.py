"""Files that are whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys

import pytest
import torch

from gahb._files import checksum, replacing, root
from gahb._validate import InputError


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as partial:
            partial.write_text("half")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="asks after processes as POSIX does")
def test_what_a_killed_writer_left_goes_with_the_next_and_what_a_living_one_writes_stays(tmp_path):
    path = tmp_path / "a[1].txt"
    killed = f"import os; from gahb._files import replacing\nwith replacing({str(path)!r}) as p: p.touch(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == 9
    (left,) = os.listdir(tmp_path)
    host, dead = socket.gethostname(), left.split(".")[-2].partition("@")[0]
    stay = [
        left.replace(f".{dead}@", f".{os.getppid()}@"),  # a living writer's
        left.replace("a[1]", "b"),  # of another file
        left.replace(host, "elsewhere"),  # of another host: its processes cannot be asked after
        left.replace(host, f"{host}.elsewhere"),
    ]
    for name in stay:
        (tmp_path / name).touch()
    with replacing(path) as partial:
        partial.write_text("new")
        assert partial.name == left.replace(dead, str(os.getpid()))
    assert path.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, *stay])


def test_a_checksum_is_of_all_that_it_is_given():
    """As it was when the weights that ship were written."""
    a = torch.arange(6, dtype=torch.float16).reshape(2, 3)
    parts = ["text\nmore", "a (2, 3) torch.float16", a.numpy().tobytes(), "b () torch.float32", bytes(4)]
    whole = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    b = torch.zeros(())
    assert checksum({"b": b, "a": a}, "text", "more") == hashlib.sha256(whole).hexdigest()
    assert checksum({"a": a.T.contiguous().T, "b": b}, "text", "more") == hashlib.sha256(whole).hexdigest()
    others = [a, a + 1, a.T, a.reshape(3, 2), a[:0], a.view(torch.int16), a.bfloat16()]
    digests = [checksum({"a": other}, "x") for other in others]
    digests += [checksum({"c": a}, "x"), checksum({"a": a}, "y"), checksum({}, "x")]
    assert len(set(digests)) == len(digests)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """What tells a clone of the book: its chapters' profiles."""
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    (tmp_path / "gahb").mkdir()
    monkeypatch.delenv("GAHB_ROOT", raising=False)
    return tmp_path


def test_root_from_the_environment(clone, monkeypatch):
    monkeypatch.setenv("GAHB_ROOT", str(clone))
    assert root() == clone
    monkeypatch.setenv("GAHB_ROOT", str(clone / "gahb"))
    with pytest.raises(InputError, match=r"GAHB_ROOT is '.*', which has no folder notebooks/"):
        root()


def test_root_upward_from_the_working_directory(clone, monkeypatch):
    monkeypatch.setattr("gahb._files.__file__", str(clone / "elsewhere" / "site" / "gahb" / "_files.py"))
    monkeypatch.chdir(clone / "gahb")
    assert root() == clone
    shutil.rmtree(clone / "notebooks")
    with pytest.raises(InputError, match=r"no chapters found above .*: run inside a clone of the book"):
        root()
