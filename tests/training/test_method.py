"""How a network is trained: defaults, what is refused, and what moves its weights."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import gahb
from gahb.training import Method, StoppedError, muon, records
from gahb.training.batches import as_source, fingerprint
from gahb.training.optimiser import ADAM_SHARE, Muon, Optimiser

IMAGES = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network(kind=gahb.UNet, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    return kind(**arguments) if arguments else kind(4, 1)


def quick(given, images=IMAGES, **settings):
    return gahb.fit(given, images, **dict(steps=6, batch=4, progress=False, every=2) | settings)


# --- Method ----------------------------------------------------------------------------------


def test_what_is_left_out_depends_on_the_optimiser():
    assert Method() == Method("muon", 0.02, "linear", 1.2, 400, 0.15, "float32", False)
    assert Method("adam") == Method("adam", 1e-3, "cosine", 1.2, None, 0.15, "float32", False)
    assert Method("adam", schedule="linear", frozen_after=3).schedule == "linear"
    assert Method(frozen_after=None).frozen_after is None


def test_norms_are_frozen_from_a_step_on_and_in_the_polish():
    how = Method(frozen_after=10, polish=0.2)
    assert [how.freezes(step, 100) for step in (0, 9, 10, 79, 80)] == [False, False, True, True, True]
    assert [how.polishes(step, 100) for step in (0, 10, 79, 80, 99)] == [False, False, False, True, True]
    never = Method(frozen_after=None, polish=0)
    assert not any(never.freezes(step, 100) or never.polishes(step, 100) for step in range(100))


def test_adam_is_known_to_a_checkpoint_as_it_was_before_there_was_a_choice():
    assert set(Method("adam").identity()) == {"learning_rate", "weight_power", "polish", "precision", "compiled"}
    assert Method("adam", schedule="linear").identity()["schedule"] == "linear"
    identities = [Method(), Method(learning_rate=0.01), Method(schedule="cosine"), Method(frozen_after=3)]
    assert len({str(how.identity()) for how in identities}) == 4
    assert set(Method(objective="increment").identity()) == {field.name for field in fields(Method)}
    assert set(Method().identity()) == set(Method(objective="increment").identity()) - {"objective", "bank"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(optimiser="sgd"), "optimiser must be 'muon' or 'adam', got 'sgd'"),
        (dict(schedule="step"), "schedule must be 'linear' or 'cosine' or 'constant', got 'step'"),
        (dict(learning_rate="1e-3"), "learning_rate must be a positive number, got '1e-3'"),
        (dict(learning_rate=0), "learning_rate must be a positive number, got 0"),
        (dict(frozen_after=-1), "frozen_after must be an integer of at least 0, got -1"),
        (dict(weight_power="1.2"), "weight_power must be a number, got '1.2'"),
        (dict(polish="most"), r"polish must be in \[0, 1\], got 'most'"),
        (dict(precision="float16"), "precision must be 'float32' or 'bfloat16', got 'float16'"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        Method(**change)


# --- Muon ------------------------------------------------------------------------------------


def orthonormal(matrix: torch.Tensor) -> torch.Tensor:
    """The slow and exact way: u v' of the singular value decomposition."""
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    return u @ v


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (40, 2, 3, 3), (6, 3, 2, 2), (5, 7)])
def test_a_filter_bank_moves_along_the_nearest_orthonormal_matrix(shape, layout):
    """Newton–Schulz gives singular values between 0.7 and 1.2 in place of 1: directions are what is compared."""
    generator = torch.Generator().manual_seed(0)
    layout = layout if len(shape) == 4 else torch.contiguous_format
    bank = torch.nn.Parameter(torch.randn(shape, generator=generator).contiguous(memory_format=layout))
    start, gradients = bank.detach().clone(), [torch.randn(shape, generator=generator) for _ in range(2)]
    optimiser, momentum = Muon([bank], learning_rate=0.02), torch.zeros(shape)
    for gradient in gradients:  # the gradient may lie in memory otherwise than the weights
        bank.grad, before = gradient.clone(), bank.detach().clone()
        optimiser.step()
        momentum = momentum + (1 - 0.9) * (gradient - momentum)
        update = gradient + 0.9 * (momentum - gradient)
        rows, columns = shape[0], math.prod(shape[1:])
        expected = 0.02 * math.sqrt(max(1, rows / columns)) * orthonormal(update.flatten(1))
        moved = (before - bank.detach()).flatten(1)
        cosine = (moved * expected).sum() / (moved.norm() * expected.norm())
        assert cosine > 0.97 and 0.7 < moved.norm() / expected.norm() < 1.2
    assert not torch.equal(start, bank.detach())


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has Muon from version 2.9 on")
@pytest.mark.parametrize("shape", [(8, 8), (3, 20), (20, 3), (16, 1)])
def test_muon_for_an_older_pytorch_moves_as_pytorch_s(shape):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    pairs = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    optimisers = [kind([matrix], lr=0.02, momentum=0.9, weight_decay=0.0)
                  for kind, matrix in zip((torch.optim.Muon, muon.Muon), pairs)]
    for _ in range(3):
        gradient = torch.randn(shape, generator=generator)
        for matrix, optimiser in zip(pairs, optimisers):
            matrix.grad = gradient.clone()
            optimiser.step()
    assert torch.equal(*pairs) and not torch.equal(pairs[0], start)
    states = [optimiser.state_dict()["state"][0] for optimiser in optimisers]
    assert states[0].keys() == states[1].keys() == {"momentum_buffer"}
    assert torch.equal(*(state["momentum_buffer"] for state in states))


