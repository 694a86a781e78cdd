"""What a path of twenty values of C costs, in single fits of the same data.

    python tests/benchmarks/path.py [--runs 5] [--write]

The values are 1e-4 to 1e4. Medians of interleaved runs; a single fit is `LogisticRegression().fit` at C = 1, and the
dearest the one at the value of C where it takes longest. The path is checked, fitted and unpacked as on one fold of
`LogisticRegressionCV`. The goal is 3 single fits. With --write the table goes to doc/benchmarks/path.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe
from peers import quiet
from shapes import _dense, _text

from sosolve import LogisticRegression
from sosolve.estimators.path import Path as StrengthPath
from sosolve.estimators.problem import Problem

PAGE = Path(__file__).resolve().parents[2] / "doc" / "benchmarks" / "path.md"
#: Where the time goes in the cases that miss the goal, and what was tried.
WHY = (
    "**50 000 x 50**: a single fit begins on a sample and reads X 4 to 6 times, for one column; a path reads it 3 or 4 "
    "times for twenty, once for a Hessian, and once for the moments. Half of the time goes into those passes (two "
    "thirds matrix products, a third exponentials), a fifth into the Hessian of all rows and its factors. Tried: nodes "
    "on all rows and a cubic between them (7 + 5 passes), all values from the sample without that Hessian (7 passes), "
    "BLAS called block by block from Python (twice the time for few columns).",
    "**Text**: twenty single fits take 3 (strong penalty) to 155 passes over X (weak), so that a path cannot cost "
    "three fits at C = 1 with their 11: it takes 330, as many as two of the "
    "dearest, and 240 of them at the seven weakest penalties. Tried: starts on polynomials through the "
    "last 2, 3, 4, 5 and 6 optima (479, 366, 330, 403 and 473 products) and through the last alone (632); tighter "
    "first solves (348 to 412); products for several values of C at once, which cost half of as many single ones, but "
    "are half of an iteration, and take the starts away. A factor of the rows' Gram matrix would have 4 000 x 4 000 "
    "entries.",
)
CS = np.logspace(-4.0, 4.0, 20)
CASES = {
    "500 x 20": _dense(500, 20),
    "2 000 x 30": _dense(2_000, 30),
    "5 000 x 50": _dense(5_000, 50),
    "50 000 x 50": _dense(50_000, 50),
    "500 x 20, five classes": _dense(500, 20, K=5),
    "text, 4 000 x 20 000 CSR": _text(4_000, 20_000, 60),
}


def path(X, y) -> None:
    """Fit all values of C."""
    estimator = LogisticRegression()
    with np.errstate(all="ignore"):
        problem = Problem(estimator, X, y, None, float(CS[-1]), careful=True)
        StrengthPath(estimator, problem).solve_all(CS)


def seconds(call) -> float:
    """Return the seconds of one call."""
    clock = time.perf_counter()
    call()
    return time.perf_counter() - clock


def run_case(name: str, runs: int) -> str:
    """Return one row of the table."""
    X, y = CASES[name](1.0)
    whole, single = [], []
    for _ in range(runs + 1):  # the first one compiles
        whole.append(seconds(lambda: path(X, y)))
        single.append(seconds(lambda: LogisticRegression().fit(X, y)))
    each = [min(seconds(lambda C=C: LogisticRegression(C=C).fit(X, y)) for _ in range(2)) for C in CS[::3]]
    twenty, one, dearest = np.median(whole[1:]), np.median(single[1:]), max(each)
    return f"| {name} | {1e3 * twenty:.1f} | {1e3 * one:.1f} | {twenty / one:.1f} | {twenty / dearest:.1f} |"


def main() -> None:
    """Measure, and print (and write) the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write doc/benchmarks/path.md")
    options = parser.parse_args()
    intro = __doc__.strip().split("\n\n")
    text = [
        "# Paths",
        "",
        intro[0],
        "",
        intro[2].replace(" With --write the table goes to doc/benchmarks/path.md.", ""),
    ]
    text += ["", f"{describe()}. Runs: {options.runs}.", ""]
    text += ["| data | path, ms | single fit, ms | in single fits | in the dearest |", "|---|---|---|---|---|"]
    for name in CASES:
        with quiet():
            text.append(run_case(name, options.runs))
        print(text[-1], flush=True)
    text += [line for why in WHY for line in ("", why)]
    if options.write:
        PAGE.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
