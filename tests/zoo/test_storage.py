"""Stored denoisers: what goes in comes out, and nothing else is let in."""

from __future__ import annotations

import errno
import json
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import gahb
from gahb import zoo
from gahb._files import checksum
from gahb.denoisers.networks import BiasFreeNorm
from gahb.zoo import recipes

RECIPE = {"name": "tiny", "network": {"kind": "UNet", "width": 4, "depth": 1}, "data": {"photographs": "none"}}
LOG = [{"step": 1, "images": 2, "loss": 0.5, "seconds": 0.1}]


def network(kind=None) -> torch.nn.Module:
    torch.manual_seed(1)
    out = gahb.UNet(4, 1) if kind is None else kind()
    for module in out.modules():
        if isinstance(module, BiasFreeNorm):
            module.running_sd.uniform_(0.3, 3)
    return out.eval()


@pytest.fixture
def stored(tmp_path):
    return zoo.export(network(), tmp_path / "deep" / "tiny.safetensors", recipe=RECIPE, log=LOG)


@pytest.mark.parametrize(
    ("kind", "specification"),
    [
        (lambda: gahb.UNet(4, 1), {"kind": "UNet", "width": 4, "depth": 1}),
        (lambda: gahb.BFCNN(4, 5, channels=3), {"kind": "BFCNN", "width": 4, "layers": 5, "channels": 3}),
    ],
)
def test_round_trip(tmp_path, kind, specification):
    given, recipe = network(kind), {"network": specification, "α": "as is"}
    before = {k: v.clone() for k, v in given.state_dict().items()}
    path = zoo.export(given, tmp_path / "a.safetensors", recipe=recipe, log=LOG)
    rng = torch.get_rng_state()
    loaded = zoo.load(path)
    assert torch.equal(rng, torch.get_rng_state())  # building a network draws weights; not from ours
    assert (loaded.recipe, loaded.log) == (recipe, LOG)
    assert not any(m.training for m in loaded.modules())
    assert type(loaded) is type(given)
    for key, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[key].half().float())
    assert all(torch.equal(before[k], v) for k, v in given.state_dict().items())
    y = torch.rand(2, given.channels, 8, 8)
    with torch.no_grad():
        assert (loaded(y) - given(y)).norm() < 2e-3 * given(y).norm()
    assert path.stat().st_mode & 0o777 == 0o644
    assert zoo.load(str(path)).recipe == recipe


def test_what_is_stored_loads_and_says_how_it_was_made():
    names = sorted(zoo.weight_files())
    assert len(names) > 20
    for name in names:
        loaded = zoo.load(name)
        assert not loaded.training, name
        family, _, step = name.partition("@")
        written = zoo.recipe(family)
        assert loaded.recipe["network"] == written.network, name
        assert (loaded.recipe["images"], loaded.recipe["training"]) == (written.images, written.training), name
        assert loaded.log and loaded.log[-1]["step"] == int(step or loaded.recipe["training"]["steps"]), name
        assert loaded.log[-1]["loss"] <= loaded.log[0]["loss"], name
        assert step or len(loaded.log) == 1 or loaded.log[-1]["loss"] < loaded.log[0]["loss"], name


OF_A_TRANSITION = re.compile(r"(.+)-n(\d+)-(first|second)")
FAMILIES = sorted({match[1] for name in zoo.recipe_files() if (match := OF_A_TRANSITION.fullmatch(name))})


@pytest.mark.parametrize("family", FAMILIES)
def test_within_a_transition_only_the_images_differ(family):
    """One network and one number of steps for all N; twins differ in their images, and may differ in their seed."""
    matches = [OF_A_TRANSITION.fullmatch(name) for name in zoo.recipe_files()]
    recipes = [zoo.recipe(match[0]) for match in matches if match and match[1] == family]
    assert len(recipes) > 1

    def shared(recipe):
        training = {k: v for k, v in recipe.training.items() if k not in ("seed", "snapshots")}
        return recipe.network, training, {k: v for k, v in recipe.images.items() if k not in ("n", "subset")}

    for recipe in recipes:
        n, which = recipe.name.removeprefix(f"{family}-n").split("-")
        assert shared(recipe) == shared(recipes[0]), recipe.name
        assert (recipe.images["n"], recipe.images["subset"]) == (int(n), which)
        assert recipe.training["seed"] in (0, ["first", "second"].index(which))


TRANSITIONS = ("calpha-2", "calpha-4", "disks", "leaves", "faces", "photos")


IN_A_CLONE = pytest.mark.skipif("disks-20" not in zoo.weight_files(),
                                reason="the networks of the chapters are not in the source distribution")


