"""LogisticRegressionCV beside scikit-learn's: ten values of C, five folds, log loss.

    python tests/benchmarks/cv.py [--cases "digits;text"] [--repeats 3] [--write]

Both with default settings, interleaved, the median of each. Seconds of the processor are told beside those on the wall:
on a machine that others use too, only their ratio means anything. What the settings are worth is told by the worst
excess of the objective over its minimum on the path of the first fold, C sum loss + |W|^2 / 2 in float64, relative to
it: scikit-learn's fits end at 100 iterations. With --write the table goes to doc/benchmarks/cv.md.
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
    taken: dict[str, list[tuple[float, float]]] = {"sosolve": [], "scikit-learn": []}
    fitted = {}
    for _ in range(repeats):
        for library, make in (("sosolve", LogisticRegressionCV), ("scikit-learn", SklearnLogisticRegressionCV)):
            wall, cpu = time.perf_counter(), time.process_time()
            fitted[library] = make(**SETTINGS).fit(X, y)
            taken[library].append((time.perf_counter() - wall, time.process_time() - cpu))
    (wall, cpu), (their_wall, their_cpu) = (np.median(taken[k], axis=0) for k in ("sosolve", "scikit-learn"))
    minima = minima_of(X, y, fitted["sosolve"].Cs_)
    excess, theirs = (worst_excess(fitted[k], X, y, minima) for k in ("sosolve", "scikit-learn"))
    same = "yes" if fitted["sosolve"].C_ == fitted["scikit-learn"].C_ else "no"
    return [
        f"{name}: {CASES[name].__doc__}",
        f"{wall:.2f} ({cpu:.2f})",
        f"{their_wall:.2f} ({their_cpu:.2f})",
        f"{their_wall / wall:.1f} ({their_cpu / cpu:.1f})",
        f"{max(excess, 0.0):.0e}",
        f"{max(theirs, 0.0):.0e}",
        same,
    ]


def main() -> None:
    """Run the benchmark, and print (and write) the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=";".join(CASES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = [
        "| case | sosolve, s (of the processor) | scikit-learn, s | ratio | worst gap | scikit-learn's | same C |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in options.cases.split(";"):
        lines.append("| " + " | ".join(run_case(name.strip(), options.repeats)) + " |")
        print(lines[-1], flush=True)
    if options.write:
        PAGE.write_text("\n".join(["# Cross-validation", "", __doc__.split("\n\n")[0], "", *intro(), "", *lines, ""]))


def intro() -> list[str]:
    """Return what the page says before the table."""
    return [
        describe() + ".",
        "",
        "\n".join(__doc__.strip().split("\n\n")[2].splitlines()[:-1]),
    ]


if __name__ == "__main__":
    main()
