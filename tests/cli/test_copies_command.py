"""`gahb copies`: what it leaves, what it says, that it goes on, and the one line for bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gahb
from gahb import cli
from gahb.cli import copies

SIZE = 16
COMMAND = [sys.executable, "-m", "gahb.cli", "copies"]


def save(folder: Path, images: torch.Tensor) -> Path:
    folder.mkdir()
    for k, image in enumerate((255 * image.clamp(0, 1)).round().byte() for image in images):
        Image.fromarray(image.numpy().transpose(1, 2, 0).squeeze()).save(folder / f"{k:03d}.png")
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    """120 dead leaves to train on, of which one comes twice; 110 held out; 30 samples, every second a copy."""
    folder = tmp_path_factory.mktemp("images")
    made = gahb.images.dead_leaves(250, SIZE)
    train, held_out, new = made[:120], made[120:230], made[230:245]
    train = torch.cat([train, 0.9 * train[7:8]])
    save(folder / "train", train)
    save(folder / "held out", torch.cat([held_out, train[3:4]]))
    save(folder / "new", torch.cat([new, 0.8 * train[:15] + 0.1]))
    np.save(folder / "colour.npy", torch.rand(130, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).numpy())
    np.savez(folder / "colours.npz", np.load(folder / "colour.npy")[:20] * 0.5)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, places) -> Path:
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for path in places.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


class Page(HTMLParser):
    """What a page loads, its pictures, and its words."""

    def __init__(self, text: str):
        super().__init__()
        self.loads, self.pictures, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.loads += [values[name] for name in ("src", "href") if name in values and tag not in ("a", "use")]
        if tag == "img":
            self.pictures.append(values)

    def handle_data(self, data):
        self.words.append(data)


def test_the_report(capsys):
    assert cli.main(["copies", "new", "train", "--held-out", "held out", "--out", "report/"]) == 0
    said = capsys.readouterr().out
    assert sorted(path.name for path in Path("report").iterdir()) == ["copies.png", "index.html", "report.json"]
    numbers = json.loads(Path("report/report.json").read_text(encoding="utf-8"))
    assert numbers["interval"][0] < 0.5 < numbers["interval"][1] and 15 <= numbers["called"] <= 17
    assert said == f"{numbers['verdict']}\nreport/index.html\n"
    assert numbers["verdict"].startswith("Some samples are copies: ")
    copied = {row["sample"]: row["train"] for row in numbers["samples"] if row["similarity"] > numbers["threshold"]}
    assert copied.pop("022.png") in ("007.png", "120.png")  # which are the same
    assert all(copied[f"{15 + k:03d}.png"] == f"{k:03d}.png" for k in range(15) if k != 7)
    cosines = [row["similarity"] for row in numbers["samples"]]
    assert len(cosines) == 30 and cosines == sorted(cosines, reverse=True)
    assert numbers["near_duplicates"]["within_train"] == [["120.png", "007.png"]]
    assert numbers["near_duplicates"]["held_out_and_train"] == [["110.png", "003.png"]]
    assert numbers["null"]["left_out"] == [["110.png", "003.png"]] and numbers["null"]["images"] == 110
    assert {row["samples"] for row in numbers["most_copied"]} == {1}
    assert (numbers["size"], numbers["channels"]) == (SIZE, 1)
    with Image.open("report/copies.png") as picture:
        assert picture.width > 800

    text = Path("report/index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(load.startswith("data:") for load in page.loads)
    assert not re.search(r"https?://(?!www\.w3\.org|matplotlib\.org|purl\.org|creativecommons\.org)", text)
    assert len(page.pictures) == 2 * 30 + len(numbers["most_copied"]) + 2 + 2
    assert page.pictures[0]["alt"].startswith("sample ") and page.pictures[1]["alt"].startswith("training image ")
    words = " ".join(page.words)
    assert numbers["verdict"] in words
    assert re.search(r"is more similar to a training image than \d+ % of these are", words)
    assert "110 images held out" in words and "held out: 111 images" in words
    for heading in ("How similar", "The pairs most alike", "Training images copied most often", "Near-duplicates",
                    "What can be concluded, and what cannot"):
        assert f"<h2>{heading}</h2>" in text
    assert "prefers-color-scheme: dark" in text


def test_without_images_held_out_a_part_of_train_is_the_null_and_it_is_said():
    assert cli.main(["copies", "new", "train", "--out", "r", "--quiet", "--size", "8"]) == 0
    numbers, page = json.loads(Path("r/report.json").read_text()), Path("r/index.html").read_text()
    assert numbers["null"]["from_train"] and numbers["size"] == 8
    assert "training images, each compared with all the others" in page


def test_colour_and_changes():
    assert cli.main(["copies", "colours.npz", "colour.npy", "--colour", "--augment", "flip", "--out", "r",
                     "--quiet"]) == 0
    numbers = json.loads(Path("r/report.json").read_text())
    assert (numbers["channels"], numbers["called"], numbers["augment"]) == (3, 20, ["flip"])


def test_where_nothing_can_be_decided_the_report_says_so(capsys):
    disks = gahb.images.disks(1600, SIZE)
    np.save("train.npy", disks[:1500])
    np.save("disks.npy", disks[1500:])
    assert cli.main(["copies", "disks.npy", "train.npy", "--out", "r"]) == 0
    assert "Similarity cannot decide here: " in capsys.readouterr().out
    assert not json.loads(Path("r/report.json").read_text())["decides"]
    assert 'class="verdict undecided">Similarity cannot decide here' in Path("r/index.html").read_text()


def test_a_report_is_replaced_and_nothing_else_is(capsys):
    arguments = ["copies", "new", "train", "--out", "r", "--quiet"]
    Path("r").mkdir()
    Path("r/index.html").write_text("mine")
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == ("gahb: r/index.html is not a report of gahb copies; choose another --out, or "
                                       "replace it with --force\n")
    assert Path("r/index.html").read_text() == "mine"
    for options in (["--force"], []):
        assert cli.main([*arguments, *options]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "train"], "SAMPLES and TRAIN must be different images, got train for both"),
        (["new", "train", "--held-out", "train"], "TRAIN and --held-out must be different images, got train for both"),
        (["inner/new", "inner"], "SAMPLES must not lie inside TRAIN, got inner/new and inner"),
        (["nowhere", "train"], "SAMPLES: path must be a folder or a file of images, and there is nothing at 'nowhere'"),
        (["new", "empty"], "TRAIN: path 'empty' holds no images (.bmp"),
        (["new", "broken"], "TRAIN: path 'broken': none of its"),
        (["new", "one"], "TRAIN must hold at least 2 images, got 1"),
        (["new", "train", "--held-out", "one"], "--held-out must hold at least 99 images to find what 1 % of new ones "
         "exceed, got 1: bring more, or take a larger level"),
        (["new", "harm.pt"], "TRAIN: path 'harm.pt' holds more than tensors, and loading it would run code"),
        (["new", "train", "--size", "0"], "--size must be an integer of at least 1, got 0"),
        (["new", "train", "--augment", "turn"], "--augment must name some of flip, shift, crop, as a list, got 'turn'"),
        (["new", "train", "--level", "3"], "--level must be a number between 0 and 1, got 3.0"),
        (["new", "train", "--device", "gpu"], "--device must be one of this machine (cpu"),
        (["new", "train", "--device", "cuda:99"], "--device must be one of this machine (cpu"),
        (["new", "train", "--out", "file/deep"], "--out must be a folder, and file is a file"),
        (["new", "train", "--out", "file"], "--out must be a folder, and file is a file"),
        (["new"], "Missing argument 'TRAIN' (see gahb copies --help)"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(arguments, message, capsys, elsewhere):
    Path("empty").mkdir()
    Path("file").touch()
    Path("broken").mkdir()
    Path("broken/a.png").write_text("no image")
    save(Path("one"), torch.rand(1, 1, SIZE, SIZE))
    Path("inner").mkdir()
    save(Path("inner/new"), torch.rand(2, 1, SIZE, SIZE))
    torch.save([subprocess.Popen], "harm.pt")
    assert cli.main(["copies", *arguments, *(["--quiet"] if len(arguments) > 1 else [])]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("gahb: ") and message in said.err and said.err.count("\n") == 1
    assert said.out == "" and not Path("report/index.html").exists()


def test_what_is_wrong_is_found_before_images_are_read(capsys, monkeypatch, elsewhere):
    monkeypatch.setattr(copies, "_read", lambda *_: pytest.fail("it read"))
    for option in (["--device", "gpu"], ["--augment", "turn"], ["--level", "3"], ["--size", "0"]):
        assert cli.main(["copies", "new", "train", *option]) == 2

    def unwritable(*_, **__):
        raise PermissionError(13, "Permission denied", "somewhere hidden")

    monkeypatch.setattr("tempfile.mkdtemp", unwritable)
    assert cli.main(["copies", "new", "train", "--out", "deep/report"]) == 1
    assert capsys.readouterr().err.endswith("gahb: deep/report: Permission denied\n") and not Path("deep").exists()


def test_a_full_disk_is_one_line_with_the_path(capsys, monkeypatch):
    assert cli.main(["copies", "new", "train", "--out", "first", "--quiet"]) == 0  # what is read lies in the cache

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert cli.main(["copies", "new", "train", "--quiet"]) == 1
    assert capsys.readouterr().err == "gahb: report/unfinished.safetensors: No space left on device\n"
    assert list(Path("report").iterdir()) == []


def test_stopped_while_it_searches_it_goes_on(capsys, monkeypatch):
    from gahb.kernels.similarity import Search

    through, looked = Search.through, []

    def stopping(self, images, block, *arguments, **options):
        for done in through(self, images, 50, *arguments, **options):
            looked.append(done)
            if len(looked) == 2:
                raise KeyboardInterrupt
            yield done

    monkeypatch.setattr(Search, "through", stopping)
    assert cli.main(["copies", "new", "train", "--quiet"]) == 130
    assert capsys.readouterr().err == "gahb: stopped; the same command goes on from here\ngahb: interrupted\n"
    assert [path.name for path in Path("report").iterdir()] == ["unfinished.safetensors"]
    assert cli.main(["copies", "new", "train", "--quiet"]) == 0
    assert looked == [50, 100, 100, 121]
    assert sorted(path.name for path in Path("report").iterdir()) == ["copies.png", "index.html", "report.json"]


def test_a_signal_stops_it_and_the_same_command_goes_on(places, tmp_path):
    """Stopped by the signal of Ctrl-C while it reads; what was read until then is not read again."""
    (tmp_path / "many").mkdir()
    picture = np.random.default_rng(0)
    for k in range(3000):
        Image.fromarray(picture.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "many" / f"{k:05d}.bmp")
    command = [*COMMAND, "new", "many", "--size", "16", "--quiet"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        cache = tmp_path / "cache"
        while process.poll() is None and not any(f.stat().st_size > 30_000 for f in cache.glob("stored-*/pixels")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    if process.returncode == 0:
        pytest.skip("it was done before it could be stopped")
    assert (process.returncode, said) == (130, "gahb: stopped; the same command goes on from here\ngahb: interrupted\n")
    before = max(json.loads(f.read_text())["taken"] for f in cache.glob("stored-*/about.json"))
    assert before > 30
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(Path("report/report.json").read_text())["sets"]["TRAIN"]["images"] == 3000


@pytest.mark.browser
def test_the_page_in_light_and_dark(root):
    """It asks for nothing, fits a phone, and text is told from its ground in both."""
    sys.path.insert(0, str(root / "tests" / "browser"))
    try:
        import browsing
    finally:
        sys.path.pop(0)
    if reason := browsing.why_not():
        if os.environ.get("GAHB_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    assert cli.main(["copies", "new", "train", "--quiet"]) == 0
    grounds = {}
    with browsing.browser() as browser:
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme, viewport={"width": 380, "height": 800})
            asked, told = [], []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("console", lambda message, told=told: told.append(message.text))
            page.goto(Path("report/index.html").absolute().as_uri())
            page.wait_for_load_state()
            assert [url for url in asked if not url.startswith(("data:", "file:"))] == [] and told == []
            assert page.evaluate("document.documentElement.scrollWidth") <= 380
            assert page.evaluate("[...document.images].every((i) => i.naturalWidth > 0)")
            grounds[scheme] = [page.evaluate(f"getComputedStyle(document.body).{name}")
                               for name in ("backgroundColor", "color")]
            axis = page.evaluate("getComputedStyle(document.querySelector('figure svg text, figure svg use')).color")
            assert axis == grounds[scheme][1]

    def brightness(colour: str) -> int:
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    ground, ink = (brightness(colour) for colour in grounds["light"])
    assert ground - ink > 400
    ground, ink = (brightness(colour) for colour in grounds["dark"])
    assert ink - ground > 400
