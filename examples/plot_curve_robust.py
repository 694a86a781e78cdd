"""
Fit with outliers: does the counter's spark change the half-life?
=================================================================

A decay counted 80 times, with a spark in the counter now and then. Squares give a few wild points all the say; a robust
loss gives each of them the say of one point. Its scale comes from the data.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from sosolve import CurveFitDisplay, NonlinearLeastSquares

rng = np.random.default_rng(1)
time = np.linspace(0.0, 6.0, 80)
counts = 90.0 * np.exp(-0.7 * time) + 10.0 + 2.0 * rng.standard_normal(80)
counts[rng.choice(80, 9, replace=False)] += rng.uniform(25.0, 70.0, 9)
X = time[:, None]

fits = {loss: NonlinearLeastSquares("a*exp(-b*x) + c", loss=loss).fit(X, counts) for loss in ("linear", "soft_l1")}
for loss, fit in fits.items():
    low, high = fit.conf_int()["b"]
    scale = "" if fit.f_scale_ is None else f", scale of the loss {fit.f_scale_:.3g}"
    print(f"{loss:8} b = {fit.params_['b']:.3f}, 95 % from {low:.3f} to {high:.3f} (true: 0.7){scale}")

# %%
# Left: the sparks lift the curve, and the band is wide because the noise looks large. Right: the same points, no harm.

figure, panels = plt.subplots(
    2, 2, figsize=(10.0, 5.4), sharex=True, sharey="row", gridspec_kw={"height_ratios": [3, 1]}, layout="constrained"
)
for (top, bottom), (loss, fit) in zip(panels.T, fits.items(), strict=True):
    CurveFitDisplay.from_estimator(fit, X, counts, ax=(top, bottom))
    truth = 90.0 * np.exp(-0.7 * time) + 10.0
    top.plot(time, truth, color="k", linestyle="--", linewidth=1.0, label="truth", zorder=4)
    top.set_title(f'loss="{loss}": b = {fit.params_["b"]:.3f} ± {fit.stderr_["b"]:.3f}')
    top.legend(frameon=False, fontsize="small")
    bottom.set_xlabel("time [h]")
panels[0, 0].set_ylabel("counts")
for ax in panels[:, 1]:
    ax.set_ylabel("")

# %%
# Save the picture.

parser = argparse.ArgumentParser(description="Fit a decay with outliers, with and without a robust loss.")
default = Path(sys.argv[0]).resolve().parent / "output"
parser.add_argument("--output", type=Path, default=default, help="folder for the picture")
folder = parser.parse_args().output
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "curve_robust.png", dpi=110)
