"""How the time and the passes of a fit grow with rows, columns, classes and threads: slopes on logarithmic axes.

    python tests/benchmarks/growth.py [--runs 5] [--write]

A slope of 1 is work in proportion. With --write the table and the picture go to doc/benchmarks.
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

from sosolve import LogisticRegression
from sosolve.kernels.pool import n_threads, thread_limit

ROOT = Path(__file__).resolve().parents[2]
#: What varies -> the values, and the shape (n, d, K) for each.
AXES = {
    "rows": ([10_000, 40_000, 160_000, 640_000, 4_000_000], lambda v: (v, 20, 2)),
    "columns": ([10, 50, 200, 800, 2_000], lambda v: (20_000, v, 2)),
    "classes": ([2, 8, 32, 100, 200], lambda v: (20_000, 40, v)),
    "threads": (list(range(1, n_threads() + 1)), lambda v: (300_000, 40, 2)),
}


def make(n: int, d: int, K: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (X, y)."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) @ (np.eye(d) + 0.3 * rng.standard_normal((d, d)) / np.sqrt(d))
    z = X @ (2.0 * rng.standard_normal((d, K)) / np.sqrt(d))
    return X, np.argmax(z + rng.gumbel(size=z.shape), axis=1)


def measure(shape: tuple[int, int, int], runs: int, threads: int | None) -> tuple[float, int]:
    """Return the least seconds of a fit and its passes over X."""
    X, y = make(*shape)
    best, passes = np.inf, 0
    for _ in range(runs + 1):
        clock = time.perf_counter()
        with quiet():
            model = LogisticRegression(tol=1e-4)
            if threads is None:
                model.fit(X, y)
            else:
                with threadpool(threads), thread_limit(threads):
                    clock = time.perf_counter()
                    model.fit(X, y)
        best, passes = min(best, time.perf_counter() - clock), model.result_.counts.n_passes
    return best, passes


def threadpool(threads: int):
    """Return the context that limits OpenMP and BLAS."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads)


def slope(values, seconds) -> float:
    """Return the slope of the least-squares line through the logarithms."""
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0]) if len(values) > 1 else float("nan")


def draw(found: dict, path: Path) -> bool:
    """Draw the times with their slopes; return False where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    size = (3.0 * len(found), 3.4)
    figure, axes = plt.subplots(1, len(found), figsize=size, sharey=True, layout="constrained")
    for axis, (name, (values, seconds, _)) in zip(axes, found.items(), strict=True):
        axis.loglog(values, seconds, "o-", label="measured")
        centred = np.log(values) - np.mean(np.log(values))
        ideal = np.exp(np.mean(np.log(seconds)) + (-centred if name == "threads" else centred))
        axis.loglog(values, ideal, ":", color="0.5", label="in proportion")
        axis.set(xlabel=name, title=f"slope {slope(values, seconds):.2f}", xticks=values)
        axis.set_xticklabels([f"{v:,}".replace(",", " ") for v in values], rotation=45, ha="right")
        axis.minorticks_off()
        axis.grid(True, linewidth=0.5, alpha=0.4)
    axes[0].set_ylabel("seconds of a fit")
    axes[0].legend(frameon=False, loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def main() -> None:
    """Measure, and print (and write) the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write doc/benchmarks/growth.md and growth.png")
    options = parser.parse_args()
    found = {}
    text = ["# Growth", "", f"{describe()}. Least of {options.runs + 1} fits, tol=1e-4.", ""]
    text += ["| what grows | from, to | seconds | passes | slope |", "|---|---|---|---|---|"]
    for name, (values, shape) in AXES.items():
        pairs = [measure(shape(v), options.runs, v if name == "threads" else None) for v in values]
        seconds, passes = [p[0] for p in pairs], [p[1] for p in pairs]
        found[name] = (values, seconds, passes)
        row = f"| {name} | {values[0]}, {values[-1]} | {', '.join(f'{s:.3g}' for s in seconds)} | "
        text.append(row + f"{', '.join(map(str, passes))} | {slope(values, seconds):.2f} |")
        print(text[-1], flush=True)
    if options.write:
        folder = ROOT / "doc" / "benchmarks"
        if draw(found, folder / "growth.png"):
            text += ["", "![Seconds of a fit on logarithmic axes](growth.png)"]
        text += [
            "",
            "- Rows: 20 columns. Less than in proportion: large data begin on a sample of the rows, whose factor then",
            "  serves all of them, so that passes fall. Below some 100 000 entries the time hardly depends on them.",
            "- Columns: 20 000 rows. A pass grows in proportion; their number too, with more parameters to a row.",
            "- Classes: 20 000 rows of 40 columns, seconds in proportion to the classes from eight on; the Hessian, of",
            "  (classes x columns) squared numbers, is formed for few classes only.",
            "- Threads: 300 000 rows of 40 columns; labels, checks and the fit of the sample have one thread.",
        ]
        (folder / "growth.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
