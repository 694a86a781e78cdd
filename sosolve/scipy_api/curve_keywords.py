"""The further keywords of `curve_fit`: those of MINPACK in the words of `least_squares`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import checks

#: Keywords that "lm" has no use for: where no method is named, they choose "trf".
BEYOND_LM = ("callback", "jac_sparsity", "tr_solver", "tr_options")
#: All of them: MINPACK's, and those of `least_squares`.
MINPACK = ("col_deriv", "ftol", "xtol", "gtol", "maxfev", "epsfcn", "factor", "diag")
KNOWN = {*MINPACK, *BEYOND_LM, "max_nfev", "loss", "f_scale", "x_scale", "diff_step", "verbose", "workers"}
#: What to do about words of other packages.
ADVICE = {
    "weights": "pass sigma=1/sqrt(weights) where they multiply squares (sosolve.fit_curves), sigma=1/weights where "
    "they multiply residuals (lmfit, numpy.polyfit)",
    "sample_weight": "pass sigma=1/sqrt(sample_weight)",
    "kwargs": "bind further arguments with functools.partial",
    "tol": "pass ftol, xtol or gtol",
    "max_iter": "pass max_nfev",
    "maxiter": "pass max_nfev",
}


def method_of(method: str | None, box: dict, kwargs: dict) -> str:
    """Return the method, chosen where it is None: "lm", or "trf" where bounds or a keyword need that."""
    if method is None:
        loss = kwargs.get("loss", "linear")
        beyond = not isinstance(loss, str) or loss != "linear" or any(kwargs.get(n) is not None for n in BEYOND_LM)
        return "trf" if box or beyond else "lm"
    checks.one_of("method", method, checks.METHODS)
    return method


def translated(kwargs: dict, jac: Any, method: str) -> tuple[dict, Any]:
    """Return the keywords with `diag` as `x_scale`, one limit of evaluations, and without `col_deriv`; and jac.

    Raises
    ------
    ValueError
        If the limit is no positive number, or `diag` is not positive.
    TypeError
        If there is no such keyword.
    """
    unknown = kwargs.keys() - KNOWN
    if unknown:
        name = min(unknown)
        advice = ADVICE.get(name, f"expected one of {', '.join(sorted(KNOWN))}")
        raise TypeError(f"curve_fit() got an unexpected keyword argument {name!r}: {advice}")
    kwargs = dict(kwargs)
    if kwargs.pop("col_deriv", False) and callable(jac):
        jac = _transposed(jac)
    diag = kwargs.pop("diag", None)
    if diag is not None:
        d = np.asarray(diag, dtype=np.float64)
        if not (np.isfinite(d) & (d > 0.0)).all():
            raise ValueError(f"`diag` must be positive: received {diag!r}; pass 1 / (typical size) of each parameter")
        kwargs["x_scale"] = 1.0 / d
    limits = [kwargs.pop(name, None) for name in ("max_nfev", "maxfev")]
    if method == "lm" and limits[1] is not None and checks.is_number(limits[1]) and limits[1] == 0:
        limits[1] = None  # MINPACK's way to say: the default
    limit = limits[0] if limits[0] is not None else limits[1]
    if limit is not None:
        checks.check_choices(method, None, None, "linear", 0, limit)
        kwargs["max_nfev"] = limit
    return kwargs, jac


def _transposed(jac: Callable) -> Callable:
    def columns(x: Any, *p: float) -> np.ndarray:
        return np.asarray(jac(x, *p)).T

    return columns
