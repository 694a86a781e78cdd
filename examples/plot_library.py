"""
The library: which curve has that shape?
========================================

Every model of ``sosolve.curves.library`` with noisy data, fitted by name and without a start: each brings its own first
guess. A name in one of the titles is a valid ``NonlinearLeastSquares("...")``.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from sosolve import NonlinearLeastSquares
from sosolve.curves import library

#: Parameters that show what is typical of a model.
TYPICAL = {
    "linear": (0.4, 1.0),
    "exponential_decay": (3.0, 0.5),
    "exponential_decay_offset": (3.0, 0.6, 1.0),
    "double_exponential": (2.0, 2.5, 1.5, 0.2),
    "exponential_growth": (0.2, 0.3),
    "saturation": (3.0, 0.5),
    "gaussian": (3.0, 5.0, 1.0),
    "gaussian_offset": (3.0, 5.0, 1.0, 1.0),
    "lorentzian": (3.0, 5.0, 0.7),
    "lorentzian_offset": (3.0, 5.0, 0.7, 1.0),
    "pseudo_voigt": (3.0, 0.5, 5.0, 0.8, 1.0),
    "power_law": (0.8, 0.6),
    "power_law_offset": (0.05, 1.8, 1.0),
    "michaelis_menten": (4.0, 1.5),
    "hill": (3.0, 4.0, 4.0),
    "logistic4": (0.5, 3.0, 1.5, 5.0),
    "logistic5": (0.5, 3.0, 1.5, 3.0, 4.0),
    "gompertz": (3.0, 0.7, 4.0),
    "weibull": (3.0, 2.5, 5.0),
    "sine": (1.5, 0.25, 0.5, 2.0),
    "damped_sine": (2.0, 0.25, 0.4, 0.5, 2.0),
}

rng = np.random.default_rng(0)
x = np.linspace(0.05, 10.0, 60)
grid = np.linspace(0.05, 10.0, 400)
columns = 3
rows = len(TYPICAL) // columns
figure, panels = plt.subplots(rows, columns, figsize=(9.0, 1.6 * rows), sharex=True, layout="constrained")
for ax, name in zip(panels.flat, library.names(), strict=True):
    form = library.model(name)
    truth = form.formula.value(x, TYPICAL[name])
    y = truth + 0.06 * np.ptp(truth) * rng.standard_normal(x.size)
    fit = NonlinearLeastSquares(name).fit(x[:, None], y)
    print(f"{name:25} {fit.result_.status.name:10} R^2 {fit.score(x[:, None], y):.3f}  {', '.join(form.parameters)}")
    ax.plot(x, y, ".", color="0.35", markersize=3.0, alpha=0.7)
    ax.plot(grid, fit.predict(grid[:, None]), color="C3", linewidth=1.6)
    ax.set_title(name, fontsize=10)
    ax.tick_params(labelleft=False, left=False)
    ax.grid(True, axis="x", linewidth=0.5, alpha=0.4)
for ax in panels[-1]:
    ax.set_xlabel("x")

# %%
# Sums and products of them are models as well: ``library.model("gaussian") + library.model("linear")``.

parser = argparse.ArgumentParser(description="Draw every model of the library with a fit.")
default = Path(sys.argv[0]).resolve().parent / "output"
parser.add_argument("--output", type=Path, default=default, help="folder for the picture")
folder = parser.parse_args().output
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "library.png", dpi=110)
