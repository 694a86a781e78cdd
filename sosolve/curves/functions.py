"""The functions a formula may call: one row each for the value, the slopes and the code on every target.

A row is the whole truth about a function: folding constants, differentiating, showing it in SymPy's own terms, and
writing it in NumPy, in scalar Python (which Numba compiles) and in CUDA C++.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Known:
    """A function of a formula.

    Attributes
    ----------
    arity : int
        The number of arguments.
    fold : callable
        The value for Python floats; it may raise where there is none.
    slopes : tuple of callable
        Slope with respect to each argument, `slope(F, *u)`: F holds the functions as SymPy classes of ours.
    plain : callable
        `plain(sympy, *u)`: the same in SymPy's own functions, for display and as a second source in tests.
    numpy, scalar, cuda : str
        Templates of the code. `scalar` is Python that Numba compiles.
    inline : bool
        True where a template uses an argument more than once: arguments must then be plain names.
    branches : bool
        True where the first argument only chooses one of the others: the derivative is that of the chosen one.
    """

    arity: int
    fold: Callable[..., float]
    slopes: tuple[Callable, ...]
    plain: Callable
    numpy: str
    scalar: str
    cuda: str
    inline: bool = False
    branches: bool = False


def _same(name: str, slope: Callable, plain: Callable | None = None) -> Known:
    """Return the row of a function that `math`, NumPy and C++ know by one name."""
    code = f"{name}({{0}})"
    return Known(1, getattr(math, name), (slope,), plain or (lambda s, u: getattr(s, name)(u)), code, code, code)


def _expit(u: float) -> float:
    return 1.0 / (1.0 + math.exp(-u)) if u > -700.0 else math.exp(u)


#: User's functions. Slopes are written so that they neither overflow nor cancel in the tails.
FUNCTIONS: dict[str, Known] = {
    "exp": _same("exp", lambda F, u: F.exp(u)),
    "expm1": _same("expm1", lambda F, u: F.exp(u), lambda s, u: s.exp(u) - 1),
    "log": _same("log", lambda F, u: 1 / u),
    "log10": _same("log10", lambda F, u: 1 / (u * F.number(math.log(10.0))), lambda s, u: s.log(u, 10)),
    "log2": _same("log2", lambda F, u: 1 / (u * F.number(math.log(2.0))), lambda s, u: s.log(u, 2)),
    "log1p": _same("log1p", lambda F, u: 1 / (1 + u), lambda s, u: s.log(1 + u)),
    "sqrt": _same("sqrt", lambda F, u: F.number(0.5) / F.sqrt(u)),
    "sin": _same("sin", lambda F, u: F.cos(u)),
    "cos": _same("cos", lambda F, u: -F.sin(u)),
    "tan": _same("tan", lambda F, u: 1 + F.tan(u) ** 2),
    "asin": _same("asin", lambda F, u: 1 / F.sqrt((1 - u) * (1 + u))),
    "acos": _same("acos", lambda F, u: -1 / F.sqrt((1 - u) * (1 + u))),
    "atan": _same("atan", lambda F, u: 1 / (1 + u**2)),
    "sinh": _same("sinh", lambda F, u: F.cosh(u)),
    "cosh": _same("cosh", lambda F, u: F.sinh(u)),
    "tanh": _same("tanh", lambda F, u: F.cosh(u) ** -2),
    "asinh": _same("asinh", lambda F, u: 1 / F.sqrt(1 + u**2)),
    "acosh": _same("acosh", lambda F, u: 1 / F.sqrt((u - 1) * (u + 1))),
    "atanh": _same("atanh", lambda F, u: 1 / ((1 - u) * (1 + u))),
    "erf": _same("erf", lambda F, u: F.number(2.0 / math.sqrt(math.pi)) * F.exp(-(u**2))),
    "erfc": _same("erfc", lambda F, u: F.number(-2.0 / math.sqrt(math.pi)) * F.exp(-(u**2))),
    "abs": Known(1, abs, (lambda F, u: F.sign(u),), lambda s, u: s.Abs(u), "absolute({0})", "fabs({0})", "fabs({0})"),
    "sign": Known(
        1,
        lambda u: float((u > 0.0) - (u < 0.0)),
        (lambda F, u: 0,),
        lambda s, u: s.sign(u),
        "sign({0})",
        "(1.0 if {0} > 0.0 else (-1.0 if {0} < 0.0 else 0.0 * {0}))",
        "({0} > 0.0 ? 1.0 : ({0} < 0.0 ? -1.0 : 0.0 * {0}))",
        inline=True,
    ),
    # The logistic function 1 / (1 + exp(-u)). Its slope is expit(u) expit(-u), exact in both tails.
    "expit": Known(
        1,
        _expit,
        (lambda F, u: F.expit(u) * F.expit(-u),),
        lambda s, u: 1 / (1 + s.exp(-u)),
        "expit({0})",
        "(1.0 / (1.0 + exp(-{0})))",
        "(1.0 / (1.0 + exp(-{0})))",
        inline=True,
    ),
    "minimum": Known(
        2,
        min,
        (lambda F, u, v: (1 - F.sign(u - v)) / 2, lambda F, u, v: (1 + F.sign(u - v)) / 2),
        lambda s, u, v: s.Min(u, v),
        "minimum({0}, {1})",
        "({0} if {0} < {1} or {0} != {0} else {1})",
        "({0} < {1} || {0} != {0} ? {0} : {1})",
        inline=True,
    ),
    "maximum": Known(
        2,
        max,
        (lambda F, u, v: (1 + F.sign(u - v)) / 2, lambda F, u, v: (1 - F.sign(u - v)) / 2),
        lambda s, u, v: s.Max(u, v),
        "maximum({0}, {1})",
        "({0} if {0} > {1} or {0} != {0} else {1})",
        "({0} > {1} || {0} != {0} ? {0} : {1})",
        inline=True,
    ),
    "hypot": Known(
        2,
        math.hypot,
        (lambda F, u, v: u / _radius(F, u, v), lambda F, u, v: v / _radius(F, u, v)),
        lambda s, u, v: s.sqrt(u**2 + v**2),
        "hypot({0}, {1})",
        "hypot({0}, {1})",
        "hypot({0}, {1})",
    ),
    "atan2": Known(
        2,
        math.atan2,
        (
            lambda F, u, v: v / _radius(F, u, v) / _radius(F, u, v),
            lambda F, u, v: -u / _radius(F, u, v) / _radius(F, u, v),
        ),
        lambda s, u, v: s.atan2(u, v),
        "arctan2({0}, {1})",
        "atan2({0}, {1})",
        "atan2({0}, {1})",
    ),
    # 0 below 0, 1 above, v at 0, as NumPy has it.
    "heaviside": Known(
        2,
        lambda u, v: float(u > 0.0) if u else v,
        (lambda F, u, v: 0, lambda F, u, v: 1 - F.sign(u) ** 2),
        lambda s, u, v: s.Piecewise((1, u > 0), (0, u < 0), (v, True)),
        "heaviside({0}, {1})",
        "(1.0 if {0} > 0.0 else (0.0 if {0} < 0.0 else ({1} if {0} == 0.0 else {0})))",
        "({0} > 0.0 ? 1.0 : ({0} < 0.0 ? 0.0 : ({0} == 0.0 ? {1} : {0})))",
        inline=True,
    ),
    # The second argument where the first, a comparison or a number, is not 0, else the third.
    "where": Known(
        3,
        lambda c, u, v: u if c else v,
        (lambda F, c, u, v: 0, lambda F, c, u, v: F.where(c, 1, 0), lambda F, c, u, v: F.where(c, 0, 1)),
        lambda s, c, u, v: s.Piecewise((u, _condition(s, c)), (v, True)),
        "where({0}, {1}, {2})",
        "({1} if {0} != 0.0 else {2})",
        "({0} != 0.0 ? {1} : {2})",
        branches=True,
    ),
}


def _condition(s, c):
    """Return a comparison as it is, a number that is not 0 as one; SymPy's symbols count as Booleans themselves."""
    return c if isinstance(c, s.logic.boolalg.Boolean) and not c.is_Symbol else s.Ne(c, 0)


