"""Files that are whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gahb._files import cache_dir, check_writable, checksum, explained, replacing, root, scratch_folder
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


WRITER = """
import sys, time
from pathlib import Path
from gahb._files import replacing

with replacing(sys.argv[1]) as partial:
    partial.write_text(sys.argv[2])
    print(partial, flush=True)
    if sys.argv[3] == "waits":
        sys.stdin.read()
    else:
        import os
        os._exit(9)
"""


def test_what_a_killed_writer_left_goes_with_the_next_and_what_a_living_one_writes_stays(tmp_path):
    path = tmp_path / "a[1].txt"
    command = [sys.executable, "-c", WRITER, str(path)]
    killed = subprocess.run([*command, "half", "dies"], capture_output=True, text=True, check=False)
    left = Path(killed.stdout.strip())
    assert killed.returncode == 9 and left.read_text() == "half"
    age(left.parent)
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen([*command, "the living one's", "waits"], **pipes) as living:
        partial = Path(living.stdout.readline().strip())
        assert partial.exists() and not left.parent.exists()
        age(partial.parent)  # a long run: its lock says that it lives
        other = tmp_path / ".b.txt.x.scratch"  # left by a writer of another file
        other.mkdir()
        age(other)
        young = tmp_path / ".c.txt.x.scratch"  # of a writer that has not yet locked it
        young.mkdir()
        with replacing(path) as mine:
            mine.write_text("mine")
            assert partial.exists() and mine != partial and not other.exists() and young.exists()
        assert path.read_text() == "mine"
        living.communicate("")
    assert living.returncode == 0
    assert path.read_text() == "the living one's"
    assert sorted(os.listdir(tmp_path)) == [young.name, "a[1].txt"]


def age(folder: Path) -> None:
    """Makes `folder` two minutes old."""
    then = folder.stat().st_mtime - 120
    os.utime(folder, (then, then))


def test_many_writers_that_begin_at_once(tmp_path):
    """Each makes and removes hundreds of folders where the others look for ones left over."""
    code = """
import sys
from gahb._files import replacing
for i in range(300):
    with replacing(sys.argv[1]) as file:
        file.write_text(str(i))
"""
    command = [sys.executable, "-c", code]
    writers = [subprocess.Popen([*command, str(tmp_path / f"{i}.txt")], stderr=subprocess.PIPE) for i in range(4)]
    said = [writer.communicate()[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, said
    assert sorted(os.listdir(tmp_path)) == [f"{i}.txt" for i in range(4)]


def test_two_writers_of_one_process(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["a.txt"]


def test_an_error_of_writing_names_the_file_and_another_error_stays(tmp_path, monkeypatch):
    from safetensors import SafetensorError

    path = tmp_path / "a.txt"
    for error in (OSError(28, "No space"), SafetensorError("Error while serializing: I/O error: (os error 28)")):
        with pytest.raises(OSError, match="No space left on device") as failed, replacing(path):
            raise error
        assert explained(failed.value) == f"{path}: No space left on device"
    with pytest.raises(FileNotFoundError, match="gone"), replacing(path):
        (tmp_path / "gone").read_text()
    assert os.listdir(tmp_path) == []
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match="GAHB_CACHE") as failed, replacing(path):
        raise OSError(30, "Read-only file system")
    assert explained(failed.value).count("GAHB_CACHE") == 1


def test_a_cache_whose_folder_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    cache = tmp_path / "file" / "cache"
    monkeypatch.setenv("GAHB_CACHE", str(cache))
    with pytest.raises(NotADirectoryError, match="GAHB_CACHE") as failed, replacing(cache / "a.txt"):
        pass
    assert explained(failed.value).startswith(f"{cache}: Not a directory; the environment variable GAHB_CACHE")
    monkeypatch.delenv("GAHB_CACHE")
    with pytest.raises(NotADirectoryError) as failed, replacing(cache / "a.txt"):
        pass
    assert explained(failed.value) == f"{cache}: Not a directory"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="a folder that its owner may not write")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError) as failed, replacing(tmp_path / "a.txt"):
            pass
    finally:
        tmp_path.chmod(0o700)
    assert explained(failed.value) == f"{tmp_path / 'a.txt'}: Permission denied"


def refuses(*_, **__):
    raise PermissionError(13, "Permission denied", "/somewhere/.hidden.scratch")


@pytest.mark.parametrize("name", ["tempfile.mkdtemp", "gahb._files.FileLock"])
def test_no_error_names_a_scratch_folder(tmp_path, monkeypatch, name):
    """Nobody has asked for one: the file that was to be written is named."""
    def full(path, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(name, refuses if "mkdtemp" in name else full)
    for write in (replacing, scratch_folder):
        with pytest.raises(OSError) as failed, write("a.txt"):
            pass
        assert explained(failed.value).startswith("a.txt: ") and "scratch" not in explained(failed.value)
    assert os.listdir(tmp_path) == []


def test_whether_a_folder_can_be_written_is_tried(tmp_path, monkeypatch):
    check_writable(tmp_path / "not" / "there yet")
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr("tempfile.mkdtemp", refuses)
    with pytest.raises(PermissionError) as failed:
        check_writable(tmp_path / "not" / "there yet")
    assert explained(failed.value) == f"{tmp_path}/not/there yet: Permission denied"


def test_the_home_folder_in_the_name_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GAHB_CACHE", "~/prepared")
    assert cache_dir() == tmp_path / "prepared"


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
