"""Performance profiles: the share of the cases that a solver solves within a factor of the best."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def draw_profile(kept: dict, gaps: tuple[float, ...], path: Path) -> bool:
    """Draw one panel for each gap; return False where matplotlib is not installed.

    Parameters
    ----------
    kept : dict
        As `logistic.py` keeps it: kept["cases"][case]["results"][solver][gap][0] are seconds.
    gaps : tuple of float
    path : Path

    References
    ----------
    Dolan, E. D. and Moré, J. J. (2002). Benchmarking optimization software with performance profiles. Mathematical
    Programming 91, 201-213.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    cases = [case["results"] for case in kept["cases"].values()]
    solvers = [s for s in dict.fromkeys(name for case in cases for name in case) if s != "null model"]
    figure, axes = plt.subplots(1, len(gaps), figsize=(4 * len(gaps), 3.4), sharey=True)
    for axis, gap in zip(axes, gaps, strict=True):
        key = f"{gap:g}"
        times = np.array([[case.get(s, {}).get(key, [np.inf])[0] for s in solvers] for case in cases])
        solved = times[np.isfinite(times).any(axis=1)]
        ratios = solved / solved.min(axis=1, keepdims=True)
        factors = np.geomspace(1.0, 50.0, 200)
        for column, solver in zip(ratios.T, solvers, strict=True):
            share = (column[None, :] <= factors[:, None]).mean(axis=1)
            axis.plot(factors, share, label=solver, linewidth=2.5 if solver == "sosolve" else 1.2)
        axis.set(xscale="log", xlabel="factor of the best time", title=f"gap {key}", ylim=(-0.02, 1.02))
    axes[0].set_ylabel("share of the cases")
    axes[-1].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return True