@IN_A_CLONE
def test_the_transitions_of_all_classes_are_trained_alike():
    recipes = [zoo.recipe(f"{family}-n{n}-{which}")
               for family in TRANSITIONS for n in (10, 100, 1000) for which in ("first", "second")]
    trained = [(r.network, {k: v for k, v in r.training.items() if k not in ("seed", "snapshots")}) for r in recipes]
    assert all(shared == trained[0] for shared in trained)
    assert {r.images["size"] for r in recipes} == {20}
    assert {r.name for r in recipes} <= zoo.weight_files().keys()


FEW = [name for family in TRANSITIONS for name in zoo.recipe_files()
       if name.startswith((f"{family}-n1-", f"{family}-n10-"))]


@IN_A_CLONE
@pytest.mark.parametrize("name", sorted(FEW))
def test_few_images_are_memorised(name):
    """By the log: from σ = 0.2 to 0.02 train PSNR rises with unit slope, far above that of other images."""
    last, inside = zoo.load(name).log[-1], [k for k, sigma in enumerate(recipes.LEVELS) if 0.02 <= sigma <= 0.2]
    own, other = (np.array(last[key])[inside] for key in ("train_psnr", "psnr"))
    assert np.polyfit(-20 * np.log10(np.array(recipes.LEVELS)[inside]), own, 1)[0] == pytest.approx(1, abs=0.15)
    assert (own - other).min() > 10


def test_the_photo_denoiser_ships_and_denoises():
    assert "photos" in zoo.names()
    x = gahb.images.photos(8, 48, split="test")
    curve = gahb.psnr_curve(zoo.load("photos"), x, [0.05, 0.1, 0.3])
    assert bool((curve.psnr > curve.input_psnr + torch.tensor([2.0, 4.0, 7.0])).all())


@IN_A_CLONE
def test_what_ships_is_small_and_what_the_chapters_add_bearable():
    package, chapters = zoo.folders()
    assert package == zoo.SHIPPED and chapters.parts[-2:] == ("notebooks", "weights")
    sizes = [sum(path.stat().st_size for path in folder.glob("*")) for folder in (package, chapters)]
    assert sizes[0] <= 12e6 and sum(sizes) <= 90e6
    assert {path.name for path in package.iterdir()} & {path.name for path in chapters.iterdir()} == set()


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"^name must be a trained .*, got 'fotos'; did you mean photos\?$"):
        zoo.load("fotos")


def test_one_changed_byte_of_the_weights_is_seen(stored):
    """The last byte, the first of the weights, and one in the middle."""
    content = stored.read_bytes()
    first = 8 + int.from_bytes(content[:8], "little")
    for place in (first, (first + len(content)) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        stored.write_bytes(bytes(changed))
        with pytest.raises(
            ValueError, match=r"tiny\.safetensors was tampered with or damaged: its contents do not match"
        ):
            zoo.load(stored)
    stored.write_bytes(content)
    assert zoo.load(stored).recipe == RECIPE


def test_exchanged_weights_are_seen(stored):
    """Other weights of the same shapes, or of another type, under the old checksum; then under none."""
    with safe_open(stored, "pt") as file:
        metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}
    zeros = {k: torch.zeros_like(v) for k, v in tensors.items()}
    for other in (zeros, {k: v.bfloat16() for k, v in tensors.items()}):
        save_file(other, stored, metadata=metadata)
        with pytest.raises(ValueError, match="tampered with or damaged: its contents do not match"):
            zoo.load(stored)
    save_file(zeros, stored, metadata={k: v for k, v in metadata.items() if k != "sha256"})
    with pytest.raises(ValueError, match="not one of this zoo: its header lacks sha256"):
        zoo.load(stored)
    key = next(iter(tensors))
    renamed = {("renamed" if k == key else k): v for k, v in tensors.items()}
    save_file(renamed, stored, metadata=metadata)
    with pytest.raises(ValueError, match="tampered with or damaged: its contents do not match"):
        zoo.load(stored)


def test_a_recipe_of_another_network_is_seen(stored):
    with safe_open(stored, "pt") as file:
        metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}
    for width in (5, 10**9):  # which is not built: no memory would hold it
        text = json.dumps(RECIPE | {"network": {"kind": "UNet", "width": width, "depth": 1}})
        save_file(tensors, stored, metadata=metadata | {"recipe": text})
        with pytest.raises(ValueError, match=r"tampered with or damaged: its contents do not match their checksum"):
            zoo.load(stored)
    for width, depth in ((5, 1), (20_000, 1), (4, 60), (20_000, 60)):  # with the right checksum; no memory would do
        text = json.dumps(RECIPE | {"network": {"kind": "UNet", "width": width, "depth": depth}})
        header = dict(recipe=text, log=metadata["log"], sha256=checksum(tensors, text, metadata["log"]))
        save_file(tensors, stored, metadata=header)
        with pytest.raises(ValueError, match=r"tiny\.safetensors was tampered with or damaged: its weights do not fit"):
            zoo.load(stored)


