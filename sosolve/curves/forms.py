"""Model forms: a formula of one predictor with a meaning and an initial guess; sums and products of forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from . import guesses
from .formula import Formula, parse

#: The least x of each domain.
_DOMAINS = {"any x": -np.inf, "x >= 0": 0.0, "x > 0": np.nextafter(0.0, 1.0)}


@dataclass(frozen=True)
class CurveForm:
    """A named model of one predictor x.

    Attributes
    ----------
    name : str
    text : str
        The formula.
    meaning : str
        One line: what the curve and its parameters are.
    reference : str
    domain : {"any x", "x >= 0", "x > 0"}
        Where the formula is defined; `guess` leaves other points out.
    rule : callable
        `rule(formula, x, y)` returns parameters, see `sosolve.curves.guesses`.
    """

    name: str
    text: str
    meaning: str
    reference: str
    domain: str
    rule: Callable = field(compare=False)

    @property
    def formula(self) -> Formula:
        """The model as a formula over one unnamed predictor."""
        return parse(self.text, 1)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return self.formula.parameters

    def guess(self, x, y) -> np.ndarray:
        """Return an initial guess, shape (p,): always finite, in any order of x, with repeated x, for any finite y.

        Parameters
        ----------
        x : array-like of shape (n,) or (n, 1)
        y : array-like of shape (n,)
            Points that are not finite, or outside the domain, are left out. Where nothing is left to learn from,
            parameters are 1.

        Raises
        ------
        ValueError
            When the lengths differ.
        """
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        x = x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x
        if x.ndim != 1 or x.shape != y.shape:
            raise ValueError(
                f"received x of shape {x.shape} and y of shape {y.shape}; expected two arrays of shape (n,): "
                "pass one x and one y per point"
            )
        keep = np.isfinite(x) & np.isfinite(y) & (x >= _DOMAINS[self.domain])
        order = np.argsort(x[keep], kind="stable")
        x, y = x[keep][order], y[keep][order]
        scale = float(abs(y).max(initial=0.0)) or 1.0
        formula, params = self.formula, np.full(len(self.parameters), np.nan)
        if len(x):
            with np.errstate(all="ignore"):
                params = self._guess(formula, x, y / scale, scale)
        return np.where(np.isfinite(params), params, 1.0)

    def _guess(self, formula: Formula, x, y, scale: float) -> np.ndarray:
        """Return the rule's parameters in the units of y: all library models are homogeneous in the linear ones."""
        try:
            params = np.array(self.rule(formula, x, y), dtype=np.float64)
        except np.linalg.LinAlgError:  # no convergence of an SVD on extreme numbers
            return np.full(formula.size, np.nan)
        scaled = [formula.parameters.index(name) for name in formula.linear_parameters]
        params[scaled] *= scale
        return params

    def rename(self, changes: Mapping[str, str]) -> CurveForm:
        """Return the form with parameters renamed; raises as `Formula.rename`."""
        return replace(self, text=self.formula.rename(changes).text)

    def with_prefix(self, prefix: str) -> CurveForm:
        """Return the form with `prefix` before each parameter's name; raises as `Formula.rename`."""
        return replace(self, text=self.formula.with_prefix(prefix).text)

    def __add__(self, other: CurveForm) -> CurveForm:
        return _combine(self, other, "+") if isinstance(other, CurveForm) else NotImplemented

    def __mul__(self, other: CurveForm) -> CurveForm:
        return _combine(self, other, "*") if isinstance(other, CurveForm) else NotImplemented


def _combine(left: CurveForm, right: CurveForm, sign: str) -> CurveForm:
    formula = left.formula + right.formula if sign == "+" else left.formula * right.formula
    return CurveForm(
        name=f"{left.name} {sign} {right.name}",
        text=formula.text,
        meaning=f"{'Sum' if sign == '+' else 'Product'} of {left.name} and {right.name}",
        reference="; ".join(dict.fromkeys([left.reference, right.reference])),
        domain=max(left.domain, right.domain, key=lambda domain: _DOMAINS[domain]),
        rule=partial(_guess_parts, left=left, right=right, sign=sign),
    )


def _guess_parts(formula: Formula, x, y, left: CurveForm, right: CurveForm, sign: str) -> np.ndarray:
    """Return the guess of a sum or product: each part on what the other leaves, back and forth, from either side.

    The linear parameters of the whole are then solved for together. A part that is smaller than what a coarse guess
    of the other leaves (a ripple on a growth of a thousand times its size) is not seen.
    """
    x, y = guesses.thin(x, y, guesses.MAX_SINE_POINTS)
    best, least = np.ones(formula.size), np.inf
    for first, second in ((left, right), (right, left)):
        p = first.guess(x, y)
        for _ in range(3):
            q = second.guess(x, _remainder(y, first.formula.value(x, p), sign))
            for params in _with_linear_part(formula, x, y, np.concatenate([p, q] if first is left else [q, p])):
                gap = y - formula.value(x, params)
                if gap @ gap < least:
                    best, least = params, gap @ gap
            p = first.guess(x, _remainder(y, second.formula.value(x, q), sign))
    return best


def _remainder(y, part, sign: str) -> np.ndarray:
    """Return what a part leaves of y; NaN where it is too small to divide by."""
    if sign == "+":
        return y - part
    return np.where(abs(part) > 1e-3 * abs(part).max(initial=0.0), y / part, np.nan)


def _with_linear_part(formula: Formula, x, y, params):
    """Yield parameters, and the same with the linear ones solved for."""
    yield params
    alpha = [params[formula.parameters.index(name)] for name in formula.nonlinear_parameters]
    phi, offset = formula.basis(x, alpha)
    beta, _ = guesses.solve(phi, y - offset)
    yield guesses.assemble(formula, beta, alpha)
