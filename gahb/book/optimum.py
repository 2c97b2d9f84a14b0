"""What the optimal denoiser of C^α images answers on fixed noisy images, kept in files because it takes hours.

There is one file for each image size and α, in `notebooks/optimum/`. It says
what was asked: which images of `gahb.images.c_alpha`, which noise, which noise
levels, and the accuracy. `tools/optimum.py` computes what is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .._files import read_tensors, replacing, root
from .._progress import bar
from .._validate import InputError, positive_int
from ..contract import Denoiser, denoise
from ..denoisers.optimal_calpha import OptimalCAlpha
from ..images import c_alpha

SIZES, ALPHAS = (32, 20), (1.0, 2.0, 3.0, 4.0)
SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
COUNT, BLOCK = 32, 4  # images of a size and α, and how many of them come before the next α
SCALE = 2.0**-15  # of the stored estimates, less ½: integers of 16 bits, each within 1.5 · 10⁻⁵


@dataclass(frozen=True)
class Question:
    """Fixed noisy images. The noise is that of ``gahb.psnr_curve(denoiser, images, sigmas, seed=noise_seed)``."""

    size: int
    alpha: float
    convention: str = "holder"
    sigmas: tuple[float, ...] = SIGMAS
    count: int = COUNT
    seed: int = 0  #: of the images
    start: int = 1 << 31  #: index of the first: that of the test images of the zoo's recipes
    noise_seed: int = 0
    accuracy: float = 0.01  #: of the integration, see :class:`gahb.OptimalCAlpha`

    @property
    def name(self) -> str:
        """Of the file."""
        return f"calpha-{self.size}px-{self.alpha:g}.safetensors"

    def images(self) -> Tensor:
        """(count, 1, size, size), without noise."""
        return c_alpha(self.count, self.size, self.alpha, convention=self.convention, seed=self.seed, start=self.start)

    def noise(self) -> Tensor:
        """Unit noise (count, 1, size, size), one for all levels."""
        generator = torch.Generator().manual_seed(self.noise_seed)
        return torch.randn(self.count, 1, self.size, self.size, generator=generator)

    def denoiser(self) -> OptimalCAlpha:
        return OptimalCAlpha(self.size, self.alpha, convention=self.convention, accuracy=self.accuracy)


@dataclass(frozen=True)
class Answers:
    """The optimum on the first n images of a question, at its S noise levels."""

    question: Question
    images: Tensor  #: (n, 1, size, size) without noise
    mean: Tensor  #: (S, n, 1, size, size) $f^\\star(y)$
    error: Tensor  #: (S, n) squared error of the integration, mean over pixels
    variance: Tensor  #: (S, n) posterior variance, mean over pixels; its mean over y is the optimum's MSE

    @property
    def per_image(self) -> Tensor:
        """Squared error (S, n), mean over pixels: as :attr:`gahb.measure.risk.PSNRCurve.per_image` of a denoiser."""
        return (self.mean - self.images).double().square().flatten(2).mean(dim=2)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The S noise levels."""
        return self.question.sigmas

    @property
    def noise(self) -> Tensor:
        """Unit noise (n, 1, size, size) of these images, one for all levels."""
        return self.question.noise()[: len(self.images)]

    def differences(self, denoiser: Denoiser) -> Tensor:
        r"""$f(y) - f^\star(y)$ of a denoiser f, (S, n, 1, size, size)."""
        rows = []
        for sigma, mean in zip(self.sigmas, self.mean, strict=True):
            with torch.no_grad():
                rows.append(denoise(denoiser, self.images + sigma * self.noise, sigma).double() - mean)
        return torch.stack(rows)

    def distance(self, denoiser: Denoiser) -> Tensor:
        r"""$\|f(y) - f^\star(y)\|^2$ (S, n), mean over pixels, less the error of the integration.

        The stored answer is $f^\star(y)$ plus an error of its own, which on average
        adds its square to the distance.
        """
        return self.differences(denoiser).square().flatten(2).mean(dim=2) - self.error

    def risk(self, denoiser: Denoiser) -> Tensor:
        r"""Expected squared error (S, n) of a denoiser given y, mean over pixels.

        $$\mathbb E[\|f(y) - x\|^2 \mid y] = \|f(y) - f^\star(y)\|^2 + \mathbb E[\|x - f^\star(y)\|^2 \mid y]$$

        The second term is :attr:`variance`, the risk of the optimum itself.
        Its mean over y is the MSE, with less scatter than that of squared errors.
        """
        return self.variance + self.distance(denoiser)


