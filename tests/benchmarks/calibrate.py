"""Measure the constants of the cost model behind solver="auto" on this machine, beside those in the code.

    python tests/benchmarks/calibrate.py

Least times of many runs. The constants in `sosolve/estimators/auto.py` are ratios, which vary less between machines
than seconds do; a factor of two in one of them moves few choices (`regret.py` says which).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe

from sosolve.estimators import auto
from sosolve.kernels import numba_cpu, reference
from sosolve.objectives import L2, DataTerm, LinearModel, LogisticLoss, SoftmaxLoss, Sum
from sosolve.solvers.subproblem import shifted_inverse


def least(call, runs: int = 15) -> float:
    """Return the least seconds of a call."""
    call()
    times = []
    for _ in range(runs):
        clock = time.perf_counter()
        call()
        times.append(time.perf_counter() - clock)
    return min(times)


def evaluation(X: np.ndarray, K: int = 1):
    """Return a function of no arguments that evaluates an objective of K outputs and its gradient on these data."""
    s = np.array([1.0 / len(X)])
    model = LinearModel.standardised(X, s, 0.1, K)
    loss = LogisticLoss() if K == 1 else SoftmaxLoss(K)
    y = np.arange(len(X)) % max(K, 2) * 1.0
    objective = Sum([DataTerm(model, loss, y, s), L2(model.strengths(0.1))])
    theta = np.full(model.size, 0.1)
    return lambda: objective.at(theta).grad


def measure() -> dict[str, float]:
    """Return the constants of `auto` as measured here."""
    rng = np.random.default_rng(0)
    n, d = 200_000, 50
    X, w = rng.standard_normal((n, d)), rng.standard_normal(d) / 10
    h = np.full(n, 0.25 / n)
    read = least(lambda: numba_cpu.normal_mv(X, h, w, 0.1)) / X.size
    wide = rng.standard_normal((4_000, 400))
    weights = np.full(4_000, 1.0 / 4_000)
    ones, zeros = np.ones(400), np.zeros(400)
    product = least(lambda: numba_cpu.gram(wide, weights, zeros, ones)) / (4_000 * 400**2)
    H = wide.T @ wide
    factor = least(lambda: shifted_inverse(H)) / (400**3 / 3)
    call = least(evaluation(rng.standard_normal((50, 4))), 200)
    softmax = least(evaluation(X[:, :4].copy(), 5)) / (5 * n)
    small = rng.standard_normal((1_000, 100))
    sh, sw = np.full(1_000, 1e-3), w[:1].repeat(100)
    plain = least(lambda: reference.normal_mv(small, sh, sw, 0.1), 200) / small.size
    return {
        "seconds to read an entry in a pass": read,
        "the same in plain array code": plain,
        "seconds of a multiply-add of a Gram matrix": product,
        "seconds of a multiply-add of a factorisation": factor,
        "seconds of the calls of one pass": call,
        "PRODUCT_PER_READ": read / product,
        "CALL_READS": call / read,
        "OUTPUT_READS": softmax / read - 4.0,
    }


def main() -> None:
    """Print the constants."""
    print(describe())
    for name, value in measure().items():
        known = getattr(auto, name, None)
        print(f"{name:48s} {value:10.3g}" + (f"   in the code: {known:g}" if known is not None else ""))


if __name__ == "__main__":
    main()
