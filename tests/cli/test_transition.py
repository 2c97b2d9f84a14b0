"""`gahb transition`: sets, twins and chapter 3 for a folder of one's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gahb
from gahb import cli
from gahb._validate import InputError
from gahb.cli import rerun, transition
from gahb.zoo import twins


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    """60 distinct pictures of 12 persons, and a cache of its own."""
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(twins, "compiler", lambda: None)  # it takes longer than these trainings
    folder = tmp_path / "My pictures"
    folder.mkdir()
    for k in range(60):
        pixels = np.random.default_rng(k).integers(0, 256, (12, 12), dtype=np.uint8)
        Image.fromarray(pixels).resize((16, 16)).save(folder / f"{k:02}.png")
    (tmp_path / "persons.txt").write_text("".join(f"{k:02}.png person{k // 5}\n" for k in range(60)))
    return folder


@pytest.fixture
def ran(monkeypatch) -> list[dict]:
    """What chapter 3 is asked for, in place of its run."""
    asked = []

    def run(self, quiet=False):
        names = ("image_folder", "image_size", "counts", "n_eval", "n_class")
        values = {name: self.values[name] for name in names}
        asked.append(dict(chapter=self.chapter.name, profile=self.values["profile"].partition(",")[0], **values))
        self.notebook.parent.mkdir(exist_ok=True)
        data = {"application/papermill.record/text/plain": "'They do not cross.'"}
        output = {"output_type": "display_data", "data": data, "metadata": {"scrapbook": {"name": "crossing_text"}}}
        self.notebook.write_text(json.dumps({"cells": [{"outputs": [output]}], "metadata": {}}))
        return self.notebook

    monkeypatch.setattr(rerun.Run, "__call__", run)
    return asked


def test_twins_are_trained_once_and_the_chapter_is_run_on_them(pictures, ran, tmp_path, capsys):
    words = ["transition", str(pictures), "--counts", "4", "8", "--size", "8", "--steps", "4", "--out"]
    assert cli.main([*words, str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().out
    assert "60 images read from" in said and "twins for N = 4, 8: 4 networks, 0 of them trained before" in said
    assert "4 networks of 4 steps: about 0.0 minutes each, 0 in all; training stops after 60 minutes" in said
    assert said.endswith("They do not cross.\n")
    (asked,) = ran
    assert asked == dict(chapter="transition", profile="book", image_folder=str(pictures), image_size=8,
                         counts=[4, 8], n_eval=11, n_class=22)
    family = gahb.zoo.family_of_folder(pictures, 8)
    names = [f"{family}-n{n}-{subset}" for n in (4, 8) for subset in ("first", "second")]
    assert family.startswith("my-pictures-8px-")
    assert sorted(path.stem for path in (tmp_path / "runs" / "networks").iterdir()) == sorted(names)
    sets = [gahb.zoo.recipe(name).source() for name in names[2:]]
    assert [len(images) for images in sets] == [8, 8]
    rest = gahb.zoo.recipe(names[2]).test_images(1000)
    assert len(rest) == 44 and len({image.numpy().tobytes() for part in (*sets, rest) for image in part}) == 60

    assert cli.main([*words, str(tmp_path / "other")]) == 0
    assert "4 of them trained before" in capsys.readouterr().out
    Image.new("L", (16, 16), 200).save(pictures / "new.png")
    with pytest.raises(ValueError, match="its files have changed since its twins were trained: gahb transition"):
        gahb.zoo.family_of_folder(pictures, 8)
    with pytest.raises(ValueError, match="now holds other files"):
        gahb.zoo.recipe(names[0]).source()
    with pytest.raises(ValueError, match="no twins were trained for it"):
        gahb.zoo.family_of_folder(pictures, 16)


def test_no_person_is_in_two_sets(pictures, tmp_path):
    recipe = twins.of_folder(pictures, 8, [10], groups=tmp_path / "persons.txt", steps=2)[0]
    groups, parts = recipe._groups(), recipe._parts_of_folder()
    every = [image.numpy().tobytes() for image in gahb.images.folder(pictures, 8)]
    persons = [{groups[every.index(image.numpy().tobytes())] for image in part} for part in parts]
    assert not (persons[0] & persons[1] or persons[0] & persons[2] or persons[1] & persons[2])


def test_when_time_is_up_the_next_call_goes_on(pictures, ran, capsys, tmp_path):
    words = ["transition", str(pictures), "--counts", "4", "8", "--size", "8", "--steps", "4"]
    words += ["--out", str(tmp_path / "runs")]
    assert cli.main([*words, "--minutes", "1e-9"]) == 3
    said = capsys.readouterr().out
    assert "The same command goes on from here." in said and said.endswith("trained so far: none\n") and not ran
    assert cli.main([*words, "--jobs", "2"]) == 0
    assert len(ran) == 1


def test_two_sizes_at_least_as_far_as_they_fit():
    assert twins.counts_for(5000) == [10, 100, 1000] and twins.counts_for(300) == [10, 100]
    assert twins.counts_for(60) == [10, 22] and twins.counts_for(30) == [1, 7]
    assert twins.counts_for(60, [22, 1, 22]) == [1, 22]


@pytest.mark.parametrize(("more", "said"), [
    (["--counts", "4", "40"], r"--counts must be at most 22, so that two sets and 16 images .* of the folder, got 40"),
    (["--counts", "4"], r"counts must be two numbers at least, got 4"),
    (["--counts", "0", "4"], r"counts must be an integer of at least 1, got 0"),
    (["--counts"], r"Option '--counts' requires an argument"),
    (["--size", "30"], r"--size must be divisible by 4, as the network pools twice, got 30"),
    (["--minutes", "0"], r"--minutes must be a positive number, got 0"),
    (["--jobs", "0"], r"--jobs must be at least 1, got 0"),
    (["--steps", "0"], r"--steps must be an integer of at least 1, got 0"),
    (["--groups", "nowhere.txt"], r"--groups must be a file with lines NAME GROUP, got /.*nowhere.txt, which is not "),
    (["--groups", "persons.csv"], r"--groups must have a line NAME GROUP .*/persons.csv has '00.png,person0'"),
    (["--groups", "My pictures/00.png"], r"--groups must be a file with lines NAME GROUP, .*00.png is no text"),
    (["--groups", "some.txt"], r"--groups must name a group for each image, and /.*some.txt has none for 01.png"),
])  # fmt: skip
def test_bad_input_is_one_line_before_anything_is_trained(pictures, ran, capsys, monkeypatch, more, said):
    monkeypatch.chdir(pictures.parent)
    Path("persons.csv").write_text("00.png,person0\n")
    Path("some.txt").write_text("00.png person0\n")
    words = ["transition", str(pictures), *(["--size", "8"] if "--size" not in more else []), *more]
    assert cli.main(words) == 2
    said_there = capsys.readouterr().err.splitlines()
    complaint = [line for line in said_there if line and "image/s]" not in line]  # without the bar of the reading
    assert len(complaint) == 1 and re.search(said, complaint[0]), complaint
    assert not ran and not list((twins.kept().parent / "zoo").glob("*.safetensors"))


def test_what_would_stop_the_chapter_is_found_before_anything_is_trained(pictures, ran, capsys, tmp_path, monkeypatch):
    """An hour of training is not spent on a command that cannot end well."""
    monkeypatch.setattr(transition, "train", lambda *_: pytest.fail("it trained"))
    monkeypatch.chdir(tmp_path)
    words = ["transition", str(pictures), "--counts", "4", "8", "--size", "8", "--steps", "4"]
    (tmp_path / "file").write_text("mine")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "claims.json").write_text('{"mine": 1}')
    for more, said in [
        (["--profile", "vast"], "unknown profile 'vast'"),
        (["--out", str(tmp_path / "file")], "--out must be a folder, and"),
        (["--out", str(tmp_path / "foreign")], "claims.json is not a result of gahb rerun"),
        (["--out", str(pictures / "runs")], "--out must lie outside FOLDER, whose images would count what"),
        (["--out", str(tmp_path / "file" / "deep")], "--out must be a folder, and"),
    ]:
        assert cli.main([*words, *more]) == 2
        assert said in capsys.readouterr().err and not ran
    monkeypatch.setattr("tempfile.mkdtemp", unwritable)
    assert cli.main([*words, "--out", "deep/runs"]) == 1
    assert "gahb: deep/runs: Permission denied\n" in capsys.readouterr().err
    assert not (pictures / "runs").exists()


def test_ctrl_c_says_that_the_same_command_goes_on(pictures, ran, capsys, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(transition, "train", stopped)
    words = ["transition", str(pictures), "--counts", "4", "8", "--size", "8", "--steps", "4"]
    assert cli.main([*words, "--out", str(tmp_path / "runs")]) == 130
    assert capsys.readouterr().err.endswith("gahb: stopped; the same command goes on from here\ngahb: interrupted\n")


def test_where_nothing_is_there_all_that_is_needed_is_said_at_once(pictures, capsys, tmp_path, monkeypatch):
    """The clone and the extra; before the folder is looked at."""
    monkeypatch.setattr("gahb._validate.find_spec", lambda name: None)
    monkeypatch.setattr("gahb.cli.checks.root", root_of_nothing)
    assert cli.main(["transition", "nowhere"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gahb: no clone; gahb transition needs the extra [book]: pip install 'gahb[book]'")
    assert said.count("\n") == 1
    assert cli.main(["transition", "--help"]) == 0
    assert "clone of the book" in " ".join(capsys.readouterr().out.split())


def unwritable(*_, **__):
    raise PermissionError(13, "Permission denied", "somewhere hidden")


def root_of_nothing():
    raise InputError("no clone")


def test_folders_that_are_no_class(pictures, ran, capsys, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, said in ((empty, "holds no images"), (tmp_path / "nowhere", "must be a folder of images")):
        assert cli.main(["transition", str(folder)]) == 2
        assert said in capsys.readouterr().err
    for path in sorted(pictures.iterdir())[12:]:
        path.unlink()
    assert cli.main(["transition", str(pictures), "--size", "8"]) == 2
    assert "the folder holds 12 images, and 26 are needed" in capsys.readouterr().err
    assert not ran
