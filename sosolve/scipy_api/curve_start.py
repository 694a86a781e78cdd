"""Where a curve fit starts: the parameters, their bounds, and the first look at what the model returns."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ..curve_problems.model import ExactModel
from ..curve_problems.problem import CurveProblem
from ..curve_problems.start import find_start
from ..curves import library
from . import checks
from .curve_data import CurveData
from .failures import evaluated

#: Ends the messages of fits of a function that began at the default.
DEFAULT = ". p0=None began at 1, or within the bounds, for each parameter: pass p0 with numbers of the size you expect"
#: The default of `bounds`.
UNBOUNDED = (-np.inf, np.inf)


def start_and_box(f: Any, p0: Any, bounds: Any, size: int | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the start, shape (p,), and the box as keywords, empty where nothing is bounded.

    Without p0 the start is 1, or the middle of the bounds.
    """
    if size is None and not callable(f):
        raise TypeError(f"`f` must be a function f(x, a, b, ...) or a formula: received {f!r}; pass one")
    if isinstance(p0, np.ndarray) and p0.ndim == 2 and 1 in p0.shape:
        p0 = p0.ravel()
    theta = None if p0 is None else checks.start_vector(p0, "p0")
    if theta is None:
        size = _number_of_parameters(f) if size is None else size
    elif size not in (None, theta.shape[0]):
        raise ValueError(f"`p0` has {theta.shape[0]} numbers; the formula has {size} parameters: pass one for each")
    if bounds is UNBOUNDED:
        return np.ones(size) if theta is None else theta, {}
    lower, upper = checks.as_bounds(bounds, size if theta is None else theta.shape[0])
    if theta is None:
        theta = _feasible(lower, upper)
    checks.check_inside(theta, lower, upper)
    bounded = bool(np.isfinite(lower).any() or np.isfinite(upper).any())
    return theta, {"lower": lower, "upper": upper} if bounded else {}


def _number_of_parameters(f: Any) -> int:
    """Return the number of positional parameters of f after x.

    Raises
    ------
    ValueError
        If there is none, or the signature does not say.
    """
    if type(f) is types.FunctionType and not f.__dict__:  # a wrapper has the signature of what it wraps
        count = f.__code__.co_argcount - 1
    else:
        try:
            kinds = [p.kind for p in inspect.signature(f).parameters.values()]
        except (TypeError, ValueError):
            kinds = []
        count = sum(kind in (kind.POSITIONAL_ONLY, kind.POSITIONAL_OR_KEYWORD) for kind in kinds) - 1
    if count < 1:
        raise ValueError(
            "Unable to determine number of fit parameters: received a function without named parameters after x; "
            "expected f(x, a, b, ...): name them, or pass p0"
        )
    return count


def _feasible(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Return the middle of each pair of bounds, 1 inside of a single one, 1 where there is none."""
    low, high = np.isfinite(lower), np.isfinite(upper)
    with np.errstate(invalid="ignore"):
        return np.where(
            low & high, 0.5 * lower + 0.5 * upper, np.where(low, lower + 1.0, np.where(high, upper - 1.0, 1.0))
        )


def found_start(formula: Any, data: CurveData, theta: np.ndarray, box: dict, loss: Any) -> np.ndarray:
    """Return the start that a search finds for a formula, shape (p,), as `NonlinearLeastSquares` does.

    Parameters
    ----------
    formula : Formula
    data : CurveData
    theta : ndarray of shape (p,)
        Returned where there is nothing to search in: too few points, or some that are not finite.
    box : dict
    loss : str or callable
        Whether outliers are to be expected: all but "linear".

    Raises
    ------
    ValueError
        If the formula is finite at none of the candidates.
    """
    size, x, y = theta.shape[0], data.x if data.x.ndim == 2 else data.x[:, None], data.y
    if y.shape != x.shape[:1] or y.shape[0] < size or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return theta
    problem = CurveProblem(
        ExactModel(formula, None, library.form_of(formula)),
        x,
        y,
        np.full(size, np.nan),
        np.ones(size, dtype=bool),
        box.get("lower", np.full(size, -np.inf)),
        box.get("upper", np.full(size, np.inf)),
        precision=None if data.weights is None else np.broadcast_to(data.weights, y.shape),
        loss="linear" if loss == "linear" else "soft_l1",
    ).in_units()
    return find_start(problem, problem.base)


def check_lm(box: dict, size: int, points: int) -> None:
    if box:
        raise ValueError(
            "Method 'lm' only works for unconstrained problems: received bounds; use 'trf' or 'dogbox' instead"
        )
    if points != 1:
        check_points(size, points)


def check_points(size: int, points: int) -> None:
    """Refuse more parameters than residuals, which method "lm" does not take."""
    if size > points:
        raise TypeError(
            f"The number of func parameters={size} must not exceed the number of data points={points}: add points, "
            "fix parameters, or use method='trf'"
        )


def first_residuals(f: Callable, data: CurveData, theta: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the residuals at the start, shape (m,), and the precision of f where that is low, else 0.

    Raises
    ------
    TypeError
        If f returns None.
    ValueError
        If its values are complex, no numbers, not finite, or of a shape that does not go with y.
    """
    with np.errstate(all="ignore"):
        values = evaluated(f, data.x, *theta)
        if values is None:
            raise TypeError("`f` returned None; expected an array of values: add a return statement")
        values = np.asarray(values)
        if values.dtype.kind not in "biuf":
            raise ValueError(f"`f` must return real numbers: received dtype {values.dtype}; return an array of float64")
        if values.ndim > 1 or (values.size != 1 and data.y.size != 1 and values.size != data.y.size):
            raise ValueError(
                f"`f` must return one value for each y: received shape {values.shape}, expected {data.y.shape}; "
                "flatten what it returns, or look for a mix-up of rows and columns in x"
            )
        low = float(np.finfo(values.dtype).eps) if values.dtype in (np.float32, np.float16) else 0.0
        r = np.atleast_1d(data.whitened(values.astype(np.float64) - data.y if low else values - data.y))
        squares = float(r @ r)
    if not math.isfinite(squares) and not np.isfinite(r).all():
        bad = np.flatnonzero(~np.isfinite(r))
        raise ValueError(
            f"Residuals are not finite in the initial point: received {r[bad[0]]} for point {bad[0]}, {bad.size} of "
            f"{r.size} in all, at p0 = {theta.tolist()}; start where the model exists{data.advice}"
        )
    return r, low


def is_worse_than_constant(residual: np.ndarray, data: CurveData) -> bool:
    """Return whether residuals, shape (m,), have a larger sum of squares than those about the best constant."""
    y = data.whitened(np.broadcast_to(data.y, residual.shape).astype(np.float64))
    one = data.whitened(np.ones_like(residual))
    left = y - one * (float(one @ y) / float(one @ one))
    return float(residual @ residual) > (1.0 + 1e-9) * float(left @ left)
