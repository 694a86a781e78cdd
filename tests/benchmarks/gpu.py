"""Kernels and fits on an NVIDIA device: shares of the copy bandwidth, and times beside those of others on the device.

    python tests/benchmarks/gpu.py [--rows 10000000] [--columns 100] [--seconds 420] [--write]

Needs CuPy; scikit-learn's array-API path, PyTorch and the CPU comparison take part where they can. One run stays below
`--seconds`: what no longer fits is left out and named. With --write the tables go to doc/benchmarks/gpu.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("SCIPY_ARRAY_API", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe

try:
    import cupy
except ImportError:
    cupy = None

import sklearn
from sklearn.linear_model import LogisticRegression as SklearnLogistic

from sosolve import LogisticRegression, fit_curves
from sosolve.kernels import device

START = time.perf_counter()
#: Rows of the data on which the device is held against the processor.
AGREEMENT_ROWS = 20_000
#: Curves of a batch.
BATCHES = (100_000, 1_000_000, 10_000_000)


class Clock:
    """The time that is left, and seconds on the device by its own clock."""

    def __init__(self, limit: float):
        self.limit, self.left_out = limit, []

    def has(self, seconds: float, what: str) -> bool:
        """Return whether that many seconds are left; note what is left out where not."""
        enough = time.perf_counter() - START + seconds < self.limit
        if not enough:
            self.left_out.append(what)
        return enough

    @staticmethod
    def least(call: Callable[[], object], rounds: int = 7) -> float:
        """Return the least seconds of a call, by events on its stream, after one call to compile it."""
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


def copy_rate(size: int) -> float:
    """Return the bytes a second of a copy on the device, read and written bytes counted."""
    a = cupy.zeros(size // 8)
    b = cupy.empty_like(a)
    return 2 * a.nbytes / Clock.least(lambda: cupy.copyto(b, a))


def data(n: int, d: int, dtype, K: int = 1):
    """Return X and y of a logistic (or softmax) model, made on the device."""
    rng = cupy.random.default_rng(0)
    X = cupy.empty((n, d), dtype=dtype)
    z = cupy.empty((n, K))
    w = rng.standard_normal((d, K)) / np.sqrt(d)
    for k in range(0, n, 1_000_000):
        block = rng.standard_normal((min(k + 1_000_000, n) - k, d), dtype=cupy.float32)
        X[k : k + 1_000_000] = block
        z[k : k + 1_000_000] = block @ w.astype(cupy.float32)
    u = rng.random((n, K))
    y = (z[:, 0] + cupy.log(u[:, 0] / (1 - u[:, 0])) > 0) if K == 1 else cupy.argmax(z - cupy.log(-cupy.log(u)), axis=1)
    return X, y.astype(cupy.int64)


def kernel_table(options, clock: Clock, rate: float) -> list[str]:
    """Return the table of the kernels: milliseconds, and the share of the copy bandwidth that reading X once makes."""
    from sosolve.kernels import cupy_gpu as kernels

    n, d = options.rows, options.columns
    text = ["| X | Hessian product | loss, gradient, curvature | moments | diagonal | Gram matrix |", "|" + "---|" * 6]
    for name, dtype, order in (("float32", "f", "C"), ("float64", "d", "C"), ("float32, F order", "f", "F")):
        rows = n if dtype == "f" else n // 2
        if not clock.has(30, f"kernels {name}"):
            continue
        X, y = data(rows, d, dtype)
        X = cupy.asarray(X, order=order)
        w, zero, one = cupy.full(d, 0.01), cupy.zeros(d), cupy.ones(d)
        b, s, h, y = cupy.zeros(()), cupy.full(1, 1.0 / rows), cupy.full(rows, 0.25 / rows), y.astype(cupy.float64)
        calls = [
            lambda X=X, h=h, w=w, b=b: kernels.normal_mv(X, h, w, b),
            lambda X=X, y=y, s=s, w=w, b=b: kernels.one_output("logistic", X, y, s, w, b),
            lambda X=X, s=s: kernels.moments(X, s, True),
            lambda X=X, h=h, zero=zero, one=one: kernels.diagonal(X, h[:, None], zero, one),
            lambda X=X, h=h, zero=zero, one=one: kernels.gram(X, h, zero, one),
        ]
        cells = [f"{1e3 * t:.2f} ({X.nbytes / t / rate:.0%})" for t in (clock.least(call) for call in calls)]
        text.append(f"| {rows} x {d}, {name} | " + " | ".join(cells) + " |")
        del X, calls
        cupy.get_default_memory_pool().free_all_blocks()
    return text


def objective(X, y, coef, intercept, C: float) -> float:
    """Return the objective of two classes, in double precision on the device."""
    total = 0.0
    coef, intercept = cupy.asarray(coef, dtype=cupy.float64).ravel(), float(np.asarray(_host(intercept)).ravel()[0])
    for k in range(0, X.shape[0], 1_000_000):
        z = X[k : k + 1_000_000].astype(cupy.float64) @ coef + intercept
        total += float(cupy.sum(cupy.logaddexp(0.0, z) - y[k : k + 1_000_000] * z))
    return C * total + 0.5 * float(coef @ coef)


def _host(a):
    return a.get() if hasattr(a, "get") else a


def lbfgs_cupy(X, y, C: float, gap: float, best: float, limit: float):
    """Return (coef, intercept) of L-BFGS (memory 10, Armijo) on mean loss with plain CuPy, until the gap is reached."""
    n, d = X.shape
    y = y.astype(X.dtype)

    def both(theta):
        z = X @ theta[:d].astype(X.dtype) + theta[d].astype(X.dtype)
        p = 1 / (1 + cupy.exp(-z))
        value = float(cupy.logaddexp(0, z).sum(dtype=cupy.float64) - (y * z).sum(dtype=cupy.float64)) / n
        w = theta[:d]
        g = cupy.concatenate([(X.T @ (p - y)).astype(cupy.float64), (p - y).sum(dtype=cupy.float64)[None]]) / n
        g[:d] += w / (C * n)
        return value + 0.5 * float(w @ w) / (C * n), g

    theta, pairs = cupy.zeros(d + 1), []
    value, g = both(theta)
    clock = time.perf_counter()
    while value * n * C > best * (1 + gap) and time.perf_counter() - clock < limit:
        q, back = g.copy(), []
        for s, r in reversed(pairs):
            back.append(float(s @ q) / float(s @ r))
            q = q - back[-1] * r
        if pairs:
            s, r = pairs[-1]
            q = q * (float(s @ r) / float(r @ r))
        for (s, r), weight in zip(pairs, reversed(back), strict=True):
            q = q + (weight - float(r @ q) / float(s @ r)) * s
        t, slope = 1.0 if pairs else min(1.0, 1.0 / float(cupy.abs(g).sum())), -float(g @ q)
        while True:
            trial, gradient = both(theta - t * q)
            if trial <= value + 1e-4 * t * slope or t < 1e-10:
                break
            t *= 0.5
        pair = (-t * q, gradient - g)
        if float(pair[0] @ pair[1]) > 0:
            pairs = [*pairs, pair][-10:]
        theta, value, g = theta - t * q, trial, gradient
    return theta[:d], theta[d]


def lbfgs_torch(X, y, C: float, gap: float, best: float, limit: float):
    """Return (coef, intercept) of torch.optim.LBFGS with its strong Wolfe search on the same memory."""
    import torch

    n, d = X.shape
    A, b = torch.from_dlpack(X), torch.from_dlpack(y).to(torch.float32 if X.dtype == cupy.float32 else torch.float64)
    theta = torch.zeros(d + 1, dtype=torch.float64, device=A.device, requires_grad=True)
    solver = torch.optim.LBFGS([theta], history_size=10, max_iter=20, line_search_fn="strong_wolfe")
    loss = torch.nn.BCEWithLogitsLoss()

    def closure():
        solver.zero_grad()
        z = A @ theta[:d].to(A.dtype) + theta[d].to(A.dtype)
        value = loss(z, b).to(torch.float64) + 0.5 * (theta[:d] ** 2).sum() / (C * n)
        value.backward()
        return value

    clock, before = time.perf_counter(), np.inf
    while time.perf_counter() - clock < limit:
        value = float(solver.step(closure)) * n * C
        if value <= best * (1 + gap) or value >= before:
            break
        before = value
    found = cupy.from_dlpack(theta.detach())
    return found[:d], found[d]


def fit_table(options, clock: Clock) -> list[str]:
    """Return the table of the fits: seconds and relative gap of each program on each shape."""
    shapes = [
        ("float32", "f", options.rows, options.columns),
        ("float64", "d", options.rows // 5, options.columns),
        ("float32, wide", "f", options.rows // 50, 10 * options.columns),
    ]
    text = ["| data | sosolve | scikit-learn, array API | L-BFGS, CuPy | L-BFGS, PyTorch |", "|" + "---|" * 5]
    for name, dtype, n, d in shapes:
        if not clock.has(60, f"fits {name}"):
            continue
        X, y = data(n, d, dtype)
        with sklearn.config_context(array_api_dispatch=True):
            LogisticRegression().fit(X[: n // 10], y[: n // 10])  # compile
            exact = LogisticRegression(tol=1e-8).fit(X, y)
            best = objective(X, y, exact.coef_, exact.intercept_, 1.0)
            cells = [run(lambda X=X, y=y: parts(LogisticRegression().fit(X, y)), X, y, 1.0, best)]
            cells.append(
                run(lambda X=X, y=y: parts(SklearnLogistic(tol=1e-6, max_iter=1000).fit(X, y)), X, y, 1.0, best)
            )
        for peer in (lbfgs_cupy, lbfgs_torch):
            if clock.has(45, f"{peer.__name__} {name}"):
                cells.append(run(lambda peer=peer, X=X, y=y, b=best: peer(X, y, 1.0, 1e-7, b, 40.0), X, y, 1.0, best))
            else:
                cells.append("left out")
        text.append(f"| {n} x {d}, {name} | " + " | ".join(cells) + " |")
        del X, y
        cupy.get_default_memory_pool().free_all_blocks()
    return text


def parts(fitted):
    """Return the coefficients and the intercept."""
    return fitted.coef_, fitted.intercept_


def run(call: Callable[[], tuple], X, y, C: float, best: float) -> str:
    """Return the seconds of a fit and its relative gap, or why it failed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds, (coef, intercept) = Clock.wall(call)
    except Exception as error:  # a peer that does not run here is part of the result
        return f"failed: {type(error).__name__}"
    return f"{seconds:.3f} s, gap {objective(X, y, coef, intercept, C) / best - 1:.1e}"