def _radius(F, u, v):
    """Return the length of (u, v), the least normal number at (0, 0): slopes there are 0."""
    return F.maximum(F.hypot(u, v), F.number(np.finfo(np.float64).tiny))


ALIASES = {
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "arctan2": "atan2",
    "ln": "log",
}


def _power_slope_exponent(F, base, exponent):
    """Return d base**exponent / d exponent; at base 0 it is 0 for a positive exponent, not 0 times -inf."""
    if base.is_Number and float(base) > 0.0:
        return F.number(math.log(float(base))) * F.power(base, exponent)
    return F.power(base, exponent) * F.safelog(base)


def _comparison(sign: str, numpy: str, holds: Callable[[float, float], bool]) -> Known:
    """Return the row of a comparison: 1 where it holds, else 0, with slopes of 0."""
    nothing = (lambda F, u, v: 0, lambda F, u, v: 0)
    scalar, cuda = f"(1.0 if {{0}} {sign} {{1}} else 0.0)", f"({{0}} {sign} {{1}} ? 1.0 : 0.0)"
    name = {"<": "Lt", "<=": "Le", "==": "Eq", "!=": "Ne"}[sign]
    return Known(
        2, lambda u, v: float(holds(u, v)), nothing, lambda s, u, v: getattr(s, name)(u, v), numpy, scalar, cuda
    )


