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
    figure, axes = plt.subplots(1, len(gaps), figsize=(4.5 * len(gaps), 4.2), sharey=True, layout="constrained")
    for axis, gap in zip(axes, gaps, strict=True):
        key = f"{gap:g}"
        times = np.array([[case.get(s, {}).get(key, [np.inf])[0] for s in solvers] for case in cases])
        solved = times[np.isfinite(times).any(axis=1)]
        ratios = solved / solved.min(axis=1, keepdims=True)
        factors = np.geomspace(1.0, 50.0, 200)
        for column, solver in zip(ratios.T, solvers, strict=True):
            share = (column[None, :] <= factors[:, None]).mean(axis=1)
            axis.plot(factors, share, label=solver, linewidth=3.0 if solver == "sosolve" else 1.5)
        axis.set(xscale="log", xlabel="at most so many times the best time", ylim=(-0.02, 1.03), xlim=(1.0, 50.0))
        axis.set(
            title=f"relative gap {key}", xticks=[1, 2, 5, 10, 20, 50], xticklabels=["1", "2", "5", "10", "20", "50"]
        )
        axis.minorticks_off()
        axis.grid(True, linewidth=0.5, alpha=0.4)
    axes[0].set_ylabel("share of the cases solved")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True
