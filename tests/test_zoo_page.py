"""The page of trained networks: what it says and shows, what it must not show, and when it is made again."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
import small_book
import yaml
from safetensors import safe_open

import gahb
from gahb import zoo
from gahb.zoo import recipes

NETWORK = {"kind": "UNet", "width": 4, "depth": 1}
IMAGES = {
    "calpha-2": {"kind": "c_alpha", "size": 8, "alpha": 2},
    "disks": {"kind": "disks", "size": 8},
    "disks-n10-first": {"kind": "disks", "size": 8, "n": 10, "subset": "first"},
    "disks-n10-second": {"kind": "disks", "size": 8, "n": 10, "subset": "second"},
    "photos": {"kind": "photos", "size": 16},
    "faces-n10-first": {"kind": "folder", "path": "${GAHB_FACES}", "size": 8, "n": 10},
    "faces-n10000-first": {"kind": "folder", "path": "${GAHB_FACES}", "size": 8, "n": 10000},
    "faces": {"kind": "folder", "path": "${GAHB_FACES}", "size": 8},
    "few-faces": {"kind": "folder", "path": "${GAHB_FACES}", "size": 8},
}
GAPS = {"faces": 0.25, "faces-n10000-first": 0.25}  # dB, at five of six noise levels; 1 of other finite sets


@pytest.fixture(scope="module")
def extension(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "book"))
        yield importlib.import_module("_ext.zoo_page")


def put(name: str, images: dict, *, level: float = 20.0, weights: bool = True) -> None:
    """A recipe, and an untrained network with a log of its own."""
    (folder,) = zoo.folders()
    (folder / f"{name}.yaml").write_text(
        f"network: {NETWORK}\nimages: {images}\ntraining: {{steps: 4}}\n".replace("'", '"')
    )
    if weights:
        log = [{"step": s, "images": 1000 * s, "loss": 1 / s, "seconds": 60.0 * s} for s in (1, 2, 4)]
        for line in log:
            line["psnr"] = [level + line["step"] - k for k in range(6)]
            if "n" in images or images["kind"] == "folder":
                better = GAPS.get(name, 1.0)
                line["train_psnr"] = [p + better for p in line["psnr"][:5]] + [line["psnr"][5]]
        recipe = dict(name=name, network=NETWORK, images=images, training={"steps": 4})
        zoo.export(recipes.build(NETWORK), folder / f"{name}.safetensors", recipe=recipe, log=log)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A book with a page of the zoo, and a zoo of nine small networks, two of them of a few faces."""
    folder = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "weights").mkdir()
        patch.setattr(zoo, "folders", lambda: [folder / "weights"])
        for name, images in IMAGES.items():
            put(name, images)
        put("disks-n100-first", IMAGES["disks"] | {"n": 100}, weights=False)
        put("disks-n1000-first", IMAGES["disks"] | {"n": 1000}, weights=False)
        (folder / "book").mkdir()
        (folder / "book" / "zoo.md").write_text("# Zoo\n\nWords.\n\n```{zoo}\n```\n")
        yield folder


@pytest.fixture(scope="module")
def drawn(extension):
    """The networks that were drawn, by kind of picture."""
    calls = {"learning_curves": [], "denoised": [], "samples": []}
    with pytest.MonkeyPatch.context() as patch:
        for kind, names in calls.items():
            plain = getattr(extension, kind)

            def spy(title, group, plain=plain, names=names):
                names.extend(entry.name for entry in group)
                return plain(title, group)

            patch.setattr(extension, kind, spy)
        yield calls


@pytest.fixture(scope="module")
def page(extension, place, drawn):
    """The page's text as it is first made, and what was drawn for it."""

    def never(*_, **__):
        raise AssertionError("pictures that a reader brings must not be read")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gahb.images, "folder", never)
        text = extension.page(place / extension.PLACE)
    shown = {kind: list(names) for kind, names in drawn.items()}
    for names in drawn.values():
        names.clear()
    return text, shown


def test_the_page(extension, place, page):
    text, shown = page
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == [r"$C^\alpha$ images", "Disks", "Photographs", "Faces", "Recipes without weights"]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    order = [*list(IMAGES)[:5], "faces", "few-faces", "faces-n10-first", "faces-n10000-first"]
    assert [row[0].strip("| `") for row in rows] == order
    assert rows[2][1:] == ["N = 10, first set", "4,000", "4", "24.0", "23.0", "22.0", "21.0", "20.0", "19.0", "1.00 |"]
    assert "`gahb zoo train NAME` trains one: `disks-nN-first`, N = 100, 1,000." in text
    assert "UNet of width 4 and depth 1 (0.00 million parameters), 8×8 pixels." in text

    places = [line.split("/")[-1] for line in text.splitlines() if line.startswith(":::{figure}")]
    assert sorted(places) == sorted(path.name for path in (place / extension.PLACE).glob("*.png"))
    described = [line for line in text.splitlines() if line.startswith(":alt: ")]
    assert len(described) == len(places) == 12
    assert "At the end, at σ = 0.1: disks-n10-first 21.0 dB; disks-n10-second 21.0 dB." in "".join(described)

    # a network trained on few faces would return them
    assert shown["denoised"] == ["calpha-2", "disks", "disks-n10-first", "photos"]
    assert shown["samples"] == ["faces", "faces-n10000-first"]
    assert sorted(shown["learning_curves"]) == sorted(IMAGES)


