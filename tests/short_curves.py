"""Six small models as functions and as formulas, for the tests and the benchmarks of single curves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class ShortCurve(NamedTuple):
    """One model: a function, the same as a formula, true parameters, a start, the largest x of its data."""

    f: Callable
    formula: str
    true: tuple[float, ...]
    start: tuple[float, ...]
    top: float


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


def peak(x, a, b, c):
    return a * np.exp(-(((x - b) / c) ** 2))


def logistic(x, a, b, c):
    return a / (1.0 + np.exp(-b * (x - c)))


def michaelis(x, a, b):
    return a * x / (b + x)


def line(x, a, b):
    return a * x + b


def two_decays(x, a, b, c, d, g):
    return a * np.exp(-b * x) + c * np.exp(-d * x) + g


MODELS = {
    "decay": ShortCurve(decay, "a*exp(-b*x) + c", (2.5, 1.3, 0.5), (1.0, 1.0, 1.0), 4.0),
    "peak": ShortCurve(peak, "a*exp(-((x - b)/c)**2)", (3.0, 2.2, 0.7), (1.0, 2.0, 1.0), 4.0),
    "logistic": ShortCurve(logistic, "a/(1 + exp(-b*(x - c)))", (3.0, 2.0, 1.8), (1.0, 1.0, 1.0), 4.0),
    "Michaelis-Menten": ShortCurve(michaelis, "a*x/(b + x)", (3.0, 1.5), (1.0, 1.0), 8.0),
    "line": ShortCurve(line, "a*x + b", (3.0, 1.5), (1.0, 1.0), 8.0),
    "two decays": ShortCurve(
        two_decays, "a*exp(-b*x) + c*exp(-d*x) + g", (2.0, 3.0, 1.0, 0.4, 0.3), (1.0, 2.0, 1.0, 0.5, 0.1), 8.0
    ),
}
