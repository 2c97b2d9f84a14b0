"""Recipes: what their hash says, that sets are disjoint, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from inspect import Parameter, signature

import pytest
import torch
import yaml
from PIL import Image

import gahb
from gahb import images, zoo
from gahb.training import Method
from gahb.zoo import recipes
from gahb.zoo.recipes import Recipe

SMALL = dict(
    network={"kind": "UNet", "width": 4, "depth": 1},
    images={"kind": "disks", "size": 8},
    training={"steps": 6, "batch": 4, "seed": 1, "every": 2},
)


PHOTOS, MORE = {"kind": "photos", "size": 8}, {"path": "there", "size": 16, "share": 0.5}


def small(name="small", **changes) -> Recipe:
    return Recipe(name=name, **{**SMALL, **changes})


def of(**arguments) -> Recipe:
    return small(images=arguments)


# --- files ----------------------------------------------------------------------------------


def test_recipes_that_ship():
    for path in sorted(zoo.recipe_files().values()):
        recipe = recipes.read(path)
        assert recipe.name == path.stem and zoo.recipe(path.stem) == recipe == zoo.recipe(path)
        network, size = recipe.build(), recipe.images["size"]
        assert sum(p.numel() for p in network.parameters()) <= 2e6, path.stem
        assert size % network.divisor == 0, path.stem
        if "latents" in recipe.images:
            size = size // 2  # the grid of the field
        if "$" not in str(recipe.images.get("path", "")):  # else a folder that the reader brings
            channels = recipe.network.get("channels", 1)
            assert recipe.test_images(2).shape == (2, channels, size, size), path.stem


def test_recipes_that_ship_differ():
    shipped = [recipes.read(path) for path in zoo.recipe_files().values()]
    assert len({recipe.hash for recipe in shipped}) == len(shipped) >= 8


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    assert recipes.read(path) == small("mine")


# --- hash -----------------------------------------------------------------------------------


def test_the_hash_is_of_all_but_the_name():
    recipe = small()
    assert replace(recipe, name="other").hash == recipe.hash
    turned = {key: dict(reversed(SMALL[key].items())) for key in reversed(SMALL)}
    assert Recipe(name="turned", **turned).hash == recipe.hash  # nor of the order of entries
    changes = [
        dict(network={"kind": "BFCNN", "width": 4, "layers": 3}),
        dict(network={**SMALL["network"], "width": 5}),
        dict(images={**SMALL["images"], "size": 10}),
        dict(images={**SMALL["images"], "seed": 1}),
        dict(images={**SMALL["images"], "n": 10}),
        dict(images={**SMALL["images"], "n": 10, "subset": "second"}),
        dict(images={**SMALL["images"], "shuffle": 0}),
        dict(training={**SMALL["training"], "steps": 7}),
        dict(training={**SMALL["training"], "seed": 2}),
        dict(training={**SMALL["training"], "precision": "bfloat16"}),
        dict(training={**SMALL["training"], "snapshots": [2]}),
        dict(training={**SMALL["training"], "snapshots": [2, 4]}),
    ]
    hashes = {small(**change).hash for change in changes}
    assert len(hashes) == len(changes) and recipe.hash not in hashes
    assert len(recipe.hash) == 16 and recipe.hash == small().hash


def test_the_hash_stays_what_it_was():
    """What is in users' caches is found again by a later version."""
    assert small().hash == "d241469b4d448b77"


