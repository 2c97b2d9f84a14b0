"""Recipes: everything that determines a trained denoiser, as a small readable file.

    network: {kind: UNet, width: 32, depth: 2}
    images: {kind: c_alpha, size: 32, alpha: 2}
    training: {steps: 4000, batch: 32}

`images` names a class of `gahb.images` and its arguments. Without `n` every
step sees fresh images; with `n` the network is trained on that many, and
`subset` ("first" or "second") says which of two disjoint sets. For a folder,
`path` may hold environment variables; without `n`, its first tenth is kept
for the test; `groups` names a file with a line "NAME GROUP" for each image
(the path below the folder, and a person or a scene), and no group is then in
two sets; `files` is the folder's `gahb.images.folder_checksum`, and the recipe
is refused once the folder holds other files. `shuffle` permutes the pixels. For
photos, `more: {path: FOLDER, size: SIDE, share: SHARE}` takes that share of the
training images from the pictures of a folder, cut at random from SIDE × SIDE
pixels.

`training` holds arguments of `gahb.fit`, and `snapshots`: steps at which the
weights are kept too, so that one run tells how the network changes with the
length of training. Its `penalty` is `{residual: darcy, c: 1.0e-8, estimate:
mean}`, with the other arguments of `gahb.training.Constraint`. A recipe that
names no `optimiser` is of the time when there was one: `adam`. The hash is of
what is written: what a folder holds is not in it, unless `files` says it.

A network `{kind: NeuralField}` is trained by `gahb.fit_field`, whose arguments
`training` then holds; `images.size` is that of its encoder. Its latents are the
images of a denoiser with `latents: {field: NAME, sha256: DIGITS}`: the weights
of the field lie beside the recipe, and have that checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from inspect import Parameter, signature
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from .. import images as classes
from .._validate import positive_int
from ..fields import NeuralField
from ..kernels.counter import uniform
from ..measure.risk import psnr_curve
from ..training import EVERY, Constraint, ImageSource, Method, SizedSource, fit, fit_field, records
from .latents import check_latents, encoded
from .stored import NETWORKS, build

CLASSES = {"c_alpha": classes.c_alpha, "disks": classes.disks, "dead_leaves": classes.dead_leaves,
           "photos": classes.photos, "folder": classes.folder, "darcy": classes.darcy}
FUNCTIONS = ("c_alpha", "disks")  # classes whose images exist at every size
RESIDUALS = {"darcy": classes.darcy_residual}  # of the laws that classes of images obey
LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # noise levels of the learning curves
SCALES = (1, 2, 4)  # sizes of the learning curves of neural fields, in sizes of the encoder
_SECOND, _TEST = 1 << 30, 1 << 31  # indices at which the second subset and the test images of a class begin


@dataclass(frozen=True)
class Recipe:
    """A network, its images and its training; the hash names the result.

    Parameters
    ----------
    name : for people, and for the zoo's files; not in the hash.
    network : ``{"kind": "UNet" or "BFCNN", …}`` with arguments of that class.
    images : ``{"kind": …}``, a class of `gahb.images` with its arguments. With `n`,
        that many training images, else fresh ones at every step; `subset`,
        "first" or "second", of two disjoint sets; `shuffle`, a seed that
        permutes the pixels; `latents`, a neural field that encodes them.
    training : `steps` and other arguments of :func:`gahb.fit`, of
        :func:`gahb.fit_field` for a NeuralField; `snapshots`, steps at which the
        weights are kept too.
    folder : where the recipe was read; not in the hash.

    Raises
    ------
    ValueError : for an entry that is unknown, missing or out of range, by its name.

    Examples
    --------
    >>> import gahb
    >>> recipe = gahb.recipes.Recipe(
    ...     name="tiny",
    ...     network={"kind": "UNet", "width": 4, "depth": 1},
    ...     images={"kind": "disks", "size": 8, "n": 20},
    ...     training={"steps": 2, "batch": 4},
    ... )
    >>> recipe.source().shape, recipe.test_images(5).shape
    (torch.Size([20, 1, 8, 8]), torch.Size([5, 1, 8, 8]))
    >>> network = recipe.train(progress=False)
    >>> network(recipe.test_images(5)).shape
    torch.Size([5, 1, 8, 8])
    """

    name: str
    network: dict
    images: dict
    training: dict
    folder: Path | None = field(default=None, compare=False, repr=False)

    def __post_init__(self):
        self._check("network", NETWORKS, more={"kind"})
        kind = self.images.get("kind") if isinstance(self.images, dict) else None
        of_kind = {"photos": {"more"}, "folder": {"groups", "files"}}.get(kind, set())
        ours = {"kind"} if self.is_field else {"kind", "n", "subset", "shuffle", *of_kind}
        self._check("images", CLASSES, more=ours | ({"latents"} if kind in FUNCTIONS and not self.is_field else set()),
                    less={"n", "start", "device", "progress"})
        if self.is_field and kind not in FUNCTIONS:
            raise ValueError(f"recipe {self.name}: images.kind must be one of {', '.join(FUNCTIONS)} for a "
                             f"NeuralField, whose images exist at every size, got {kind!r}")
        self._check("training", None, more={"snapshots"},
                    less={"network", "field", "images", "size", "checkpoint", "progress", "monitor", "log", "until",
                          "method"})
        if "latents" in self.images:
            check_latents(f"recipe {self.name}: images.latents", self.images["latents"])
        subset = self.images.get("subset", "first")
        if subset not in ("first", "second"):
            raise ValueError(f"recipe {self.name}: images.subset must be first or second, got {subset!r}")
        if self.images.get("n") is not None:
            positive_int(f"recipe {self.name}: images.n", self.images["n"])
        if "more" in self.images:
            _check_more(f"recipe {self.name}: images.more", self.images["more"], self.images["size"])
        last = positive_int(f"recipe {self.name}: training.steps", self.training["steps"])
        with self._named("training"):
            if not self.is_field:
                self._method()
                self._penalty()
            at = records(self.training.get("every", EVERY), last)
        for step in self.snapshots:
            if step not in at - {last}:
                raise ValueError(f"recipe {self.name}: training.snapshots must be steps at which the log has a record "
                                 f"(every = {self.training.get('every', EVERY)}), below steps = {last}, got {step!r}")

    @property
    def is_field(self) -> bool:
        """Whether the network is a neural field, and no denoiser."""
        return isinstance(self.network, dict) and self.network.get("kind") == "NeuralField"

    def _method(self) -> Method:
        """How the network is trained."""
        names = {field.name for field in fields(Method)}
        return Method(**{"optimiser": "adam"} | {key: value for key, value in self.training.items() if key in names})

    def _penalty(self) -> Constraint | None:
        """What is added to the loss."""
        if (given := self.training.get("penalty")) is None:
            return None
        if not isinstance(given, dict) or given.get("residual") not in RESIDUALS:
            raise ValueError(f"penalty must be a mapping whose residual is one of {', '.join(RESIDUALS)}, "
                             f"got {given!r}")
        return Constraint(**given | {"residual": RESIDUALS[given["residual"]]})

    @property
    def snapshots(self) -> tuple[int, ...]:
        """Steps before the last at which the weights are kept."""
        return tuple(self.training.get("snapshots", ()))

    def _check(self, field: str, kinds: dict | None, *, more=frozenset(), less=frozenset()) -> None:
        """The entries of a field are what its function takes: no other, and none that is needed left out."""
        content, where = getattr(self, field), f"recipe {self.name}: {field}"
        if not isinstance(content, dict):
            raise ValueError(f"{where} must be a mapping, got {content!r}")
        if kinds is not None and content.get("kind") not in kinds:
            raise ValueError(f"{where}.kind must be one of {', '.join(kinds)}, got {content.get('kind')!r}")
        of = [kinds[content["kind"]]] if kinds else [fit_field] if self.is_field else [fit, Method]
        taken = {key: p for function in of for key, p in signature(function).parameters.items() if key not in less}
        if unknown := sorted(set(content) - set(taken) - set(more)):
            raise ValueError(f"{where} takes {', '.join(sorted({*taken, *more}))}, got {', '.join(map(str, unknown))}")
        if missing := [key for key, p in taken.items() if p.default is Parameter.empty and key not in content]:
            raise ValueError(f"{where} must say {', '.join(missing)}")

    @contextmanager
    def _named(self, field: str) -> Iterator[None]:
        """What is wrong with a value is said with the recipe and the entry."""
        try:
            yield
        except (ValueError, TypeError, FileNotFoundError) as error:
            texts = [value for value in getattr(self, field).values() if isinstance(value, str) and _is_number(value)]
            hint = "".join(f"; YAML reads {text} as text: write {float(text):g}" for text in texts)
            raise ValueError(f"recipe {self.name}: {field}.{error}{hint}") from error

    def check(self) -> None:
        """Whether the values are those of a network and of images: what training would stumble over.

        ValueError names the recipe, the entry, its value and what is allowed.
        A folder is looked for, and not read.
        """
        with torch.device("meta"):  # shapes only
            network = self.build()
        size, divisor = self.images.get("size"), getattr(network, "divisor", 1)
        if "latents" in self.images:
            size = self.test_images(1).shape[-1]
        if self.images["kind"] == "folder":
            with self._named("images"):
                positive_int("size", size)
                _folder(self.images["path"])
        else:
            self.test_images(1)
        if size % divisor:
            times = 1 if self.is_field else network.depth
            raise ValueError(f"recipe {self.name}: images.size must be divisible by {divisor}, as the network pools "
                             f"{times} time{'s' * (times > 1)}, got {size}")

    @property
    def hash(self) -> str:
        """Of network, images and training, not of the name."""
        content = {key: value for key, value in asdict(self).items() if key not in ("name", "folder")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def build(self) -> nn.Module:
        """The untrained network; its initial weights depend on the training seed only."""
        with self._named("network"):
            return build(self.network, seed=self.training.get("seed", 0))

    def source(self, device: str = "cpu") -> ImageSource:
        """The training images: a tensor where `n` is given, else a stream of fresh ones."""
        n, second = self.images.get("n"), self.images.get("subset") == "second"
        if self.images["kind"] == "folder":
            first, other, _ = self._parts_of_folder()
            return self._shuffled(other if second else first)
        make, offset = self._maker(device), _SECOND if second else 0
        if n:
            with self._named("images"):
                return self._shuffled(make(n, start=offset))
        return lambda n, start: self._shuffled(make(n, start=offset + start))

    def test_images(self, n: int = 64) -> Tensor:
        """Images of the same class that are in neither subset."""
        if self.images["kind"] == "folder":
            _, _, rest = self._parts_of_folder()
            if len(rest) == 0:
                raise ValueError(f"recipe {self.name}: n = {self.images['n']} leaves no image of the folder to test "
                                 "with")
            return self._shuffled(rest[:n])
        with self._named("images"):
            return self._shuffled(self._maker(test=True)(n, start=_TEST))

    def _shuffled(self, images: Tensor) -> Tensor:
        seed = self.images.get("shuffle")
        return images if seed is None else classes.shuffle_pixels(images, seed=seed)

    def _arguments(self) -> dict:
        """Those of the class of images."""
        ours = ("kind", "n", "subset", "shuffle", "more", "groups", "files", "latents")
        return {key: value for key, value in self.images.items() if key not in ours}

    def _maker(self, device: str = "cpu", *, test: bool = False) -> Callable[..., Tensor]:
        """Images of a class that is made on the spot, as a function of how many and where they start."""
        arguments, make = self._arguments(), CLASSES[self.images["kind"]]
        if test and self.images["kind"] == "photos":
            arguments["split"] = "test"
        if device != "cpu" and "device" in signature(make).parameters:
            arguments["device"] = device
        if (more := self.images.get("more")) and not test:
            pictures = classes.folder(_folder(more["path"]), more["size"])
            return _mixed(partial(make, **arguments), pictures, more["share"], arguments)
        if latents := self.images.get("latents"):
            return encoded(partial(make, **arguments), latents, self.folder)
        return partial(make, **arguments)

    def _sized(self, first: int = 0) -> SizedSource:
        """The images of the class from number `first` on, at any size."""
        arguments, make = self._arguments(), CLASSES[self.images["kind"]]
        return lambda n, start, size: make(n, **arguments | {"size": size}, start=first + start)

    def _parts_of_folder(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """First subset, second, and what is left for the test; without `n` all but a tenth is the first."""
        arguments, n = self._arguments(), self.images.get("n")
        with self._named("images"):
            path = _folder(arguments.pop("path"))
            if (files := self.images.get("files")) and files != classes.folder_checksum(path):
                raise ValueError(f"files is {files}, and {path} now holds other files: write the recipe anew")
            every = classes.folder(path, **arguments)
        if n is None:
            held = max(1, len(every) // 10)
            return every[held:], None, every[:held]
        if 2 * n > len(every):
            raise ValueError(f"recipe {self.name}: images.n must be at most half of the {len(every)} images of "
                             f"{self.images['path']}, for two disjoint sets, got {n}")
        return classes.split(every, n, groups=self._groups())

    def _groups(self) -> list[str] | None:
        """The group of each image of the folder."""
        if (given := self.images.get("groups")) is None:
            return None
        file = Path(os.path.expandvars(given)).expanduser()
        where = f"recipe {self.name}: images.groups must"
        if not file.is_file():
            missing = f": {file}" if str(file) != given else ""
            raise ValueError(f"{where} be a file with lines NAME GROUP, got {given}, which is not there{missing}")
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{where} be a file with lines NAME GROUP, and {file} is no text in UTF-8") from None
        lines = [line.rsplit(maxsplit=1) for line in text.splitlines() if line.strip()]
        if wrong := [parts for parts in lines if len(parts) != 2]:
            raise ValueError(f"{where} have a line NAME GROUP for each image, with a space between, and {file} has "
                             f"{wrong[0][0]!r}")
        known, arguments = dict(lines), self._arguments()
        names = classes.folder_names(_folder(arguments.pop("path")), **arguments)
        if missing := [name for name in names if name not in known]:
            raise ValueError(f"{where} name a group for each image, and {file} has none for {', '.join(missing[:3])} "
                             f"and so for {len(missing)} of {len(names)} images")
        return [known[name] for name in names]

    def train(self, *, checkpoint=None, progress: bool = True, log: list | None = None,
              keep: Callable[[nn.Module, list], None] | None = None,
              until: Callable[[], bool] | None = None) -> nn.Module:
        """Fit the network, on a GPU where there is one; `keep(network, log)` is called at every step of `snapshots`.

        `until` as in :func:`gahb.fit`.

        The log has a learning curve: PSNR at `LEVELS` of images never trained on
        ("psnr") and, where the training images are finite, of 64 of them ("train_psnr").
        """
        log, device = [] if log is None else log, "cuda" if torch.cuda.is_available() else "cpu"
        self.check()
        if self.is_field:
            return self._train_field(log, keep, checkpoint=checkpoint, progress=progress, until=until)
        source = self.source(device)
        measured = {"psnr": self.test_images().to(device)}
        if isinstance(source, Tensor):
            measured["train_psnr"] = source[:64].to(device)

        def monitor(network: nn.Module) -> dict:
            curves = {key: psnr_curve(network, images, LEVELS).psnr.tolist() for key, images in measured.items()}
            log[-1].update({key: [round(p, 3) for p in psnr] for key, psnr in curves.items()})
            if keep is not None and log[-1]["step"] in self.snapshots:
                keep(network, log)
            return {}

        training = {key: value for key, value in self.training.items() if key != "snapshots"}
        training["penalty"] = self._penalty()
        network = self.build().to(device)
        return fit(network, source, checkpoint=checkpoint, progress=progress, log=log, monitor=monitor, until=until,
                   **asdict(self._method()) | training)

    def _train_field(self, log: list, keep: Callable[[nn.Module, list], None] | None, **options) -> nn.Module:
        """Fit a neural field, on the CPU; the log has the PSNR of renders at the sizes of `SCALES` ("render_psnr")."""
        size, test = self.images["size"], self._sized(_TEST)
        x, truths = test(64, 0, size), [test(64, 0, size * scale) for scale in SCALES]

        @torch.no_grad()
        def monitor(network: NeuralField) -> dict:
            z = network.encode(x)
            errors = [(network.pixels(z, *2 * [_centres(y)], 1 / y.shape[-1]) - y).square().mean() for y in truths]
            log[-1]["render_psnr"] = [round(-10 * float(error.log10()), 3) for error in errors]
            if keep is not None and log[-1]["step"] in self.snapshots:
                keep(network, log)
            return {}

        training = {key: value for key, value in self.training.items() if key != "snapshots"}
        return fit_field(self.build(), self._sized(), size=size, log=log, monitor=monitor, **training, **options)


def _centres(y: Tensor) -> Tensor:
    """Those of a row of pixels of a square image, in sides of the image."""
    return (torch.arange(y.shape[-1], dtype=y.dtype) + 0.5) / y.shape[-1]


def _folder(path: str) -> str:
    """A folder's path with its environment variables put in; FileNotFoundError names one that is not set."""
    expanded = os.path.expandvars(path)
    if not Path(expanded).expanduser().is_dir():
        missing = re.findall(r"\$\{?(\w+)", expanded)
        why = f", and {missing[0]} is not set in the environment" if missing else f", which is not there: {expanded}"
        raise FileNotFoundError(f"path must be a folder of images, got {path}{why}")
    return expanded


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_more(where: str, more, size: int) -> None:
    if not isinstance(more, dict) or set(more) != {"path", "size", "share"}:
        raise ValueError(f"{where} must be a mapping of path, size and share, got {more!r}")
    positive_int(f"{where}.size", more["size"], at_least=size)
    share = more["share"]
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise ValueError(f"{where}.share must be in (0, 1], got {share!r}")


