"""64 samples: the share of the time that the network takes, and the time of an image one at a time.

    python tests/benchmarks/bench_sample.py

UNet(32, 2), untrained, 32×32. Goals: at least 90 % of the time in the
network; 64 at once never slower an image than one at a time, 4 times faster
on CUDA. The blind run stops image by image, with a denoiser whose residual
shrinks by itself, so that its batch does too.
"""

from __future__ import annotations

import os
import time

import torch

import gahb

SHAPE = (1, 32, 32)


class Timed(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, cuda: bool):
        super().__init__()
        self.network, self.cuda_, self.seconds, self.images = network, cuda, 0.0, 0

    def forward(self, y, sigma=None):
        began = self.now()
        x_hat = y - 0.9 * torch.tanh(y - 0.5) + 1e-3 * self.network(y)  # a residual that shrinks towards ½
        self.seconds += self.now() - began
        self.images += len(y)
        return x_hat

    def now(self) -> float:
        if self.cuda_:
            torch.cuda.synchronize()
        return time.perf_counter()


def main() -> None:
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        torch.manual_seed(0)
        network = Timed(gahb.UNet(32, 2).to(device), device == "cuda").eval()
        print(f"{device}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
        for label, how in {
            "ddim, 8 steps": dict(method="ddim", steps=8),
            "stochastic on the schedule": dict(h=0.5, beta=0.5, blind=False),
            "stochastic, blind": dict(h=0.5, beta=0.5),
        }.items():
            each = {}
            for n, batch in ((64, 64), (4, 1)):
                gahb.sample(network, 1, SHAPE, batch=1, progress=False, **how)
                network.seconds, network.images = 0.0, 0
                began = network.now()
                gahb.sample(network, n, SHAPE, batch=batch, progress=False, **how)
                total = network.now() - began
                each[n] = total / network.images
                if n == 64:
                    share = network.seconds / total
            print(
                f"  {label}: {100 * share:.1f} % in the network; {1e3 * each[64]:.2f} ms an image and step at once, "
                f"{1e3 * each[4]:.2f} one at a time, ratio {each[4] / each[64]:.2f}"
            )


if __name__ == "__main__":
    main()
