"""Source code of a program for NumPy arrays, for scalar Python (which Numba compiles) and for CUDA C++.

The text holds p0..pk, x0..xm, numbered temporaries, numbers and the functions of `functions.py`: no word of the
user's. Factors that do not depend on a predictor come first in every product, so that they multiply as scalars.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from .functions import FUNCTIONS, INTERNAL, numpy_function
from .symbolic import Program

TARGETS = ("numpy", "python", "numba", "cuda")

_KNOWN = FUNCTIONS | INTERNAL
_SUM, _PRODUCT, _UNARY, _ATOM = range(4)

_CUDA_HEADER = """\
#ifndef __CUDACC__
#include <math.h>
#define __device__
#define __host__
#endif
"""


class _Writer:
    """Writes expressions in one target's language, one temporary per line."""

    def __init__(self, target: str):
        self.target, self.lines = target, []
        self._memo: dict = {}
        self._alias: dict[str, str] = {}
        self._arrays: set[str] = set()
        self._end = ";" if target == "cuda" else ""
        self._declare = "const double " if target == "cuda" else ""

    def assign(self, name: str, terms: tuple) -> None:
        """Write `name = t1 + t2 + ...` in the order given."""
        if any(self._is_array(term) for term in terms):
            self._arrays.add(name)
        text = self.sum(terms)
        if text.isidentifier():
            self._alias[name] = text
        else:
            self.lines.append(f"{self._declare}{name} = {text}{self._end}")

    def store(self, place: str, expression) -> None:
        """Write a result to its place."""
        self.lines.append(f"{place} = {self.text(expression, _SUM)}{self._end}")

    def sum(self, terms: tuple) -> str:
        """Return the text of a sum in the order given."""
        text = self.text(terms[0], _SUM)
        for term in terms[1:]:
            part = self.text(term, _PRODUCT)
            text += f" - {part[1:]}" if part.startswith("-") else f" + {part}"
        return text

    def text(self, expression, level: int) -> str:
        """Return the text of an expression, in parentheses where `level` binds more tightly."""
        if expression.is_Symbol:
            return self._alias.get(str(expression), str(expression))
        if expression.is_Number:
            return self._bracket(repr(float(expression)), _UNARY if expression < 0 else _ATOM, level)
        if expression.is_Add:
            terms = sorted(expression.args, key=lambda term: (self._is_array(term), str(term).startswith("-")))
            return self._bracket(self.sum(tuple(terms)), _SUM, level)
        if expression.is_Mul:
            return self._product(expression, level)
        if expression.is_Pow:
            exponent = int(expression.exp)
            if exponent < 0:
                return self._bracket(f"1.0/{self._power(expression.base, -exponent)}", _PRODUCT, level)
            return self._power(expression.base, exponent)
        return self._call(expression)

    @staticmethod
    def _bracket(text: str, own: int, level: int) -> str:
        return f"({text})" if own < level else text

    def _is_array(self, expression) -> bool:
        return any(str(symbol) in self._arrays or str(symbol)[0] == "x" for symbol in expression.free_symbols)

    def _product(self, expression, level: int) -> str:
        number, rest = expression.as_coeff_Mul()
        over, under = [], []
        for factor in rest.args if rest.is_Mul else (rest,):
            if factor.is_Pow and factor.exp < 0:
                under.append((self._is_array(factor), self._power(factor.base, -int(factor.exp))))
            else:
                over.append((self._is_array(factor), self.text(factor, _UNARY)))
        value = float(number)
        text = repr(abs(value)) if abs(value) != 1.0 else ""
        for arrays in (False, True):
            factors = [factor for is_array, factor in over if is_array is arrays]
            text = "*".join([text, *factors] if text else factors)
            divisors = [factor for is_array, factor in under if is_array is arrays]
            if divisors:
                text = "/".join([text or "1.0", *divisors])
        return self._bracket(f"-{text}" if value < 0 else text, _PRODUCT, level)

    def _power(self, base, exponent: int) -> str:
        """Return the name of base**exponent (a positive integer), made by repeated multiplication."""
        if exponent == 1:
            return self._atom(base)
        key = base**exponent
        if key not in self._memo:
            half = exponent // 2
            left, right = self._power(base, exponent - half), self._power(base, half)
            self._memo[key] = self._temporary(f"{left}*{right}", self._is_array(base))
        return self._memo[key]

    def _atom(self, expression) -> str:
        """Return a name or a positive number that stands for an expression."""
        if expression.is_Symbol or (expression.is_Number and expression >= 0):
            return self.text(expression, _SUM)
        if expression not in self._memo:
            self._memo[expression] = self._temporary(self.text(expression, _SUM), self._is_array(expression))
        return self._memo[expression]

    def _temporary(self, text: str, is_array: bool) -> str:
        name = f"u{len(self.lines)}"
        if is_array:
            self._arrays.add(name)
        self.lines.append(f"{self._declare}{name} = {text}{self._end}")
        return name

    def _call(self, expression) -> str:
        known = _KNOWN[type(expression).known]
        template = {"numpy": known.numpy, "cuda": known.cuda}.get(self.target, known.scalar)
        if known.inline and self.target != "numpy":
            return template.format(*(self._atom(argument) for argument in expression.args))
        return template.format(*(self.text(argument, _SUM) for argument in expression.args))


