"""Warnings that point at the caller's own line, however deep in the package they are given."""

from __future__ import annotations

import sys
import warnings

#: scikit-learn wraps the methods of estimators, and runs its searches by joblib.
INSIDE = frozenset({__name__.partition(".")[0], "sklearn", "joblib"})


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is outside of the package and its wrappers."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
