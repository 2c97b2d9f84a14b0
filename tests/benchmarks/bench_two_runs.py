"""Two chapters at a time on two cores, against each of them alone with one thread.

    python tests/benchmarks/bench_two_runs.py

Threads that spin while they wait made two runs more than nine times slower than
one; `gahb rerun` lets them sleep (gahb/_threads.py). Goal: each of two takes at
most 1.3 times as long as alone. The machine must have nothing else to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GAHB = [sys.executable, "-m", "gahb.cli"]
RUNS = (
    ("transition", [*GAHB, "rerun", "transition", "--profile", "smoke", "--quiet"]),
    ("harmonic_bases", [*GAHB, "rerun", "harmonic_bases", "--profile", "smoke", "--quiet"]),
)
GOAL = 1.3


def main() -> None:
    alone = {name: seconds([(name, command)], OMP_NUM_THREADS="1")[name] for name, command in RUNS}
    together = seconds(RUNS)
    for name, _ in RUNS:
        ratio = together[name] / alone[name]
        print(f"{name:<16} alone {alone[name]:6.1f} s   of two {together[name]:6.1f} s   ratio {ratio:.2f}"
              f"   (goal {GOAL})")  # fmt: skip


def seconds(runs, **variables: str) -> dict[str, float]:
    """How long each of these commands takes, started together; nothing is set that `gahb` sets itself."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        running = {
            name: subprocess.Popen(command, cwd=folder, env={**environment, **variables, "GAHB_ROOT": str(ROOT)})
            for name, command in runs
        }
        while len(found) < len(running):
            for name, process in running.items():
                if name not in found and process.poll() is not None:
                    if process.returncode:
                        raise SystemExit(f"{name} ended with {process.returncode}")
                    found[name] = time.perf_counter() - began
            time.sleep(0.02)
    return found


if __name__ == "__main__":
    main()