def write(program: Program, target: str, predictors: Sequence[int], parameters: Sequence[int]) -> str:
    """Return the source of a program.

    Parameters
    ----------
    program : Program
    target : {"numpy", "python", "numba", "cuda"}
        For "numpy", `run(x0, .., p0, .., V, J)` fills V, shape (m, n), and J, shape (m, r, n). For "python" and
        "numba" (the same text), `row(x0, .., p0, .., J)` returns the value of one row and writes the r derivatives;
        for "cuda" `sosolve_row(x, p, J)` does with pointers. Without slopes there is no J.
    predictors, parameters : sequence of int
        The numbers of those that are arguments.
    """
    writer = _Writer(target)
    for symbol, terms in program.steps:
        writer.assign(str(symbol), terms)
    if target == "numpy":
        for i, value in enumerate(program.values):
            writer.store(f"V[{i}]", value)
        places = [(f"J[{i}, {j}]", entry) for i, row in enumerate(program.slopes) for j, entry in enumerate(row)]
    else:
        places = [(f"J[{j}]", entry) for row in program.slopes for j, entry in enumerate(row)]
    for place, entry in places:
        writer.store(place, entry)
    given = [f"x{j}" for j in predictors] + [f"p{k}" for k in parameters]
    if target == "numpy":
        return _python(f"def run({', '.join([*given, 'V', 'J'])}):", writer.lines or ["return"])
    result = writer.text(program.values[0], _SUM)  # may add lines
    body = [*writer.lines, f"return {result}"]
    if target == "cuda":
        return _cuda(body, predictors, parameters, bool(program.slopes))
    text = _python(f"def row({', '.join([*given, 'J'] if program.slopes else given)}):", body)
    used = sorted(set(re.findall(r"\b([a-z]\w*)\(", text)) & _MATH)
    return (f"from math import {', '.join(used)}\n\n\n" if used else "") + text


_MATH = {name for known in _KNOWN.values() for name in re.findall(r"\b([a-z]\w*)\(", known.scalar)}


def _python(head: str, body: list[str]) -> str:
    return "\n".join([head, *(f"    {line}" for line in body)]) + "\n"


def _cuda(body: list[str], predictors: Sequence[int], parameters: Sequence[int], slopes: bool) -> str:
    arguments = "const double* x, const double* p" + (", double* J" if slopes else "")
    text = "\n".join(f"    {line}" for line in body) + ";\n"
    letters = "".join(
        f"    const double {letter}{k} = {letter}[{k}];\n"
        for letter, numbers in (("x", predictors), ("p", parameters))
        for k in numbers
        if re.search(rf"\b{letter}{k}\b", text)
    )
    return f"{_CUDA_HEADER}__device__ __host__ inline double sosolve_row({arguments}) {{\n{letters}{text}}}\n"


def compile_numpy(source: str) -> Callable:
    """Return the function `run` of a source for NumPy."""
    called = set(re.findall(r"\b([a-z]\w*)\(", source)) - {"run"}
    space = {name: numpy_function(name) for name in called}
    exec(compile(source, "<sosolve formula>", "exec"), space)  # noqa: S102 our own text, see the module's docstring
    return space["run"]


def columns_of(X, d: int, used: Sequence[int]) -> tuple[list[np.ndarray], int]:
    """Return some columns of X as float64 arrays, and the number of rows.

    Parameters
    ----------
    X : array-like of shape (n, d), or (n,) when d == 1
    d : int
    used : sequence of int
        The columns wanted.

    Raises
    ------
    TypeError
        When X does not hold real numbers.
    ValueError
        When its shape is another.
    """
    X = np.asarray(X)
    if X.dtype != np.float64:
        if X.dtype.kind not in "biufO":
            raise TypeError(f"received X of dtype {X.dtype}; expected real numbers: convert X to float64")
        X = X.astype(np.float64)
    if X.ndim == 1 and d == 1:
        return [X for _ in used], X.shape[0]
    if X.ndim != 2 or X.shape[1] != d:
        wanted = "(n,) or (n, 1)" if d == 1 else f"(n, {d})"
        raise ValueError(
            f"received X of shape {X.shape}; expected {wanted}, one column per predictor: select the formula's columns"
        )
    return [X[:, j] for j in used], X.shape[0]
