"""One formula, one curve, through the compiled code of `sosolve.fit_curves`: where that is in memory already.

`curve_fit` never compiles by itself, which costs seconds: a process that has called `fit_curves` once, for any formula,
has the solver, and a formula's own pass then takes a fraction of a second on its first use.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import numpy as np

from .curve_data import CurveData

#: The tests of the compiled solver, ftol, xtol and gtol, and its limit of steps; a fit that does not meet them is
#: done again by `sosolve.LevenbergMarquardt`.
STEPS, FTOL, XTOL, GTOL = 100, 1e-14, 1e-10, 1e-11


def is_ready() -> bool:
    """Return whether the compiled solver is in memory."""
    module = sys.modules.get("sosolve.curves.batch_chunk")
    return module is not None and bool(module.fit_chunk.overloads)


def compiled_fit(
    formula: Any, data: CurveData, theta: np.ndarray, absolute_sigma: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return parameters and covariance, or None where the compiled solver has no clear answer.

    Parameters
    ----------
    formula : Formula
    data : CurveData
        x of shape (m,) or (m, k), y of shape (m,), sigma a vector, a number or nothing.
    theta : ndarray of shape (p,)
    absolute_sigma : bool
    """
    n, p = data.y.size, theta.shape[0]
    if data.factor is not None or data.y.ndim != 1 or data.x.shape[0] != n or n <= p:
        return None
    fit_chunk, Data, Out, room, settings, no_cost = _parts()
    weights = _ones(n) if data.weights is None else _frozen(np.broadcast_to(data.weights, (n,)))
    at, count = _places(n)
    out = Out(
        params=np.full((1, p), np.nan),
        stderr=np.full((1, p), np.nan),
        covariance=np.full((1, p, p), np.nan),
        on_bound=np.zeros((1, p), dtype=bool),
        rss=np.full(1, np.nan),
        r_squared=np.full(1, np.nan),
        n_points=np.empty(1, dtype=np.int32),
        status=np.empty(1, dtype=np.int8),
        n_iter=np.empty(1, dtype=np.int32),
        n_evaluations=np.zeros(1, dtype=np.int32),
    )
    points = Data(_frozen(data.x).reshape(-1), _frozen(data.y), weights, at, count, data.weights is not None)
    low, high = _no_bounds(p)
    model = _model(formula)
    begin = _frozen(theta[None])
    fit_chunk(model, settings, points, begin, no_cost, low, high, not absolute_sigma, out, room(model, points, 1))
    popt, pcov = out.params[0], out.covariance[0]
    if out.status[0] <= 0 or not np.isfinite(pcov.sum() + popt.sum()):
        return None
    return popt, pcov


def _frozen(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array, dtype=np.float64).view()
    array.flags.writeable = False
    return array


@lru_cache(maxsize=1)
def _parts() -> tuple:
    """Return the compiled solver, the tuples it takes, its memory and settings, and the cost of a given start."""
    from ..curves.batch_chunk import Data, Out, fit_chunk, room
    from ..curves.batch_fit import Settings

    return fit_chunk, Data, Out, room, Settings(STEPS, FTOL, XTOL, GTOL), _frozen(np.zeros((1, 1)))


@lru_cache(maxsize=128)
def _model(formula: Any) -> Any:
    """Return what the solver must know of a formula."""
    from ..curves.batch_code import passes_of_formula
    from ..curves.batch_steps import Model

    passes = passes_of_formula(formula)
    return Model(passes.fused, passes.rows, len(passes.names), passes.n_predictors, passes.differences, False)


@lru_cache(maxsize=64)
def _ones(n: int) -> np.ndarray:
    return _frozen(np.ones(n))


@lru_cache(maxsize=64)
def _places(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where the only fit begins, and its number of points."""
    at, count = np.zeros((1, 3), dtype=np.int64), np.full(1, n, dtype=np.int64)
    at.flags.writeable = count.flags.writeable = False
    return at, count


@lru_cache(maxsize=64)
def _no_bounds(p: int) -> tuple[np.ndarray, np.ndarray]:
    return _frozen(np.full((1, p), -np.inf)), _frozen(np.full((1, p), np.inf))