def agreement(clock: Clock) -> list[str]:
    """Return the largest relative difference between results of the device and of the processor."""
    from sosolve.kernels import cupy_gpu, reference

    rng = np.random.default_rng(0)
    text = []
    for dtype in (np.float32, np.float64):
        X, w, h = (
            rng.standard_normal((AGREEMENT_ROWS, 50)).astype(dtype),
            rng.standard_normal(50) / 7,
            rng.random(AGREEMENT_ROWS),
        )
        y, s = (rng.random(AGREEMENT_ROWS) < 0.5) * 1.0, np.full(1, 1 / AGREEMENT_ROWS)
        for order in "CF":
            there = [cupy.asarray(a) for a in (h, w, y, s)]
            A = cupy.asarray(X, order=order)
            pairs = [
                (cupy_gpu.normal_mv(A, there[0], there[1], 0.1)[0], reference.normal_mv(X, h, w, 0.1)[0]),
                (
                    cupy_gpu.logistic_linear(A, *there[2:], there[1], 0.1)[3],
                    reference.logistic_linear(X, y, s, w, 0.1)[3],
                ),
                (
                    cupy_gpu.gram(A, there[0], 0 * there[1], 1 + 0 * there[1])[0],
                    reference.gram(X, h, 0 * w, 1 + 0 * w)[0],
                ),
            ]
            worst = max(float(np.abs(a.get() - b).max() / np.abs(b).max()) for a, b in pairs)
            text.append(f"kernels, {np.dtype(dtype).name}, {order} order: {worst:.1e}")
        here = LogisticRegression(tol=1e-9).fit(X, y.astype(int))
        gone = LogisticRegression(tol=1e-9, device="cuda").fit(X, y.astype(int))
        value = abs(gone.result_.value / here.result_.value - 1)
        text.append(f"objective of a fit, {np.dtype(dtype).name}: {value:.1e}")
    return ["Largest relative differences from the processor: " + "; ".join(text) + "."]


