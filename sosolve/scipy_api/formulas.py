"""A formula as the model of `curve_fit`: values and exact Jacobian from one evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ..curve_problems.model import predictors_of
from .curve_data import CurveData, real_array


def formula_of(f: Any, data: CurveData) -> tuple[Any, CurveData]:
    """Return the formula, and the data with x of shape (m,) or (m, k).

    Parameters
    ----------
    f : str or Formula
    data : CurveData
        x of shape (m,) or (k, m), a mapping of columns, or a data frame.

    Raises
    ------
    ValueError
        If the text is no formula, or x has other columns.
    """
    x = data.x
    names = list(x) if isinstance(x, Mapping) else list(x.columns) if hasattr(x, "columns") else None
    if names is not None:
        columns = [real_array(x[name], f"xdata[{name!r}]", True) for name in names]
        x = np.stack(columns, axis=1) if len(columns) > 1 else columns[0]
        predictors: Any = tuple(map(str, names))
        if isinstance(f, str):  # names that the text does not use are no predictors: it says x, or x0, x1, ...
            predictors = predictors_of(f, predictors, len(columns))
    else:
        x = np.asarray(x, dtype=np.float64)
        predictors = 1 if x.ndim == 1 else x.shape[0]
        x = x if x.ndim == 1 else x.T
    return (parsed(f, predictors) if isinstance(f, str) else f), data._replace(x=x)


@lru_cache(maxsize=256)
def parsed(text: str, predictors: Any) -> Any:
    """Return the formula of a text, or of a library name, over named predictors, or a number of them."""
    from ..curves import library, parse

    form = library.named(text)
    if form is None:
        return parse(text, predictors)
    count = len(predictors) if isinstance(predictors, tuple) else predictors
    if count != 1:
        raise ValueError(
            f"received x with {count} columns for the model {text!r}, a curve over one predictor; expected one column: "
            "pass it alone, or write a formula in x0, x1, ..."
        )
    return form.formula


def formula_model(formula: Any) -> tuple[Callable, Callable]:
    """Return the model f(x, *p) and its Jacobian, which shares the evaluation of f at the same p."""
    known: dict[str, Any] = {}

    def value(x: np.ndarray, *p: float) -> np.ndarray:
        known["p"], (z, known["jac"]) = p, formula.value_and_jacobian(x, p)
        return z

    def jac(x: np.ndarray, *p: float) -> np.ndarray:
        return known["jac"] if known.get("p") == p else formula.jacobian(x, p)

    return value, jac
