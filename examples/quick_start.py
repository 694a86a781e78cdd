"""
Quick start: is the answer the optimum?
=======================================

Two data sets as they come, without scaling: breast cancer (569 rows, 30 columns whose means run from 0.004 to 880)
and digits (1797 rows, 64 pixels, 10 classes). Both libraries fit the same objective at their default settings,

.. math:: F(W, b) = C \\sum_i \\ell(y_i, W x_i + b) + \\tfrac12 \\lVert W \\rVert^2, \\qquad C = 1,

and the script computes F itself, in float64, from the coefficients that each one returns. The relative gap is
(F - F*) / F*, with F* from a fit to the rounding level.

Run it with ``python examples/quick_start.py``; the pictures go to ``examples/output/`` (``--output DIR`` for another
folder).
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from scipy.special import logsumexp
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sosolve import ConvergenceDisplay, LogisticRegression, NewtonCholesky

#: Solvers and how their curves are drawn: Newton-CG and the trust region coincide where every full step is taken.
SOLVERS = {
    "newton-cg": dict(linewidth=5.0, alpha=0.35, marker=""),
    "newton-cholesky": {},
    "trust-region": {},
    "bfgs": dict(marker=""),
    "lbfgs": dict(marker=""),
}
DATA = {
    "breast cancer": load_breast_cancer(return_X_y=True),
    "digits": load_digits(return_X_y=True),
}


def objective(clf, X, y, C=1.0):
    """Return F at the coefficients of a fitted classifier, in nats."""
    z = X @ clf.coef_.T + clf.intercept_
    if z.shape[1] == 1:  # two classes, one row of coefficients: the score of the first class is 0
        z = np.hstack([np.zeros_like(z), z])
    of_label = z[np.arange(len(y)), np.searchsorted(clf.classes_, y)]
    return C * np.sum(logsumexp(z, axis=1) - of_label) + 0.5 * np.sum(clf.coef_**2)


def timed_fit(clf, X, y):
    """Return the fitted classifier, the seconds it took and whether it warned."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        clf.fit(X, y)
        seconds = time.perf_counter() - start
    return clf, seconds, bool(caught)


# %%
# The table
# ---------
# Default settings on both sides, then scikit-learn's two second-order solvers by name.

minima, peers = {}, {}
rivals = {
    "sosolve, default": LogisticRegression,
    "scikit-learn, default (lbfgs)": SklearnLogisticRegression,
    "scikit-learn, newton-cg": lambda: SklearnLogisticRegression(solver="newton-cg"),
    "scikit-learn, newton-cholesky": lambda: SklearnLogisticRegression(solver="newton-cholesky"),
}
print(f"{'data':14} {'fit':30} {'objective':>12} {'relative gap':>13} {'warned':>7} {'iterations':>11} {'seconds':>8}")
for name, (X, y) in DATA.items():
    tight = LogisticRegression(solver=NewtonCholesky(tol=1e-10)).fit(X, y)
    minima[name] = objective(tight, X, y)
    for label, make in rivals.items():
        clf, seconds, warned = timed_fit(make(), X, y)
        if label.startswith("scikit-learn, default"):
            peers[name] = clf
        value = objective(clf, X, y)
        gap = (value - minima[name]) / minima[name]
        print(
            f"{name:14} {label:30} {value:12.6f} {gap:13.1e} {'yes' if warned else 'no':>7} "
            f"{clf.n_iter_.max():11d} {seconds:8.3f}"
        )
print("relative gap: (F - F*) / F* with the same F for all; warned: the fit told that it had not converged")

# %%
# The way there
# -------------
# Every solver leaves a history, one record an iteration; here each may take 300. The dashed line is scikit-learn's
# default, refitted with growing ``max_iter``. It does not report its passes over the data, so it is drawn at one
# evaluation of value and gradient an iteration, the fewest it can have made. The dotted line is the gap that sosolve's
# default ``tol`` asks for.


def refitted(X, y, F_min, last, limits=(1, 3, 6, 12, 25, 50)):
    """Return iterations and relative gaps of scikit-learn's default, up to the fit of the table."""
    fits = [timed_fit(SklearnLogisticRegression(max_iter=limit), X, y)[0] for limit in limits] + [last]
    return [fit.n_iter_.max() for fit in fits], [(objective(fit, X, y) - F_min) / F_min for fit in fits]


figure, panels = plt.subplots(1, 2, figsize=(10.0, 4.4), sharey=True, layout="constrained")
for ax, (name, (X, y)) in zip(panels, DATA.items(), strict=True):
    for solver, style in SOLVERS.items():
        clf, _, _ = timed_fit(LogisticRegression(solver=solver, max_iter=300), X, y)
        # A record's value is the mean over the rows: F / (n C).
        ConvergenceDisplay.from_estimator(clf, reference=minima[name] / len(y), ax=ax, **style)
    ax.plot(
        *refitted(X, y, minima[name], peers[name]),
        "kx--",
        markevery=[-1],
        label="scikit-learn's default, stopped at 100",
    )
    ax.axhline(1e-8, color="0.5", linewidth=1.0, linestyle=":")
    ax.set(title=f"{name}, {X.shape[0]} x {X.shape[1]}", xscale="log", xlim=(1, 1500), ylim=(1e-14, 1e3))
    ax.get_legend().remove()
panels[0].text(1.1, 1.4e-8, "what the default tol asks for", color="0.35", fontsize=8, verticalalignment="bottom")
panels[1].set_ylabel("")
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
figure.suptitle("Logistic regression on data that nobody scaled: distance from the optimum against work")

# %%
# In a pipeline and a grid search
# -------------------------------
# The estimators are scikit-learn's: clone, pipelines and searches work as they do there.

X, y = DATA["breast cancer"]
pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
print(f"\nPipeline: accuracy {pipeline.score(X, y):.3f} on the data it was fitted to")

grid = {"solver": list(SOLVERS)[:3], "C": [0.01, 0.1, 1.0, 10.0]}
search = GridSearchCV(LogisticRegression(), grid, cv=5, scoring="neg_log_loss").fit(X, y)
print(f"GridSearchCV: best {search.best_params_}, log loss {-search.best_score_:.4f} nats in 5-fold cross-validation")

# %%
# Save the picture
# ----------------

parser = argparse.ArgumentParser(description="Compare sosolve with scikit-learn on two data sets.")
default = Path(sys.argv[0]).resolve().parent / "output"
parser.add_argument("--output", type=Path, default=default, help="folder for the picture")
folder = parser.parse_args().output
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "convergence.png", dpi=110)
print(f"Picture: {folder / 'convergence.png'}")