#: Functions that derivatives, powers and comparisons bring in. safelog(u) is log(u), and 0 at u = 0; masked(w, u) is
#: w u, and 0 where w is, whatever u: the weight w of a branch that was not chosen.
INTERNAL: dict[str, Known] = {
    "power": Known(
        2,
        math.pow,
        (lambda F, b, a: a * F.power(b, a - 1), _power_slope_exponent),
        lambda s, b, a: b**a,
        "power({0}, {1})",
        "pow({0}, {1})",
        "pow({0}, {1})",
    ),
    "safelog": Known(
        1,
        lambda u: math.log(u) if u else 0.0,
        (lambda F, u: 1 / u,),
        lambda s, u: s.log(u),
        "safelog({0})",
        "(log({0}) if {0} != 0.0 else 0.0)",
        "({0} != 0.0 ? log({0}) : 0.0)",
        inline=True,
    ),
    "masked": Known(
        2,
        lambda w, u: w * u if w else 0.0,
        (lambda F, w, u: u, lambda F, w, u: w),
        lambda s, w, u: w * u,
        "masked({0}, {1})",
        "({0}*{1} if {0} != 0.0 else 0.0)",
        "({0} != 0.0 ? {0}*{1} : 0.0)",
        inline=True,
    ),
    "less": _comparison("<", "less({0}, {1})", operator.lt),
    "less_equal": _comparison("<=", "less_equal({0}, {1})", operator.le),
    "equal": _comparison("==", "equal({0}, {1})", operator.eq),
    "not_equal": _comparison("!=", "not_equal({0}, {1})", operator.ne),
    "both": Known(
        2,
        lambda u, v: u * v,
        (lambda F, u, v: 0, lambda F, u, v: 0),
        lambda s, u, v: s.And(u, v),
        "logical_and({0}, {1})",
        "({0}*{1})",
        "({0}*{1})",
    ),
}


@lru_cache(maxsize=1)
def toolbox():
    """Return F, the functions as SymPy classes that evaluate nothing by themselves, and `number`.

    SymPy's own exp, log and pow rewrite what they are given (exp(a)*exp(b), constants to hundreds of digits); these
    only know their slopes.
    """
    import sympy

    class Toolbox:
        number = staticmethod(sympy.Float)

    def chosen(self, symbol):
        test, *parts = self.args
        parts = [part.diff(symbol) for part in parts]
        return parts[0] if len(set(parts)) == 1 else self.func(test, *parts)

    def make(name: str, known: Known):
        def fdiff(self, argindex=1):
            return sympy.sympify(known.slopes[argindex - 1](Toolbox, *self.args))

        body = {
            "known": name,
            "nargs": known.arity,
            "fdiff": fdiff,
            "_should_evalf": classmethod(lambda cls, argument: -1),
        }
        if known.branches:
            body["_eval_derivative"] = chosen
        return type(f"so_{name}", (sympy.Function,), body)

    for name, known in (FUNCTIONS | INTERNAL).items():
        setattr(Toolbox, name, make(name, known))
    return Toolbox


def _numpy_expit(u):
    return 1.0 / (1.0 + np.exp(-u))


def _numpy_safelog(u):
    return np.log(u + (u == 0.0))


def _numpy_masked(w, u):
    return np.where(w == 0.0, 0.0, w * u)


@lru_cache(maxsize=2)
def _compiled(name: str):
    """Return erf or erfc as a ufunc: NumPy has none."""
    import numba

    return numba.vectorize(["float64(float64)"])(_ERROR_FUNCTIONS[name])


_ERROR_FUNCTIONS = {"erf": lambda u: math.erf(u), "erfc": lambda u: math.erfc(u)}


def numpy_function(name: str) -> Callable:
    """Return the vectorised function that generated NumPy code calls by this name."""
    match name:
        case "expit":
            return _numpy_expit
        case "safelog":
            return _numpy_safelog
        case "masked":
            return _numpy_masked
        case "erf" | "erfc":
            return _compiled(name)
    return getattr(np, name)
