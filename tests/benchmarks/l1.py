"""L1 and elastic net: time to a given relative gap, beside scikit-learn's saga and liblinear, in one run.

    python tests/benchmarks/l1.py [--cases "tall;text"] [--repeats 1] [--patience 20] [--into results.json] [--write]

All fits are without an intercept, because liblinear would penalise it. Each solver climbs a ladder, sosolve and
liblinear one of tolerances, saga one of iterations; a run counts for a gap when the objective, recomputed here in
double precision, is within it. A solver climbs no further where the next run would take longer than `--patience`
seconds, by the last one and the length of the step. With --into the cases are added to those in that file, so that they
can be run one after the other. With --write the table of them all goes to doc/benchmarks/l1.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe
from shapes import SHAPES

from sosolve import LogisticRegression

GAPS = (1e-5, 1e-7)
TOLS = (1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
SAGA_STEPS = (3, 10, 30, 100, 300, 1000, 3000)
LIBLINEAR_TOLS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
TARGET = 3.0


@dataclass(frozen=True)
class Case:
    """How to make (X, y), the values of C (a path where there are several), and l1_ratio."""

    make: Callable[[], tuple[object, np.ndarray]]
    Cs: tuple[float, ...]
    l1_ratio: float


def _gaussian(n: int, d: int, K: int = 1, used: int = 20):
    """Return a maker of equally correlated Gaussian columns, of which the first `used` matter."""

    def make():
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n, d))
        X += 0.5 * rng.standard_normal((n, 1))
        z = X[:, :used] @ rng.standard_normal((used, K)) / np.sqrt(used) * 2.0
        if K > 1:
            return X, np.argmax(z + rng.gumbel(size=z.shape), axis=1)
        return X, (z[:, 0] + rng.logistic(size=n) > 0.0).astype(int)

    return make


def _text():
    return SHAPES["sparse text"].make(1.0)


CASES = {
    "tall, L1 (100 000 x 50)": Case(_gaussian(100_000, 50), (1e-3,), 1.0),
    "wide, L1 (400 x 20 000)": Case(_gaussian(400, 20_000), (1.0,), 1.0),
    "wide, elastic net (400 x 20 000)": Case(_gaussian(400, 20_000), (1.0,), 0.5),
    "text, L1 (20 000 x 100 000, CSR)": Case(_text, (1.0,), 1.0),
    "breast cancer, raw, L1": Case(lambda: load_breast_cancer(return_X_y=True), (1.0,), 1.0),
    "softmax, elastic net (10 000 x 100, K = 5)": Case(_gaussian(10_000, 100, K=5), (0.01,), 0.5),
    "path of 20 C, L1 (400 x 2 000)": Case(_gaussian(400, 2_000), tuple(np.geomspace(0.02, 2.0, 20)), 1.0),
}


def objective(X, y, coef: np.ndarray, C: float, l1_ratio: float) -> float:
    """Return C sum loss + penalty in float64, without an intercept."""
    z = np.asarray(X @ coef.astype(np.float64).T)
    z = np.concatenate([np.zeros_like(z), z], axis=1) if z.shape[1] == 1 else z
    top = z.max(axis=1)
    losses = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top - z[np.arange(len(y)), y]
    return C * losses.sum() + 0.5 * (1 - l1_ratio) * np.sum(coef**2) + l1_ratio * np.abs(coef).sum()


def sosolve(X, y, case: Case, tol: float) -> list[np.ndarray]:
    """Return the coefficients for each C, warm starts along the path."""
    clf = LogisticRegression(l1_ratio=case.l1_ratio, tol=tol, fit_intercept=False, warm_start=True)
    return [clf.set_params(C=C).fit(X, y).coef_ for C in case.Cs]


def saga(X, y, case: Case, steps: float) -> list[np.ndarray]:
    """Return the same by scikit-learn's saga."""
    clf = SklearnLogisticRegression(
        l1_ratio=case.l1_ratio, solver="saga", tol=1e-14, max_iter=int(steps), fit_intercept=False, warm_start=True
    )
    return [clf.set_params(C=C).fit(X, y).coef_ for C in case.Cs]


def liblinear(X, y, case: Case, tol: float) -> list[np.ndarray]:
    """Return the same by liblinear, which has no warm start for L1."""
    clf = SklearnLogisticRegression(
        l1_ratio=case.l1_ratio, solver="liblinear", tol=tol, max_iter=10_000, fit_intercept=False
    )
    return [clf.set_params(C=C).fit(X, y).coef_ for C in case.Cs]


