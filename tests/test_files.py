"""Files that are whole or not there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gahb._files import replacing


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
    living = tmp_path / f".{path.name}.{os.getppid()}.partial"
    other = tmp_path / left.replace("a[1]", "b")
    living.touch()
    other.touch()
    with replacing(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, living.name, other.name])
