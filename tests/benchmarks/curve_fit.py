"""One curve at a time: curve_fit with a function and with a formula, beside SciPy's curve_fit(method="lm").

    python tests/benchmarks/curve_fit.py [--rounds 60] [--write]

The calls of all competitors are interleaved and the smallest mean of a few calls counts, so that only ratios within
one run are read. What the changeover of a formula to machine code costs is measured in fresh processes with an empty
cache. With --write the table goes to doc/benchmarks/curve_fit.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.optimize

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import describe
from short_curves import MODELS

import sosolve
from sosolve.scipy_api import compiled
from sosolve.scipy_api.formulas import parsed

#: (title, model, points, what else is given)
CASES = [
    *((name, name, 100, "") for name in MODELS),
    ("decay, p0=None", "decay", 100, "no start"),
    ("decay, sigma", "decay", 100, "sigma"),
    ("decay, jac", "decay", 100, "jac"),
    *((f"{name}, {n} points", name, n, "") for name in ("decay", "peak") for n in (20, 1000, 100_000)),
]
SCIPY = "SciPy"
#: Fits of each competitor before the clock runs.
FIRST = 5


def competitors(name: str, points: int, given: str) -> tuple[dict[str, Callable], np.ndarray]:
    """Return the calls to be timed, by name, and the exact optimum."""
    f, formula, true, start, top = MODELS[name]
    x = np.linspace(0.01 * top, top, points)
    y = f(x, *true) + 0.02 * np.random.default_rng(0).standard_normal(points)
    p0 = None if given == "no start" else np.array(start)
    more = {}
    if given == "sigma":
        more["sigma"] = np.linspace(0.5, 2.0, points)
    if given == "jac":
        more["jac"] = lambda x, a, b, c: np.stack([np.exp(-b * x), -a * x * np.exp(-b * x), np.ones_like(x)], axis=1)
    model = parsed(formula, 1)
    again = model.rename({k: k + "_" for k in model.parameters})
    compiled.account_of(again).is_refused = True  # stays in NumPy
    begin, errors = np.array(start), {"sigma": more.get("sigma")}
    calls = {
        SCIPY: lambda: scipy.optimize.curve_fit(f, x, y, p0, **more),
        "function": lambda: sosolve.curve_fit(f, x, y, p0, **more),
        "formula, NumPy": lambda: sosolve.curve_fit(again, x, y, begin, **errors),
        "formula, from the 5th fit on": lambda: sosolve.curve_fit(model, x, y, begin, **errors),
    }
    return calls, optimum(f, x, y, calls["function"]()[0], more.get("sigma", 1.0))


def optimum(f: Callable, x, y, p: np.ndarray, sigma) -> np.ndarray:
    """Return the minimiser by 20 steps of Gauss-Newton with exact derivatives."""
    for _ in range(20):
        J = np.stack([f(x, *(p + 1e-30j * e)).imag / 1e-30 for e in np.eye(p.size)], axis=1)
        p = p + np.linalg.lstsq(J / np.reshape(sigma, (-1, 1)), (y - f(x, *p)) / sigma, rcond=None)[0]
    return p


def measured(calls: dict[str, Callable], rounds: int, repeat: int = 4) -> dict[str, float]:
    """Return the smallest mean time of a call, in seconds, by name."""
    best = dict.fromkeys(calls, np.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(repeat):
                call()
            best[name] = min(best[name], (time.perf_counter() - began) / repeat)
    return best


def digits(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the correct digits of the worst parameter, at most 15."""
    error = float(np.max(np.abs(found / exact - 1.0)))
    return min(-np.log10(error), 15.0) if error else 15.0