def test_it_builds_without_a_warning_and_draws_nothing_again(extension, place, page, drawn):
    html = (small_book.build(place, "book/zoo", ["zoo_page"]) / "book" / "zoo.html").read_text()
    assert html.count("<h1>") == 1 and html.count("<h2>") == 5
    assert html.count("<figure") == html.count("<img alt=") == 12
    assert 'class="gahb-zoo' in html and "disks-n100-first" not in html
    assert not any(drawn.values())


def test_the_page_is_read_again_when_a_file_of_the_zoo_changes(extension, place):
    env = SimpleNamespace()
    assert extension.outdated(None, env, *[None] * 3) == ["book/zoo"]
    assert extension.outdated(None, env, *[None] * 3) == []
    put("disks-n10000-first", IMAGES["disks"] | {"n": 10000}, weights=False)
    assert extension.outdated(None, env, *[None] * 3) == ["book/zoo"]
    (place / "weights" / "disks-n10000-first.yaml").unlink()


def test_only_what_changed_is_drawn_again(extension, place, page, drawn):
    put("disks", IMAGES["disks"], level=30)
    second = extension.page(place / extension.PLACE)
    assert drawn == {"learning_curves": ["disks"], "denoised": ["disks"], "samples": []}
    assert "| 34.0 |" in second and "| 34.0 |" not in page[0]
    places = [line.split("/")[-1] for line in second.splitlines() if line.startswith(":::{figure}")]
    left = sorted(path.name for path in (place / extension.PLACE).glob("*.png"))
    assert sorted(places) == left  # old ones are removed


def test_snapshots_and_an_empty_zoo(extension, monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "folders", lambda: [tmp_path])
    put("disks", IMAGES["disks"])
    for step in (1, 2):
        (tmp_path / f"disks@{step}.safetensors").write_bytes((tmp_path / "disks.safetensors").read_bytes())
    text = extension.page(tmp_path / "drawn")
    assert "too, as `NAME@STEP`: after 1, 2 steps." in text and "| `disks@1`" not in text
    for path in tmp_path.glob("disks*"):
        path.unlink()
    assert extension.page(tmp_path / "drawn") == ""


def test_neural_fields_have_a_table_of_their_own(extension, tmp_path, monkeypatch):
    """They denoise nothing; a denoiser of their latents is shown among the others, as what it is."""
    monkeypatch.setattr(zoo, "folders", lambda: [tmp_path])
    field = {"kind": "NeuralField", "latents": 4, "width": 4}
    log = [{"step": 4, "images": 4000, "loss": 0.1, "seconds": 120.0, "render_psnr": [31.0, 30.0, 29.0]}]
    recipe = dict(name="field", network=field, images={"kind": "disks", "size": 8}, training={"steps": 4})
    (tmp_path / "field.yaml").write_text("network: {kind: NeuralField, latents: 4, width: 4}\n"
                                         "images: {kind: disks, size: 8}\ntraining: {steps: 4, sizes: [20]}\n")
    recipe["training"]["sizes"] = [20]
    path = zoo.export(recipes.build(field), tmp_path / "field.safetensors", recipe=recipe, log=log)
    with safe_open(path, "pt") as file:
        digits = file.metadata()["sha256"][:16]
    network = {**NETWORK, "channels": 4}
    images = {"kind": "disks", "size": 8, "latents": {"field": "field", "sha256": digits}}
    content = dict(network=network, images=images, training={"steps": 4})
    (tmp_path / "of-latents.yaml").write_text(yaml.safe_dump(content))
    log = [{"step": 4, "images": 4000, "loss": 0.1, "seconds": 60.0, "psnr": [20.0] * 6}]
    zoo.export(recipes.build(network), tmp_path / "of-latents.safetensors", recipe=dict(name="of-latents", **content),
               log=log)
    text = extension.page(tmp_path / extension.PLACE)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == ["Latents of disks", "Neural fields"]
    assert "(0.00 million parameters), latents of `field`." in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows[0].startswith("| `of-latents` | fresh images |")
    assert rows[1] == "| `field` | Disks, fresh images | told | 4,000 | 2 | 31.0 | 30.0 | 29.0 |"
    assert "encoded at 8 pixels and rendered at 8, 16, 32." in text