def answered(size: int = 32, alpha: float = 2.0, *, folder: Path | None = None) -> int:
    """How many images :func:`answers` has for a size and α, 0 where there is no file.

    >>> import tempfile
    >>> from gahb.book.optimum import answered
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     answered(4, 2.0, folder=folder)
    0
    """
    path = _folder(folder) / Question(size, alpha).name
    return _complete(_read(path)[1]) if path.exists() else 0


def answers(size: int = 32, alpha: float = 2.0, *, count: int | None = None, folder: Path | None = None) -> Answers:
    """The stored answers for a size and α: of the first images for which every noise level is there.

    With `count`, of that many images at most. Raises InputError where there
    are none.

    >>> import tempfile
    >>> from gahb.book.optimum import Question, answers, compute
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     left = compute([Question(4, 2.0, sigmas=(1.0,), count=1)], folder=folder)
    ...     optimum = answers(4, 2.0, folder=folder)
    >>> left, optimum.per_image.shape
    (0, torch.Size([1, 1]))
    """
    path = _folder(folder) / Question(size, alpha).name
    if not path.exists():
        raise InputError(f"{path} is not there: python tools/optimum.py --sizes {size} --alphas {alpha:g} computes it")
    question, kept = _read(path)
    n = _complete(kept)
    if n == 0:
        raise InputError(f"{path} has no image whose noise levels are all there yet: go on with tools/optimum.py")
    n = n if count is None else min(n, positive_int("count", count))
    mean = 0.5 + SCALE * kept["mean"][:, :n].float()
    return Answers(question, question.images()[:n], mean, kept["error"][:, :n], kept["variance"][:, :n])


def compute(questions: Sequence[Question], *, count: int = COUNT, minutes: float | None = None,
            folder: Path | None = None, progress: bool = True) -> int:
    """Answers what has no answer yet, one image and noise level after the other; returns how many are left.

    Of each question the first `count` images are taken, a few of every question before more of the first.
    Each is written when it is there: stopped at any moment, by `minutes` or
    otherwise, the next call goes on. One process at a time for a folder.
    """
    folder, end = _folder(folder), None if minutes is None else time.monotonic() + 60 * minutes
    left = list(_missing(questions, count, folder))
    steps = bar(left, progress=progress, unit="image")
    for done, (question, level, index) in enumerate(steps):
        if end is not None and time.monotonic() > end:
            return len(left) - done
        _answer(question, level, index, folder)
    return 0


def _complete(stored: dict[str, Tensor]) -> int:
    """How many of the first images have an answer at every noise level."""
    return int(stored["error"].isfinite().all(dim=0).int().cumprod(dim=0).sum())


def _missing(questions: Sequence[Question], count: int, folder: Path) -> Iterator[tuple[Question, int, int]]:
    stored = {question: _stored(question, folder) for question in questions}
    for first in range(0, count, BLOCK):
        for question in questions:
            for index in range(first, min(first + BLOCK, count, question.count)):
                for level in range(len(question.sigmas)):
                    if not stored[question]["error"][level, index].isfinite():
                        yield question, level, index


def _answer(question: Question, level: int, index: int, folder: Path) -> None:
    sigma = question.sigmas[level]
    y = question.images()[index] + sigma * question.noise()[index]
    found = question.denoiser().integrate(y[None], sigma)
    stored = _stored(question, folder)
    units = ((found.mean[0] - 0.5) / SCALE).round().clamp(-(2**15), 2**15 - 1)
    stored["mean"][level, index] = units.to(torch.int16)
    stored["error"][level, index], stored["variance"][level, index] = found.error, found.variance
    with replacing(folder / question.name) as partial:
        save_file(stored, partial, metadata={"question": json.dumps(asdict(question))})


def _stored(question: Question, folder: Path) -> dict[str, Tensor]:
    path = folder / question.name
    if path.exists():
        other, stored = _read(path)
        if other != question:
            raise InputError(f"{path} answers another question, {other}, where {question} is asked")
        return stored
    shape = (len(question.sigmas), question.count)
    return {"mean": torch.zeros(*shape, 1, question.size, question.size, dtype=torch.int16),
            "error": torch.full(shape, torch.nan), "variance": torch.full(shape, torch.nan)}


def _read(path: Path) -> tuple[Question, dict[str, Tensor]]:
    stored, header = read_tensors(path, str(path))
    question = json.loads(header["question"])
    return Question(**{**question, "sigmas": tuple(question["sigmas"])}), stored


def _folder(folder: Path | None) -> Path:
    return root() / "notebooks" / "optimum" if folder is None else Path(folder)