def test_what_a_recipe_leaves_out_stays_what_it_was():
    """Defaults are part of every recipe, and not of its hash: with a changed one it would be another recipe."""
    fits = {"fit": gahb.fit, "fit_field": gahb.fit_field}
    taken = {kind: {k: p.default for k, p in signature(f).parameters.items() if p.default is not Parameter.empty}
             for kind, f in (recipes.NETWORKS | recipes.CLASSES | fits).items()}
    field = dict(convention="holder", contour=True, contrast="random", rotate=False)
    assert taken == {
        "UNet": dict(width=64, depth=3, channels=1, border="zero"),
        "BFCNN": dict(width=64, layers=21, channels=1, linear_first=False, border="zero"),
        "NeuralField": dict(latents=4, width=32, cell=True),
        "c_alpha": field | dict(seed=0, start=0, device=None),
        "disks": dict(seed=0, start=0, device=None),
        "dead_leaves": dict(seed=0, start=0, device=None),
        "photos": dict(split="train", seed=0, start=0),
        "darcy": dict(seed=0, start=0),
        "folder": dict(channels=1, limit=None, progress=True),
        "fit": dict(
            batch=32, seed=0, sigma_range=(0.005, 1.0), checkpoint=None, progress=True, every=500, monitor=None,
            log=None, until=None, penalty=None,
        ),
        "fit_field": dict(
            batch=16, crop=20, seed=0, latent_noise=0.02, optimiser="muon", learning_rate=None, checkpoint=None,
            progress=True, every=500, monitor=None, log=None, until=None,
        ),
    }
    without, muon = small()._method(), small(training={**SMALL["training"], "optimiser": "muon"})._method()
    assert without == Method("adam", 1e-3, "cosine", 1.2, None, 0.15, "float32", False)
    assert muon == Method("muon", 0.02, "linear", 1.2, 400, 0.15, "float32", False)


# --- neural fields and their latents --------------------------------------------------------


FIELD = dict(
    network={"kind": "NeuralField", "latents": 2, "width": 4},
    images={"kind": "disks", "size": 8},
    training={"steps": 4, "batch": 2, "crop": 6, "sizes": [8, 12], "every": 2},
)


@pytest.fixture
def stored_field(tmp_path, monkeypatch):
    """A trained field beside which a recipe of its latents may lie, and the first digits of its checksum."""
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))
    path = zoo.train(Recipe(name="field", **FIELD), tmp_path / "field.safetensors", progress=False)
    return path, zoo.load(path).sha256[:16]


def latents(field: str, sha256: str, folder) -> Recipe:
    images = {"kind": "disks", "size": 8, "latents": {"field": field, "sha256": sha256}}
    network = {"kind": "UNet", "width": 4, "depth": 1, "channels": 2}
    return Recipe(name="latents", network=network, images=images, training={"steps": 2, "batch": 2}, folder=folder)


def test_a_field_is_trained_and_its_log_has_the_renders(stored_field):
    field = zoo.load(stored_field[0])
    assert isinstance(field, gahb.NeuralField) and field.sizes.tolist() == [8, 12]
    assert [len(line["render_psnr"]) for line in field.log] == [3, 3]
    recipe = Recipe(name="field", **FIELD)
    x, truth = recipe.test_images(64), images.disks(64, 16, start=1 << 31)
    with pytest.warns(UserWarning, match="size 16 is outside the 8 to 12 pixels"), torch.no_grad():
        psnr = -10 * (field(x, 16) - truth).square().mean().log10()
    assert float(psnr) == pytest.approx(field.log[-1]["render_psnr"][1], abs=0.05)  # float16 on the way


def test_latents_are_what_the_field_makes_of_the_images(stored_field, tmp_path):
    path, sha256 = stored_field
    recipe, field = latents("field", sha256, tmp_path), zoo.load(path)
    assert recipe.hash == latents("field", sha256, None).hash  # the folder is not in it
    with torch.no_grad():
        assert torch.equal(recipe.source()(3, 5), field.encode(images.disks(3, 8, start=5)))
        assert torch.equal(recipe.test_images(2), field.encode(images.disks(2, 8, start=1 << 31)))
    recipe.check()
    assert recipe.train(progress=False)(recipe.test_images(2)).shape == (2, 2, 4, 4)


