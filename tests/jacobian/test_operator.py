"""Products with the Jacobians of networks that torch runs by fused kernels: attention in its three forms."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

import gahb


class Attention(nn.Module):
    """Pixels attend to pixels: by the function, the module, or a whole transformer layer."""

    def __init__(self, kind: str):
        super().__init__()
        self.inside, self.outside = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 1)
        self.kind, self.heads = kind, nn.Linear(8, 24)
        self.module = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, y, sigma=None):
        h = self.inside(y)
        tokens = h.flatten(2).mT  # (B, H W, 8)
        if self.kind == "function":
            q, k, v = self.heads(tokens)[:, None].chunk(3, dim=-1)
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)[:, 0]
        elif self.kind == "module":
            mixed = self.module(tokens, tokens, tokens, need_weights=False)[0]
        else:
            mixed = self.layer(tokens)
        return y - self.outside(mixed.mT.reshape(h.shape))


@pytest.mark.parametrize("kind", ["function", "module", "layer"])
def test_attention_is_differentiated_by_its_formula(kind):
    torch.manual_seed(0)
    network = Attention(kind).eval()
    y = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    basis = gahb.adaptive_basis(network, y)
    J = torch.autograd.functional.jacobian(lambda u: network.double()(u), y.double()).reshape(16, 16)
    S = (J + J.T) / 2
    values = torch.linalg.eigvalsh(S).flip(0)
    torch.testing.assert_close(basis.eigenvalues[0].double(), values, rtol=0, atol=1e-5)
    asymmetry = (J - J.T).norm() / (J + J.T).norm()
    assert basis.asymmetry.item() == pytest.approx(asymmetry.item(), rel=1e-3)
    network.float()
    few = gahb.adaptive_basis(network, y, k=3)
    torch.testing.assert_close(few.eigenvalues[0].double(), values[:3], rtol=0, atol=1e-3)
    assert gahb.check_denoiser(network, y).holds


FIRST = """
import sys
import torch
import gahb

network, y = gahb.BFCNN(4, 3).eval(), torch.rand(2, 1, 4, 4)
basis = gahb.adaptive_basis(network, y)
gahb.effective_dimension(lambda u, sigma=None: u.sin(), y)
if not torch.__version__.startswith("2.6."):  # which loads it at the first Jacobian product
    assert "torch._dynamo" not in sys.modules
compiled = torch.compile(network, backend="eager")
compiled(y)
assert "torch._dynamo" in sys.modules
assert torch.equal(gahb.adaptive_basis(compiled, y).eigenvalues, basis.eigenvalues)
"""


def test_a_first_basis_loads_no_compiler_and_a_compiled_network_is_differentiated_uncompiled():
    """Loading it takes seconds; under it, each operation that is recorded would be compiled, with messages."""
    out = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert "recompile" not in out.stderr