def table(rounds: int) -> str:
    """Return the table of times and digits in Markdown."""
    names, lines, ratios = [], [], []
    for title, model, points, given in CASES:
        calls, exact = competitors(model, points, given)
        for call in [*calls.values()] * FIRST:
            call()
        best = measured(calls, rounds if points < 10_000 else max(rounds // 10, 2), 4 if points < 10_000 else 1)
        names = list(calls)
        base = best[SCIPY]
        ratios.append([best[name] / base for name in names])
        cells = [f"{best[name] / base:.2f} ({digits(calls[name]()[0], exact):.0f})" for name in names[1:]]
        lines.append(
            f"| {title} | {base * 1e6:.0f} us ({digits(calls[SCIPY]()[0], exact):.0f}) | {' | '.join(cells)} |"
        )
        print(lines[-1], flush=True)
    means = np.exp(np.log(np.array(ratios)).mean(axis=0))
    lines.append(f"| geometric mean | 1 | {' | '.join(f'{mean:.2f}' for mean in means[1:])} |")
    head = [f"| case | {' | '.join(names)} |", f"|{'---|' * (len(names) + 1)}"]
    return "\n".join([*head, *lines])


#: Prints the milliseconds of the fits of two formulas one after the other, the fourth of which is compiled.
CHANGEOVER = """
import time, numpy as np, sosolve
from sosolve.curves import parse
x, noise = np.linspace(0.04, 4.0, 100), 0.02 * np.random.default_rng(0).standard_normal(100)
for text in ("a*exp(-b*x) + c", "a/(1 + exp(-b*(x - c)))"):
    y = parse(text, 1).value(x, [2.0, 1.3, 0.8]) + noise
    for _ in range(5):
        began = time.perf_counter()
        sosolve.curve_fit(text, x, y, [1.0, 1.0, 1.0])
        print(1e3 * (time.perf_counter() - began))
"""


def changeover(processes: int = 5) -> tuple[float, float]:
    """Return the milliseconds of the fits that compile a first formula and a second one, medians of processes."""
    found = []
    for _ in range(processes):
        with tempfile.TemporaryDirectory() as empty:
            fresh = {**os.environ, "SOSOLVE_CACHE_DIR": empty, "NUMBA_CACHE_DIR": empty}
            out = subprocess.run(
                [sys.executable, "-c", CHANGEOVER], capture_output=True, text=True, check=True, env=fresh
            )
        times = [float(line) for line in out.stdout.split()]
        found.append((times[3], times[8]))
    first, second = np.median(found, axis=0)
    return float(first), float(second)


PAGE = """# One curve: curve_fit beside SciPy's

Time of one fit relative to `scipy.optimize.curve_fit(method="lm")` with the same function, and in brackets the correct
digits of the worst parameter, against the exact optimum. 100 points where nothing else is said, noise of 0.02, each
library at its default tolerances and from the same start. Interleaved calls, best of {rounds} rounds, on {machine}, by

```text
python tests/benchmarks/curve_fit.py --write
```

{table}

- A function has no derivatives, but for the row "jac". SciPy gets along with forward differences to its tolerance of
  1.5e-8; ours are in one call for all parameters, and the exact derivatives of the last step are in our times. A
  function that does not broadcast has a call for each: then 0.9 to 1.4 of SciPy's time with these models.
- Bounds, robust losses, tolerances of one's own, `full_output` and ill-conditioned models go through the loop of
  `least_squares`, which keeps a record of each step: 1 ms and more.
- A formula runs in NumPy for its first three fits in a process; the fourth makes machine code by LLVM, without Numba
  and without a cache, which takes {first:.0f} ms in a fresh process, {second:.0f} ms where another formula was compiled
  before. All others take what the last column says.
- With 100 000 points nearly all of the time is spent in the function, for everybody.
"""


def main() -> None:
    """Print the table; write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    first, second = changeover()
    print(f"changeover: {first:.0f} ms, then {second:.0f} ms", flush=True)
    text = table(options.rounds)
    print(describe(), text, sep="\n\n")
    if options.write:
        page = Path(__file__).parents[2] / "doc" / "benchmarks" / "curve_fit.md"
        page.write_text(PAGE.format(rounds=options.rounds, machine=describe(), table=text, first=first, second=second))


if __name__ == "__main__":
    main()
