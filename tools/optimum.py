"""Compute what the optimal denoiser of C^α images answers on fixed noisy images; stop and go on at any time.

    python tools/optimum.py --minutes 60 --sizes 32 --alphas 1 2 3 4
"""

import argparse
from pathlib import Path

import torch

from gahb.book.optimum import ALPHAS, COUNT, SIZES, Question, compute


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="stop after this time; default: when all is done")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="pixels along a side (%(default)s)")
    parser.add_argument("--alphas", type=float, nargs="+", default=ALPHAS, help="regularities (%(default)s)")
    parser.add_argument("--count", type=int, default=COUNT, help="images up to this number (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to (default: notebooks/optimum of the clone)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    questions = [Question(size, alpha) for size in arguments.sizes for alpha in arguments.alphas]
    left = compute(questions, minutes=arguments.minutes, folder=arguments.folder, count=arguments.count)
    print(f"{left} answers are left")


if __name__ == "__main__":
    main()
