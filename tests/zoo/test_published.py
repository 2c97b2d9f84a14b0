"""Published state dicts: written here in their layouts, run by a plain forward pass, and read by the package."""

from __future__ import annotations

import os
from argparse import Namespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import gahb
from gahb import zoo
from gahb.zoo.published import load_published

# ------------------------------------------------------------------ what the repositories write


class Maker:
    """Random tensors, reproducibly; norms far from 1, so that a wrong order or a lost gain is seen."""

    def __init__(self, seed=0):
        self.generator = torch.Generator().manual_seed(seed)

    def conv(self, inputs, outputs, side=3):
        return torch.randn(outputs, inputs, side, side, generator=self.generator) / (side * inputs**0.5)

    def gain(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def sd(self, *shape):
        return 0.3 + 2 * torch.rand(shape, generator=self.generator)


def unet(width=4, blocks=2, channels=1):
    """`UNet` of memorization_generalization_in_diffusion_models."""
    make, state = Maker(), {}

    def block(name, sizes, plain=()):
        place = 0
        for k, (inputs, outputs) in enumerate(sizes):
            state[f"{name}.{place}.weight"] = make.conv(inputs, outputs)
            place += 1
            if k not in plain:
                state[f"{name}.{place}.gammas"] = make.gain(1, outputs, 1, 1)
                state[f"{name}.{place}.running_sd"] = make.sd(1, outputs, 1, 1)
                place += 1
            place += 1  # the ReLU

    w = [width * 2**b for b in range(blocks + 1)]
    block("encoder.0", [(channels, w[0]), (w[0], w[0])], plain=(0,))
    for b in range(1, blocks):
        block(f"encoder.{b}", [(w[b - 1], w[b]), (w[b], w[b])])
    block("mid_block", [(w[-2], w[-1]), (w[-1], w[-1])])
    for b in reversed(range(blocks)):
        state[f"upsample.{b}.weight"] = make.conv(w[b + 1], w[b], 2).transpose(0, 1).contiguous()
        block(f"decoder.{b}", [(2 * w[b], w[b]), (w[b], w[b] if b else channels)], plain=() if b else (1,))
    return state


def run_unet(state, y):
    s = {key: value.double() for key, value in state.items()}

    def norm(name, h):
        return h / s[f"{name}.running_sd"] * s[f"{name}.gammas"]

    def double(name, h):
        h = norm(f"{name}.1", F.conv2d(h, s[f"{name}.0.weight"], padding=1)).relu()
        return norm(f"{name}.4", F.conv2d(h, s[f"{name}.3.weight"], padding=1)).relu()

    blocks, h, kept = sum(key.startswith("upsample") for key in s), y, []
    for b in range(blocks):
        if b == 0:
            h = F.conv2d(h, s["encoder.0.0.weight"], padding=1).relu()
            h = norm("encoder.0.3", F.conv2d(h, s["encoder.0.2.weight"], padding=1)).relu()
        else:
            h = double(f"encoder.{b}", h)
        kept.append(h)
        h = F.avg_pool2d(h, kernel_size=2, stride=2)
    h = double("mid_block", h)
    for b in reversed(range(blocks)):
        h = torch.cat([F.conv_transpose2d(h, s[f"upsample.{b}.weight"], stride=2), kept[b]], dim=1)
        if b:
            h = double(f"decoder.{b}", h)
        else:
            h = norm("decoder.0.1", F.conv2d(h, s["decoder.0.0.weight"], padding=1)).relu()
            h = F.conv2d(h, s["decoder.0.3.weight"], padding=1)
    return y - h


def bf_cnn(kind, width=4, layers=5, channels=1):
    """`BF_CNN` in three spellings: norms as modules, as gains and a list, as two parameter lists."""
    make, state = Maker(), {}
    sizes = [(channels, width), *[(width, width)] * (layers - 2), (width, channels)]
    state |= {f"conv_layers.{k}.weight": make.conv(*size) for k, size in enumerate(sizes)}
    sds = []
    for k in range(layers - 2):
        flat = kind == "gains and a list"
        gain, sd = (draw(width) if flat else draw(1, width, 1, 1) for draw in (make.gain, make.sd))
        name = {"modules": f"BN_layers.{k}.gammas", "gains and a list": f"gammas.{k}.weight"}
        state[name.get(kind, f"gammas.{k}")] = gain
        if kind == "modules":
            state[f"BN_layers.{k}.running_sd"] = sd
        elif kind == "two lists":
            state[f"running_sd.{k}"] = sd
        sds.append(sd)
    gains = [value for name, value in state.items() if "gammas" in name]
    return state, sds, gains


def run_chain(convs, gains, sds, y, *, first_relu=True):
    h = F.conv2d(y, convs[0].double(), padding=1)
    h = h.relu() if first_relu else h
    for conv, gain, sd in zip(convs[1:-1], gains, sds, strict=True):
        h = F.conv2d(h, conv.double(), padding=1)
        h = (h / sd.double().reshape(1, -1, 1, 1) * gain.double().reshape(1, -1, 1, 1)).relu()
    return y - F.conv2d(h, convs[-1].double(), padding=1)


def dncnn(width=4, layers=5, channels=1):
    """`DnCNN(bias=False)` of bias_free_denoising: batch norms whose mean and bias are not used."""
    make = Maker()
    state = {"first_layer.weight": make.conv(channels, width)}
    state |= {f"hidden_layer_list.{k}.weight": make.conv(width, width) for k in range(layers - 2)}
    for k in range(layers - 2):
        state |= {
            f"bn_layer_list.{k}.weight": make.gain(width),
            f"bn_layer_list.{k}.bias": make.gain(width),
            f"bn_layer_list.{k}.running_mean": make.gain(width),
            f"bn_layer_list.{k}.running_var": make.sd(width) * 1e-3,  # so that the 1e-5 is seen
            f"bn_layer_list.{k}.num_batches_tracked": torch.tensor(7),
        }
    return state | {"last_layer.weight": make.conv(width, channels)}


def saved(state, path, **options):
    torch.save(state, path, **options)
    return path


def agrees(network, expected, y) -> None:
    assert not network.training and {p.dtype for p in network.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        out = network.double()(y)
        # as a denoiser of this package: homogeneous, hence of any range of intensities
        assert torch.allclose(network(255 * y), 255 * out, rtol=1e-10)
    # of the noise that it predicts; weights are float32, sums float64
    assert (out - expected).norm() < 1e-6 * (expected - y).norm()
    assert (expected - y).norm() > 1e-3 * y.norm()


def noisy(channels=1, side=16):
    return torch.rand(2, channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


# --------------------------------------------------------------------------------- they agree


@pytest.mark.parametrize(("width", "blocks", "channels"), [(4, 2, 1), (3, 3, 1), (4, 1, 3)])
def test_unet(tmp_path, width, blocks, channels):
    state = unet(width, blocks, channels)
    network = zoo.load_published(saved(state, tmp_path / "model.pt"))
    assert isinstance(network, gahb.UNet)
    assert network.recipe["network"] == {"kind": "UNet", "width": width, "channels": channels, "depth": blocks}
    agrees(network, run_unet(state, noisy(channels)), noisy(channels))


@pytest.mark.parametrize("linear_first", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["modules", "gains and a list", "two lists"])
def test_bf_cnn(tmp_path, kind, channels, linear_first):
    state, sds, gains = bf_cnn(kind, channels=channels)
    if kind == "gains and a list":
        saved(sds, tmp_path / "running_sd.pt")
    network = load_published(saved(state, tmp_path / "model.pt"), linear_first=linear_first)
    assert isinstance(network, gahb.BFCNN) and network.layers == 5
    convs = [state[f"conv_layers.{k}.weight"] for k in range(5)]
    expected = run_chain(convs, gains, sds, noisy(channels), first_relu=not linear_first)
    agrees(network, expected, noisy(channels))


def test_dncnn(tmp_path):
    state = dncnn()
    checkpoint = {"step": 7, "model": [state], "optimizer": [{"state": {}}], "args": Namespace(model="dncnn", lr=1e-3)}
    network = load_published(saved(checkpoint, tmp_path / "0-55.pt"))
    convs = [value for name, value in state.items() if value.ndim == 4]
    gains, variances = ([state[f"bn_layer_list.{k}.{name}"] for k in range(3)] for name in ("weight", "running_var"))
    sds = [v.double().sqrt() + 1e-5 for v in variances]
    agrees(network, run_chain(convs, gains, sds, noisy()), noisy())


def test_published_sizes(tmp_path):
    """The sizes of the paper's networks: 7,659,264 and 0.7 million parameters."""
    network = load_published(saved(unet(64, 3), tmp_path / "unet.pt"))
    assert sum(p.numel() for p in network.parameters()) == 7_659_264
    state = bf_cnn("modules", width=64, layers=21)[0]
    network = load_published(saved(state, tmp_path / "bf_cnn.pt"))
    assert network.layers == 21 and sum(p.numel() for p in network.parameters()) == sum(
        value.numel() for name, value in state.items() if "running" not in name
    )


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{key}": value for key, value in state.items()},  # DataParallel
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {key: value.double() for key, value in state.items()},
    ],
    ids=["data parallel", "state_dict", "model", "float64"],
)
def test_wrappings(tmp_path, wrap):
    state = unet()
    network = load_published(saved(wrap(state), tmp_path / "model.pt"))
    agrees(network, run_unet(state, noisy()), noisy())


def test_the_old_format_of_torch(tmp_path):
    state = unet()
    path = saved(state, tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    agrees(load_published(path), run_unet(state, noisy()), noisy())


def test_nothing_global_changes_and_the_file_is_not_shared(tmp_path):
    path, rng = saved(unet(), tmp_path / "model.pt"), torch.get_rng_state()
    first, second = load_published(path), load_published(path)
    assert torch.equal(rng, torch.get_rng_state())
    with torch.no_grad():
        next(first.parameters()).zero_()
    assert next(second.parameters()).abs().sum() > 0


def test_it_can_be_exported_and_loaded_again(tmp_path):
    """A BF_CNN without its first ReLU stays one."""
    state, _, _ = bf_cnn("modules")
    network = load_published(saved(state, tmp_path / "theirs.pt"), linear_first=True)
    path = zoo.export(network, tmp_path / "ours.safetensors", recipe=network.recipe, log=network.log)
    again, y = zoo.load(path), noisy().float()
    with torch.no_grad():
        assert (again(y) - network(y)).norm() < 2e-3 * y.norm()
        # the ReLU would be seen
        assert (load_published(tmp_path / "theirs.pt")(y) - network(y)).norm() > 10 * (again(y) - network(y)).norm()


# ---------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("key", ["encoder.1.4.running_sd", "mid_block.3.weight", "upsample.0.weight"])
def test_a_missing_tensor_is_named(tmp_path, key):
    state = unet()
    del state[key]
    with pytest.raises(ValueError, match=rf"model\.pt is not a whole UNet of .*: missing .*{key}"):
        load_published(saved(state, tmp_path / "model.pt"))


def test_a_missing_layer_of_a_chain_is_named(tmp_path):
    state, _, _ = bf_cnn("modules")
    del state["conv_layers.2.weight"]
    with pytest.raises(ValueError, match=r"not a whole BFCNN of \{.*'layers': 5.*\}: missing conv_layers\.2\.weight$"):
        load_published(saved(state, tmp_path / "model.pt"))
    state, _, _ = bf_cnn("modules")
    del state["conv_layers.0.weight"]
    with pytest.raises(ValueError, match=r"not a whole BFCNN: no convolution conv_layers\.0\.weight"):
        load_published(saved(state, tmp_path / "model.pt"))


def test_an_unexpected_tensor_is_named(tmp_path):
    """A third convolution in a block is another architecture."""
    state = unet() | {"mid_block.6.weight": torch.zeros(16, 16, 3, 3), "extra": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"not a whole UNet of .*: unexpected extra, mid_block\.6\.weight$"):
        load_published(saved(state, tmp_path / "model.pt"))


@pytest.mark.parametrize(
    ("key", "shape"),
    [("mid_block.0.weight", (16, 8, 5, 5)), ("mid_block.1.gammas", (1, 5, 1, 1)), ("decoder.1.1.gammas", (1,))],
)
def test_a_wrong_shape_is_named(tmp_path, key, shape):
    state = unet() | {key: torch.ones(shape)}
    with pytest.raises(ValueError, match=rf"{key} must have shape \(\d+, .*\), got \({shape[0]},"):
        load_published(saved(state, tmp_path / "model.pt"))


def test_additive_constants_are_refused(tmp_path):
    state = dncnn() | {"first_layer.bias": torch.zeros(4)}
    with pytest.raises(ValueError, match=r"has additive constants \(first_layer\.bias\): only bias-free networks"):
        load_published(saved(state, tmp_path / "model.pt"))


def test_running_deviations_beside_the_file(tmp_path):
    state, sds, _ = bf_cnn("gains and a list")
    path = saved(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"running deviations in a file of their own, and .*sd\.pt is not there"):
        load_published(path)
    saved(sds[:-1], tmp_path / "running_sd.pt")
    with pytest.raises(ValueError, match=r"missing running_sd\.2$"):
        load_published(path)


def test_linear_first_is_of_a_chain(tmp_path):
    with pytest.raises(ValueError, match="linear_first is of a BF_CNN, and .* is a UNet"):
        load_published(saved(unet(), tmp_path / "model.pt"), linear_first=True)


class Harmful:
    """A pickle that makes a folder when it is read as pickles are."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_is_not_run(tmp_path):
    made = tmp_path / "made"
    for content in (Harmful(made), unet() | {"extra": Harmful(made)}, {"model": [Harmful(made)], "args": Namespace()}):
        path = saved(content, tmp_path / "model.pt")
        with pytest.raises(ValueError, match=r"model\.pt is truncated, foreign, or holds more than tensors"):
            load_published(path)
        assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists()  # the test could have failed


def test_foreign_and_truncated_files(tmp_path):
    path = saved(unet(), tmp_path / "model.pt")
    content = path.read_bytes()
    for broken in (b"", b"text", content[:100], content[:-100], b"\x80\x02" + content[:50]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"model\.pt is truncated, foreign, or holds more than tensors"):
            load_published(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"model\.pt is truncated, foreign"):
        load_published(path)
    for content in ([torch.zeros(2)], {}, {"a": 1}, torch.zeros(2), {"model": None}, {"model": [unet(), unet()]}):
        with pytest.raises(ValueError, match=r"model\.pt holds no state dict: it must map names to tensors"):
            load_published(saved(content, path))
    with pytest.raises(ValueError, match=r"holds conv1\.weight: neither a UNet, a BF_CNN nor a DnCNN as published"):
        load_published(saved({"conv1.weight": torch.zeros(2, 1, 3, 3)}, path))
    with pytest.raises(FileNotFoundError, match=r"path must be a file, got '.*none\.pt'"):
        load_published(tmp_path / "none.pt")


# ------------------------------------------------------------------ the two older networks


def recurrent(width=4, hidden=2):
    """`RecurrentCNN(bias=False)` of bias_free_denoising."""
    make = Maker()
    state = {"cnn.first_layer.weight": make.conv(2, width)}
    state |= {f"cnn.hidden_layer_list.{k}.weight": make.conv(width, width) for k in range(hidden)}
    return state | {"cnn.last_layer.weight": make.conv(width, 1)}


def run_recurrent(state, y, stages):
    first, *hidden, last = (value.double() for value in state.values())
    x = y
    for _ in range(stages):
        h = F.conv2d(torch.cat([y, x], dim=1), first, padding=1).relu()
        for weight in hidden:
            h = F.conv2d(h, weight, padding=1).relu()
        x = F.conv2d(h, last, padding=1)
    return x


def dilated(width=4):
    """`UNet(bias=False)` of bias_free_denoising."""
    make = Maker()
    sizes = [(1, width, 5), (width, width, 3), (width, 2 * width, 3), *[(2 * width, 2 * width, 3)] * 3,
             (2 * width, 2 * width, 4), (3 * width, width, 3), (width, 1, 5)]
    return {f"conv{k}.weight": make.conv(*size) for k, size in enumerate(sizes, start=1)}


def run_dilated(state, y):
    w = [None, *(value.double() for value in state.values())]
    full = F.conv2d(F.conv2d(y, w[1], padding=2).relu(), w[2], padding=1).relu()
    h = F.conv2d(full, w[3], stride=2, padding=1).relu()
    h = F.conv2d(h, w[4], padding=1).relu()
    h = F.conv2d(h, w[5], padding=2, dilation=2).relu()
    h = F.conv2d(h, w[6], padding=4, dilation=4).relu()
    h = F.conv_transpose2d(h, w[7], stride=2, padding=1).relu()
    h = F.conv2d(torch.cat([h, full], dim=1), w[8], padding=1).relu()
    return F.conv2d(h, w[9], padding=2)


Y = torch.randn(2, 1, 12, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("stages", [None, 2])
def test_the_recurrent_network_denoises_as_published(tmp_path, stages):
    state = recurrent()
    content = state if stages is None else {"args": Namespace(max_stage=stages), "model": [state]}
    network = load_published(saved(content, tmp_path / "rcnn.pt")).double()
    torch.testing.assert_close(network(Y), run_recurrent(state, Y, stages or 4), rtol=1e-6, atol=1e-6)
    assert network.recipe["network"]["stages"] == (stages or 4)


@pytest.mark.parametrize("residual", [None, False, True])
def test_the_older_unet_denoises_as_published(tmp_path, residual):
    state = dilated()
    content = state if residual is None else {"args": Namespace(residual=residual), "model": [state]}
    network = load_published(saved(content, tmp_path / "unet.pt")).double()
    out = run_dilated(state, Y)
    torch.testing.assert_close(network(Y), Y - out if residual else out, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="linear_first is of a BF_CNN, and .* is a DilatedUNet"):
        load_published(tmp_path / "unet.pt", linear_first=True)


@pytest.mark.parametrize("make", [recurrent, dilated])
def test_the_older_networks_are_homogeneous_and_have_bases(tmp_path, make):
    network = load_published(saved(make(), tmp_path / "a.pt")).double()
    torch.testing.assert_close(network(3 * Y), 3 * network(Y))
    basis = gahb.adaptive_basis(network, Y[:1], k=3, tol=1e-6)
    assert basis.eigenvectors.shape == (1, 3, 1, 12, 16)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod."])
def test_compiled_networks_and_training_checkpoints_are_read(tmp_path, prefix):
    state = unet()
    content = {"epoch": 3, "model_state_dict": {prefix + key: value for key, value in state.items()}}
    network = load_published(saved(content, tmp_path / "a.pt")).double()
    torch.testing.assert_close(network(Y), run_unet(state, Y), rtol=1e-5, atol=1e-5)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = unet()
    state["encoder.0.0.weight"][0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"a.pt has weights that are not finite: encoder.0.0.weight"):
        load_published(saved(state, tmp_path / "a.pt"))
