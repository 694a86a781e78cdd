"""What formulas of one text and one set of predictors share: the checked tree, symbols and compiled code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache

from . import separable
from .codegen import compile_numpy, write
from .grammar import CONSTANTS, normal, read, refuse
from .symbolic import need_sympy, program


class Core:
    """A checked formula and its compiled code, made when it is asked for.

    Parameters
    ----------
    text : str
    predictors : int or tuple of str

    Attributes
    ----------
    tree : Tree
    parameters, predictors : tuple of str
    used : tuple of int
        The numbers of the predictors that occur in the text.

    Raises
    ------
    ValueError
        When the text is no formula over the predictors, or has no parameter.
    """

    def __init__(self, text: str, predictors: int | tuple[str, ...]):
        unnamed = isinstance(predictors, int)
        self.predictors = _column_names(predictors) if unnamed else predictors
        columns = {normal(name): j for j, name in enumerate(self.predictors)}
        if unnamed:
            columns["x0"] = 0
        self.tree, found = read(text, {name: value for name, value in CONSTANTS.items() if name not in columns})
        self.parameters = tuple(name for name in found if name not in columns)
        if unnamed:
            _refuse_columns(text, found, self.parameters, self.predictors)
        if not self.parameters:
            raise refuse(text, None, "no parameter", "one at least, a name beside the columns of X", "add it: a*x")
        sympy = need_sympy()
        self.used = tuple(sorted({columns[name] for name in found if name in columns}))
        self._symbols = {name: sympy.Symbol(f"x{j}") for name, j in columns.items()}
        self._symbols |= {name: sympy.Symbol(f"p{k}") for k, name in enumerate(self.parameters)}
        self._compiled: dict = {}

    @cached_property
    def linear(self) -> tuple[str, ...]:
        return separable.linear_names(self.tree, self.parameters)

    def _program(self, kind: str):
        """Return the program of a kind of evaluation and the numbers of the parameters it takes."""
        if kind in ("value", "jacobian", "both"):
            trees, chosen = (self.tree,), self.parameters
        else:
            offset, coefficients = separable.split(self.tree, self.linear)
            trees = (offset, *coefficients)
            chosen = tuple(name for name in self.parameters if name not in self.linear)
        wrt = [] if kind in ("value", "basis") else [self._symbols[name] for name in chosen]
        numbers = tuple(self.parameters.index(name) for name in chosen)
        return program(trees, self._symbols, wrt, values=kind != "jacobian"), numbers

    def source(self, target: str, kind: str) -> str:
        code, numbers = self._program(kind)
        return write(code, target, self.used if target == "numpy" else range(len(self.predictors)), numbers)

    def compiled(self, kind: str):
        """Return (function, number of outputs, number of slopes) of a kind of evaluation."""
        if kind not in self._compiled:
            code, numbers = self._program(kind)
            run = compile_numpy(write(code, "numpy", self.used, numbers))
            r = len(code.slopes[0]) if code.slopes else 0
            self._compiled[kind] = (run, len(code.values), r)
        return self._compiled[kind]


@lru_cache(maxsize=256)
def core_of(text: str, predictors: int | tuple[str, ...]) -> Core:
    """Return the core of a formula, the same one for the same text and predictors."""
    return Core(text, predictors)


def _column_names(d: int) -> tuple[str, ...]:
    return ("x",) if d == 1 else tuple(f"x{j}" for j in range(d))


def _refuse_columns(
    text: str, found: Mapping[str, int], parameters: tuple[str, ...], predictors: tuple[str, ...]
) -> None:
    """Refuse x, x7, .. as parameters of a formula over unnamed columns: they are meant as columns."""
    for name in parameters:
        if re.fullmatch(r"x\d*", name):
            advice = "correct the number of the column, or name the parameter otherwise"
            raise refuse(text, found[name], f"the column {name!r}", f"one of {', '.join(predictors)}", advice)
