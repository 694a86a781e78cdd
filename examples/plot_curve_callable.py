"""
Fit a function of your own: what do three doses leave in the blood?
===================================================================

The concentration of a drug after three doses is a sum over doses, each counted only after its time: a program rather
than a formula. Any function ``f(x, *params)`` is a model; derivatives are made by complex steps where the function lets
complex numbers through, which this one does, and have full precision then.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from sosolve import CurveFitDisplay, NonlinearLeastSquares

DOSES = {0.0: 100.0, 8.0: 100.0, 16.0: 50.0}  # hour: mg


def concentration(t, absorption, elimination, volume):
    """Return mg / l at t hours: absorbed at one rate, eliminated at another, from each dose given so far."""
    total = np.zeros_like(t) + 0.0 * absorption
    for hour, dose in DOSES.items():
        since = np.maximum(t - hour, 0.0)
        shape = np.exp(-elimination * since) - np.exp(-absorption * since)
        total = total + dose / volume * absorption / (absorption - elimination) * shape
    return total


rng = np.random.default_rng(3)
hours = np.sort(rng.uniform(0.2, 30.0, 40))
measured = concentration(hours, 1.1, 0.14, 32.0) * (1.0 + 0.06 * rng.standard_normal(40))
X, sigma = hours[:, None], 0.06 * measured

# %%
# The errors are 6 % of the concentration: with ``sigma`` each point counts by its own error. ``absolute_sigma`` says
# that these are in mg / l and not only relative to one another.

fit = NonlinearLeastSquares(
    concentration,
    p0={"absorption": 2.0, "elimination": 0.1, "volume": 20.0},
    bounds=(0.0, np.inf),
    absolute_sigma=True,
).fit(X, measured, sigma=sigma)
print(fit.report())

# %%
# Residuals are divided by their errors here: about two thirds of them lie within one of zero.

display = CurveFitDisplay.from_estimator(fit, X, measured, sigma=sigma, grid=np.linspace(0.0, 30.0, 600))
figure = display.figure_
for hour, dose in DOSES.items():
    display.ax_.axvline(hour, color="C0", linestyle=":", linewidth=1.2)
    display.ax_.annotate(f"{dose:.0f} mg", (hour, 0.15), xytext=(4, 0), textcoords="offset points", color="C0")
display.ax_.set(title="A drug in the blood after three doses", ylabel="concentration [mg / l]", ylim=(0, None))
display.residual_ax_.set_xlabel("time [h]")

# %%
# Save the picture.

parser = argparse.ArgumentParser(description="Fit a model that is a program.")
default = Path(sys.argv[0]).resolve().parent / "output"
parser.add_argument("--output", type=Path, default=default, help="folder for the picture")
folder = parser.parse_args().output
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "curve_callable.png", dpi=110)
