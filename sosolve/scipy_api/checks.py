"""Checks of the arguments that SciPy's functions share: kinds and messages as people know them, with the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import Bounds

from ..caller import warn_caller

EPS = float(np.finfo(np.float64).eps)
METHODS = ("trf", "dogbox", "lm")
SCHEMES = ("2-point", "3-point", "cs", "auto")
LOSSES = ("linear", "huber", "soft_l1", "cauchy", "arctan")


def one_of(name: str, value: object, allowed: tuple) -> None:
    """Raise ValueError where a value is none of those allowed."""
    if not any(value is a or (isinstance(value, type(a)) and value == a) for a in allowed):
        listed = ", ".join(repr(a) for a in allowed)
        raise ValueError(f"`{name}` must be one of {listed}: received {value!r}; choose one of them")


def start_vector(x0: object, name: str = "x0") -> np.ndarray:
    """Return a start as a fresh float64 array of shape (p,).

    Raises
    ------
    ValueError
        If it is complex, of two or more dimensions, empty, no numbers, or not finite.
    """
    given = np.asarray(x0)
    if given.dtype.kind == "c":
        raise ValueError(f"`{name}` must be real: received dtype {given.dtype}; pass real and imaginary parts apart")
    try:
        start = np.array(given, dtype=np.float64, ndmin=1)
    except (TypeError, ValueError):
        raise ValueError(
            f"`{name}` must hold numbers: received {x0!r}; pass one float for each parameter, in order"
        ) from None
    if start.ndim > 1 or not start.size:
        raise ValueError(
            f"`{name}` must have at most 1 dimension and at least one number: received shape {start.shape}; "
            "pass a flat array"
        )
    if not math.isfinite(sum(start.tolist())) and not np.isfinite(start).all():
        j = int(np.flatnonzero(~np.isfinite(start))[0])
        raise ValueError(
            f"`{name}` must be finite: received {start[j]} for parameter {j}; start where the model exists"
        )
    return start


def as_bounds(bounds: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper bounds, each of shape (p,), from a pair or a `scipy.optimize.Bounds`.

    Raises
    ------
    ValueError
        If there are not two of them, they are no numbers, the shapes do not fit, or a lower one is not below the upper
        one.
    """
    if isinstance(bounds, Bounds):  # Bounds(0, 1) holds arrays of length 1
        bounds = tuple(side[0] if np.shape(side) == (1,) else side for side in (bounds.lb, bounds.ub))
    bounds = (None, None) if bounds is None else bounds
    if not isinstance(bounds, list | tuple | np.ndarray):
        raise ValueError(f"`bounds` must contain 2 elements: received {bounds!r}; pass (lower, upper)")
    if len(bounds) != 2:
        raise ValueError(f"`bounds` must contain 2 elements: received {len(bounds)}; pass (lower, upper)")
    sides = []
    for side, default in zip(bounds, (-np.inf, np.inf), strict=True):
        try:
            side = np.asarray(default if side is None else side, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"`bounds` must hold numbers: received {side!r}; pass (lower, upper), with inf where there is no bound"
            ) from None
        # Bounds() holds arrays of length 1
        sides.append(np.full(size, side.item()) if side.ndim == 0 else side)
        if isinstance(bounds, tuple) and side.shape == (1,) and size > 1 and not np.isfinite(side[0]):
            sides[-1] = np.full(size, side[0])
    lower, upper = sides
    if lower.shape != (size,) or upper.shape != (size,):
        raise ValueError(
            f"Inconsistent shapes between bounds and `x0`: received {lower.shape} and {upper.shape}; expected "
            f"({size},) or numbers: pass one bound for each parameter"
        )
    bad = np.flatnonzero(~(lower < upper))
    if bad.size:
        j = int(bad[0])
        raise ValueError(
            f"Each lower bound must be strictly less than each upper bound: received {lower[j]:g} and {upper[j]:g} "
            f"for parameter {j}; exchange them, or take a fixed parameter out of the model"
        )
    return lower, upper