def test_what_makes_the_image_and_the_gains_are_adams():
    given = network(gahb.UNet, width=4, depth=2)
    how = Method()
    muon, adam = Optimiser(given, how, channels=1).parts
    theirs = {id(weight) for weight in adam.param_groups[0]["params"]}
    names = {name for name, weight in given.named_parameters() if id(weight) in theirs}
    assert {name for name in names if not name.endswith("gain")} == {"decoder.0.3.weight"}
    assert len(muon.filters) + len(names) == len(list(given.parameters()))
    assert adam.param_groups[0]["lr"] == pytest.approx(ADAM_SHARE * how.learning_rate)
    assert all(matrix.ndim == 2 for matrix in muon.param_groups[0]["params"])


def test_the_gradients_are_dropped_after_a_step():
    given = network()
    optimiser = Optimiser(given, Method(), channels=1)
    given.train()(IMAGES).square().mean().backward()
    optimiser.step(0.5)
    assert all(weight.grad is None for weight in given.parameters())


@pytest.mark.parametrize("optimiser", ["muon", "adam"])
def test_it_remembers_what_it_was(optimiser):
    """State goes through names and tensors, and the next step is the same."""
    def after(steps: int, restored: bool) -> list[torch.Tensor]:
        given = network()
        mover = Optimiser(given, Method(optimiser), channels=1)
        for step in range(steps):
            if restored and step == 2:
                state = {name: value.clone() for name, value in mover.state().items()}
                mover = Optimiser(given, Method(optimiser), channels=1)
                mover.restore(state)
            given.train()(IMAGES + step).square().mean().backward()
            mover.step(1.0)
        return list(given.parameters())

    assert all(torch.equal(a, b) for a, b in zip(after(4, False), after(4, True)))


def test_muon_learns_faster_than_adam_at_its_default_rate():
    images, errors = gahb.images.disks(128, 8), {}
    for optimiser in ("muon", "adam"):
        given = gahb.fit(network(gahb.UNet, width=8, depth=1), images, steps=80, progress=False, optimiser=optimiser)
        errors[optimiser] = float(gahb.psnr_curve(given, images[:64], [0.1]).psnr)
    assert errors["muon"] > errors["adam"] + 1


# --- what is trained, on what ----------------------------------------------------------------