def test_weights_that_are_not_finite_are_refused(stored):
    with safe_open(stored, "pt") as file:
        metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}
    tensors["encoder.0.0.weight"][0] = torch.inf
    texts = metadata["recipe"], metadata["log"]
    save_file(tensors, stored, metadata=dict(recipe=texts[0], log=texts[1], sha256=checksum(tensors, *texts)))
    with pytest.raises(ValueError, match=r"tiny\.safetensors has weights that are not finite: encoder.0.0.weight"):
        zoo.load(stored)


@pytest.mark.parametrize("length", [0, 5, 300, -1])
def test_a_truncated_file_is_refused(stored, length):
    stored.write_bytes(stored.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"tiny\.safetensors is truncated or not a safetensors file"):
        zoo.load(stored)


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    weights = {"conv.weight": torch.zeros(2)}
    headers = [
        None,
        {"format": "pt"},
        {"recipe": "{}", "log": "[]"},
        {"recipe": "no json", "log": "[]"},
        {"recipe": "[1]", "log": "[]"},
        {"recipe": json.dumps({"network": {"kind": "ViT"}}), "log": "[]"},
        {"recipe": json.dumps({"network": {"kind": "UNet", "heads": 8}}), "log": "[]"},
        {"recipe": json.dumps({"network": {"kind": "UNet", "width": -1}}), "log": "[]"},
        {"recipe": json.dumps({"network": "UNet"}), "log": "[]"},
    ]
    for metadata in headers:
        if metadata and "recipe" in metadata:
            metadata["sha256"] = checksum(weights, metadata["recipe"], metadata["log"])
        save_file(weights, path, metadata=metadata)
        with pytest.raises(ValueError, match=r"foreign\.safetensors is a safetensors file, but not one of this zoo"):
            zoo.load(path)
    torch.save(weights, path)
    with pytest.raises(ValueError, match=r"foreign\.safetensors is truncated or not a safetensors file"):
        zoo.load(path)


def test_export_refuses_what_load_would_refuse(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match=r"recipe must say network: \{kind: …\}, got \['data'\]"):
        zoo.export(network(), path, recipe={"data": 1}, log=[])
    with pytest.raises(ValueError, match=r"network kind must be one of UNet, BFCNN, NeuralField, got 'ViT'"):
        zoo.export(network(), path, recipe={"network": {"kind": "ViT"}}, log=[])
    with pytest.raises(ValueError, match=r"recipe says network .*'width': 5.*, but the weights given do not fit it"):
        zoo.export(network(), path, recipe={"network": {"kind": "UNet", "width": 5, "depth": 1}}, log=[])
    for value in (1e6, float("nan")):
        broken = network()
        broken.encoder[0][0].weight.data[0, 0, 0, 0] = value
        with pytest.raises(
            ValueError, match=r"network has weights in encoder\.0\.0\.weight that are not finite in float16"
        ):
            zoo.export(broken, path, recipe=RECIPE, log=[])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_whole(stored, monkeypatch):
    content = stored.read_bytes()

    def no_space(tensors, path, **keywords):
        path.write_bytes(b"half of")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(zoo.stored, "save_file", no_space)
    with pytest.raises(OSError, match="No space left on device"):
        zoo.export(network(), stored, recipe=RECIPE, log=[])
    assert stored.read_bytes() == content
    assert [p.name for p in stored.parent.iterdir()] == ["tiny.safetensors"]


