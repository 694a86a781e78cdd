"""
Fit many curves: how does growth depend on the dose?
====================================================

A plate reader follows 1000 cultures of bacteria for a day. Each has its own logistic curve of growth, and some wells
are empty or broken. One call fits them all, each on its own, and every fit says how it ended.
"""

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sosolve import fit_curves

rng = np.random.default_rng(3)
hours = np.linspace(0.0, 24.0, 49)
dose = rng.uniform(0.0, 4.0, 1000)
true_rate = 0.9 / (1.0 + (dose / 1.5) ** 2)
capacity, middle = rng.uniform(0.8, 1.2, 1000), rng.uniform(8.0, 11.0, 1000)
density = capacity[:, None] / (1.0 + np.exp(-true_rate[:, None] * (hours - middle[:, None])))
density += 0.02 * rng.standard_normal(density.shape)
density[::100, 20:] = np.nan  # ten wells whose sensor broke

result = fit_curves(
    "capacity/(1 + exp(-rate*(x - middle)))",
    hours,
    density,
    p0={"capacity": 1.0, "rate": 0.4, "middle": 10.0},
    bounds={"capacity": (0.0, 3.0), "rate": (0.0, 5.0), "middle": (-20.0, 50.0)},
)
print(result.summary())

# %%
# The rate falls with the dose of the drug. The bars are standard errors: widest where growth is fastest, since the rise
# is over after a few readings. Broken wells have no parameters, and disturb nobody.

ok = result.converged & ~result.on_bound.any(axis=1)
rate, error = result.params[ok, 1], result.stderr[ok, 1]
figure, ax = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
bars = dict(fmt=".", color="C0", markersize=3, elinewidth=0.6, alpha=0.6, label="fits, with their standard errors")
ax.errorbar(dose[ok], rate, yerr=error, **bars)
grid = np.linspace(0.0, 4.0, 200)
ax.plot(grid, 0.9 / (1.0 + (grid / 1.5) ** 2), color="C1", linewidth=1.5, zorder=3, label="true rate")
ax.set(xlabel="dose [mg / l]", ylabel="rate of growth [1 / hour]", title=f"{ok.sum()} of {len(result)} wells, one call")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)

# %%
# Save the picture.

parser = argparse.ArgumentParser(description="Fit a thousand curves of growth in one call.")
default = Path(sys.argv[0]).resolve().parent / "output"
parser.add_argument("--output", type=Path, default=default, help="folder for the picture")
folder = parser.parse_args().output
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "many_curves.png", dpi=110)