def check_inside(x0: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
    """Raise ValueError where a start, shape (p,), is outside its bounds."""
    outside = np.flatnonzero((x0 < lower) | (x0 > upper))
    if outside.size:
        j = int(outside[0])
        raise ValueError(
            f"Initial guess is outside of provided bounds: received {x0[j]:g} for parameter {j}, expected a number "
            f"within [{lower[j]:g}, {upper[j]:g}]; start inside, or widen the bounds"
        )


def check_tolerances(ftol: Any, xtol: Any, gtol: Any, method: str) -> tuple[float | None, ...]:
    """Return ftol, xtol and gtol with None for a test that is off.

    Raises
    ------
    ValueError
        If all are below the machine epsilon, or any is for the method "lm"; if one is no number.
    """
    found: list[float | None] = []
    for name, given in (("ftol", ftol), ("xtol", xtol), ("gtol", gtol)):
        if given is None:
            found.append(None)
            continue
        try:
            value = float(given)
        except (TypeError, ValueError):
            raise ValueError(f"`{name}` must be None or a number >= 0: received {given!r}; 1e-8 is usual") from None
        if not value >= 0.0:
            raise ValueError(f"`{name}` must be None or a number >= 0: received {value!r}; 1e-8 is usual")
        if value < EPS:
            warn_caller(f"Setting `{name}` below the machine epsilon ({EPS:.2e}) switches that test off.")
        found.append(value if value >= EPS else None)
    if method == "lm" and None in found:
        raise ValueError(
            f"All tolerances must be higher than machine epsilon ({EPS:.2e}) for method 'lm': received "
            f"ftol={ftol}, xtol={xtol}, gtol={gtol}; raise them, or use method='trf'"
        )
    if found == [None, None, None]:
        raise ValueError(
            f"At least one of the tolerances must be higher than machine epsilon ({EPS:.2e}): received "
            f"ftol={ftol}, xtol={xtol}, gtol={gtol}; leave one at its default"
        )
    return tuple(found)


def as_scale(x_scale: Any, x0: np.ndarray) -> np.ndarray | None:
    """Return the units of the parameters, shape (p,); None where the Jacobian gives them ("jac" and the default).

    Raises
    ------
    ValueError
        If they are not positive and finite, or of another shape.
    """
    if x_scale is None or (isinstance(x_scale, str) and x_scale == "jac"):
        return None
    try:
        if np.iscomplexobj(x_scale):
            raise TypeError
        scale = np.asarray(x_scale, dtype=np.float64)
        valid = bool((np.isfinite(scale) & (scale > 0.0)).all())
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            f"`x_scale` must be 'jac' or array_like with positive numbers: received {x_scale!r}; pass the typical size "
            "of each parameter"
        )
    scale = np.full(x0.shape, scale.item()) if scale.ndim == 0 else scale
    if scale.shape != x0.shape:
        raise ValueError(
            f"Inconsistent shapes between `x_scale` and `x0`: received {scale.shape} and {x0.shape}; pass one number "
            "for each parameter"
        )
    return scale


def check_choices(method: str, jac: Any, tr_solver: Any, loss: Any, verbose: Any, max_nfev: Any) -> None:
    """Check the arguments of `least_squares` that name a choice.

    Raises
    ------
    ValueError
        If one is not a choice, or two do not go together.
    """
    one_of("method", method, METHODS)
    if not callable(jac):
        one_of("jac", jac, (*SCHEMES, None))
    one_of("tr_solver", tr_solver, (None, "exact", "lsmr"))
    if not callable(loss):
        one_of("loss", loss, LOSSES)
    if method == "lm" and not (isinstance(loss, str) and loss == "linear"):
        raise ValueError(f"method='lm' supports only 'linear' loss function: received {loss!r}; use method='trf'")
    one_of("verbose", verbose, (0, 1, 2))
    if max_nfev is not None and not (is_number(max_nfev) and max_nfev > 0):
        raise ValueError(
            f"`max_nfev` must be None or positive integer: received {max_nfev!r}; None sets no small limit"
        )


def check_step(step: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError where relative steps of differences are 0, not finite, or of another shape than (p,)."""
    steps = np.asarray(step)
    fits = steps.dtype.kind in "iuf" and steps.shape in ((), (1,), shape)
    if not fits or not (np.isfinite(steps) & (steps != 0)).all():
        raise ValueError(
            f"`diff_step` must hold numbers other than 0: received {step!r}; pass a number, or one for each of the "
            f"{shape[0]} parameters"
        )


def is_number(value: object) -> bool:
    """Return whether a value is a real number, no array and no text."""
    return isinstance(value, int | float | np.integer | np.floating)


def tr_settings(tr_options: Any) -> dict[str, Any]:
    """Return the options of the LSMR step.

    Raises
    ------
    TypeError
        If an option is unknown.
    """
    options = dict(tr_options or {})
    options.pop("regularize", None)
    known = ("atol", "btol", "conlim", "maxiter", "damp", "show")
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(
            f"received the unknown tr_options {', '.join(unknown)}; expected some of {', '.join(known)}: correct them"
        )
    return options


def check_hess_inv0(given: Any) -> None:
    """Raise ValueError where an inverse Hessian, which is not used, would not be positive definite."""
    try:
        np.linalg.cholesky(np.asarray(given, dtype=np.float64))
    except (np.linalg.LinAlgError, TypeError, ValueError):
        raise ValueError(
            f"'hess_inv0' matrix isn't positive definite: received {given!r}; leave it out, it is not needed"
        ) from None


class Call:
    """A user's function of x with its further arguments bound; picklable where the function is.

    Parameters
    ----------
    function : callable
    args : tuple
    kwargs : dict or None
    """

    def __init__(self, function: Callable, args: Any = (), kwargs: dict | None = None):
        args = args if isinstance(args, tuple | list) else (args,)
        self.function, self.args, self.kwargs = function, tuple(args), dict(kwargs or {})

    def __call__(self, x: np.ndarray) -> Any:
        """Return function(x, *args, **kwargs); x is a copy that the function may write to."""
        return self.function(x.copy(), *self.args, **self.kwargs)