def climb(fit: Callable, X, y, case: Case, ladder, best, repeats: int, patience: float) -> dict[str, float]:
    """Return {gap: seconds} with the first rung that reaches each gap on all of the path, and the longest run."""
    found: dict[str, float] = {"longest": 0.0}
    longer = 3.4 if fit is saga else 1.5
    for rung in ladder:
        times = []
        for _ in range(repeats):
            clock = time.perf_counter()
            coefs = fit(X, y, case, rung)
            times.append(time.perf_counter() - clock)
        gap = max(
            objective(X, y, coef, C, case.l1_ratio) / low - 1.0
            for coef, C, low in zip(coefs, case.Cs, best, strict=True)
        )
        found["longest"] = max(found["longest"], *times)
        for target in GAPS:
            if gap <= target and f"{target:g}" not in found:
                found[f"{target:g}"] = float(np.median(times))
        if len(found) > len(GAPS) or longer * max(times) > patience:
            break
    return found


def run_case(case: Case, repeats: int, patience: float) -> dict[str, dict[str, float]]:
    """Return the times of every solver on one case."""
    X, y = case.make()
    sosolve(X, y, Case(case.make, case.Cs[:1], case.l1_ratio), 1e-2)  # compiled kernels are loaded before the clock
    best = [objective(X, y, c, C, case.l1_ratio) for c, C in zip(sosolve(X, y, case, 1e-7), case.Cs, strict=True)]
    ladders = {"sosolve": (sosolve, TOLS), "saga": (saga, SAGA_STEPS)}
    if case.l1_ratio == 1.0 and len(np.unique(y)) == 2:
        ladders["liblinear"] = (liblinear, LIBLINEAR_TOLS)
    return {name: climb(fit, X, y, case, rungs, best, repeats, patience) for name, (fit, rungs) in ladders.items()}


def table(results: dict[str, dict[str, dict[str, float]]], gap: str) -> list[str]:
    """Return the lines of the table at one gap."""
    lines = ["| case | sosolve, s | saga, s | liblinear, s | best peer / sosolve |", "|---|---|---|---|---|"]
    for name, found in results.items():
        ours = found["sosolve"].get(gap)
        cells = []
        for peer in ("saga", "liblinear"):
            if peer not in found:
                cells.append("does not apply")
            else:
                at = found[peer]
                cells.append(f"{at[gap]:.3g}" if gap in at else f"> {at['longest']:.3g}, not there")
        applied = [found[peer] for peer in ("saga", "liblinear") if peer in found]
        there = [at[gap] for at in applied if gap in at]
        least = min(there, default=min(at["longest"] for at in applied))
        ratio = f"{'' if there else '> '}{least / ours:.1f}" if ours else ""
        lines.append(f"| {name} | {f'{ours:.3g}' if ours else 'not there'} | {cells[0]} | {cells[1]} | {ratio} |")
    return lines


def main() -> None:
    """Run the benchmark and print (and write) its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="", help="beginnings of names, separated by semicolons")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--patience", type=float, default=20.0)
    parser.add_argument("--into", type=Path, help="a JSON file of results to add to")
    parser.add_argument("--write", action="store_true", help="write doc/benchmarks/l1.md")
    options = parser.parse_args()
    results = json.loads(options.into.read_text()) if options.into and options.into.exists() else {}
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name, case in CASES.items():
        if name.startswith(tuple(options.cases.split(";"))):
            results[name] = run_case(case, options.repeats, options.patience)
            print(name, results[name], flush=True)
            if options.into:
                options.into.write_text(json.dumps(results))
    results = {name: results[name] for name in CASES if name in results}
    text = [
        "# L1 and elastic net",
        "",
        f"{describe()}. One thread for all, because the peers use no more. Runs: {options.repeats}, the solvers one "
        "after the other, on a machine that others used at times: read the ratios of one line, and those roughly.",
        "Peers: scikit-learn's saga and liblinear, without an intercept. Gap: the largest along the path. "
        f"A peer whose next run would have taken over {options.patience:g} s, or that had had {SAGA_STEPS[-1]} "
        f"iterations (saga) or a tolerance of {LIBLINEAR_TOLS[-1]:g} (liblinear), was not followed further: its "
        "longest run is given. Where none arrived the ratio is to the shortest of these, a lower bound.",
        f"The target for the ratio is {TARGET:g}; the tables say where it is missed.",
    ]
    for gap in GAPS:
        text += ["", f"## Time to a relative gap of {gap:g}", "", *table(results, f"{gap:g}")]
    print("\n".join(text))
    if options.write:
        target = Path(__file__).resolve().parents[2] / "doc" / "benchmarks" / "l1.md"
        target.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
