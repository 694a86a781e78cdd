"""
Read a history: was the first trust region too small?
=====================================================

Raw breast cancer, fitted by the trust region twice: once from a first radius of 0.001, once with the first step
unrestricted, which is the default. A fit that stops at the boundary of its region while the radius doubles was given a
region that is too small. Every number here is a column of ``history_``.
"""

import argparse
import sys
from pathlib import Path

from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer

from sosolve import LogisticRegression, NewtonCholesky, TrustRegion

X, y = load_breast_cancer(return_X_y=True)
minimum = LogisticRegression(solver=NewtonCholesky(tol=1e-10)).fit(X, y).result_.value
fits = {
    "radius0 = 0.001": LogisticRegression(solver=TrustRegion(radius0=0.001)).fit(X, y),
    "default": LogisticRegression(solver=TrustRegion()).fit(X, y),
}
for label, clf in fits.items():
    print(f"{label:16} {clf.result_}")

# %%
# Three columns against the iteration. Filled markers are iterations whose conjugate gradients ended at the boundary of
# the region (``inner_stop`` is BOUNDARY, 2), open ones those that were solved inside it.

figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(7.0, 7.2), sharex=True, layout="constrained")
for label, clf in fits.items():
    history = clf.history_
    iteration = history.column("iteration")
    at_boundary = [stop.name == "BOUNDARY" for stop in history.column("inner_stop")]
    gap = [max(value / minimum - 1.0, 2.2e-16) for value in history.column("value")]
    panels = ((top, gap), (middle, history.column("radius")), (bottom, history.column("inner_iterations")))
    for ax, column in panels:
        (line,) = ax.plot(iteration, column, linewidth=1.2, label=label)
        for inside in (True, False):
            chosen = [k for k, stop in enumerate(at_boundary) if stop != inside]
            face = "white" if inside else line.get_color()
            ax.plot(
                [iteration[k] for k in chosen],
                [column[k] for k in chosen],
                linestyle="",
                marker="o",
                markersize=5,
                color=line.get_color(),
                markerfacecolor=face,
            )
top.set(yscale="log", ylabel="relative gap", title="Small steps first: what a first radius of 0.001 costs")
middle.set(yscale="log", ylabel="radius")
bottom.set(ylabel="CG iterations", xlabel="iteration")
bottom.xaxis.get_major_locator().set_params(integer=True)
for face, meaning in (("0.4", "ended at the boundary"), ("white", "solved inside it")):
    top.plot([], [], linestyle="", marker="o", markersize=5, color="0.4", markerfacecolor=face, label=meaning)
top.legend(frameon=False, loc="lower left")
for ax in (top, middle, bottom):
    ax.grid(True, linewidth=0.5, alpha=0.4)

# %%
# Filled markers first: every step is as long as its region allows, the radius doubles in most of them, and the gap
# hardly moves. Then the region is large enough, the markers open and Newton's method takes over. The last iteration
# only confirms the Newton decrement and moves nothing. The price is 23 iterations in place of 10, but 67 passes over
# the data in place of 41: conjugate gradients that meet the boundary of a small region end after one product.

parser = argparse.ArgumentParser(description="Draw the history of a trust region with two first radii.")
default = Path(sys.argv[0]).resolve().parent / "output"
parser.add_argument("--output", type=Path, default=default, help="folder for the picture")
folder = parser.parse_args().output
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "read_a_history.png", dpi=110)
