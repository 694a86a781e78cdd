"""One fit of 100 points and 3 parameters: curve_fit with a callable and with a formula, beside SciPy's lm and trf.

    python tests/benchmarks/curve_fit.py [--rounds 60] [--write]

The calls of all competitors are interleaved and the smallest mean of 4 calls counts, so that only ratios within one
run are read. With --write the table goes to doc/benchmarks/curve_fit.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
import scipy.optimize

import sosolve

CALLS = 4


def exponential(x, a, b, c):
    return a * np.exp(-b * x) + c


def gaussian(x, a, b, c):
    return a * np.exp(-(((x - b) / c) ** 2))


def saturation(x, a, b, c):
    return a / (1.0 + b * x ** (-c))


#: name -> (model, the same as a formula, true parameters, start, x)
MODELS = {
    "exponential": (exponential, "a*exp(-b*x) + c", (2.5, 1.3, 0.5), (1.0, 1.0, 1.0), np.linspace(0.0, 4.0, 100)),
    "gaussian": (gaussian, "a*exp(-((x - b)/c)**2)", (3.0, 2.2, 0.7), (1.0, 2.0, 1.0), np.linspace(0.0, 4.0, 100)),
    "saturation": (saturation, "a/(1 + b*x**(-c))", (2.0, 1.5, 1.8), (1.0, 1.0, 1.0), np.linspace(0.1, 6.0, 100)),
}


def competitors(name: str) -> dict[str, Callable]:
    """Return the calls to be timed for one model, by name."""
    f, formula, true, start, x = MODELS[name]
    y = f(x, *true) + 0.02 * np.random.default_rng(0).standard_normal(x.size)
    p0 = np.array(start)
    sosolve.curve_fit(formula, x, y, p0)
    return {
        "SciPy, lm": lambda: scipy.optimize.curve_fit(f, x, y, p0),
        "SciPy, trf": lambda: scipy.optimize.curve_fit(f, x, y, p0, method="trf"),
        "sosolve, callable": lambda: sosolve.curve_fit(f, x, y, p0),
        "sosolve, formula": lambda: sosolve.curve_fit(formula, x, y, p0, method="lm"),
        "sosolve, formula, compiled": lambda: sosolve.curve_fit(formula, x, y, p0),
    }


def warm_up() -> None:
    """Load the compiled solver, as the first call of `fit_curves` in a process does."""
    from sosolve.curves.batch import fit_curves

    x = np.linspace(0.0, 1.0, 20)
    fit_curves("a*x + b", x, 2.0 * x[None], p0=np.ones(2))


def measured(calls: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Return the smallest mean time of a call, in seconds, by name."""
    best = dict.fromkeys(calls, np.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(CALLS):
                call()
            best[name] = min(best[name], (time.perf_counter() - began) / CALLS)
    return best


def digits(name: str) -> dict[str, float]:
    """Return the correct digits of the parameters of each competitor, against 40 steps of Gauss-Newton."""
    f, _, true, start, x = MODELS[name]
    y = f(x, *true) + 0.02 * np.random.default_rng(0).standard_normal(x.size)
    p = sosolve.curve_fit(f, x, y, start, ftol=1e-15, xtol=1e-15, gtol=1e-15, method="trf")[0]
    for _ in range(40):
        J = np.stack([f(x, *(p + 1e-30j * e)).imag / 1e-30 for e in np.eye(3)], axis=1)
        p = p + np.linalg.lstsq(J, y - f(x, *p), rcond=None)[0]
    found = {}
    for who, call in competitors(name).items():
        error = float(np.max(np.abs(call()[0] / p - 1.0)))
        found[who] = min(-np.log10(error), 15.0) if error else 15.0
    return found


def machine() -> str:
    """Return cores, processor and versions in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return (
        f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}"
    )


def table(rounds: int) -> str:
    """Return the table of times, ratios and digits in Markdown."""
    lines = ["| model | competitor | us a fit | ratio to SciPy lm | digits |", "|---|---|---|---|---|"]
    for name in MODELS:
        best, correct = measured(competitors(name), rounds), digits(name)
        base = best["SciPy, lm"]
        for k, (who, seconds) in enumerate(best.items()):
            cells = [
                name if k == 0 else "",
                who,
                f"{seconds * 1e6:.0f}",
                f"{seconds / base:.2f}",
                f"{correct[who]:.1f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


PAGE = """# One curve: curve_fit beside SciPy's

100 points, 3 parameters, noise, from the same start, each library at its default tolerances. A callable is a plain
Python function without a Jacobian. "Compiled" is a formula after `sosolve.fit_curves` has been used once in the
process; `curve_fit` itself never compiles. Digits are those of the worst parameter, against the exact optimum.
Interleaved calls, best of {rounds} rounds, on {machine}, by

```text
python tests/benchmarks/curve_fit.py --write
```

{table}

- With a callable SciPy's lm is faster: its loop is compiled, ours is the one Python loop of all solvers, with a record
  of each iteration. What the time buys are exact derivatives and the digits.
- With a formula the whole fit runs compiled.
"""


def main() -> None:
    """Print the table; write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warm_up()
    text = table(options.rounds)
    print(machine(), text, sep="\n\n")
    if options.write:
        page = Path(__file__).parents[2] / "doc" / "benchmarks" / "curve_fit.md"
        page.write_text(PAGE.format(rounds=options.rounds, machine=machine(), table=text))


if __name__ == "__main__":
    main()
