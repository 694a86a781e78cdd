"""Whether a Jacobian that the user wrote is that of the function beside it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from .checks import EPS
from .remembered import is_in, remember

#: Relative steps of the central differences; their columns must agree to STEADY before they accuse another one.
STEPS = (EPS ** (1.0 / 3.0), EPS ** (1.0 / 3.0) / 8.0)
STEADY = 1e-3
#: Relative gap between a column and the differences beyond which it is wrong: no rounding makes such a gap.
WRONG = 1e-2
#: Gap along one direction, to which each column gives as much, up to which no column is looked at.
RIGHT = 0.3 * WRONG
#: Parameters up to which columns are looked at.
MOST = 50

#: Jacobians that were found right.
_right: weakref.WeakSet = weakref.WeakSet()


def dense_jacobian(J: Any) -> np.ndarray:
    """Return what a `jac` of `curve_fit` returned as a float64 array, sparse ones too.

    Raises
    ------
    ValueError
        If it holds no real numbers.
    """
    J = np.asarray(J.toarray() if scipy.sparse.issparse(J) else J)
    if J.dtype.kind not in "biuf":
        raise ValueError(
            f"`jac` must return real numbers: received dtype {J.dtype}; return an array of float64, a row for each "
            "point and a column for each parameter"
        )
    return J.astype(np.float64, copy=False)


def wrong_columns(fun: Callable, J: np.ndarray, theta: np.ndarray, box: dict) -> list[int]:
    """Return the columns of J, shape (m, p), that central differences of fun at theta contradict.

    A column counts only where differences with two steps agree on another one: a kink, noise, or a point at which fun
    is not finite accuses nobody.

    Parameters
    ----------
    fun : callable
        theta of shape (p,) -> array of shape (m,).
    J : ndarray of shape (m, p)
    theta : ndarray of shape (p,)
    box : dict
        lower and upper, which no evaluation leaves, or empty.
    """
    lower, upper = box.get("lower", -np.inf), box.get("upper", np.inf)
    found = []
    with np.errstate(all="ignore"):
        for j in range(theta.shape[0]):
            first, second = (_central(fun, theta, j, step, lower, upper) for step in STEPS)
            if first is None or second is None or first.shape != J.shape[:1]:
                continue
            size = _norm(first)
            if not (0.0 < size < np.inf and _norm(first - second) <= STEADY * size):
                continue
            if not _norm(J[:, j] - first) <= WRONG * size:
                found.append(j)
    return found


def is_right_along(fun: Callable, J: np.ndarray, theta: np.ndarray, box: dict) -> bool:
    """Return whether a central difference along one direction agrees with J, shape (m, p): two evaluations.

    Each column has the same length in J v, so that none hides behind another one.
    """
    with np.errstate(all="ignore"):
        size = np.where(theta == 0.0, 1.0, np.abs(theta))
        length = np.sqrt(np.square(J).sum(axis=0))
        turn = np.cos(np.arange(1.0, theta.shape[0] + 1.0) ** 2)  # no two columns cancel by a symmetry of the model
        v = np.where(length > 0.0, 1.0 / length, size) * (np.sign(turn) + 0.5 * turn)
        move = v * (STEPS[0] / np.max(np.abs(v) / size))
        high, low = theta + move, theta - move
        if (
            not np.isfinite(move).all()
            or (high > box.get("upper", np.inf)).any()
            or (low < box.get("lower", -np.inf)).any()
        ):
            return False
        above, below = (np.asarray(fun(at), dtype=np.float64) for at in (high, low))
        if above.shape != J.shape[:1] or below.shape != above.shape:
            return False
        gap = _norm(above - below - J @ (high - low)) * _norm(v) / _norm(high - low)
        return gap <= RIGHT


def _central(fun: Callable, theta: np.ndarray, j: int, step: float, lower: Any, upper: Any) -> np.ndarray | None:
    """Return one column by central differences, None where a point is outside of the box."""
    h = step * (abs(float(theta[j])) or 1.0)
    high, low = theta.copy(), theta.copy()
    high[j] += h
    low[j] -= h
    if (high > upper).any() or (low < lower).any():
        return None
    return (np.asarray(fun(high), dtype=np.float64) - np.asarray(fun(low), dtype=np.float64)) / (high[j] - low[j])


def _norm(a: np.ndarray) -> float:
    return float(np.sqrt(np.square(a).sum()))


def accusation(fun: Callable, jac: Callable, theta: np.ndarray, box: dict) -> str:
    """Return a sentence that names the wrong columns of jac at theta, "" where there are none or they cannot be seen.

    `fun` and `jac` take theta alone. A Jacobian that was found right is not looked at again: see `is_known`.
    """
    if theta.shape[0] > MOST:
        return ""
    try:
        J = dense_jacobian(jac(theta))
        if J.ndim != 2 or J.shape[1] != theta.shape[0] or is_right_along(fun, J, theta, box):
            return ""
        wrong = wrong_columns(fun, J, theta, box)
    except Exception:  # a point where the user's function raises says nothing about its Jacobian
        return ""
    if not wrong:
        return ""
    named = f"column{'s' if len(wrong) > 1 else ''} {', '.join(map(str, wrong))}"
    return (
        f"`jac` contradicts differences of the function in {named} at {theta.tolist()}: correct it (sign, order of the "
        "columns, factors), or leave it out"
    )


def is_known(jac: Any) -> bool:
    """Return whether a Jacobian was found right before."""
    return is_in(_right, jac)


def trust(jac: Any) -> None:
    """Note that a Jacobian is right."""
    remember(_right, jac)
