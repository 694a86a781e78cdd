"""What `model=` may be, turned into one thing: names of parameters, values and, where they are exact, derivatives."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import numpy as np

from ..curves import CurveForm, Formula, library, parse
from ..curves.grammar import normal, scan
from .slips import REMEDIES, add_remedy


class LinearColumns:
    """b0 + b1*x0 + b2*x1 + ... over all columns: the default model, in the manner of a `Formula`.

    Parameters
    ----------
    d : int
        Number of columns, >= 1.
    """

    def __init__(self, d: int):
        self.size = d + 1
        self.parameters = self.linear_parameters = tuple(f"b{j}" for j in range(d + 1))
        self.nonlinear_parameters: tuple[str, ...] = ()
        shown = ["b1*x"] if d == 1 else [f"b{j + 1}*x{j}" for j in range(d)]
        self.text = " + ".join(["b0", *shown] if d <= 4 else ["b0", *shown[:2], "...", shown[-1]])

    def value(self, X: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Return b0 + X b, shape (n,)."""
        return theta[0] + X @ theta[1:]

    def jacobian(self, X: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Return [1 X], shape (n, d + 1)."""
        return np.column_stack([np.ones(X.shape[0]), X])

    def value_and_jacobian(self, X: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both."""
        return self.value(X, theta), self.jacobian(X, theta)

    def basis(self, X: np.ndarray, nonlinear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return [1 X] and the offset 0, as `Formula.basis`."""
        return self.jacobian(X, nonlinear), np.zeros(X.shape[0])

    def basis_and_jacobian(self, X: np.ndarray, nonlinear: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return `basis` and derivatives with respect to no parameter, as `Formula.basis_and_jacobian`."""
        n = X.shape[0]
        return *self.basis(X, nonlinear), np.zeros((n, self.size, 0)), np.zeros((n, 0))


class ExactModel:
    """A model with exact derivatives, and the columns of X it is a function of.

    Parameters
    ----------
    formula : Formula or LinearColumns
    columns : list of int, optional
        Columns of X that are the formula's predictors; all of them where None.
    form : CurveForm, optional
        What knows an initial guess.

    Attributes
    ----------
    names : tuple of str
        Of the parameters, in order.
    text : str
        For reports.
    """

    is_exact = True

    def __init__(self, formula, columns: list[int] | None = None, form: CurveForm | None = None):
        self.formula, self.columns, self.form = formula, columns, form
        self.names: tuple[str, ...] = formula.parameters
        self.text: str = formula.text

    def select(self, X: np.ndarray) -> np.ndarray:
        """Return the predictors, shape (n, number of predictors)."""
        return X if self.columns is None else X[:, self.columns]

    def value(self, X: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Return f(x_i; theta), shape (n,)."""
        return self.formula.value(self.select(X), theta)

    def value_and_jacobian(self, X: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values (n,) and derivatives (n, p)."""
        return self.formula.value_and_jacobian(self.select(X), theta)


class CallableModel:
    """A function f(x, *params) of the user's; x has shape (n,) when X has one column, else (n, d), and is read-only.

    Parameters
    ----------
    function : callable
    jac : callable or None
        jac(x, *params) -> shape (n, p).
    names : tuple of str
        Of the parameters, in order.
    defaults : tuple of float or None
        Their starting values from the signature, NaN where it has none.
    """

    is_exact = False

    def __init__(self, function: Callable, jac: Callable | None, names: tuple[str, ...], defaults: tuple[float, ...]):
        self.function, self.jac, self.names, self.defaults = function, jac, names, defaults
        self.text = f"{_name_of(function)}(x, {', '.join(names)})"

    def value(self, X: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Return f(x, *theta) as the function returns it, as an array; theta may be complex."""
        return np.asarray(self._call(self.function, X, theta))

    def jacobian(self, X: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Return jac(x, *theta), shape (n, p).

        Raises
        ------
        ValueError
            If `jac` returns another shape.
        """
        J = np.asarray(self._call(self.jac, X, theta), dtype=np.float64)
        if J.shape != (X.shape[0], len(self.names)):
            raise ValueError(
                f"jac returned an array of shape {J.shape}; expected {(X.shape[0], len(self.names))}, a row for each "
                f"point and a column for each of {', '.join(self.names)}: transpose it, or leave jac out"
            )
        return J

    def _call(self, function: Callable | None, X: np.ndarray, theta: np.ndarray):
        """Call a user's function; what it raises passes through, with the parameters as a note."""
        x = (X[:, 0] if X.shape[1] == 1 else X).view()
        x.flags.writeable = False
        try:
            return function(x, *theta)  # type: ignore[misc]
        except Exception as error:
            if isinstance(error, ValueError) and "read-only" in str(error):
                raise ValueError(f"the model {_name_of(function)} writes into x: {REMEDIES['read-only']}") from error
            error.add_note(self._where(function, theta))
            add_remedy(error)
            raise

    def _where(self, function, theta: np.ndarray) -> str:
        return f"raised by the model {_name_of(function)} at {point_in_words(self.names, theta)}"


Model = ExactModel | CallableModel


def point_in_words(names: Sequence[str], theta: np.ndarray) -> str:
    """Return "a=1, b=2" for messages."""
    return ", ".join(f"{name}={value:.6g}" for name, value in zip(names, np.real(theta), strict=True))


def resolve_model(model, jac, feature_names: Sequence[str] | None, d: int, p0) -> Model:
    """Return the model of a fit.

    Parameters
    ----------
    model : None, str, Formula, CurveForm or callable
    jac : None, str or callable
    feature_names : sequence of str or None
        Names of the columns of X, where it has them.
    d : int
        Number of columns.
    p0 : mapping, array-like or None
        Tells the parameters of a function that takes *params.

    Raises
    ------
    ValueError
        If the model does not fit the columns, or `jac` comes with a model that has derivatives of its own.
    TypeError
        If the model is none of these.
    """
    if callable(model) and not isinstance(model, Formula | CurveForm):
        return _from_callable(model, jac if callable(jac) else None, p0)
    if jac is not None:
        raise ValueError(
            f"received jac={jac!r} with the model {model!r}; formulas and named models have exact derivatives of "
            "their own: leave jac=None"
        )
    if model is None:
        return ExactModel(LinearColumns(d))
    if isinstance(model, str):
        model = library.named(model) or model
    if isinstance(model, CurveForm):
        _check_one_column(model.name, d)
        return ExactModel(model.formula, None, model)
    if isinstance(model, str):
        formula = parse(model, predictors_of(model, feature_names, d))
        if len(formula.parameters) > 1 and not formula.used:
            raise ValueError(
                f"received the formula {model!r} of the parameters {', '.join(formula.parameters)} and no column of X; "
                f"expected one of {', '.join(feature_names if feature_names is not None else formula.predictors)}: use "
                "it, or correct its name"
            )
        return ExactModel(formula)
    if isinstance(model, Formula):
        return ExactModel(model, _columns(model, feature_names, d))
    raise TypeError(
        f"received model of type {type(model).__name__}; expected a formula such as 'a*exp(-b*x)', a name of "
        "sosolve.curves.library, a CurveForm, a Formula, a function f(x, *params), or None for a linear model"
    )


def predictors_of(text: str, feature_names: Sequence[str] | None, d: int) -> int | tuple[str, ...]:
    """Return what the formula's columns are called: their names where the text uses one of them, else x0, x1, ..."""
    if feature_names is None:
        return d
    names = tuple(str(name) for name in feature_names)
    odd = [name for name in names if not name.isidentifier() and any(map(str.isalpha, name)) and name in text]
    if odd:
        raise ValueError(
            f"received the column {odd[0]!r} in the formula {text!r}; expected names of letters, digits and "
            "underscores: rename the column, X.rename(columns={...})"
        )
    used = {normal(token) for kind, token, _ in scan(text[:2000]) if kind == "name"}
    return names if used & {normal(name) for name in names} else d


def _columns(formula: Formula, feature_names: Sequence[str] | None, d: int) -> list[int] | None:
    """Return the columns of X for the predictors of a formula: by name where X has them all, else by position."""
    names = list(feature_names) if feature_names is not None else []
    if all(name in names for name in formula.predictors):
        return [names.index(name) for name in formula.predictors]
    if len(formula.predictors) != d:
        raise ValueError(
            f"received X with {d} columns{' ' + ', '.join(names) if names else ''} for a formula over "
            f"{', '.join(formula.predictors)}; expected these columns: select them, or parse the formula with the "
            "names of the columns of X"
        )
    return None


def _check_one_column(name: str, d: int) -> None:
    if d != 1:
        raise ValueError(
            f"received X with {d} columns for the model {name!r}, a curve over one predictor; expected one column: "
            "select it (X[:, [0]]), or write a formula in x0, x1, ..."
        )


def _from_callable(function: Callable, jac: Callable | None, p0) -> CallableModel:
    """Return the model of a function, its parameters named by its signature or by p0."""
    try:
        arguments = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # builtins and ufuncs tell no signature
        arguments = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [a for a in arguments if a.kind in kinds][1:]
    if not arguments or any(a.kind is inspect.Parameter.VAR_POSITIONAL for a in arguments):
        names = _names_from(p0, tuple(a.name for a in named), function)
    else:
        names = tuple(a.name for a in named)
    if not names:
        raise ValueError(
            f"received the model {_name_of(function)} without parameters; expected f(x, *params) with at least one "
            "after x: add the parameters to fit"
        )
    given = {a.name: a.default for a in named if isinstance(a.default, int | float)}
    return CallableModel(function, jac, names, tuple(float(given.get(name, np.nan)) for name in names))


def _names_from(p0, named: tuple[str, ...], function: Callable) -> tuple[str, ...]:
    """Return the parameters of a function that takes *params: the keys of p0, else p0, p1, ... as many as p0 has."""
    if p0 is None:
        raise ValueError(
            f"received the model {_name_of(function)}, whose signature does not tell its parameters, and p0=None; "
            "expected a starting value for each: pass p0 as an array or as a mapping of names to values"
        )
    if hasattr(p0, "keys"):
        return tuple(str(name) for name in p0)
    count = int(np.size(p0))
    return (*named, *(f"p{k}" for k in range(len(named), count)))[:count]


def _name_of(function) -> str:
    return getattr(function, "__name__", None) or type(function).__name__


def check_output(model: CallableModel, X: np.ndarray, theta: np.ndarray) -> None:
    """Call a user's model once and check what it returns.

    Raises
    ------
    TypeError
        If that is None, complex or no numbers.
    ValueError
        If it has another shape than (n,).
    """
    n = X.shape[0]
    with np.errstate(all="ignore"):
        found = model.value(X, theta)
    at = f"at {point_in_words(model.names, theta)}"
    who, wanted = f"the model {_name_of(model.function)}", f"expected real numbers of shape ({n},), one for each point"
    if found.dtype == object and found.ndim == 0 and found.item() is None:
        raise TypeError(f"{who} returned None {at}; {wanted}: does it lack a return statement?")
    if found.dtype.kind == "c":
        raise TypeError(f"{who} returned complex numbers {at}; {wanted}: return the real part, or the modulus")
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{who} returned an array of dtype {found.dtype} {at}; {wanted}: return a float array")
    if found.shape == (n, 1) and n > 1:
        raise ValueError(f"{who} returned an array of shape ({n}, 1) {at}; {wanted}: return it with .ravel()")
    if found.ndim == 0:
        raise ValueError(
            f"{who} returned a single number {at}; {wanted}: compute with the array x, or add 0 * x to a constant"
        )
    if found.shape != (n,):
        raise ValueError(f"{who} returned an array of shape {found.shape} {at}; {wanted}: use every row of x")