def test_arrays_and_datasets_are_the_images_that_they_hold():
    tensors = as_source(IMAGES)
    for given in (IMAGES.numpy(), TensorDataset(IMAGES), TensorDataset(IMAGES, torch.arange(24))):
        assert torch.equal(as_source(given), tensors)
    first, second = quick(network()), quick(network(), IMAGES.numpy())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))
    assert fingerprint(IMAGES) != fingerprint(IMAGES.flip(0))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (DataLoader(TensorDataset(IMAGES)), "got a DataLoader, whose order cannot be repeated: give its dataset"),
        ([1, 2], "images must be a tensor, an array, a Dataset or a callable .* got list"),
        (np.zeros((2, 1, 8, 8), np.uint8), r"images must be floating point in \[0, 1\], got torch.uint8"),
    ],
)
def test_refuses_images_by_their_type(images, message):
    with pytest.raises(TypeError, match=message):
        quick(network(), images)


def test_points_of_any_range_train_a_network_that_is_told_the_noise():
    points = 5 * torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    given = network(gahb.PointNetwork, d=2, width=16)
    trained = quick(given, points, steps=200, batch=64, sigma_range=(0.1, 3.0), optimiser="adam", learning_rate=3e-3)
    y = points + torch.randn(points.shape, generator=torch.Generator().manual_seed(1))
    error = (trained(y, torch.ones(64)) - points).square().mean()
    assert error < (y - points).square().mean()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda y: y.squeeze(1), ValueError, r"network must return the shape of y, \(1, 1, 8, 8\), got \(1, 8, 8\)"),
        (lambda y: (y, y), TypeError, "network must return a tensor, got tuple"),
    ],
)
def test_a_network_of_another_shape_is_refused(answer, error, message):
    class Wrong(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(()))

        def forward(self, y, sigma=None):
            return answer(self.gain * y)

    with pytest.raises(error, match=message):
        quick(Wrong())
    with pytest.raises(ValueError, match="network must have weights to train, got Identity without any"):
        quick(torch.nn.Identity())


# --- records, and stopping between them ------------------------------------------------------


def test_records_are_every_so_often_or_where_they_are_asked_for():
    assert records(3, 10) == {3, 6, 9, 10} and records([1, 2, 4, 8, 16], 10) == {1, 2, 4, 8, 10}
    log = []
    quick(network(), every=[1, 3], log=log)
    assert [entry["step"] for entry in log] == [1, 3, 6]
    for every, message in (([3, 1], "an integer or rising steps"), ([0, 1], "every must be an integer of")):
        with pytest.raises(ValueError, match=message):
            records(every, 10)


@pytest.mark.parametrize("last", [2, 3, 5])
def test_it_stops_where_it_is_told_and_goes_on_to_the_same_bits(tmp_path, last):
    """At a record or between two: weights and logged losses are those of one run."""
    logs, asked = ([], []), []
    whole = quick(network(), log=logs[0], every=4)

    def enough() -> bool:
        asked.append(None)
        return len(asked) == last

    with pytest.raises(StoppedError, match=f"stopped at step {last} of 6"):
        quick(network(), until=enough, checkpoint=tmp_path / "a", every=4)
    resumed = quick(network(), checkpoint=tmp_path / "a", log=logs[1], every=4)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters()))
    assert [(entry["step"], entry["loss"]) for entry in logs[0]] == [(e["step"], e["loss"]) for e in logs[1]]


def test_an_argument_that_is_nearly_right_is_answered():
    with pytest.raises(TypeError, match="fit takes no argument 'lr'; did you mean learning_rate"):
        quick(network(), lr=0.1)
    with pytest.raises(TypeError, match="fit takes no argument 'zeal'; it takes steps, .*, learning_rate, .*bank"):
        quick(network(), zeal=1)
    with pytest.raises(TypeError, match="fit takes no argument 'optimizer'; did you mean optimiser"):
        quick(network(), optimizer="adam")