def test_a_recipe_that_is_read_looks_beside_itself(stored_field, tmp_path):
    written = latents("field", stored_field[1], None)
    content = {key: getattr(written, key) for key in ("network", "images", "training")}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert recipes.read(tmp_path / "mine.yaml").test_images(2).shape == (2, 2, 4, 4)


def test_latents_of_another_field_are_refused(stored_field, tmp_path):
    _, sha256 = stored_field
    with pytest.raises(ValueError, match="images.field gone must be trained before its latents are"):
        latents("gone", sha256, tmp_path).test_images(1)
    with pytest.raises(ValueError, match="images.field field must be trained before"):
        latents("field", sha256, None).test_images(1)
    with pytest.raises(ValueError, match=f"sha256 is 0123, and .* has the weights {sha256}: write the recipe anew"):
        latents("field", "0123", tmp_path).test_images(1)
    plain = zoo.train(small(), tmp_path / "plain.safetensors", progress=False)
    other = zoo.load(plain).sha256[:16]
    with pytest.raises(ValueError, match="field plain must be a NeuralField, and .* is none"):
        latents("plain", other, tmp_path).test_images(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(images={"kind": "dead_leaves", "size": 8}), "images.kind must be one of c_alpha, disks for a"),
        (dict(images={"kind": "disks", "size": 8, "n": 5}), "images takes kind, seed, size, got n"),
        (dict(training={"steps": 4}), "training must say sizes"),
        (dict(training={**FIELD["training"], "precision": "bfloat16"}), "training takes .*, got precision"),
        (dict(network={"kind": "NeuralField", "depth": 2}), "network takes cell, kind, latents, width, got depth"),
    ],
)
def test_what_a_recipe_of_a_field_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe(name="field", **FIELD | changes)


@pytest.mark.parametrize("given", ["field", {"field": "a"}, {"field": "a", "sha256": 7}, {"field": "", "sha256": "1"}])
def test_latents_must_name_a_field_and_its_checksum(given):
    with pytest.raises(ValueError, match="recipe small: images.latents must be a mapping of field, .* and sha256"):
        of(kind="disks", size=8, latents=given)


# --- networks and images --------------------------------------------------------------------


