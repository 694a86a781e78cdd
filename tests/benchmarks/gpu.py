"""Kernels and fits on an NVIDIA device: shares of the copy bandwidth, and times beside those of others on the device.

    python tests/benchmarks/gpu.py [--rows 10000000] [--columns 100] [--seconds 390] [--write]

Needs CuPy, a device and what sosolve needs; PyTorch takes part where it is there. One run ends about `--seconds` after
its start: what no longer fits is left out and named, what fails is told in its place, and what hangs is ended. With
--write the tables go to doc/benchmarks/gpu.md, part by part, so that a run which is cut leaves what it has.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("SCIPY_ARRAY_API", "1")
try:
    import array_api_compat  # noqa: F401
    import numba  # noqa: F401
    import sklearn
    import sympy  # noqa: F401
except ImportError as error:
    sys.exit(f"tests/benchmarks/gpu.py needs {error.name}, which is not installed here: pip install {error.name}")

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # an installed sosolve may be another one
sys.path.insert(0, str(Path(__file__).parent))
from gpu_clock import Clock, cell, copy_rate, data, peaks, share, told, verdicts
from gpu_peers import lbfgs_cupy, lbfgs_torch, objective
from machine import describe

try:
    import cupy
except ImportError:
    cupy = None

from sklearn.linear_model import LogisticRegression as SklearnLogistic

from sosolve import LogisticRegression, curve_fit, fit_curves
from sosolve.kernels import device

#: Where the tables go.
PAGE = Path(__file__).resolve().parents[2] / "doc" / "benchmarks" / "gpu.md"
#: Rows of the data on which the device is held against the processor.
AGREEMENT_ROWS = 20_000
#: Curves of a batch, and points of a single one.
BATCHES, POINTS = (100_000, 1_000_000, 10_000_000), 10_000_000
#: Seconds after the limit at which a part is given up, and after that at which the process ends, whatever it waits for.
GRACE, HANGS = 30, 30
#: Most seconds of a peer's fit, runs of a fit, and seconds after which none is added.
PATIENCE, RUNS, ENOUGH = 10.0, 3, 3.0


def kernel_table(clock: Clock) -> list[str]:
    """Return the table of the kernels: milliseconds, and the share of the copy bandwidth that reading X once makes."""
    from sosolve.kernels import cupy_gpu as kernels

    n, d, rate = clock.rows, clock.columns, clock.rate
    text = ["| X | Hessian product | loss, gradient, curvature | moments | diagonal | Gram matrix |", "|" + "---|" * 6]
    cases = [
        ("float32", n, d, "f", "C"),
        ("float64", n // 2, d, "d", "C"),
        ("float32, F order", n, d, "f", "F"),
        ("float32", n // 10, 10 * d, "f", "C"),
    ]
    for name, rows, columns, dtype, order in cases:
        if not clock.has(30, f"kernels {name} {columns}"):
            continue

        def times(name=name, rows=rows, columns=columns, dtype=dtype, order=order) -> str:
            X, y = data(rows, columns, dtype)
            X = cupy.asarray(X, order=order)
            w, zero, one = cupy.full(columns, 0.01), cupy.zeros(columns), cupy.ones(columns)
            b, s, h = cupy.zeros(()), cupy.full(1, 1.0 / rows), cupy.full(rows, 0.25 / rows)
            y = y.astype(cupy.float64)
            calls = [
                lambda: kernels.normal_mv(X, h, w, b),
                lambda: kernels.one_output("logistic", X, y, s, w, b),
                lambda: kernels.moments(X, s, True),
                lambda: kernels.diagonal(X, h[:, None], zero, one),
                lambda: kernels.gram(X, h, zero, one),
            ]
            cells = [cell(lambda call=call: share(Clock.least(call), X.nbytes, rate)) for call in calls]
            clock.shares.append((f"{rows} x {columns}, {name}", *cells[:2]))
            return " | ".join(cells)

        text.append(f"| {rows} x {columns}, {name} | " + cell(times) + " |")
    return text


def softmax_table(clock: Clock) -> list[str]:
    """Return the table of the kernels of several outputs."""
    from sosolve.kernels import cupy_gpu as kernels

    rate = clock.rate
    text = ["| X, classes | Hessian product | loss, gradient, probabilities |", "|" + "---|" * 3]
    for K, rows, dtype in ((3, clock.rows, "f"), (10, clock.rows // 2, "f"), (100, clock.rows // 20, "d")):
        if not clock.has(20, f"softmax {K}"):
            continue

        def times(K=K, rows=rows, dtype=dtype) -> str:
            d = clock.columns
            X, y = data(rows, d, dtype, K)
            P, s, W, B = cupy.full((rows, K), 1.0 / K), cupy.full(1, 1.0 / rows), cupy.full((K, d), 0.01), cupy.zeros(K)
            y = y.astype(cupy.float64)
            calls = [
                lambda: kernels.softmax_normal_mv(X, P, s, W, B),
                lambda: kernels.outputs(X, y, s, W, B, False),
            ]
            return " | ".join(cell(lambda call=call: share(Clock.least(call), X.nbytes, rate)) for call in calls)

        text.append(f"| {rows} x {clock.columns}, {np.dtype(dtype).name}, {K} | " + cell(times) + " |")
    return text


def fit_table(clock: Clock) -> list[str]:
    """Return the table of the fits: seconds and relative gap of each program on each shape."""
    shapes = [
        ("float32", "f", clock.rows, clock.columns, 0.3),
        ("float64", "d", clock.rows // 5, clock.columns, 0.3),
        ("float32, wide", "f", clock.rows // 50, 10 * clock.columns, 0.3),
        ("float32, strongly correlated columns", "f", clock.rows // 5, clock.columns, 3.0),
    ]
    text = [
        "| data | sosolve | scikit-learn, array API | L-BFGS, CuPy | L-BFGS, PyTorch | best other / sosolve |",
        "|" + "---|" * 6,
    ]
    for name, dtype, n, d, correlation in shapes:
        if clock.has(50, f"fits {name}"):
            cells = cell(partial(fit_row, clock, name, dtype, n, d, correlation))
            text.append(f"| {n} x {d}, {name} | " + cells + " |")
    return text


def fit_row(clock: Clock, name: str, dtype: str, n: int, d: int, correlation: float) -> str:
    """Return the cells of one shape."""
    X, y = data(n, d, dtype, correlation=correlation)
    with sklearn.config_context(array_api_dispatch=True):
        LogisticRegression().fit(X[: max(1000, n // 10)], y[: max(1000, n // 10)])  # compile
        exact = LogisticRegression(tol=1e-8).fit(X, y)
        best = objective(X, y, exact.coef_, exact.intercept_, 1.0)
        del exact
        calls = {
            "sosolve": lambda: parts(LogisticRegression().fit(X, y)),
            "scikit-learn": lambda: parts(SklearnLogistic(tol=1e-6, max_iter=1000).fit(X, y)),
        }
        for peer in (lbfgs_cupy, lbfgs_torch):
            calls[peer.__name__] = partial(peer, X, y, 1.0, 1e-7, best, PATIENCE)
        found = {}
        for program, call in calls.items():
            if program == "lbfgs_torch" and importlib.util.find_spec("torch") is None:
                found[program] = "PyTorch is not installed"
            elif program == "sosolve" or clock.has(2 * PATIENCE, f"{program} {name}"):
                found[program] = run(call, X, y, best)
            else:
                found[program] = "left out"
    own, *others = found.values()
    rivals = [other[0] for other in others if isinstance(other, tuple) and other[1] <= 1e-6]
    ratio = min(rivals) / own[0] if isinstance(own, tuple) and rivals else np.nan
    clock.ratios.append((f"{n} x {d}, {name}", ratio))
    cells = [f"{c[0]:.3f} s, gap {c[1]:.1e}" if isinstance(c, tuple) else c for c in found.values()]
    return " | ".join([*cells, f"{ratio:.1f}" if rivals else "nobody else arrived"])


def parts(fitted):
    """Return the coefficients and the intercept."""
    return fitted.coef_, fitted.intercept_


def run(call: Callable[[], tuple], X, y, best: float) -> tuple[float, float] | str:
    """Return the least seconds of a fit and its relative gap, or why it failed."""
    gap: list[float] = []

    def timed() -> str:
        least, spent = np.inf, 0.0
        for _ in range(RUNS):
            seconds, (coef, intercept) = Clock.wall(call)
            least, spent = min(least, seconds), spent + seconds
            if spent > ENOUGH:
                break
        gap[:] = [least, objective(X, y, coef, intercept, 1.0) / best - 1]
        return ""

    return cell(timed) or (gap[0], gap[1])


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
        here = LogisticRegression(tol=1e-12).fit(X, y.astype(int))
        gone = LogisticRegression(tol=1e-12, device="cuda").fit(X, y.astype(int))
        value = abs(gone.result_.value / here.result_.value - 1)
        text.append(f"objective of a fit, {np.dtype(dtype).name}: {value:.1e}")
        gap = np.abs(gone.result_.theta - here.result_.theta).max() / np.abs(here.result_.theta).max()
        text.append(f"its parameters: {gap:.1e}")
        clock.gaps.append((f"parameters of a fit, {np.dtype(dtype).name}", gap))
    return ["Largest relative differences from the processor: " + "; ".join(text) + "."]


def curve_table(clock: Clock) -> list[str]:
    """Return the table of batches of curves: fits a second on the device and on the processor, and their agreement."""
    x = np.linspace(-5.0, 5.0, 50)
    model, p0 = "a*exp(-(x - mu)**2/(2*sigma**2)) + offset", [3.0, 0.0, 1.0, 0.0]
    text = [
        "| fits | data on the device, no covariances | data on the device | data on the host | processor | "
        "largest difference |",
        "|" + "---|" * 6,
    ]
    rows = (m for m in BATCHES if clock.has(20 + m / 2e5, f"{m} curves") and 8 * m * 50 * 6 <= device.memory()[0])
    return [*text, *(f"| {m} | " + cell(partial(curve_row, clock, m, x, model, p0)) + " |" for m in rows)]


def curve_row(clock: Clock, m: int, x: np.ndarray, model: str, p0: list[float]) -> str:
    """Return the cells of one number of curves."""
    y = peaks(m, x)
    fit_curves(model, x, y[:1000], p0=p0, device="cuda")  # compile
    cells, there = [], None
    for points, options in ((y, {"covariance": False}), (y, {}), (y.get(), {})):
        call = partial(fit_curves, model, x, points, p0=p0, device="cuda", **options)
        seconds, there = min((Clock.wall(call) for _ in range(2)), key=lambda pair: pair[0])
        cells.append(f"{m / seconds:.3g} / s")
        clock.curves.append(m / seconds)
    few = y[:AGREEMENT_ROWS].get()
    fit_curves(model, x, few[:100], p0=p0)
    seconds, here = Clock.wall(partial(fit_curves, model, x, few, p0=p0))
    both = here.converged & there.converged[:AGREEMENT_ROWS]
    gap = np.abs(here.params - there.params[:AGREEMENT_ROWS])[both] / here.stderr[both]
    other = int((here.converged != there.converged[:AGREEMENT_ROWS]).sum())
    cells += [f"{AGREEMENT_ROWS / seconds:.3g} / s", f"{gap.max():.1e} standard errors, {other} end otherwise"]
    return " | ".join(cells)


def long_curve(clock: Clock) -> list[str]:
    """Return the seconds of one curve through very many points, on the device and on the processor."""
    if not clock.has(40, "one long curve"):
        return []
    x = np.linspace(-5.0, 5.0, POINTS)
    model, p0 = "a*exp(-(x - mu)**2/(2*sigma**2)) + offset", [3.0, 0.0, 1.0, 0.0]
    y = peaks(1, x)[0]
    curve_fit(model, cupy.asarray(x), y, p0, device="cuda")  # compile
    there, (popt, _) = Clock.wall(lambda: curve_fit(model, cupy.asarray(x), y, p0, device="cuda"))
    few = y.get()[:: max(1, POINTS // 1_000_000)]
    here, _ = Clock.wall(lambda: curve_fit(model, x[:: max(1, POINTS // 1_000_000)], few, p0))
    return [
        f"One curve through {POINTS} points: {there:.3f} s with the data on the device; through {len(few)} points "
        f"{here:.3f} s on the processor. Parameters {', '.join(f'{value:.6g}' for value in popt)}."
    ]


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


def main() -> int:
    """Run the benchmark, print its tables part by part and write them; return the number of parts that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=390.0)
    parser.add_argument("--write", action="store_true", help="write doc/benchmarks/gpu.md")
    options = parser.parse_args()
    try:
        device.require("tests/benchmarks/gpu.py")
    except (ImportError, RuntimeError) as error:
        sys.exit(f"{error}\nNothing was measured, nothing is written.")
    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, options.seconds + GRACE, GRACE)
    last = threading.Timer(min(options.seconds + GRACE + HANGS, threading.TIMEOUT_MAX), _end)
    last.daemon = True
    last.start()
    clock, (free, _) = Clock(options), device.memory()
    clock.rows = int(min(options.rows, free // (16 * options.columns)))
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"].decode()
    clock.rate = copy_rate(min(4 * 2**30, free // 4))
    text = [
        "# GPU",
        "",
        f"{name}, CuPy {cupy.__version__}; {describe()}. A copy on the device moves {clock.rate / 1e12:.2f} TB/s (read "
        "and written).",
    ]
    print("\n".join(text))
    failed = 0
    for title, intro, part in PARTS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = part(clock)
        except Exception as error:
            found = [told(error)]
        failed += any("failed: " in line for line in found)
        lines = ["", f"## {title}", "", *([intro, ""] if intro else []), *found]
        print("\n".join(lines), flush=True)
        text += lines
        if clock.left_out and part is PARTS[-1][2]:
            text += ["", "Left out for want of time: " + ", ".join(clock.left_out) + "."]
            print(text[-1])
        if options.write:
            PAGE.write_text("\n".join(text) + "\n")
        with contextlib.suppress(Exception):
            cupy.get_default_memory_pool().free_all_blocks()
    signal.setitimer(signal.ITIMER_REAL, 0)
    last.cancel()
    return failed


def _give_up(*_) -> None:
    raise TimeoutError("the benchmark's time is over")


def _end() -> None:
    """End a process that waits for the device in a call which no signal interrupts."""
    print("The device does not answer: given up.", file=sys.stderr, flush=True)
    os._exit(2)


PARTS = (
    ("Agreement with the processor", "", agreement),
    (
        "Kernels",
        "Milliseconds, least of 7; in brackets the bytes of X by that time, as a share of the copy's rate.",
        kernel_table,
    ),
    (
        "Fits",
        f"Seconds with X on the device, compiled before, least of up to {RUNS}; the relative gap to the best objective "
        "in double precision. L-BFGS stops at a gap of 1e-7, of which it is told the optimum, or after "
        f"{PATIENCE:.0f} s. Who ends above 1e-6 does not count as the best other.",
        fit_table,
    ),
    (
        "Batches of curves",
        "A Gaussian peak on a constant: 4 parameters, 50 points, one start for all, results on the host; compiled "
        f"before, better of 2. The processor fits {AGREEMENT_ROWS} of them.",
        curve_table,
    ),
    ("One long curve", "", long_curve),
    ("Several classes", "As for the kernels above.", softmax_table),
    ("Transfers", "", transfers),
    ("Targets", "", verdicts),
)

if __name__ == "__main__":
    sys.exit(1 if main() else 0)
