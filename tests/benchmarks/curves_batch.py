"""10 000 Gaussian peaks in one call of fit_curves against a loop over scipy.optimize.curve_fit.

    python tests/benchmarks/curves_batch.py [rounds]

All start from the same guess (height, place and level read off the data, width 1). Rounds are interleaved, so that
other load on the machine meets all alike; the table has the median and the least of each. A fit counts as at the
optimum when its sum of squares exceeds the least that any of them found by less than 1e-9 of it.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numba
import numpy as np
import scipy
from scipy.optimize import curve_fit

from sosolve.curves.batch import fit_curves

M, N = 10_000, 50
FORMULA = "a*exp(-(x - mu)**2/(2*sigma**2)) + offset"
#: One fit in a process of its own, after the imports; prints the seconds.
FIRST = """
import time
import numpy as np
from sosolve.curves import parse
from sosolve.curves.batch import fit_curves
from sosolve.curves import batch_chunk
x = np.linspace(-5.0, 5.0, 50)
formula = parse("a*exp(-(x - mu)**2/(2*sigma**2)) + offset", 1)
began = time.perf_counter()
fit_curves(formula, x, np.exp(-(x**2))[None], p0=[1.0, 0.1, 1.0, 0.0])
first = time.perf_counter()
fit_curves(formula, x, np.exp(-(x**2))[None])
print(first - began, time.perf_counter() - first)
"""
OUT = Path(__file__).resolve().parents[2] / "doc" / "benchmarks" / "curves_batch.md"


def gauss(x, a, mu, sigma, offset):
    return a * np.exp(-((x - mu) ** 2) / (2.0 * sigma**2)) + offset


def gauss_jac(x, a, mu, sigma, offset):
    z = (x - mu) / sigma
    e = np.exp(-0.5 * z**2)
    return np.stack([e, a * e * z / sigma, a * e * z**2 / sigma, np.ones_like(x)], axis=1)


def data():
    """Return x, y (M, N) and a start for each fit."""
    rng = np.random.default_rng(0)
    x = np.linspace(-5.0, 5.0, N)
    true = rng.uniform([1.0, -1.5, 0.5, -1.0], [5.0, 1.5, 1.5, 1.0], size=(M, 4))
    y = gauss(x, *true.T[:, :, None]) + 0.1 * rng.standard_normal((M, N))
    level = np.quantile(y, 0.2, axis=1)
    return x, y, np.column_stack([y.max(axis=1) - level, x[y.argmax(axis=1)], np.ones(M), level])


def loop(x, y, p0, jac):
    """Return the parameters of a loop of curve_fit; NaN where it raises."""
    params = np.full((M, 4), np.nan)
    for k in range(M):
        try:
            params[k] = curve_fit(gauss, x, y[k], p0=p0[k], jac=jac)[0]
        except RuntimeError:
            continue
    return params


def batch(x, y, p0, threads, **options):
    os.environ["SOSOLVE_NUM_THREADS"] = str(threads)
    return fit_curves(FORMULA, x, y, p0=p0, **options).params


def measure(rounds):
    """Return {name: (seconds of each round, parameters)}."""
    x, y, p0 = data()
    runs = {
        "curve_fit, loop": lambda: loop(x, y, p0, None),
        "curve_fit with jac, loop": lambda: loop(x, y, p0, gauss_jac),
        "fit_curves, 1 thread": lambda: batch(x, y, p0, 1),
        "fit_curves, 2 threads": lambda: batch(x, y, p0, 2),
        "fit_curves, p0=None, 1 thread": lambda: batch(x, y, None, 1),
    }
    batch(x, y[:2], p0[:2], 1)  # compiles, or loads what is compiled
    found = {name: ([], None) for name in runs}
    for _ in range(rounds):
        for name, call in runs.items():
            for _ in range(1 if "loop" in name else 3):
                began = time.perf_counter()
                params = call()
                found[name] = (found[name][0] + [time.perf_counter() - began], params)
    return x, y, found


def first_use(repeats=3):
    """Return the least seconds of a first fit (from p0, then without) from an empty cache, and from a filled one."""
    found = {"cold": [], "cached": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for seconds in found.values():
                env = os.environ | {"SOSOLVE_CACHE_DIR": folder}
                out = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True, env=env)
                seconds.append([float(number) for number in out.stdout.split()])
    return {name: [min(column) for column in zip(*seconds, strict=True)] for name, seconds in found.items()}


def machine():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return (
        f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}, Numba {numba.__version__}"
    )


def table(x, y, found):
    """Return the lines of the table."""
    rss = {name: np.square(gauss(x, *params.T[:, :, None]) - y).sum(axis=1) for name, (_, params) in found.items()}
    best = np.fmin.reduce(list(rss.values()))
    base = found["curve_fit, loop"][0]
    lines = [
        "| | us per fit, median | least | times faster, medians | least | at the optimum |",
        "|---|---|---|---|---|---|",
    ]
    for name, (seconds, _) in found.items():
        middle, least = statistics.median(seconds), min(seconds)
        share = np.mean(rss[name] <= best * (1.0 + 1e-9))
        lines.append(
            f"| {name} | {middle / M * 1e6:.1f} | {least / M * 1e6:.1f} | {statistics.median(base) / middle:.1f} "
            f"| {min(base) / least:.1f} | {100.0 * share:.2f} % |"
        )
    return lines


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    lines = [
        "# Ten thousand Gaussian peaks",
        "",
        f"{M} fits of {N} points and 4 parameters (height, place, width, level), noise 0.1 on heights of 1 to 5, by",
        "",
        "```text",
        "python tests/benchmarks/curves_batch.py",
        "```",
        "",
        f"on {machine()}.",
        "",
        f"All but the last row start from the same guess, read off the data. {rounds} interleaved rounds. Other",
        "processes were running on the machine, so that the least time says more than the median. `curve_fit` runs at",
        "its default tolerances (1.5e-8), `fit_curves` at its own, tighter ones, and with the covariance of each fit,",
        "as curve_fit. Compiling is not counted in the table.",
        "A fit is at the optimum when its sum of squares exceeds the least found by any row by less than 1e-9 of it.",
        "",
        *table(*measure(rounds)),
        "",
        "The first fit of a process, after its imports, in seconds (the least of 3 processes): the solver is compiled",
        "once for each version of the sources, the formula once for each formula, the search for a start when first",
        "needed; then they come from the disk.",
        "",
        "| | from p0 | then without p0 |",
        "|---|---|---|",
        *(f"| {name} | {known:.1f} | {searched:.1f} |" for name, (known, searched) in first_use().items()),
        "",
    ]
    print("\n".join(lines))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
