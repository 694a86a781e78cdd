"""What `curve_fit` is asked for: its arguments, checked, in one value that all its parts look at."""

from __future__ import annotations

import types
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .curve_data import CurveData
from .curve_keywords import method_of, translated
from .curve_start import DEFAULT, check_lm, found_start, start_and_box
from .formulas import formula_model, formula_of


@dataclass(slots=True)
class CurveTask:
    """A curve fit to be done.

    Attributes
    ----------
    f : callable, str or Formula
        f(x, *p) -> values of shape (m,); a formula as it came in, until `as_function`.
    jac : callable, str or None
    formula : Formula or None
        That of f, where f is one.
    data : CurveData
    theta : ndarray of shape (p,)
        The start.
    box : dict
        lower and upper, each of shape (p,); empty where nothing is bounded.
    method : {"lm", "trf", "dogbox"}
    keywords : dict
        Further ones, in the words of `least_squares`.
    absolute_sigma : bool
    searched : bool
        Whether the caller gave no start.
    """

    f: Any
    jac: Any
    formula: Any
    data: CurveData
    theta: np.ndarray
    box: dict
    method: str
    keywords: dict
    absolute_sigma: bool
    searched: bool

    @property
    def own_jac(self) -> Any:
        """The Jacobian that the caller wrote, None where there is none."""
        return self.jac if self.formula is None and callable(self.jac) else None

    def as_function(self) -> CurveTask:
        """Return the task with a formula as a function and its Jacobian, and with what a failure says of the start."""
        if self.formula is not None:
            f, jac = formula_model(self.formula)
            return replace(self, f=f, jac=jac)
        return replace(self, data=self.data._replace(advice=DEFAULT)) if self.searched else self


def curve_task(
    f: Any, jac: Any, data: CurveData, p0: Any, bounds: Any, method: str | None, keywords: dict, absolute_sigma: bool
) -> CurveTask:
    """Return the task of the arguments of `curve_fit`; the start of a formula is searched for where there is none.

    Raises
    ------
    ValueError
        If start, bounds, method and keywords are not such, or do not go together.
    TypeError
        If f is no model, or there are fewer points than parameters for the method "lm".
    """
    formula = None
    if type(f) is not types.FunctionType and (isinstance(f, str) or hasattr(f, "value_and_jacobian")):
        formula, data = formula_of(f, data)
    theta, box = start_and_box(f, p0, bounds, None if formula is None else formula.size)
    if p0 is None and formula is not None:
        theta = found_start(formula, data, theta, box, keywords.get("loss", "linear"))
    method = method_of(method, box, keywords)
    if keywords:
        keywords, jac = translated(keywords, jac, method)
    if method == "lm":
        check_lm(box, theta.shape[0], data.y.size)
    return CurveTask(f, jac, formula, data, theta, box, method, keywords, absolute_sigma, p0 is None)
