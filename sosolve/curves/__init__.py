"""Curves: formulas with exact derivatives and a library of named models. SymPy and Numba load on first use."""

from . import library
from .forms import CurveForm
from .formula import Formula, parse
from .functions import FUNCTIONS
from .grammar import CONSTANTS

__all__ = ["CONSTANTS", "FUNCTIONS", "CurveForm", "Formula", "library", "parse"]