def curve_table(clock: Clock) -> list[str]:
    """Return the table of batches of curves: fits a second on the device and on the processor, and their agreement."""
    x = np.linspace(-5.0, 5.0, 50)
    model, p0 = "a*exp(-(x - mu)**2/(2*sigma**2)) + offset", [3.0, 0.0, 1.0, 0.0]
    text = ["| fits | data on the device | data on the host | processor | largest difference |", "|" + "---|" * 5]
    for m in BATCHES:
        if not clock.has(20 + m / 2e5, f"{m} curves") or 8 * m * 50 * 6 > device.memory()[0]:
            continue
        y = peaks(m, x)
        fit_curves(model, x, y[:1000], p0=p0, device="cuda")  # compile
        cells, there = [], None
        for data in (y, y.get()):
            seconds, there = Clock.wall(lambda data=data: fit_curves(model, x, data, p0=p0, device="cuda"))
            cells.append(f"{m / seconds:.3g} / s")
        few = y[:AGREEMENT_ROWS].get()
        fit_curves(model, x, few[:100], p0=p0)
        seconds, here = Clock.wall(lambda few=few: fit_curves(model, x, few, p0=p0))
        both = here.converged & there.converged[:AGREEMENT_ROWS]
        gap = np.abs(here.params - there.params[:AGREEMENT_ROWS])[both] / here.stderr[both]
        other = int((here.converged != there.converged[:AGREEMENT_ROWS]).sum())
        cells += [f"{AGREEMENT_ROWS / seconds:.3g} / s", f"{gap.max():.1e} standard errors, {other} end otherwise"]
        text.append(f"| {m} | " + " | ".join(cells) + " |")
        del y, there
        cupy.get_default_memory_pool().free_all_blocks()
    return text


