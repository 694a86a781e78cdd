"""
Fit a formula: how fast can this enzyme work?
=============================================

Rates of an enzymatic reaction against the concentration of its substrate (Treloar 1974, data set Puromycin in Bates and
Watts 1988). The model of Michaelis and Menten saturates at vmax, far to the right of the data. A formula is enough: the
column of the table is a name in it, the other names are parameters, and no start is needed.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from sosolve import CurveFitDisplay, NonlinearLeastSquares

data = pd.DataFrame(
    {
        "concentration": [0.02, 0.02, 0.06, 0.06, 0.11, 0.11, 0.22, 0.22, 0.56, 0.56, 1.1, 1.1],
        "rate": [76.0, 47.0, 97.0, 107.0, 123.0, 139.0, 159.0, 152.0, 191.0, 201.0, 207.0, 200.0],
    }
)
X, y = data[["concentration"]], data["rate"]
fit = NonlinearLeastSquares("vmax*concentration/(km + concentration)").fit(X, y)
print(fit.report())

# %%
# The report ends with what the fit has to say of itself. Wald's intervals are symmetric; the profile follows the sum of
# squares and leans to where the curve bends.

for method in ("wald", "profile"):
    for name, (low, high) in fit.conf_int(0.95, method, X, y).items():
        print(f"{method:8} {name:5} {low:9.4f} .. {high:9.4f}")

# %%
# The dark band holds the curve, the light one new observations, each with 95 % at every concentration. The residuals
# scatter without a pattern: the model is not contradicted.

display = CurveFitDisplay.from_estimator(fit, X, y)
figure = display.figure_
display.ax_.axhline(fit.params_["vmax"], color="0.5", linestyle="--", linewidth=1.0)
display.ax_.annotate(
    f"vmax = {fit.params_['vmax']:.0f} ± {fit.stderr_['vmax']:.0f}",
    (0.02, fit.params_["vmax"]),
    xytext=(0, 4),
    textcoords="offset points",
    color="0.35",
)
display.ax_.set(title="Puromycin: the rate saturates", ylabel="rate [counts / min²]", ylim=(25, 245))
display.ax_.legend(frameon=False, loc="lower right")
display.residual_ax_.set_xlabel("substrate concentration [ppm]")

# %%
# Save the picture.

parser = argparse.ArgumentParser(description="Fit an enzyme's rate by a formula.")
default = Path(sys.argv[0]).resolve().parent / "output"
parser.add_argument("--output", type=Path, default=default, help="folder for the picture")
folder = parser.parse_args().output
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "curve_formula.png", dpi=110)
