"""Each pass over X beside NumPy's matrix-vector product on the same data, in one run.

    python tests/benchmarks/kernels.py [--rows 500000] [--columns 50] [--write]

The ratio to `X @ w`, which reads X once, says how near a kernel is to the limit of the memory. With --write the
table goes to doc/benchmarks/kernels.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe

from sosolve.kernels import numba_cpu as kernels


def least(calls: dict, rounds: int) -> dict[str, float]:
    """Return the least seconds of each call; each is run alone after a pause, so that no other's threads spin."""
    found = dict.fromkeys(calls, np.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(0.2)
            for _ in range(5):
                clock = time.perf_counter()
                call()
                found[name] = min(found[name], time.perf_counter() - clock)
    return found


def main() -> None:
    """Run the benchmark and print (and write) its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--write", action="store_true", help="write doc/benchmarks/kernels.md")
    options = parser.parse_args()
    n, d = options.rows, options.columns
    text = [
        "# Kernels",
        "",
        f"{describe()}; X of {n} x {d}. Least of {5 * options.rounds} runs, milliseconds; in brackets the ratio to "
        "`X @ w`.",
        "",
        "| X | `X @ w` | Hessian product | loss, gradient and curvature | moments | diagonal | Gram matrix |",
        "|---|---|---|---|---|---|---|",
    ]
    for dtype in (np.float64, np.float32):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n, d)).astype(dtype)
        w, s, h = rng.standard_normal(d) / 10, np.array([1.0 / n]), np.full(n, 0.25 / n)
        y, one, zero = (rng.random(n) < 0.5) * 1.0, np.ones(d), np.zeros(d)
        v = w.astype(dtype)
        calls = {
            "gemv": lambda X=X, v=v: X @ v,
            "mv": lambda X=X, w=w, h=h: kernels.normal_mv(X, h, w, 0.1),
            "fused": lambda X=X, w=w, y=y, s=s: kernels.logistic_linear(X, y, s, w, 0.1),
            "moments": lambda X=X, s=s: kernels.moments(X, s, True),
            "diagonal": lambda X=X, h=h, zero=zero, one=one: kernels.diagonal(X, h[:, None], zero, one),
            "gram": lambda X=X, h=h, zero=zero, one=one: kernels.gram(X, h, zero, one),
        }
        for call in calls.values():
            call()
        found = least(calls, options.rounds)
        base = found.pop("gemv")
        cells = [f"{1e3 * t:.2f} ({t / base:.2f})" for t in found.values()]
        text.append(f"| {np.dtype(dtype).name} | {1e3 * base:.2f} | " + " | ".join(cells) + " |")
    print("\n".join(text))
    if options.write:
        (Path(__file__).resolve().parents[2] / "doc" / "benchmarks" / "kernels.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
