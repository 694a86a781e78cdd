"""The two layouts in which a search leaves its results: arrays, and scikit-learn's older dicts by class."""

from __future__ import annotations

import numpy as np


def new_layout(paths, scores, n_iter, C: float, l1_ratio: float) -> dict[str, object]:
    """Return the attributes as arrays and numbers.

    Parameters
    ----------
    paths : ndarray of shape (folds, l1_ratios, Cs, outputs, coefficients)
    scores, n_iter : ndarray of shape (folds, l1_ratios, Cs)
    C, l1_ratio : float
        The best ones.
    """
    return {"coefs_paths_": paths, "scores_": scores, "n_iter_": n_iter, "C_": float(C), "l1_ratio_": float(l1_ratio)}


def old_layout(paths, scores, n_iter, C: float, l1_ratio, classes, has_ratios: bool) -> dict[str, object]:
    """Return the attributes as dicts by class and arrays with an entry for each class.

    Parameters
    ----------
    paths, scores, n_iter, C, l1_ratio
        See `new_layout`; l1_ratio may be None.
    classes : ndarray of shape (K,)
    has_ratios : bool
        Whether the arrays keep an axis for l1_ratios.
    """
    keys = classes[1:] if len(classes) == 2 else classes
    table, counts = np.swapaxes(scores, 1, 2), np.swapaxes(n_iter, 1, 2)[None]
    by_class = np.moveaxis(paths, (3, 2), (0, 2))  # (outputs, folds, Cs, l1_ratios, coefficients)
    if not has_ratios:
        table, counts, by_class = table[:, :, 0], counts[..., 0], by_class[:, :, :, 0]
    return {
        "coefs_paths_": dict(zip(keys, by_class, strict=True)),
        "scores_": {key: table.copy() for key in keys},
        "n_iter_": counts,
        "C_": np.full(len(keys), C),
        "l1_ratio_": np.array([l1_ratio] * len(keys)),
    }
