"""One formula, one curve: a few fits in NumPy, from then on machine code, which takes hundredths of a second to make.

The pass of the formula is one piece, by LLVM's optimiser; the loop of `sosolve.solvers.lean_loop`, which calls it by
its address, is another, the same for all formulas. A fit is one call of it without the GIL, with all of its memory on
the stack. Where there is no LLVM, or none of the kind that is known, NumPy goes on.
"""

from __future__ import annotations

import ctypes
import inspect
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .curve_data import CurveData
from .lean import FormulaRows, lean_fit, level_of

#: Fits of a formula in NumPy before it is compiled.
FEW = 3

_lock = threading.Lock()


class Account:
    """What is known of a formula.

    Attributes
    ----------
    n_fits : int
        In NumPy.
    run : callable or None
        See `fit_function`.
    is_refused : bool
        Whether there is no machine code of it to be had.
    """

    __slots__ = ("is_refused", "n_fits", "run")

    def __init__(self) -> None:
        self.n_fits, self.run, self.is_refused = 0, None, False


@lru_cache(maxsize=256)
def account_of(formula: Any) -> Account:
    """Return the account of a formula."""
    return Account()


def formula_fit(
    formula: Any, data: CurveData, theta: np.ndarray, absolute_sigma: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return parameters and covariance, or None where the full solver must find them; as `compiled_fit`."""
    if data.x.shape[0] != data.y.shape[0]:
        return None
    account = account_of(formula)
    if account.run is None and account.n_fits >= FEW and not account.is_refused:
        compile_now(formula)
    if account.run is not None and data.x.size == data.y.size * len(formula.predictors):
        return compiled_fit(account.run, data, theta, absolute_sigma)
    account.n_fits += 1
    return lean_fit(FormulaRows(formula, data), theta, absolute_sigma)


def compile_now(formula: Any) -> None:
    """Compile a formula, unless that has been tried, or another thread is compiling: nobody waits for it."""
    account = account_of(formula)
    if account.run is not None or account.is_refused or not _lock.acquire(blocking=False):
        return
    try:
        account.run = fit_function(formula)
    except Exception:  # whatever another version of llvmlite raises, or a platform where it cannot compile
        account.is_refused = True
    finally:
        _lock.release()


def fit_function(formula: Any) -> Callable:
    """Return `minimise` of `sosolve.solvers.lean_loop`, for addresses of arrays, its first argument bound to a formula.

    Raises
    ------
    Exception
        Of many kinds, where there is no machine code.
    """
    from ..curves.machine_code import compiled
    from ..curves.native import pass_text

    minimise, loop = _loop()
    engine = compiled(pass_text(formula), fast=True)
    rows = engine.get_function_address("rows")

    def run(*arguments: Any, owners: tuple = (engine, loop)) -> float:
        return minimise(rows, *arguments)

    return run


@lru_cache(maxsize=1)
def _loop() -> tuple[Callable, Any]:
    """Return the compiled `minimise`, and what owns its code."""
    from ..curves.machine_code import compiled, translated
    from ..solvers import lean_loop

    constants = {name: value for name, value in vars(lean_loop).items() if type(value) in (int, float)}
    engine = compiled(translated(inspect.getsource(lean_loop), constants), fast=False)
    place, number, whole = ctypes.c_void_p, ctypes.c_double, ctypes.c_int64
    kinds = [place, place, place, place, whole, number, whole, number, place, place]
    return ctypes.CFUNCTYPE(number, *kinds)(engine.get_function_address("minimise")), engine


def compiled_fit(
    run: Callable, data: CurveData, theta: np.ndarray, absolute_sigma: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return parameters and covariance, or None where the full solver must find them.

    Parameters
    ----------
    run : callable
        See `fit_function`.
    data : CurveData
        x of shape (m,) or (m, d), y of shape (m,), 1 / sigma a vector, a number or nothing.
    theta : ndarray of shape (p,)
    absolute_sigma : bool
    """
    m, p = data.y.shape[0], theta.shape[0]
    x, y = np.ascontiguousarray(data.x.T), np.ascontiguousarray(data.y)
    weights, factor = ones(m), 1.0
    if data.weights is not None:
        if data.weights.ndim:
            weights = np.ascontiguousarray(data.weights)
        else:
            factor = float(data.weights)
    popt, pcov = np.array(theta, dtype=np.float64), np.empty((p, p))
    given = (_address(x), _address(y), _address(weights), m, factor, p, level_of(data))
    cost = run(*given, _address(popt), _address(pcov))
    if cost < 0.0:
        return None
    return popt, pcov if absolute_sigma else pcov * (cost / (m - p))


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@lru_cache(maxsize=16)
def ones(m: int) -> np.ndarray:
    """Return weights of 1."""
    return np.ones(m)
