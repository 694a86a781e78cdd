"""LogisticRegressionCV beside scikit-learn's: ten values of C, five folds, log loss.

    python tests/benchmarks/cv.py [--cases "digits;text"] [--repeats 3] [--write]

Default settings, interleaved, the median of each: seconds on the wall, and in brackets those of the processor. On a
machine that others use too, only ratios mean anything. What a result is worth is told by the worst gap: the excess of
the objective over its minimum on the path of the first fold, C sum loss + |W|^2 / 2 in float64, relative to it. The
fits of scikit-learn's default end at 100 iterations; another column is its solver that reaches a small gap soonest.
With --write the table goes to doc/benchmarks/cv.md.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.linear_model import LogisticRegressionCV as SklearnLogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import scale

sys.path.insert(0, str(Path(__file__).parent))
from logistic import objective
from machine import describe
from shapes import _text

from sosolve import LogisticRegression, LogisticRegressionCV

SETTINGS = dict(Cs=10, cv=5, l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False)
PAGE = Path(__file__).parents[2] / "doc" / "benchmarks" / "cv.md"


def breast_cancer():
    """569 x 30, standardised."""
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


def digits():
    """1797 x 64, ten classes, raw pixels."""
    return load_digits(return_X_y=True)


def tall():
    """50 000 x 50."""
    X, y = make_classification(50_000, 50, n_informative=20, flip_y=0.1, random_state=0)
    return scale(X), y


def text():
    """4000 x 20 000 CSR, 60 entries a row."""
    return _text(4_000, 20_000, 60)(1.0)


#: scikit-learn's settings for an accurate path: the fastest of its solvers for the shape.
ACCURATE = {"breast cancer": "newton-cholesky", "digits": "newton-cholesky", "tall": "newton-cholesky", "text": "lbfgs"}
CASES = {"breast cancer": breast_cancer, "digits": digits, "tall": tall, "text": text}


def worst_excess(fitted, X, y, minima: list[float]) -> float:
    """Return the largest relative excess of the objective over its minimum along the path of the first fold."""
    train = next(iter(StratifiedKFold(5).split(X, y)))[0]
    values = [
        objective(X[train], y[train], path[:, :-1], path[:, -1], C)
        for path, C in zip(fitted.coefs_paths_[0, 0], fitted.Cs_, strict=True)
    ]
    return max(value / least - 1.0 for value, least in zip(values, minima, strict=True))


def minima_of(X, y, Cs) -> list[float]:
    """Return the minimum of the objective for each C on the training rows of the first fold."""
    train = next(iter(StratifiedKFold(5).split(X, y)))[0]
    found = []
    for C in Cs:
        fit = LogisticRegression(C=C, tol=1e-7, max_iter=1000).fit(X[train], y[train])
        found.append(objective(X[train], y[train], fit.coef_, fit.intercept_, C))
    return found


def run_case(name: str, repeats: int) -> list[str]:
    """Return the cells of one row of the table."""
    X, y = CASES[name]()
    accurate = dict(solver=ACCURATE[name], tol=1e-7, max_iter=10_000)
    makers = {
        "sosolve": LogisticRegressionCV(**SETTINGS),
        "default": SklearnLogisticRegressionCV(**SETTINGS),
        "accurate": SklearnLogisticRegressionCV(**SETTINGS, **accurate),
    }
    taken: dict[str, list[tuple[float, float]]] = {key: [] for key in makers}
    for _ in range(repeats):
        for key, search in makers.items():
            if key == "accurate" and taken[key]:
                continue  # far from the others: once is enough
            wall, cpu = time.perf_counter(), time.process_time()
            search.fit(X, y)
            taken[key].append((time.perf_counter() - wall, time.process_time() - cpu))
    minima = minima_of(X, y, makers["sosolve"].Cs_)
    ours = np.median(taken["sosolve"], axis=0)
    cells = [
        f"{name}: {CASES[name].__doc__.rstrip('.')}",
        f"{ours[0]:.2f} ({ours[1]:.2f}), gap {gap(makers['sosolve'], X, y, minima)}",
    ]
    for key in ("default", "accurate"):
        theirs = np.median(taken[key], axis=0)
        solver = "" if key == "default" else f"{ACCURATE[name]}: "
        cells.append(f"{solver}{theirs[0]:.2f} ({theirs[1]:.2f}), gap {gap(makers[key], X, y, minima)}")
        cells.append(f"{theirs[0] / ours[0]:.1f} ({theirs[1] / ours[1]:.1f})")
    return [*cells, "yes" if makers["sosolve"].C_ == makers["accurate"].C_ else "no"]


def gap(fitted, X, y, minima: list[float]) -> str:
    """Return the worst excess in words."""
    return f"{max(worst_excess(fitted, X, y, minima), 1e-16):.0e}"


def main() -> None:
    """Run the benchmark, and print (and write) the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=";".join(CASES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = [
        "| case | sosolve | scikit-learn | ratio | scikit-learn, accurate | ratio | same C |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in options.cases.split(";"):
        lines.append("| " + " | ".join(run_case(name.strip(), options.repeats)) + " |")
        print(lines[-1], flush=True)
    if options.write:
        intro = __doc__.strip().split("\n\n")
        about = intro[2].replace("With --write the table goes to doc/benchmarks/cv.md.", "").strip()
        PAGE.write_text(
            "\n".join(
                [
                    "# Cross-validation",
                    "",
                    intro[0],
                    "",
                    about,
                    "",
                    f"Runs of each: {options.repeats}. {describe()}.",
                    "",
                    *lines,
                    "",
                ]
            )
        )


if __name__ == "__main__":
    main()