def test_initial_weights_depend_on_the_training_seed_only():
    rng = torch.get_rng_state()
    first, again = small().build(), small(training={**SMALL["training"], "steps": 9}).build()
    other = small(training={**SMALL["training"], "seed": 2}).build()
    weights = [next(network.parameters()) for network in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(rng, torch.get_rng_state())


def distinct(*sets: torch.Tensor) -> bool:
    every = torch.cat(sets).flatten(1)
    return len(every.unique(dim=0)) == len(every)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Alike to rounding: a transform of many images may split its sums otherwise than that of one."""
    return a.shape == b.shape and bool((a - b).abs().max() < 1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(kind="disks", size=8),
        dict(kind="c_alpha", size=8, alpha=2),
        dict(kind="c_alpha", size=8, alpha=2, contour=False, contrast="fixed", seed=3),
        dict(kind="dead_leaves", size=8),
        dict(kind="photos", size=16),  # test images from other photographs
    ],
    ids=lambda arguments: arguments["kind"],
)
def test_first_second_and_test_images_are_disjoint(arguments):
    first, second = (of(**arguments, n=40, subset=subset) for subset in ("first", "second"))
    if arguments["kind"] == "photos":  # by index: patches may overlap, and some are black
        assert torch.equal(second.source(), images.photos(40, 16, start=1 << 30))
    else:
        assert distinct(first.source(), second.source(), first.test_images())
    assert len(first.source()) == len(second.source()) == 40 and len(first.test_images()) == 64
    assert close(first.test_images(), second.test_images())
    assert close(of(**arguments, n=40).source(), first.source())
    # larger sets hold the smaller ones; fresh images begin as the first set does
    assert close(of(**arguments, n=50).source()[:40], first.source())
    assert close(of(**arguments).source()(20, 20), first.source()[20:])
    assert close(of(**arguments, subset="second").source()(20, 20), second.source()[20:])
    assert close(of(**arguments).test_images(5), first.test_images()[:5])


def test_test_photographs_are_others():
    recipe = of(kind="photos", size=16)
    assert torch.equal(recipe.test_images(3), images.photos(3, 16, split="test", start=1 << 31))
    assert torch.equal(recipe.source()(3, 7), images.photos(3, 16, start=7))


@pytest.mark.parametrize("n", [None, 5])
def test_shuffled_pixels(n):
    plain, shuffled = (of(kind="disks", size=8, **more, **({"n": n} if n else {})) for more in ({}, {"shuffle": 3}))
    assert torch.equal(shuffled.test_images(4), images.shuffle_pixels(plain.test_images(4), seed=3))
    pair = [r.source() if n else r.source()(5, 2) for r in (plain, shuffled)]
    assert torch.equal(pair[1], images.shuffle_pixels(pair[0], seed=3)) and not torch.equal(*pair)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder of 30 pictures that are unlike each other."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = torch.Generator().manual_seed(0)
    for i in range(30):
        values = (torch.rand(16, 16, generator=noise) * 255).byte().numpy()
        Image.fromarray(values).save(folder / f"{i:02}.png")
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PICTURES", str(folder))
    return folder


def test_a_folder(pictures):
    first, second = (of(kind="folder", path="$PICTURES", size=16, n=10, subset=s) for s in ("first", "second"))
    assert distinct(first.source(), second.source(), first.test_images())
    assert torch.equal(first.test_images(), second.test_images()) and len(first.test_images()) == 10
    whole = of(kind="folder", path=str(pictures), size=16)
    # how many are asked for changes nothing about what is held out
    held = whole.test_images(1000)
    assert distinct(whole.source(), held) and (len(whole.source()), len(held)) == (27, 3)
    with pytest.raises(ValueError, match="recipe small: n = 15 leaves no image of the folder to test with"):
        of(kind="folder", path="$PICTURES", size=16, n=15).test_images()
    with pytest.raises(ValueError, match=r"small: images.n must be at most half of the 30 images of \$PICTURES, "):
        of(kind="folder", path="$PICTURES", size=16, n=16).source()
    with pytest.raises(ValueError, match=r"small: images.path must be .*, got \$NOWHERE/x, and NOWHERE is not set"):
        of(kind="folder", path="$NOWHERE/x", size=16).source()


def test_photos_with_more_from_a_folder(pictures):
    """A share of the training images is cut from the folder; the test images are the same photographs as without."""
    more = {"path": "$PICTURES", "size": 16, "share": 0.6}
    plain, mixed = of(kind="photos", size=8, seed=2), of(kind="photos", size=8, seed=2, more=more)
    n = 200
    first, both = plain.source()(n, 7), mixed.source()(n, 7)
    cut = (both != first).flatten(1).any(1)
    # 200 draws, seed 2: the share is binomial, so within 3 standard errors of 0.6
    assert abs(cut.float().mean() - 0.6) < 3 * (0.6 * 0.4 / n) ** 0.5
    tiles = images.folder(pictures, 16)[:, 0]
    windows = tiles.unfold(1, 8, 1).unfold(2, 8, 1).flatten(0, 2)  # all crops, unturned
    turned = [torch.rot90(windows, k, (1, 2)) for k in range(4)]
    every = {tuple(w.flatten().tolist()) for part in turned for w in torch.cat([part, part.flip(2)])}
    assert {tuple(image.flatten().tolist()) in every for image in both[cut]} == {True}
    assert len({int(image.sum() * 255) for image in both[cut]}) > 50  # from many places
    # image i depends on its index only, and is the same where n is given
    assert torch.equal(mixed.source()(3, 57), both[50:53])
    assert torch.equal(of(kind="photos", size=8, seed=2, more=more, n=20).source(), mixed.source()(20, 0))
    assert torch.equal(mixed.test_images(4), plain.test_images(4))
    assert mixed.hash != plain.hash
    with pytest.raises(FileNotFoundError, match=r"path must be .*, got \$NOWHERE, and NOWHERE is not set"):
        of(kind="photos", size=8, more={**more, "path": "$NOWHERE"}).source()


# --- training -------------------------------------------------------------------------------


def test_train_keeps_a_learning_curve():
    log = []
    network = small().train(progress=False, log=log)
    assert [entry["step"] for entry in log] == [2, 4, 6] and not network.training
    assert all(len(entry["psnr"]) == len(recipes.LEVELS) for entry in log)
    curve = recipes.psnr_curve(network, small().test_images(), recipes.LEVELS)
    assert log[-1]["psnr"] == [round(p, 3) for p in curve.psnr.tolist()]
    again = small().train(progress=False)
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values()))


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(network={"kind": "ViT"}), "small: network.kind must be one of UNet, BFCNN, NeuralField, got 'ViT'"),
        (dict(network={"width": 4}), "recipe small: network.kind must be one of UNet, BFCNN, NeuralField, got None"),
        (dict(network="UNet"), "recipe small: network must be a mapping, got 'UNet'"),
        (dict(network={"kind": "UNet", "heads": 4}), "network takes border, channels, depth, kind, width, got heads"),
        (dict(images={"kind": "mnist"}), "images.kind must be one of c_alpha, disks, .*, got 'mnist'"),
        (dict(images={"kind": "disks"}), "recipe small: images must say size"),
        (dict(images={"kind": "c_alpha", "size": 8}), "recipe small: images must say alpha"),
        (dict(images={"kind": "disks", "sise": 8}), "images takes kind, latents, n, seed, .*, subset, got sise"),
        (dict(images={"kind": "disks", "size": 8, "start": 3}), "images takes .*, got start"),
        (dict(images={**SMALL["images"], "subset": "third"}), "images.subset must be first or second, got 'third'"),
        (dict(images={**SMALL["images"], "n": 0}), "recipe small: images.n must be an integer of at least 1, got 0"),
        (dict(images={**PHOTOS, "more": "there"}), "more must be a mapping of path, size and share, got 'there'"),
        (dict(images={**PHOTOS, "more": {"path": "a"}}), r"images.more must be a mapping of .*, got \{'path': 'a'\}"),
        (dict(images={**PHOTOS, "more": {**MORE, "size": 4}}), "more.size must be an integer of at least 8, got 4"),
        (dict(images={**PHOTOS, "more": {**MORE, "share": 0}}), r"images.more.share must be in \(0, 1\], got 0"),
        (dict(images={**PHOTOS, "more": {**MORE, "share": "all"}}), r"images.more.share must be in .*, got 'all'"),
        (dict(images={**SMALL["images"], "more": MORE}), "recipe small: images takes .*, got more"),
        (dict(training={"batch": 4}), "recipe small: training must say steps"),
        (dict(training={"steps": 4, "epochs": 2}), "recipe small: training takes .*steps.*, got epochs"),
        (dict(training={"steps": 4, "log": 2}), "recipe small: training takes .*, got log"),
        (dict(training={**SMALL["training"], "snapshots": [2, 3]}),
         r"training.snapshots must be steps at which the log has a record \(every = 2\), below steps = 6, got 3"),
        (dict(training={**SMALL["training"], "snapshots": [6]}), r"a record \(every = 2\), below steps = 6, got 6"),
        (dict(training={**SMALL["training"], "snapshots": [0]}), r"a record \(every = 2\), below steps = 6, got 0"),
        (dict(training={**SMALL["training"], "snapshots": [-2]}), r"a record \(every = 2\), below steps = 6, got -2"),
        (dict(training={**SMALL["training"], "snapshots": ["2"]}), r"a record \(every = 2\), below steps = 6, got '2'"),
        (dict(training={"steps": "many"}), "training.steps must be an integer of at least 1, got 'many'"),
        (dict(training={"steps": 4, "learning_rate": "1e-3"}),
         "recipe small: training.learning_rate must be a positive number, got '1e-3'; YAML reads 1e-3 as text: write "
         "0.001"),
        (dict(training={"steps": 4, "optimiser": "sgd"}), "training.optimiser must be 'muon' or 'adam', got 'sgd'"),
        (dict(training={"steps": 4, "every": [3, 1]}), r"training.every must be an integer or rising steps, got"),
        (dict(training={"steps": 4, "every": 0}), "training.every must be an integer of at least 1, got 0"),
        (dict(training={"steps": 800, "snapshots": [100]}), r"a record \(every = 500\), below steps = 800, got 100"),
    ],
)
def test_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(network={"kind": "UNet", "width": "16"}), "network.width must be an integer of .*, got '16'"),
        (dict(network={"kind": "UNet", "border": "mirror"}), "network.border must be 'zero', .* 'mirror'"),
        (dict(images={"kind": "disks", "size": 9}), r"recipe small: images.size must be divisible by 2, .* got 9"),
        (dict(images={"kind": "c_alpha", "size": 8, "alpha": -1}), "recipe small: images.alpha must be .*, got -1"),
        (dict(images={"kind": "folder", "size": 8, "path": "/nowhere"}), "recipe small: images.path .*/nowhere"),
    ],
)
def test_values_are_checked_before_anything_is_trained(changes, message):
    recipe = small(**changes)
    with pytest.raises(ValueError, match=message):
        recipe.check()
    with pytest.raises(ValueError, match=message):
        recipe.train(progress=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network: {kind: UNet}\n", r"a\.yaml must have the entries .*, got no entry images, training"),
        ("- 1\n", r"a\.yaml must have the entries images, network, training, got \[1\]"),
        ("", r"a\.yaml must have the entries .*, got None"),
        ("network: {kind: UNet\nimages", r"a\.yaml is not a YAML file"),
        (yaml.safe_dump({**SMALL, "images": ["disks"]}), r"recipe a: images must be a mapping, got \['disks'\]"),
    ],
)
def test_refuses_files(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        recipes.read(tmp_path / "a.yaml")


def test_refuses_a_file_that_is_no_text(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"a\.yaml is not a YAML file"):
        recipes.read(tmp_path / "a.yaml")


def test_build_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match="network kind must be one of UNet, BFCNN, NeuralField, got None"):
        recipes.build({"width": 4})


def test_sets_share_no_group(pictures, tmp_path):
    """Images of one person go to one set; the test images are of others."""
    names = images.folder_names(pictures, 8)
    groups = tmp_path / "groups.txt"
    groups.write_text("".join(f"{name} person{k // 3}\n" for k, name in enumerate(names)))
    person = {k: k // 3 for k in range(len(names))}
    every = images.folder(pictures, 8)

    def people(part: torch.Tensor) -> set[int]:
        found = torch.cdist(part.flatten(1), every.flatten(1)).argmin(dim=1)
        return {person[k] for k in found.tolist()}

    grouped = {"kind": "folder", "path": str(pictures), "size": 8, "n": 9, "groups": str(groups)}
    first, second = (small(images={**grouped, "subset": subset}) for subset in ("first", "second"))
    parts = [people(part) for part in (first.source(), second.source(), first.test_images())]
    assert all(parts) and not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert len(first.source()) == len(second.source()) == 9
    groups.write_text(f"{names[0]} person\n")
    with pytest.raises(ValueError, match=rf"has none for .* and so for {len(names) - 1} of {len(names)} images"):
        first.source()
    groups.write_text(f"{names[0]}\n")
    with pytest.raises(ValueError, match=r"images.groups must have a line NAME GROUP for each image, .* has '"):
        first.source()
