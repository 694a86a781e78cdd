"""
Read the certificate: what is a fit worth that was cut short?
=============================================================

Breast cancer, ended after 0, 1, 2, ... iterations. ``optimality_.bound`` is computed from the point where the fit ended
and proves how far the objective may still be above its minimum. Here the minimum is known from a tight fit, so that the
proof can be held against the truth.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from sosolve import LogisticRegression

#: How the four kinds of proof are drawn; doc/read_the_certificate.md explains them.
PROOFS = {
    "newton": dict(color="C0", marker="o", label="by a Newton step"),
    "duality": dict(color="C2", marker="s", label="by a dual point"),
    "convexity": dict(color="C1", marker="D", label="by strong convexity"),
    "value": dict(color="0.6", marker="x", label="nothing but objective >= 0"),
}


def ended(X, y, limit, **settings):
    """Return the certificate of a fit with so many iterations at most."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged is the point
        return LogisticRegression(max_iter=limit, **settings).fit(X, y).optimality_


# %%
# The bound is never below the truth. Near the minimum it comes from a Newton step and is within a few per cent of it.
# Far out the penalty proves something where it is strong, by a dual point; where it is weak nothing is known but that
# no loss is negative, and the message of the fit says so.

raw, y = load_breast_cancer(return_X_y=True)
cases = {
    "raw columns, newton-cg, C = 1": (raw, dict(solver="newton-cg", C=1.0), 9),
    "raw columns, lbfgs, C = 1": (raw, dict(solver="lbfgs", C=1.0), 18),
    "scaled columns, lbfgs, C = 0.01": (scale(raw), dict(solver="lbfgs", C=0.01), 12),
}
figure, panels = plt.subplots(1, len(cases), figsize=(11.0, 4.6), sharey=True, layout="constrained")
for ax, (title, (X, settings, last)) in zip(panels, cases.items(), strict=True):
    minimum = ended(X, y, 100, **settings | dict(solver="newton-cholesky", tol=1e-10)).value
    limits = np.arange(last + 1)
    found = [ended(X, y, int(limit), **settings) for limit in limits]
    bound = np.array([certificate.bound for certificate in found]) / minimum
    gap = np.maximum(np.array([certificate.value for certificate in found]) / minimum - 1.0, 1e-16)
    print(f"{title:32} the bound is {np.median(bound / gap):.2f} times the truth in the median")
    ax.plot(limits, gap, color="k", linestyle="--", linewidth=1.2, label="true distance")
    ax.plot(limits, bound, color="0.6", linewidth=1.2, zorder=1)
    for proof, style in PROOFS.items():
        here = np.array([certificate.proof == proof for certificate in found])
        if here.any():
            ax.plot(limits[here], bound[here], linestyle="", markersize=6.0, **style)
    ax.set(yscale="log", xlabel="iterations allowed", title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(True, linewidth=0.5, alpha=0.4)
panels[0].set_ylabel("distance from the minimum / minimum")
drawn = {label: line for ax in panels for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=5, frameon=False)
figure.suptitle("A bound that is proved, and the truth")

# %%
# Save the picture.

parser = argparse.ArgumentParser(description="Hold the certificate of unfinished fits against the truth.")
default = Path(sys.argv[0]).resolve().parent / "output"
parser.add_argument("--output", type=Path, default=default, help="folder for the picture")
folder = parser.parse_args().output
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "certificate.png", dpi=110)
