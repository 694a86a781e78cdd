"""Time to a given relative gap: sosolve beside its peers, on twelve shapes, in one run.

    python tests/benchmarks/logistic.py [--cases "tall;mid"] [--size 1.0] [--repeats 3] [--write]

Every solver is run along a ladder of its own tolerances; a run counts for a gap when the objective, recomputed here
in double precision, is within it. Runs of different solvers are interleaved and the median is taken, so that only
ratios within one run are read. With --write the table goes to doc/benchmarks/logistic.md.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe
from shapes import SHAPES

from sosolve import LogisticRegression

GAPS = (1e-3, 1e-5, 1e-7, 1e-9)
#: Seconds after which a solver climbs no further on its ladder of tolerances.
PATIENCE = 20.0


def objective(X, y, coef: np.ndarray, intercept: np.ndarray, C: float) -> float:
    """Return C sum loss + |W|^2 / 2 in float64."""
    coef, total = coef.astype(np.float64), 0.0
    rows = 20_000 if coef.shape[0] == 1 else 5_000
    for start in range(0, X.shape[0], rows):
        block = X[start : start + rows]
        z = np.asarray((block if sp.issparse(block) else block.astype(np.float64)) @ coef.T) + intercept
        part = y[start : start + rows]
        if z.shape[1] == 1:
            total += np.sum(np.logaddexp(0.0, np.where(part == 1, -z[:, 0], z[:, 0])))
        else:
            top = z.max(axis=1)
            logs = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top
            total += np.sum(logs - z[np.arange(len(part)), part])
    return C * float(total) + 0.5 * float(np.sum(coef**2))


def _sklearn(solver: str) -> Callable:
    def fit(X, y, C, tol):
        return SklearnLogisticRegression(solver=solver, C=C, tol=tol, max_iter=3000).fit(X, y)

    return fit


def _sosolve(solver: str) -> Callable:
    def fit(X, y, C, tol):
        return LogisticRegression(solver=solver, C=C, tol=tol, max_iter=1000).fit(X, y)

    return fit


#: name -> (fit, tolerances from loose to tight, whether it may run on this shape)
SKLEARN_TOLS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
SOSOLVE_TOLS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)


def _adapters(X, K: int) -> dict[str, tuple[Callable, tuple[float, ...]]]:
    """Return the solvers that can run on data of this shape."""
    d = X.shape[1]
    found = {"sosolve": (_sosolve("auto"), SOSOLVE_TOLS)}
    found["sklearn lbfgs"] = (_sklearn("lbfgs"), SKLEARN_TOLS)
    found["sklearn newton-cg"] = (_sklearn("newton-cg"), SKLEARN_TOLS)
    if K * d <= 3_000:
        found["sklearn newton-cholesky"] = (_sklearn("newton-cholesky"), SKLEARN_TOLS)
    return found


def climb(fit: Callable, X, y, C: float, tols: tuple[float, ...], best: float, repeats: int) -> dict[float, tuple]:
    """Return {gap: (median seconds, passes or nan)} with the loosest tolerance that reaches each gap."""
    found: dict[float, tuple] = {}
    for tol in tols:
        times, started = [], time.perf_counter()
        for _ in range(repeats):
            clock = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model = fit(X, y, C, tol)
            times.append(time.perf_counter() - clock)
            if time.perf_counter() - started > PATIENCE:
                break
        gap = objective(X, y, model.coef_, model.intercept_, C) / best - 1.0
        passes = model.result_.counts.n_passes if hasattr(model, "result_") else float("nan")
        for target in GAPS:
            if gap <= target and target not in found:
                found[target] = (float(np.median(times)), passes, gap)
        if len(found) == len(GAPS) or time.perf_counter() - started > PATIENCE:
            break
    return found


def bandwidth() -> float:
    """Return bytes per second of reading a large array (NumPy's matrix-vector product)."""
    A, v = np.ones((200_000, 100)), np.ones(100)
    times = []
    for _ in range(7):
        clock = time.perf_counter()
        A @ v
        times.append(time.perf_counter() - clock)
    return A.nbytes / min(times)


def run_case(name: str, size: float, repeats: int) -> dict[str, dict[float, tuple]]:
    """Return the times of every solver on one shape."""
    shape = SHAPES[name]
    X, y = shape.make(size)
    y = np.unique(y, return_inverse=True)[1]
    K = len(np.unique(y))
    best = np.inf
    for solver in ("newton-cg", "lbfgs"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            tight = LogisticRegression(solver=solver, C=shape.C, tol=1e-6, max_iter=500).fit(X, y)
        best = min(best, objective(X, y, tight.coef_.astype(np.float64), tight.intercept_, shape.C))
    if X.dtype == np.float32:  # coefficients come back in single precision: compare in that precision
        best *= 1.0 + 1e-12
    return {label: climb(fit, X, y, shape.C, tols, best, repeats) for label, (fit, tols) in _adapters(X, K).items()}


def report(results: dict[str, dict], gap: float, read: float, size: float) -> list[str]:
    """Return the lines of the table at one gap."""
    lines = [
        "| case | sosolve, s | gap reached | passes | best peer, s | peer | ratio | target |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ratios = []
    for name, found in results.items():
        ours = found["sosolve"].get(gap)
        peers = {k: v[gap][0] for k, v in found.items() if k != "sosolve" and gap in v}
        peer = min(peers, key=peers.get) if peers else "none arrives"
        ratio = peers[peer] / ours[0] if ours and peers else float("nan")
        ratios.append(ratio)
        mine = f"{ours[0]:.4g} | {ours[2]:.1e} | {ours[1]:.0f}" if ours else "not reached | | "
        theirs = f"{peers[peer]:.4g}" if peers else ""
        lines.append(f"| {name} | {mine} | {theirs} | {peer} | {ratio:.2f} | {SHAPES[name].target:g} |")
    known = [r for r in ratios if r == r]
    if known:
        lines.append(f"\nGeometric mean of the ratios at gap {gap:g}: {np.exp(np.mean(np.log(known))):.2f}")
    return lines


def main() -> None:
    """Run the benchmark and print (and write) its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=";".join(SHAPES), help="names, separated by semicolons")
    parser.add_argument("--size", type=float, default=1.0, help="fraction of the rows of each case")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write doc/benchmarks/logistic.md")
    options = parser.parse_args()
    names = [name.strip() for name in options.cases.split(";")]
    read = bandwidth()
    results = {}
    for name in names:
        results[name] = run_case(name, options.size, options.repeats)
        print(name, {k: {g: round(t[0], 4) for g, t in v.items()} for k, v in results[name].items()}, flush=True)
    text = [
        "# Logistic and softmax regression",
        "",
        f"{describe()}; reads {read / 1e9:.0f} GB/s. Rows times {options.size:g}; median of {options.repeats} runs.",
        "Peers: scikit-learn's lbfgs, newton-cg and newton-cholesky along their own tolerances. "
        "Ratio: best peer / sosolve.",
    ]
    for gap in GAPS:
        text += ["", f"## Time to a relative gap of {gap:g}", "", *report(results, gap, read, options.size)]
    print("\n".join(text))
    if options.write:
        target = Path(__file__).resolve().parents[2] / "doc" / "benchmarks" / "logistic.md"
        target.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
