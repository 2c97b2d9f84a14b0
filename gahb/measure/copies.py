r"""Are samples copies of training images? Similarity to the nearest of them, beside that of images held out.

A network that generalises draws images that resemble training images too, as
any two faces do. So the similarity at which a sample is called a copy is not
chosen: it is the one that only a share `level` of new images of the class
exceed. These new images, the *null*, are held out, or they are training images
that are compared with all the others.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from .._progress import bar
from .._validate import check_device, positive_int
from .copy_search import AUGMENT, CopySearch, identity_of, views_of
from .statistics import share_interval

DUPLICATE = 0.95  # cosine from which on a held-out image may be a near-duplicate
TOLERANCE = 0.1  # noise, as a share of an image's contrast, at which a copy must still stand out


@dataclass(frozen=True, repr=False)
class Copies:
    r"""What :func:`gahb.copies` returns: n samples beside the null, m held-out images.

    >>> import gahb
    >>> train, new = gahb.images.c_alpha(400, 16, 2), gahb.images.c_alpha(30, 16, 2, seed=1)
    >>> found = gahb.copies(new, train, progress=False)
    >>> len(found.similarity), len(found.null), found.decides
    (30, 400, True)
    >>> print(found.verdict.split(":")[0])
    No sign of copies
    >>> found
    <Copies: 0 of 30 samples above the threshold 0.990, 95 % 0.0 to 11.6 %; null: 400 training images>
    """

    share: float  #: of samples whose similarity is above the threshold
    interval: tuple[float, float]  #: 95 %, for that share over samples (Clopper and Pearson 1934)
    p_value: float  #: chance of so large a share if samples are distributed like the null
    threshold: float  #: a new image of the class exceeds it with probability at most `level`
    level: float  #: see threshold
    similarity: Tensor  #: (n,) cosine with the nearest training image, float64
    index: Tensor  #: (n,) of that image
    second: Tensor  #: (n,) cosine with the second nearest
    view: Tensor  #: (n,) how the nearest image was seen; 0 as it is, else 1 + the place in `views`
    views: tuple[str, ...]  #: what was done to training images (mirrored, shifted, cropped)
    null: Tensor  #: (m,) cosine of held-out images with the nearest training image, float64
    null_second: Tensor  #: (m,) and with the second nearest
    null_index: Tensor  #: (m,) which of the held-out images they are, or which training images
    near: float  #: distance below which two images are near-duplicates, a third of the null's median
    leaks: Tensor  #: (l, 2) held-out images left out of the null, and the training images they are near-duplicates of
    from_train: bool  #: whether the null consists of training images, each compared with all the others

    def __repr__(self) -> str:
        low, high = self.interval
        null = f"{len(self.null):,} {'training' if self.from_train else 'held-out'} images"
        return (f"<Copies: {int(self.called.sum()):,} of {len(self.similarity):,} samples above the threshold "
                f"{self.threshold:.3f}, 95 % {100 * low:.1f} to {100 * high:.1f} %; null: {null}>")

    @property
    def called(self) -> Tensor:
        """(n,) whether each sample is called a copy."""
        return self.similarity > self.threshold

    @property
    def ratio(self) -> Tensor:
        r"""(n,) distance to the nearest over that to the second nearest, $\sqrt{(1 - c_1)/(1 - c_2)}$, in [0, 1]."""
        return _ratio(self.similarity, self.second)

    @property
    def null_ratio(self) -> Tensor:
        """(m,) the same ratio, of held-out images."""
        return _ratio(self.null, self.null_second)

    @property
    def duplicated(self) -> Tensor:
        """(n,) whether each sample is a near-duplicate of a training image, by the rule of `leaks`."""
        return _near_duplicates(self.similarity, self.near)

    @property
    def tolerance(self) -> float:
        r"""White noise on a copy, as a share of its contrast, at which its cosine falls to the threshold.

        $\sqrt{1/t^2 - 1}$ for the threshold t: the cosine of x and x + noise is
        $1/\sqrt{1 + r^2}$ where the noise has r times the norm of x less its mean.
        """
        return math.sqrt(max(1 / self.threshold**2 - 1, 0)) if self.threshold > 0 else math.inf

    @property
    def decides(self) -> bool:
        """Whether similarity can tell a copy from a new image here (`tolerance` is at least 0.1)."""
        return self.tolerance >= TOLERANCE

    @property
    def dimension(self) -> float:
        r"""Number of directions in which images of the class vary, $(m - 1) / \sum_i \log(d_{2i}/d_{1i})$.

        The two-neighbour estimate of Facco et al. (2017), from the null's distances
        to the nearest and second nearest training image.
        """
        logs = -self.null_ratio.clamp(min=1e-12).log()
        return (len(logs) - 1) / logs.sum().item() if logs.sum() > 0 else math.inf

    def most_copied(self) -> tuple[Tensor, Tensor]:
        """Training images that samples called copies are nearest to, and of how many: the most often copied first."""
        index, counts = self.index[self.called].unique(return_counts=True)
        order = counts.argsort(descending=True, stable=True)
        return index[order], counts[order]

    @property
    def verdict(self) -> str:
        """What the numbers say, in a sentence or two."""
        n, found = len(self.similarity), int(self.called.sum())
        above = f"{100 * self.level:g} % of the images held out have a cosine above {_below_one(self.threshold)}"
        if not self.decides:
            return ("Similarity cannot decide here: images that are no copies are as similar to a training image as "
                    f"copies are. {above[0].upper()}{above[1:]}, and a copy with noise of "
                    f"{100 * self.tolerance:.2g} % of its contrast has no more.")
        low, high = (percent(end) for end in self.interval)
        of = (f"{found:,} of {n:,} samples ({percent(self.share)} %, 95 % interval {low} to {high} %) have a "
              f"cosine above {_below_one(self.threshold)} with a training image, as {100 * self.level:g} % of new "
              "images have")
        if self.p_value < 0.01:
            chance = "less than one in a million" if self.p_value < 1e-6 else f"{self.p_value:.1g}"
            return f"Some samples are copies: {of}. If none were a copy, so many would have probability {chance}."
        if same := int(self.duplicated.sum()):
            return (f"Most samples are no copies, but look at {same:,} of them, near-duplicates of a training image: "
                    f"{of}.")
        return f"No sign of copies: {of}. If more than {high} % of samples were copies, more would have been found."


def copies(
    samples, train, held_out=None, *, augment: Collection[str] = (), level: float = 0.01, n_null: int = 2000,
    seed: int = 0, block: int = 1024, device: torch.device | str | None = None, checkpoint=None, progress: bool = True,
) -> Copies:  # fmt: skip
    r"""Compare each sample with all training images, and say how many samples are copies.

    The similarity of a sample a is the largest mean-removed cosine,

    $$s(a) = \max_j \frac{\langle a - \bar a,\, x_j - \bar x_j\rangle}{\|a - \bar a\|\,\|x_j - \bar x_j\|},$$

    as in :func:`gahb.nearest`: brightness and contrast do not count. A sample
    is called a copy where $s(a) > t$. The threshold t is the k-th largest
    similarity of m images held out, $k = \lfloor \text{level}\,(m + 1)\rfloor$:
    a new image of the class exceeds it with probability $k/(m+1) \le$ `level`.
    If all n samples are such images, the number of samples above t is
    beta-binomial with parameters n, k, m + 1 − k; `p_value` is taken from it.

    Held-out images that are near-duplicates of a training image would raise the
    threshold. They are left out of the null, and listed in `leaks`: those with
    a cosine above 0.95 whose distance $\sqrt{2 - 2s}$ is less than a third of
    the null's median. In a class of D dimensions that holds of about
    $3^{-D}/2$ of new images.

    Parameters
    ----------
    samples, train, held_out : (n, …), (N, …) and (M, …), N ≥ 2, of the same shape of
        image: tensors, memory-mapped ones included, or what
        :func:`gahb.images.stored` returns. Any dtype and scale. They are read
        in blocks: memory does not grow with N, and with n only by a few
        numbers a sample. Without held-out images the null consists of training
        images, each compared with all the others.
    augment : which changes of training images count as the same image; the null is
        compared in the same way. "flip": mirrored left to right; "shift": by one
        pixel in any of eight directions, with the border repeated; "crop": the
        five crops of ⅞ of the side (centre and corners), enlarged. They
        multiply the work by 2, 9 and 6; "flip" also mirrors the others.
    level : share of new images that may be called copies, in (0, 1).
    n_null : at most so many held-out images are taken, drawn with `seed`.
    block : images read at a time. device : where the products are computed; the CPU by default.
    checkpoint : a file. The search is stored there every 20 seconds and when it is
        interrupted, and the same call goes on from it. A file of another
        search is replaced.
    progress : whether a progress bar may be shown.

    Raises
    ------
    ValueError : for shapes that differ, values that are not finite, fewer than two
        training images, too few held-out images for `level` (1/level − 1 are
        needed), samples or held-out images that *are* `train`, an unknown name in
        `augment`, or `augment` for what is not (n, C, H, W).
    TypeError : for what is neither a tensor nor stored images.

    Examples
    --------
    Every second sample is a copy, darker and with noise:

    >>> import gahb, torch
    >>> train, new = gahb.images.c_alpha(400, 16, 2), gahb.images.c_alpha(20, 16, 2, seed=1)
    >>> noise = torch.randn(20, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> samples = torch.cat([new, 0.5 * train[:20] + 0.005 * noise])
    >>> found = gahb.copies(samples, train, progress=False)
    >>> found.share, [round(end, 2) for end in found.interval]
    (0.5, [0.34, 0.66])
    >>> bool((found.index[20:] == torch.arange(20)).all())
    True
    """
    _check(samples, train, held_out)
    level = check_request(augment, level, device)
    for name, value in (("n_null", n_null), ("block", block)):
        positive_int(name, value)
    positive_int("seed", seed, at_least=0)
    views = views_of(augment, tuple(train.shape[1:]))
    null_index = _drawn(len(train if held_out is None else held_out), n_null, seed)
    _enough(len(null_index), level, "train" if held_out is None else "held_out", "")
    others = train if held_out is None else held_out
    queries = [(samples, torch.arange(len(samples))), (others, null_index)]
    own = torch.cat([torch.full((len(samples),), -1), null_index]) if held_out is None else None
    identity = identity_of(samples, train, others, [level, n_null, seed, sorted(set(augment)), held_out is None])
    state = CopySearch(len(samples) + len(null_index), identity, checkpoint)
    steps = bar(None, progress=progress, total=len(train) * state.tiles(train), desc="comparing", unit="image")
    with steps, torch.no_grad():
        for done in state.run(queries, train, own, list(views.values()), block, torch.device(device or "cpu")):
            steps.update(done - steps.n)
    return _judged(state, len(samples), null_index, level, tuple(views), held_out is None)


def _drawn(total: int, wanted: int, seed: int) -> Tensor:
    """Sorted indices of at most `wanted` out of `total`."""
    if total <= wanted:
        return torch.arange(total)
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:wanted].sort().values


# ------------------------------------------------------------------ what it says


def _judged(state: CopySearch, n: int, null_index: Tensor, level: float, views: tuple[str, ...], own: bool) -> Copies:
    from scipy.stats import betabinom  # slow to import

    value = state.value.double().clamp(-1, 1)
    (similarity, second), (null, null_second) = value[:n].unbind(dim=1), value[n:].unbind(dim=1)
    near = (2 - 2 * null).sqrt().median().item() / 3
    leaking = _near_duplicates(null, near)
    leaks = torch.stack([null_index[leaking], state.index[n:, 0][leaking]], dim=1)
    null, null_second, null_index = null[~leaking], null_second[~leaking], null_index[~leaking]
    also = f" beside {len(leaks)} near-duplicates of training images" if len(leaks) else ""
    _enough(len(null), level, "train" if own else "held_out", also)
    k = _rank(len(null), level)
    threshold = null.sort(descending=True).values[k - 1].item()
    found = int((similarity > threshold).sum())
    return Copies(
        share=found / n, interval=share_interval(found, n),
        p_value=float(betabinom(n, k, len(null) + 1 - k).sf(found - 1)), threshold=threshold, level=level,
        similarity=similarity, index=state.index[:n, 0], second=second, view=state.view[:n, 0], views=views,
        null=null, null_second=null_second, null_index=null_index, near=near, leaks=leaks, from_train=own,
    )  # fmt: skip


def _near_duplicates(similarity: Tensor, near: float) -> Tensor:
    """Whether images are far nearer to a training image than images held out usually are."""
    return (similarity > DUPLICATE) & ((2 - 2 * similarity).sqrt() < near)


def _ratio(first: Tensor, second: Tensor) -> Tensor:
    nearest, next_one = (1 - first).clamp(min=0), (1 - second).clamp(min=0)
    return torch.where(next_one > 0, nearest / next_one, 1.0).sqrt()


def _rank(m: int, level: float) -> int:
    return math.floor(level * (m + 1) + 1e-9)


def percent(share: float) -> str:
    """A share in percent, to a tenth, or to two digits where it is small."""
    return f"{100 * share:.1f}" if share >= 0.01 or share == 0 else f"{100 * share:.2g}"


def _below_one(cosine: float) -> str:
    """With as many digits as tell it from 1."""
    digits = 3 if cosine < 0.99 else min(7, 2 - math.floor(math.log10(max(1 - cosine, 1e-6))))
    return f"{cosine:.{digits}f}".replace("-", "−")


# ------------------------------------------------------------------ bad input


def _check(samples, train, held_out) -> None:
    sets = {"samples": samples, "train": train, "held_out": held_out}
    if held_out is None:
        del sets["held_out"]
    for name, images in sets.items():
        if not (isinstance(images, Tensor) or (hasattr(images, "shape") and hasattr(images, "names"))):
            raise TypeError(f"{name} must be a torch tensor or what gahb.images.stored returns, got "
                            f"{type(images).__name__}")
        if len(images.shape) < 2 or tuple(images.shape[1:]) != tuple(train.shape[1:]):
            raise ValueError(f"{name} must be (n, {', '.join(map(str, train.shape[1:]))}) as train is, got "
                             f"{tuple(images.shape)}")
        least = 2 if name == "train" else 1
        if len(images) < least:
            raise ValueError(f"{name} must hold at least {least} image{'s' * (least > 1)}, got {len(images)}")
        if images is train and name != "train":
            raise ValueError(f"{name} must be other images than train, got train itself")


def check_request(augment: Collection[str], level, device) -> float:
    """What can be refused before any image is read; the level as a float."""
    check_device(device)
    if unknown := [augment] if isinstance(augment, str) else sorted(set(augment) - set(AUGMENT), key=str):
        raise ValueError(f"augment must name some of {', '.join(AUGMENT)}, as a list, got {unknown[0]!r}")
    if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level < 1:
        raise ValueError(f"level must be a number between 0 and 1, got {level!r}")
    return float(level)


def _enough(m: int, level: float, name: str, also: str) -> None:
    if _rank(m, level) < 1:
        raise ValueError(f"{name} must hold at least {math.ceil(1 / level - 1e-9) - 1} images to find what "
                         f"{100 * level:g} % of new ones exceed, got {m}{also}: bring more, or take a larger level")
