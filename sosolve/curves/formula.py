"""Formulas: a text such as "a*exp(-b*x) + c" as a model with exact derivatives and generated code.

Equation: model_i = f(x_i; p), J_ik = d f(x_i; p) / d p_k, both evaluated in float64 by one generated function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from . import separable
from .codegen import TARGETS, columns_of
from .core import core_of
from .grammar import Negative, Sum, names, normal, refuse, scan
from .symbolic import need_sympy, plain


def parse(text: str, predictors: int | Sequence[str]) -> Formula:
    """Return the formula of a text.

    Parameters
    ----------
    text : str
        Numbers, names, `+ - * / **`, parentheses and calls of the functions in `sosolve.curves.FUNCTIONS`; at most
        2000 characters, 500 nodes and 50 levels. `where(x < c, a, b)` is a where the comparison holds (< <= > >= == !=,
        or a chain such as 0 < x < c) and b elsewhere; its derivatives are those of the branch taken, so that a
        breakpoint c of a curve that jumps there has the derivative 0, and no standard error.
    predictors : sequence of str, or int
        Names of the columns of X; or their number d, and then the names are x0 .. x{d-1}, and x where d is 1. `pi`
        and `e` are constants unless a column bears the name. Every other name is a parameter.

    Returns
    -------
    Formula

    Raises
    ------
    TypeError
        When an argument is of the wrong kind.
    ValueError
        When the text is no formula (the message gives the column) or has no parameter.
    ImportError
        When SymPy is not installed.

    Examples
    --------
    >>> formula = parse("a*exp(-b*x)", 1)
    >>> formula.parameters
    ('a', 'b')
    >>> formula.value([0.0, 1.0], [2.0, 0.0])
    array([2., 2.])
    """
    return Formula(text, _predictor_key(predictors))


def _predictor_key(predictors) -> int | tuple[str, ...]:
    advice = "pass for instance ['time', 'dose'], or the number of columns"
    if isinstance(predictors, str):
        predictors = (predictors,)
    if isinstance(predictors, int | np.integer) and not isinstance(predictors, bool):
        if predictors < 1:
            raise ValueError(f"received predictors={predictors}; expected at least one: {advice}")
        return int(predictors)
    try:
        key = tuple(str(name) for name in predictors)
    except TypeError:
        kind = type(predictors).__name__
        raise TypeError(f"received predictors of type {kind}; expected names or their number: {advice}") from None
    if not key or len({normal(name) for name in key}) < len(key):
        raise ValueError(f"received predictors={key!r}; expected at least one name, each once: {advice}")
    return key


class Formula:
    """A model as a checked text: values, exact Jacobian, its linear part and generated code. Made by `parse`.

    Parameters
    ----------
    text : str
    predictors : int or tuple of str

    Attributes
    ----------
    text : str
    parameters : tuple of str
        In the order of their first appearance in the text.
    predictors : tuple of str
        Names of the columns of X.
    size : int
        p, the number of parameters.
    linear_parameters : tuple of str
        Parameters in which the model is jointly linear, as far as the text shows it (`separable.linear_names`).
    """

    def __init__(self, text: str, predictors: int | tuple[str, ...]):
        if not isinstance(text, str):
            raise TypeError(
                f"received a formula of type {type(text).__name__}; expected a string such as 'a*exp(-b*x)': "
                "pass a Python function as the model where a formula is not enough"
            )
        self._key = predictors
        self._core = core_of(text, predictors)
        self.text = text
        self.parameters, self.predictors = self._core.parameters, self._core.predictors
        self.size = len(self.parameters)

    def __reduce__(self):
        return (Formula, (self.text, self._key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and (self.text, self._key) == (other.text, other._key)

    def __hash__(self) -> int:
        return hash((self.text, self._key))

    def __repr__(self) -> str:
        return f"Formula({self.text!r}, predictors={self._key!r})"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    @property
    def used(self) -> tuple[int, ...]:
        """The numbers of the predictors that occur in the text."""
        return self._core.used

    @property
    def linear_parameters(self) -> tuple[str, ...]:
        return self._core.linear

    @property
    def expression(self):
        """The model as a SymPy expression of real symbols named as in the text, not evaluated."""
        return plain(self._core.tree)

    def latex(self) -> str:
        """Return the formula in LaTeX."""
        return need_sympy().latex(self.expression, order="none")

    def value(self, X, params) -> np.ndarray:
        """Return f(x_i; p), shape (n,).

        Parameters
        ----------
        X : array-like of shape (n, d), or (n,) when d is 1
        params : array-like of shape (p,)

        Raises
        ------
        TypeError
            When X does not hold real numbers.
        ValueError
            When a shape is another. Values that are not finite are returned, not raised.
        """
        V = self._run("value", X, params, self.parameters)[0]
        return V[0]

    def jacobian(self, X, params) -> np.ndarray:
        """Return the derivatives with respect to the parameters, shape (n, p), Fortran order; as `value`."""
        return self._run("jacobian", X, params, self.parameters)[1][0].T

    def value_and_jacobian(self, X, params) -> tuple[np.ndarray, np.ndarray]:
        """Return (value, jacobian) from one evaluation that shares their common parts; as `value`, to rounding."""
        V, J = self._run("both", X, params, self.parameters)
        return V[0], J[0].T

    @property
    def nonlinear_parameters(self) -> tuple[str, ...]:
        """The parameters that are not in `linear_parameters`, r of them, in order."""
        return tuple(name for name in self.parameters if name not in self.linear_parameters)

    @property
    def basis_parameters(self) -> tuple[frozenset[str], ...]:
        """The nonlinear parameters that the offset depends on, and each column of `basis`."""
        offset, coefficients = separable.split(self._core.tree, self._core.linear)
        return tuple(names(tree) & frozenset(self.nonlinear_parameters) for tree in (offset, *coefficients))

    def basis(self, X, nonlinear) -> tuple[np.ndarray, np.ndarray]:
        """Return (Phi, offset) such that the model is offset + Phi @ linear parameters, shapes (n, q) and (n,).

        Parameters
        ----------
        X : array-like of shape (n, d), or (n,) when d is 1
        nonlinear : array-like of shape (r,)
            Values of `nonlinear_parameters`.
        """
        V, _ = self._run("basis", X, nonlinear, self.nonlinear_parameters)
        return V[1:].T, V[0]

    def basis_and_jacobian(self, X, nonlinear) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return what `basis` does, and its derivatives by the nonlinear parameters, (n, q, r) and (n, r)."""
        V, J = self._run("basis both", X, nonlinear, self.nonlinear_parameters)
        return V[1:].T, V[0], J[1:].transpose(2, 0, 1), J[0].T

    def _run(self, kind: str, X, params, expected: tuple[str, ...]):
        run, m, r = self._core.compiled(kind)
        columns, n = columns_of(X, len(self.predictors), self.used)
        params = np.asarray(params, dtype=np.float64)
        if params.shape != (len(expected),):
            raise ValueError(
                f"received parameters of shape {params.shape}; expected ({len(expected)},) for "
                f"{', '.join(expected) or 'none'}: pass one number for each, in this order"
            )
        V, J = np.empty((m, n)), np.empty((m or 1, r, n))
        with np.errstate(all="ignore"):
            run(*columns, *params, V, J)
        return V, J

    def rows(self, X) -> tuple[Callable, list[np.ndarray]]:
        """Return `run` and the columns: `run(*columns, *params, V, J)` fills V, (1, n), and J, (1, p, n), unchecked.

        Parameters
        ----------
        X : array-like of shape (n, d), or (n,) when d is 1
        """
        return self._core.compiled("both")[0], columns_of(X, len(self.predictors), self.used)[0]

    def source(self, target: str, jacobian: bool = True) -> str:
        """Return source code of the model.

        Parameters
        ----------
        target : {"python", "numba", "cuda", "numpy"}
            "python" and "numba" give one text: `row(x0, .., p0, .., J)` writes the p derivatives of one row into J and
            returns the value; compile it with `numba.njit(error_model="numpy")`. In plain Python it raises where
            `math` raises. "cuda" gives `sosolve_row(const double* x, const double* p, double* J)`, which a C++
            compiler takes too. "numpy" gives the vectorised `run` that evaluates this formula.
        jacobian : bool, default=True
            False leaves out the derivatives and the argument J.

        Raises
        ------
        ValueError
            When the target is unknown.
        """
        if target not in TARGETS:
            raise ValueError(f"received target={target!r}; expected one of {', '.join(TARGETS)}: choose one of them")
        return self._core.source(target, "both" if jacobian else "value")

    def rename(self, changes: Mapping[str, str]) -> Formula:
        """Return the formula with parameters renamed.

        Parameters
        ----------
        changes : mapping of str to str
            New names by old names.

        Raises
        ------
        ValueError
            When an old name is no parameter, or new names meet one another, a predictor, a constant or a function.
        """
        unknown = [name for name in changes if name not in self.parameters]
        renamed = tuple(changes.get(name, name) for name in self.parameters)
        if unknown or len(set(renamed)) < self.size:
            received = f"the unknown parameters {unknown}" if unknown else f"new names that coincide, {renamed}"
            advice = "choose other names"
            raise refuse(self.text, None, received, f"parameters among {', '.join(self.parameters)}", advice)
        pieces, at = [], 0
        for kind, token, column in scan(self.text):
            if kind == "name" and normal(token) in changes:
                pieces += [self.text[at:column], changes[normal(token)]]
                at = column + len(token)
        result = Formula("".join([*pieces, self.text[at:]]), self._key)
        if result.parameters != renamed:
            received = f"new names {renamed} that are no free names"
            raise refuse(self.text, None, received, "identifiers that nothing else bears", "choose other names")
        return result

    def with_prefix(self, prefix: str) -> Formula:
        """Return the formula with `prefix` before each parameter's name; raises as `rename` does."""
        return self.rename({name: prefix + name for name in self.parameters})

    def __add__(self, other: Formula) -> Formula:
        return self._join(other, f"{self.text} + {other.text}") if isinstance(other, Formula) else NotImplemented

    def __mul__(self, other: Formula) -> Formula:
        if not isinstance(other, Formula):
            return NotImplemented
        return self._join(other, f"{self._factor()}*{other._factor()}")

    def _factor(self) -> str:
        return f"({self.text})" if isinstance(self._core.tree, Sum | Negative) else self.text

    def _join(self, other: Formula, text: str) -> Formula:
        if self._key != other._key:
            raise ValueError(
                f"received formulas over different predictors, {self._key!r} and {other._key!r}; expected the same: "
                "parse both with the same predictors"
            )
        shared = [name for name in self.parameters if name in other.parameters]
        if shared:
            raise ValueError(
                f"received two formulas that share the parameters {', '.join(shared)}; expected names that differ: "
                "rename those of one with rename({...}) or with_prefix('b_')"
            )
        return Formula(text, self._key)