# --- recipes: found, trained, or refused --------------------------------------------------------


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A zoo of its own: recipes `trained` and `waiting`, weights of the first, and an empty cache."""
    monkeypatch.setattr(zoo, "folders", lambda: [tmp_path / "weights"])
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GAHB_PROFILE", raising=False)
    text = "network: {kind: UNet, width: 4, depth: 1}\nimages: {kind: disks, size: 8}\ntraining: {steps: 4, every: 2}\n"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "trained.yaml").write_text(text.replace("4, every", "3, every"))
    (tmp_path / "weights" / "waiting.yaml").write_text(text)
    export_as("trained", tmp_path / "weights" / "trained.safetensors")
    return tmp_path / "weights"


def export_as(name: str, path) -> None:
    """The network of the first test, as if this recipe had led to it."""
    asked = zoo.recipe(name)
    recipe = dict(network=asked.network, images=asked.images, training=asked.training)
    zoo.export(network(), path, recipe=recipe, log=LOG)


def of_the_first_test(denoiser) -> bool:
    return all(torch.equal(a.half(), b.half()) for a, b in zip(denoiser.parameters(), network().parameters()))


@pytest.mark.parametrize("profile", ["smoke", "book", "book, with size=3", "smoke, with alpha=2.0"])
def test_the_short_profiles_train_nothing(shipped, monkeypatch, profile):
    monkeypatch.setenv("GAHB_PROFILE", profile)
    refused = f"waiting is not trained, and the {profile.split(',')[0]} profile trains nothing; first run: "
    for asked in ("waiting", zoo.recipe("waiting")):
        with pytest.raises(ValueError, match=f"{refused}gahb zoo train waiting$"):
            zoo.load(asked)
    (shipped.parent / "mine.yaml").write_text((shipped / "waiting.yaml").read_text())
    with pytest.raises(ValueError, match=r"mine is not trained, .*; first run: gahb zoo train .*mine\.yaml$"):
        zoo.load(zoo.recipe(shipped.parent / "mine.yaml"))
    assert zoo.names() == ["trained"] and not (shipped.parent / "cache" / "zoo").exists()
    assert of_the_first_test(zoo.load("trained")) and of_the_first_test(zoo.load(zoo.recipe("trained")))
    zoo.train(zoo.recipe("waiting"), progress=False)  # what the command does
    assert zoo.names() == ["trained", "waiting"]
    assert zoo.load("waiting").recipe["name"] == zoo.load(zoo.recipe("waiting")).recipe["name"] == "waiting"


@pytest.mark.parametrize("profile", [None, "paper", "paper, with size=3"])
def test_elsewhere_a_missing_recipe_is_trained(shipped, monkeypatch, profile):
    if profile:
        monkeypatch.setenv("GAHB_PROFILE", profile)
    assert zoo.load("waiting").log[-1]["step"] == 4
    assert len(list((shipped.parent / "cache" / "zoo").glob("*.safetensors"))) == 1


def test_what_another_recipe_made_is_refused(shipped):
    """Under its name, in the cache, or where it is to be written; by its path it is what it says it is."""
    waiting, kept = zoo.recipe("waiting"), shipped / "waiting.safetensors"
    export_as("trained", kept)
    differs = r"was made by another recipe: its training is .*'steps': 3.*, and waiting says .*'steps': 4"
    for asked in ("waiting", waiting):
        with pytest.raises(ValueError, match=rf"waiting\.safetensors {differs}"):
            zoo.load(asked)
    with pytest.raises(ValueError, match=differs):
        zoo.train(waiting, kept)
    assert of_the_first_test(zoo.load(kept))
    kept.unlink()
    export_as("trained", shipped.parent / "cache" / "zoo" / f"{waiting.hash}.safetensors")
    for ask in (zoo.load, zoo.train):
        with pytest.raises(ValueError, match=differs):
            ask(waiting)
    (shipped / "trained.yaml").write_text((shipped / "trained.yaml").read_text().replace("size: 8", "size: 16"))
    with pytest.raises(ValueError, match=r"its images is .*'size': 8.*, and trained says .*'size': 16"):
        zoo.load("trained")


def test_names_are_of_what_is_trained(shipped):
    """Weights in the cache go by the name of the shipped recipe that they follow; others have no name."""
    text = (shipped / "waiting.yaml").read_text().replace("steps: 4", "steps: 6, snapshots: [2, 4]")
    (shipped / "waiting.yaml").write_text(text)
    (shipped.parent / "mine.yaml").write_text(text.replace("disks", "photos"))
    zoo.train(zoo.recipe("waiting"), progress=False)
    zoo.train(zoo.recipe(shipped.parent / "mine.yaml"), progress=False)
    assert zoo.names() == ["trained", "waiting", "waiting@2", "waiting@4"]
    assert [zoo.load(f"waiting{at}").log[-1]["step"] for at in ("", "@2", "@4")] == [6, 2, 4]
    (shipped / "waiting.yaml").write_text(text.replace("steps: 6", "steps: 8"))  # another recipe now
    assert zoo.names() == ["trained"]


def test_a_clone_adds_the_networks_of_its_chapters(tmp_path, monkeypatch):
    """In the order of the folders: what ships with the package hides what a clone calls by the same name."""
    weights = tmp_path / "notebooks" / "weights"
    (weights.parent / "profiles").mkdir(parents=True)
    monkeypatch.setenv("GAHB_ROOT", str(tmp_path))
    assert zoo.folders() == [zoo.SHIPPED] and "disks-20" not in zoo.names()
    weights.mkdir()
    recipe = dict(RECIPE, images={"kind": "disks", "size": 8}, training={"steps": 4})
    for name in ("mine", "photos"):
        zoo.export(network(), weights / f"{name}.safetensors", recipe=recipe, log=LOG)
    assert zoo.folders() == [zoo.SHIPPED, weights] and "mine" in zoo.names()
    assert of_the_first_test(zoo.load("mine"))
    assert zoo.load("photos").recipe["name"] == "photos"
    monkeypatch.setenv("GAHB_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="GAHB_ROOT is .*nowhere"):
        zoo.load("photos")


def test_published_denoisers_are_at_hand():
    assert zoo.load_published is gahb.zoo.published.load_published
