"""Compile before the first fit needs it: in an image, at the start of a service, before a clock runs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse

from .kernels import COMPILED_FROM

if TYPE_CHECKING:
    from .curves.formula import Formula

_COLUMNS = 20


def warmup(*, linear: bool = True, curves: bool = True, formulas: Iterable[str | Formula] = ()) -> dict[str, float]:
    """Compile the kernels that fits use, keep them on disk, and return the seconds that each part took.

    What is compiled already costs the time to load it. Where the cache folder cannot be written, or
    `SOSOLVE_JIT_CACHE=0` turns it off, the kernels are compiled for this process alone.

    Parameters
    ----------
    linear : bool, default=True
        Logistic and softmax regression over dense arrays in C order and CSR matrices, float64 and float32, with
        "newton-cg" and "newton-cholesky".
    curves : bool, default=True
        The solver of `fit_curves`. Each new formula adds about half a second at its first fit.
    formulas : iterable of str or Formula, default ()
        Formulas whose fits shall be compiled from the first one on, in `fit_curves` and `curve_fit`; texts are over x.

    Returns
    -------
    dict of str to float
        Part -> seconds.

    Examples
    --------
    >>> from sosolve import warmup
    >>> warmup(linear=False, curves=False)
    {}
    """
    seconds = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # data made of noise are no reason to warn
        if linear:
            for kind in ("dense", "csr"):
                for dtype in ("float64", "float32"):
                    seconds[f"{kind} {dtype}"] = _timed(_fit_linear, kind == "csr", dtype)
        if curves:
            seconds["fit_curves"] = _timed(_fit_curves)
        for formula in formulas:
            seconds[str(getattr(formula, "text", formula))] = _timed(_compile_formula, formula)
    return seconds


def _timed(task, *arguments) -> float:
    began = time.perf_counter()
    task(*arguments)
    return time.perf_counter() - began


def _fit_linear(sparse: bool, dtype: str) -> None:
    """Fit two and three classes to noise, just large enough for compiled kernels."""
    from .estimators import LogisticRegression

    rng = np.random.default_rng(0)
    n = -(-COMPILED_FROM // _COLUMNS)
    X = rng.standard_normal((n, _COLUMNS)).astype(dtype)
    X = scipy.sparse.csr_matrix(X) if sparse else X
    for classes in (2, 3):
        y = rng.integers(0, classes, n)
        for solver in ("newton-cg", "newton-cholesky"):
            LogisticRegression(solver=solver).fit(X, y)


def _fit_curves() -> None:
    """Fit two lines, given as a function; where SymPy is there for a formula, search for a start too."""
    from .curves.batch import fit_curves

    x = np.linspace(0.0, 1.0, 8)
    fit_curves(_line, x, np.stack([1.0 + x, 2.0 - x]), p0=[1.0, 0.0]).predict(x)
    if find_spec("sympy") is not None:
        fit_curves("a*exp(-b*x)", x, np.exp(-x)[None])


def _compile_formula(formula: str | Formula) -> None:
    from .curves import parse
    from .curves.batch_code import passes_of_formula
    from .scipy_api.compiled import compile_now

    formula = parse(formula, 1) if isinstance(formula, str) else formula
    passes_of_formula(formula)
    compile_now(formula)


def _line(x, a, b):
    """Return a line, derivatives and all."""
    return a + b * x
