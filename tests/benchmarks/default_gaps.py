"""How far each library ends from the minimum with its default settings, and whether it says so.

    python tests/benchmarks/default_gaps.py [--cases "tall;mid"] [--size 0.1] [--write]

The relative gap is the excess of the objective, in double precision, over a tight fit's. With --write the table goes
to doc/benchmarks/default_gaps.md.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from logistic import ALL, ROOT, objective
from machine import describe
from peers import quiet, sosolve
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression

from sosolve import LogisticRegression

FITS = {
    "sosolve": lambda C: LogisticRegression(C=C),
    "sklearn lbfgs": lambda C: SklearnLogisticRegression(C=C),
    "sklearn newton-cg": lambda C: SklearnLogisticRegression(C=C, solver="newton-cg"),
    "sklearn newton-cholesky": lambda C: SklearnLogisticRegression(C=C, solver="newton-cholesky"),
}


def row(name: str, size: float) -> str:
    """Return the line of one case."""
    shape = ALL[name]
    X, y = shape.make(size)
    y = np.unique(y, return_inverse=True)[1]
    with quiet():
        best = min(
            objective(X, y, *sosolve(solver).fit(X, y, shape.C, 1e-6)[:2], shape.C) for solver in ("newton-cg", "lbfgs")
        )
    K, cells = len(np.unique(y)), []
    for label, make in FITS.items():
        if "cholesky" in label and (K if K > 2 else 1) * X.shape[1] > 3_000:
            cells.append("")
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            clock = time.perf_counter()
            model = make(shape.C).fit(X, y)
            seconds = time.perf_counter() - clock
        gap = max(objective(X, y, model.coef_, model.intercept_, shape.C) / best - 1.0, 0.0)
        warned = " (warns)" if any(issubclass(w.category, ConvergenceWarning) for w in caught) else ""
        cells.append(f"{gap:.0e}{warned}, {seconds:.2g} s")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Measure, and print (and write) the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=";".join(ALL), help="names, separated by semicolons")
    parser.add_argument("--size", type=float, default=0.1, help="fraction of the rows of each case")
    parser.add_argument("--write", action="store_true", help="write doc/benchmarks/default_gaps.md")
    options = parser.parse_args()
    text = [
        "# Default settings",
        "",
        f"{describe()}. Rows times {options.size:g}. Relative gap to the minimum, seconds.",
    ]
    text += ["", "| case | " + " | ".join(FITS) + " |", "|---|" + "---|" * len(FITS)]
    for name in options.cases.split(";"):
        text.append(row(name.strip(), options.size))
        print(text[-1], flush=True)
    if options.write:
        (ROOT / "doc" / "benchmarks" / "default_gaps.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
