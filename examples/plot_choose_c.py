"""
Choose C: cross-validation, leave-one-out and the paths of the coefficients
===========================================================================

``LogisticRegressionCV`` follows a path of warm starts along C on each fold. ``cv="alo"`` takes the log loss of leaving
out each row from one fit for each C. The coefficients along the path show what the penalty does to them.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from sosolve import LogisticRegressionCV

data = load_breast_cancer()
X, y = StandardScaler().fit_transform(data.data), data.target
settings = dict(Cs=np.logspace(-4, 4, 25), l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False)
searches = {}
for name, cv in (("five folds", 5), ("approximate leave-one-out", "alo")):
    start = time.perf_counter()
    searches[name] = LogisticRegressionCV(cv=cv, **settings).fit(X, y)
    seconds = time.perf_counter() - start
    print(f"{name:26} C = {searches[name].C_:.3g}, {len(settings['Cs'])} values of C in {seconds:.2f} s")

# %%
# Left: the log loss on rows that were left out, with the standard error of its mean over the folds. Right: the
# coefficients of all rows; the five largest at the chosen C are named, and the others grey.

figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
for color, (name, search) in zip(("C0", "C1"), searches.items(), strict=True):
    loss = -search.scores_[:, 0, :]
    left.plot(search.Cs_, loss.mean(axis=0), color=color, marker="o", markersize=3.5, label=name)
    if len(loss) > 1:
        error = loss.std(axis=0) / np.sqrt(len(loss))
        left.fill_between(search.Cs_, loss.mean(axis=0) - error, loss.mean(axis=0) + error, color=color, alpha=0.2)
    left.axvline(search.C_, color=color, linestyle=":", linewidth=1.2, label=f"its choice, C = {search.C_:.3g}")
left.set(xscale="log", yscale="log", xlabel="C, the inverse strength of the penalty", ylabel="log loss [nats per row]")
left.set_title("Rows that were left out")
left.set_ylim(top=1.6)
left.legend(frameon=False, loc="upper left", fontsize=8)

search = searches["approximate leave-one-out"]
paths = search.coefs_paths_[0, 0, :, 0, :-1]
chosen = np.abs(search.coef_[0])
for j in np.argsort(chosen):
    named = j in np.argsort(chosen)[-5:]
    style = dict(linewidth=1.8, label=data.feature_names[j]) if named else dict(linewidth=0.7, color="0.75")
    right.plot(search.Cs_, paths[:, j], **style)
right.axvline(search.C_, color="C1", linestyle=":", linewidth=1.2)
right.set(xscale="log", yscale="symlog", xlabel="C, the inverse strength of the penalty")
right.set_ylabel("coefficient [per standard deviation]")
right.set_title("Coefficients of all rows")
right.legend(frameon=False, loc="upper left", fontsize=8)
for ax in (left, right):
    ax.grid(True, linewidth=0.5, alpha=0.4)

# %%
# Save the picture.

parser = argparse.ArgumentParser(description="Choose C by cross-validation and draw the paths of the coefficients.")
default = Path(sys.argv[0]).resolve().parent / "output"
parser.add_argument("--output", type=Path, default=default, help="folder for the picture")
folder = parser.parse_args().output
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "choose_c.png", dpi=110)
