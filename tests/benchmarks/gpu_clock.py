"""What the benchmark on a device measures with and on: its clock and its data, and what its tables are made of."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from collections.abc import Callable

import numpy as np

try:
    import cupy
except ImportError:
    cupy = None

START = time.perf_counter()


class Clock:
    """The size of the data, the time that is left, and seconds on the device by its own clock."""

    def __init__(self, options: argparse.Namespace):
        self.limit, self.left_out = options.seconds, []
        self.rows, self.columns, self.rate = options.rows, options.columns, np.nan
        self.shares, self.ratios, self.curves, self.gaps = [], [], [], []  # what the targets ask for

    def has(self, seconds: float, what: str) -> bool:
        """Return whether that many seconds are left; note what is left out where not."""
        enough = time.perf_counter() - START + seconds < self.limit
        if not enough:
            self.left_out.append(what)
        return enough

    @staticmethod
    def least(call: Callable[[], object], rounds: int = 7) -> float:
        """Return the least seconds of a call, by events on its stream, after two calls to compile and to warm it up."""
        call()
        call()
        found = np.inf
        for _ in range(rounds):
            begin, end = cupy.cuda.Event(), cupy.cuda.Event()
            begin.record()
            call()
            end.record()
            end.synchronize()
            found = min(found, cupy.cuda.get_elapsed_time(begin, end) / 1e3)
        return found

    @staticmethod
    def wall(call: Callable[[], object]) -> tuple[float, object]:
        """Return the seconds of a call by the host's clock, the device's work included, and its result."""
        cupy.cuda.Device().synchronize()
        clock = time.perf_counter()
        found = call()
        cupy.cuda.Device().synchronize()
        return time.perf_counter() - clock, found


def told(error: BaseException) -> str:
    """Return an error as a cell of a table; its traceback goes to the standard error stream."""
    traceback.print_exc(file=sys.stderr)
    words = " ".join(str(error).split())[:120].replace("|", "/")
    return f"failed: {type(error).__name__}: {words}"


def cell(call: Callable[[], str]) -> str:
    """Return what a call has to say, or why it failed: one failure must not cost the others."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()
    except Exception as error:
        return told(error)
    finally:
        cupy.get_default_memory_pool().free_all_blocks()


def copy_rate(size: int) -> float:
    """Return the bytes a second of a copy on the device, read and written bytes counted."""
    a = cupy.zeros(size // 8)
    b = cupy.empty_like(a)
    return 2 * a.nbytes / Clock.least(lambda: cupy.copyto(b, a))


def data(n: int, d: int, dtype, K: int = 1, correlation: float = 0.3):
    """Return X and y of a logistic (or softmax) model, made on the device by the recipe of shapes.py."""
    rng = cupy.random.default_rng(0)
    X = cupy.empty((n, d), dtype=dtype)
    z = cupy.empty((n, K))
    mix = cupy.eye(d) + correlation * rng.standard_normal((d, d)) / np.sqrt(d)
    w, mix = 2.0 * rng.standard_normal((d, K)) / np.sqrt(d), mix.astype(cupy.float32)
    for k in range(0, n, 1_000_000):
        block = rng.standard_normal((min(k + 1_000_000, n) - k, d), dtype=cupy.float32) @ mix
        X[k : k + 1_000_000] = block
        z[k : k + 1_000_000] = block @ w.astype(cupy.float32)
    u = rng.random((n, K))
    y = (z[:, 0] + cupy.log(u[:, 0] / (1 - u[:, 0])) > 0) if K == 1 else cupy.argmax(z - cupy.log(-cupy.log(u)), axis=1)
    return X, y.astype(cupy.int64)


def share(seconds: float, size: int, rate: float) -> str:
    """Return milliseconds, and the share of the copy's rate."""
    return f"{1e3 * seconds:.2f} ({size / seconds / rate:.0%})"


def peaks(m: int, x: np.ndarray):
    """Return m noisy Gaussian peaks on a constant, made on the device."""
    rng = cupy.random.default_rng(0)
    x, low, high = cupy.asarray(x), (1.0, -1.5, 0.5, -1.0), (5.0, 1.5, 1.5, 1.0)
    a, mu, sigma, offset = (s + (e - s) * rng.random((m, 1)) for s, e in zip(low, high, strict=True))
    return a * cupy.exp(-((x - mu) ** 2) / (2 * sigma**2)) + offset + 0.1 * rng.standard_normal((m, len(x)))


def verdicts(clock: Clock) -> list[str]:
    """Return what was aimed at beside what was found."""
    rows = [
        (f"a pass over X, {what}: 70 % of the copy's rate", f"product {product}, loss {loss}")
        for what, product, loss in clock.shares[:1]
    ]
    rows += [
        (f"a fit, {what}: 5 times the best other", f"{ratio:.1f} times" if ratio == ratio else "nobody else arrived")
        for what, ratio in clock.ratios
    ]
    if clock.curves:
        rows.append(("curves of 4 parameters and 50 points: 1e7 / s", f"{max(clock.curves):.3g} / s"))
    rows += [(f"{what}: 1e-9 from the processor's", f"{gap:.1e}") for what, gap in clock.gaps if "float64" in what]
    return ["| target | found |", "|---|---|", *(f"| {target} | {found} |" for target, found in rows)]
