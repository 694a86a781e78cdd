"""One formula, one curve: compiled where that has paid or is there already, else in plain NumPy.

Loading the compiled solver of `sosolve.fit_curves` costs some tenths of a second, compiling it some seconds, and a
formula's own pass a fraction of one, while a fit costs 0.1 ms. So it is rented before it is bought: an account of the
time that fits have cost decides. What is lost to the best choice in hindsight is then at most as much again. A formula
in a loop is a sign of more to come: where the solver was compiled before, it is loaded after a few fits.
"""

from __future__ import annotations

import math
import sys
import time
from functools import lru_cache
from typing import Any

import numpy as np

from ..kernels.cache_root import was_kept
from .curve_data import CurveData
from .lean import FormulaRows, lean_fit, level_of

#: Length of residuals that are rounding, relative to y.
EXACT = 16.0 * 2.220446049250313e-16
#: The tests of the compiled solver, ftol, xtol and gtol, and its limit of steps; a fit that does not meet them is
#: done again by `sosolve.LevenbergMarquardt`.
STEPS, FTOL, XTOL, GTOL = 100, 1e-14, 1e-10, 1e-11
#: Points up to which the memory of a fit is kept for the next one.
MOST_KEPT = 10_000
#: Fits of one formula that are taken for a loop.
LOOP = 20
#: Seconds to import Numba and load the solver, to compile it, and to compile the pass of one formula.
LOADING, COMPILING, PASS = 0.4, 6.0, 0.3


class Account:
    """Seconds that fits have cost, and the compiled model once it is bought.

    Attributes
    ----------
    spent, due : float
        When `spent` reaches `due` it is time to look.
    n_fits : int
    model : object
    """

    __slots__ = ("due", "model", "n_fits", "spent")

    def __init__(self, due: float):
        self.spent, self.due, self.n_fits, self.model = 0.0, due, 0, None


#: Of all formulas.
_whole = Account(LOADING)


@lru_cache(maxsize=256)
def account_of(formula: Any) -> Account:
    """Return the account of a formula."""
    return Account(PASS)


def formula_fit(
    formula: Any, data: CurveData, theta: np.ndarray, absolute_sigma: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return parameters and covariance, or None where the full solver must find them; as `compiled_fit`."""
    if data.x.shape[0] != data.y.shape[0]:
        return None
    account = account_of(formula)
    if account.model is None and is_worth_it(formula, account):
        account.model = _model(formula)
    if account.model is not None:
        return compiled_fit(account.model, data, theta, absolute_sigma)
    began = time.perf_counter()
    found = lean_fit(FormulaRows(formula, data), theta, absolute_sigma)
    seconds = time.perf_counter() - began
    account.spent += seconds
    account.n_fits += 1
    _whole.spent += seconds
    return found


def is_ready() -> bool:
    """Return whether the compiled solver is in memory."""
    module = sys.modules.get("sosolve.curves.batch_chunk")
    return module is not None and bool(module.fit_chunk.overloads)


def is_worth_it(formula: Any, account: Account) -> bool:
    """Return whether the solver is there, or has been paid for, and so has the pass of this formula."""
    if not is_ready():
        if _whole.spent < _whole.due and not (account.n_fits == LOOP and was_kept("batch_chunk.fit_chunk")):
            return False
        from ..curves.batch_chunk import fit_chunk
        from ..kernels.cache import is_on_disk

        if _whole.spent < COMPILING and not is_on_disk(fit_chunk):
            _whole.due = COMPILING
            return False
    if account.spent >= account.due or account.n_fits >= LOOP:
        return True
    code = sys.modules.get("sosolve.curves.batch_code")
    return code is not None and code.is_compiled(formula)


def compiled_fit(
    model: Any, data: CurveData, theta: np.ndarray, absolute_sigma: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return parameters and covariance, or None where the compiled solver has no clear answer.

    Parameters
    ----------
    model : Model
    data : CurveData
        x of shape (m,) or (m, k), y of shape (m,), sigma a vector, a number or nothing.
    theta : ndarray of shape (p,)
    absolute_sigma : bool
    """
    n, p = data.y.size, theta.shape[0]
    if data.factor is not None or data.y.ndim != 1 or data.x.shape[0] != n or n <= p:
        return None
    fit_chunk, Data, settings, no_cost = _parts()
    weights = _ones(n) if data.weights is None else _frozen(np.broadcast_to(data.weights, (n,)))
    at, count = _places(n)
    points = Data(_frozen(data.x).reshape(-1), _frozen(data.y), weights, at, count, data.weights is not None)
    low, high = _no_bounds(p)
    shelf = _shelf(p, n, model.d, points.weighted)
    try:
        out, room = shelf.pop()
    except IndexError:
        out, room = _memory(model, points)
    fit_chunk(model, settings, points, _frozen(theta[None]), no_cost, low, high, not absolute_sigma, out, room)
    popt, pcov, status, rss = out.params[0].copy(), out.covariance[0].copy(), out.status[0], out.rss[0]
    if n <= MOST_KEPT:
        shelf.append((out, room))
    if status <= 0 or not math.isfinite(pcov.sum() + popt.sum()):
        return None
    if rss <= EXACT * EXACT * level_of(data) and (np.diagonal(pcov) > 0.01 * popt * popt).any():
        return None  # the full solver tells a parameter that is 0 from one that nothing depends on
    return popt, pcov


@lru_cache(maxsize=8)
def _shelf(p: int, n: int, d: int, weighted: bool) -> list:
    """Return the list of memory that no fit of n points uses: as many pieces as threads were fitting at once."""
    return []


def _memory(model: Any, points: Any) -> tuple:
    """Return what a fit writes its answer to, and its room."""
    from ..curves.batch_chunk import Out, room

    p = model.p
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
    return out, room(model, points, 1)


def _frozen(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array, dtype=np.float64).view()
    array.flags.writeable = False
    return array


@lru_cache(maxsize=1)
def _parts() -> tuple:
    """Return the compiled solver, the tuple it takes the points in, its settings, and the cost of a given start."""
    from ..curves.batch_chunk import Data, fit_chunk
    from ..curves.batch_fit import Settings

    return fit_chunk, Data, Settings(STEPS, FTOL, XTOL, GTOL), _frozen(np.zeros((1, 1)))


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
