"""The bounds of `minimize`, in each form that SciPy takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import Bounds, OptimizeWarning

from ..caller import warn_caller
from ..solvers.bounds import Box


def box_of(bounds: Any, size: int) -> Box | None:
    """Return the box of a `scipy.optimize.Bounds` or of p pairs (min, max), None where nothing is bounded.

    Raises
    ------
    ValueError
        If there are not p of them, one is NaN, or an upper one is less than the lower one.
    TypeError
        If they are no pairs of numbers.
    """
    if bounds is None:
        return None
    if isinstance(bounds, Bounds):
        sides = [np.asarray(bounds.lb, dtype=np.float64), np.asarray(bounds.ub, dtype=np.float64)]
    else:
        pairs = [tuple(pair) if np.iterable(pair) else () for pair in bounds]
        if any(len(pair) != 2 for pair in pairs):
            raise TypeError(
                "received `bounds` that are no pairs; expected one (min, max) for each parameter, None where there is "
                "none: for (lower, upper) arrays pass scipy.optimize.Bounds(lower, upper)"
            )
        sides = [
            np.array([end if pair[k] is None else pair[k] for pair in pairs], dtype=np.float64)
            for k, end in enumerate((-np.inf, np.inf))
        ]
    counts = [side.size for side in sides]
    # Bounds(0, 1) holds arrays of length 1; a list of one pair stands for all parameters in SciPy too
    if any(side.ndim > 1 or side.size not in (1, size) for side in sides):
        raise ValueError(
            f"The number of bounds is not compatible with the length of `x0`: received {max(counts)}, expected {size}, "
            "one (min, max) for each parameter; check the length"
        )
    lower, upper = (np.broadcast_to(side, (size,)).copy() for side in sides)
    if np.isnan(lower).any() or np.isnan(upper).any():
        raise ValueError("received NaN in `bounds`; expected numbers: use None or inf where there is no bound")
    bad = np.flatnonzero(lower > upper)
    if bad.size:
        j = int(bad[0])
        raise ValueError(
            f"An upper bound is less than the corresponding lower bound: received {lower[j]:g} and {upper[j]:g} for "
            f"parameter {j}; exchange them, or fix the parameter by equal bounds"
        )
    return Box.of(lower, upper, size)


def inside(x0: np.ndarray, box: Box) -> np.ndarray:
    """Return x0, shape (p,), moved to the nearest point of the box; with an OptimizeWarning where it was outside."""
    found = box.clip(x0)
    moved = np.flatnonzero(found != x0)
    if moved.size:
        j = int(moved[0])
        warn_caller(
            f"Initial guess is not within the specified bounds: received {x0[j]:g} for parameter {j}, expected a "
            f"number within [{box.lower[j]:g}, {box.upper[j]:g}]; it was clipped",
            OptimizeWarning,
        )
    return found