def peaks(m: int, x: np.ndarray):
    """Return m noisy Gaussian peaks on a constant, made on the device."""
    rng = cupy.random.default_rng(0)
    x, low, high = cupy.asarray(x), (1.0, -1.5, 0.5, -1.0), (5.0, 1.5, 1.5, 1.0)
    a, mu, sigma, offset = (s + (e - s) * rng.random((m, 1)) for s, e in zip(low, high, strict=True))
    return a * cupy.exp(-((x - mu) ** 2) / (2 * sigma**2)) + offset + 0.1 * rng.standard_normal((m, len(x)))


def transfers(clock: Clock) -> list[str]:
    """Return the seconds of a fit from host memory, whole and streamed."""
    from sosolve.kernels import cupy_stream
    from sosolve.kernels.streamed import StreamedRows, to_device

    if not clock.has(40, "transfers"):
        return []
    X = np.random.default_rng(0).standard_normal((4_000_000, 64), dtype=np.float32)
    moved, _ = Clock.wall(lambda: to_device(X))
    streamed, h, w, b = StreamedRows(X), cupy.full(len(X), 1e-7), cupy.full(64, 0.01), cupy.zeros(())
    passed = min(Clock.wall(lambda: cupy_stream.normal_mv(streamed, h, w, b))[0] for _ in range(3))
    rates = [X.nbytes / seconds / 1e9 for seconds in (moved, passed)]
    return [f"From host memory: {rates[0]:.1f} GB/s to the device, {rates[1]:.1f} GB/s in a streamed pass."]


def main() -> None:
    """Run the benchmark and print (and write) its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=420.0)
    parser.add_argument("--write", action="store_true", help="write doc/benchmarks/gpu.md")
    options = parser.parse_args()
    device.require("tests/benchmarks/gpu.py")
    clock = Clock(options.seconds)
    free, _ = device.memory()
    options.rows = int(min(options.rows, free // (16 * options.columns)))
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"].decode()
    rate = copy_rate(min(2 * 2**30, free // 4))
    text = [
        "# GPU",
        "",
        f"{name}, CuPy {cupy.__version__}; {describe()}. A copy on the device moves {rate / 1e12:.2f} TB/s (read and "
        "written).",
        "",
        "## Kernels",
        "",
        "Milliseconds, least of 7; in brackets the bytes of X by that time, as a share of the copy's rate.",
        "",
        *kernel_table(options, clock, rate),
        "",
        "## Fits",
        "",
        "Seconds with X on the device, compiled before; the relative gap to the best objective, computed in double "
        "precision. L-BFGS stops at a gap of 1e-7, or after 40 s.",
        "",
        *fit_table(options, clock),
        "",
        "## Batches of curves",
        "",
        "A Gaussian peak on a constant: 4 parameters, 50 points, one start for all, results on the host; compiled "
        f"before. The processor fits {AGREEMENT_ROWS} of them.",
        "",
        *curve_table(clock),
        "",
        *agreement(clock),
        "",
        *transfers(clock),
    ]
    if clock.left_out:
        text += ["", "Left out for want of time: " + ", ".join(clock.left_out) + "."]
    print("\n".join(text))
    if options.write:
        (Path(__file__).resolve().parents[2] / "doc" / "benchmarks" / "gpu.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