def _mixed(make: Callable[..., Tensor], pictures: Tensor, share: float, arguments: dict) -> Callable[..., Tensor]:
    """`make`, with a share of its images exchanged for crops of `pictures`; image i depends on (seed, i) only."""
    size, seed = arguments["size"], arguments.get("seed", 0)

    def mixed(n: int, start: int) -> Tensor:
        images = make(n, start=start)
        for i, (u, which) in enumerate(uniform(seed, "more", start, n, 2).tolist()):
            if u < share:
                picture = pictures[int(which * len(pictures)), None]  # (1, 1, H, W)
                images[i] = classes.crops(picture, 1, size, seed=seed, start=start + i)[0]
        return images

    return mixed


def read(path: str | os.PathLike) -> Recipe:
    """A recipe from a YAML file; the file's stem is its name."""
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from error
    fields = {"network", "images", "training"}
    if not isinstance(content, dict) or set(content) != fields:
        got = f"{content!r:.80}"
        if isinstance(content, dict):
            missing, unknown = (", ".join(sorted(map(str, a))) for a in (fields - set(content), set(content) - fields))
            parts = (f"no entry {missing}" if missing else "", f"unknown entry {unknown}" if unknown else "")
            got = " and ".join(filter(None, parts))
        raise ValueError(f"{path} must have the entries {', '.join(sorted(fields))}, got {got}")
    return Recipe(name=path.stem, **content, folder=path.parent)
