"""
Separation: why did a coefficient run away?
===========================================

Without a penalty a fit has no minimum where some direction tells classes apart without error. One rare event is enough:
here every row with the event belongs to one class. Most tools return some large coefficient; sosolve ends the fit,
proves the separation and names the column.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from sosolve import LogisticRegression

rng = np.random.default_rng(1)
n = 300
dose = rng.uniform(0.0, 10.0, n)
ill = (rng.random(n) < 1.0 / (1.0 + np.exp(-(0.6 * dose - 3.0)))).astype(int)
event = np.zeros(n)
event[rng.choice(np.flatnonzero(ill == 1), 6, replace=False)] = 1.0  # six rows, all of them ill
X = pd.DataFrame({"dose": dose, "event": event})

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    free = LogisticRegression(C=np.inf).fit(X, ill)
print(caught[0].message)
print("separation:", free.optimality_.separation, "by", free.optimality_.separating)

# %%
# Right: the coefficients for weaker and weaker penalties. That of the dose settles; that of the event grows with
# log C for ever, because its likelihood only ever gains. A finite C is an answer, a fit without a penalty is not.

figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
height = event + rng.uniform(-0.16, 0.16, n)
for label, color in ((0, "C0"), (1, "C3")):
    rows = ill == label
    left.scatter(dose[rows], height[rows], s=14, color=color, alpha=0.7, label=("well", "ill")[label])
left.set(xlabel="dose [mg]", title="All six rows with the event are ill", ylim=(-0.5, 1.5))
left.set_yticks([0, 1], ["no event", "event"])
left.legend(frameon=False, loc="center right")

Cs = np.logspace(-2, 6, 25)
path = np.array([LogisticRegression(C=C).fit(X, ill).coef_[0] for C in Cs])
for name, values, color in zip(X.columns, path.T, ("C0", "C3"), strict=True):
    right.plot(Cs, values, color=color, marker="o", markersize=3.0, label=name)
right.set(xscale="log", xlabel="C, the inverse strength of the penalty", ylabel="coefficient [log odds per unit]")
right.set_title("One settles, one runs away")
right.legend(frameon=False)
for ax in (left, right):
    ax.grid(True, linewidth=0.5, alpha=0.4)

# %%
# Save the picture.

parser = argparse.ArgumentParser(description="Draw what a column does that separates the classes.")
default = Path(sys.argv[0]).resolve().parent / "output"
parser.add_argument("--output", type=Path, default=default, help="folder for the picture")
folder = parser.parse_args().output
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "separation.png", dpi=110)
