"""
Add named models: how much of this spectrum belongs to each peak?
=================================================================

Two peaks that overlap, one Gaussian and one Lorentzian, on a sloping background: a sum of three models of the library.
Each brings its own guess from the data, and the sum makes one of them, so that no start is needed.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from sosolve import CurveFitDisplay, NonlinearLeastSquares
from sosolve.curves import library

rng = np.random.default_rng(7)
energy = np.linspace(0.0, 10.0, 200)
counts = (
    40.0 * np.exp(-((energy - 3.6) ** 2) / (2.0 * 0.5**2))
    + 25.0 / (1.0 + ((energy - 5.4) / 0.45) ** 2)
    + 1.2 * energy
    + 6.0
    + 1.2 * rng.standard_normal(200)
)
X = energy[:, None]

gauss, lorentz = library.model("gaussian").with_prefix("g_"), library.model("lorentzian").with_prefix("l_")
spectrum = gauss + lorentz + library.model("linear")
fit = NonlinearLeastSquares(spectrum, bounds={"g_sigma": (0.0, 5.0), "l_hwhm": (0.0, 5.0)}).fit(X, counts)
print(fit.report())

# %%
# The parts of the sum are models too, and the parameters have their names.

display = CurveFitDisplay.from_estimator(fit, X, counts, label="sum")
figure, ax = display.figure_, display.ax_
background = fit.params_["slope"] * display.grid + fit.params_["intercept"]
for part, name, color in ((gauss, "Gaussian", "C0"), (lorentz, "Lorentzian", "C2")):
    curve = part.formula.value(display.grid, [fit.params_[p] for p in part.parameters])
    ax.fill_between(display.grid, background, background + curve, color=color, alpha=0.25, linewidth=0, label=name)
ax.plot(display.grid, background, color="0.4", linestyle="--", linewidth=1.0, label="background")
ax.set(title="Two peaks on a sloping background", ylabel="counts per channel")
ax.legend(frameon=False, ncols=2, fontsize="small", loc="upper right")
ax.set_ylim(0, 70)
display.residual_ax_.set_xlabel("energy [keV]")

# %%
# Save the picture.

parser = argparse.ArgumentParser(description="Separate two peaks from their background.")
default = Path(sys.argv[0]).resolve().parent / "output"
parser.add_argument("--output", type=Path, default=default, help="folder for the picture")
folder = parser.parse_args().output
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "curve_library.png", dpi=110)
