"""Where each of many fits begins: the user's parameters, or candidates made from the data.

Without p0, the nonlinear parameters run over candidates and the linear ones are solved for (variable projection,
Golub and Pereyra, SIAM J. Numer. Anal. 10, 1973). A library model brings its own candidates or guess. For a formula
of one predictor each nonlinear parameter runs over rates (of both signs, 1 / range of x), places (within the range),
widths (the range down to a hundredth) and exponents; the best three are followed to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
from scipy.optimize import Bounds

from . import guesses
from .batch_data import frozen, real
from .forms import CurveForm

TRIES = 3
#: Candidates per nonlinear parameter of a formula, for one, two or three of them.
_DENSITY = {1: (16, 9, 6, 5), 2: (6, 5, 4, 4), 3: (2, 3, 2, 2)}
#: Candidates of library models that do not look at y.
_FROM_X_ALONE = (guesses.rates, guesses.two_rates, guesses.exponents, guesses.scales, guesses.scales_and_exponents,
                 guesses.steps, guesses.rising_steps)  # fmt: skip


def by_name(name: str, given, names: tuple[str, ...]) -> list:
    """Return the values of a mapping in the order of the parameters.

    Raises
    ------
    ValueError
        When a name is unknown, or one is missing where each is needed (p0).
    """
    unknown = [key for key in given if key not in names]
    missing = [key for key in names if key not in given] if name == "p0" else []
    if unknown or missing:
        what = f"the unknown names {unknown}" if unknown else f"none for {', '.join(missing)}"
        raise ValueError(f"received {name} with {what}; expected the parameters {', '.join(names)}: correct the names")
    return [given.get(key) for key in names]


def given_start(p0, names: tuple[str, ...], m: int) -> np.ndarray:
    """Return p0 as an array of shape (1, p) or (m, p).

    Raises
    ------
    TypeError
        When it holds no real numbers.
    ValueError
        When its shape is another, or a start shared by all fits is not finite.
    """
    if isinstance(p0, Mapping):
        columns = [real("p0", value) for value in by_name("p0", p0, names)]
        if any(column.shape not in ((), (m,)) for column in columns):
            shapes = [column.shape for column in columns]
            raise ValueError(f"received p0 with values of shapes {shapes}; expected () or ({m},): give one per fit")
        p0 = np.stack(np.broadcast_arrays(*columns), axis=-1)
    p0, p = real("p0", p0), len(names)
    if p0.shape not in ((p,), (m, p)):
        raise ValueError(
            f"received p0 of shape {p0.shape}; expected ({p},) or ({m}, {p}) for {', '.join(names)}: give one start "
            "for all fits, or one row per fit"
        )
    if p0.ndim == 1 and not np.isfinite(p0).all():
        raise ValueError(f"received p0={p0.tolist()}; expected finite numbers: give a start for each parameter")
    return frozen(np.atleast_2d(p0))


def _pair(bounds) -> tuple:
    """Return the lower and the upper side of a pair or a `scipy.optimize.Bounds`, infinite where there is none."""
    if isinstance(bounds, Bounds):  # Bounds(0, 1) holds arrays of length 1
        bounds = tuple(side[0] if np.shape(side) == (1,) else side for side in (bounds.lb, bounds.ub))
    bounds = (None, None) if bounds is None else bounds
    if not isinstance(bounds, list | tuple | np.ndarray) or len(bounds) != 2:
        raise ValueError(
            f"received the bounds {bounds!r}; expected a pair (lower, upper): give inf where there is none"
        )
    return tuple(end if side is None else side for side, end in zip(bounds, (-np.inf, np.inf), strict=True))


def box(bounds, names: tuple[str, ...], m: int) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper bounds, each of shape (1, p) or (m, p).

    Raises
    ------
    ValueError
        When a shape or name is wrong, or a lower bound is not below its upper one.
    """
    p = len(names)
    if isinstance(bounds, Mapping):
        pairs = [_pair(pair) for pair in by_name("bounds", bounds, names)]
        sides = [np.stack(np.broadcast_arrays(*(real("bounds", pair[side]) for pair in pairs)), -1) for side in (0, 1)]
    else:
        sides = [real("bounds", side) for side in _pair(bounds)]
    for side in sides:
        if side.shape not in ((), (p,), (1, p), (m, p)):
            raise ValueError(
                f"received bounds of shape {side.shape}; expected a number, ({p},) or ({m}, {p}) on each side: give "
                "one per parameter, as (lower, upper) or as {name: (lower, upper)}"
            )
    lower, upper = np.broadcast_arrays(*(np.atleast_2d(np.broadcast_to(s, s.shape if s.ndim else (p,))) for s in sides))
    if not (lower < upper).all():
        k, j = np.argwhere(~(lower < upper))[0]
        raise ValueError(
            f"received the bounds ({lower[k, j]}, {upper[k, j]}) for {names[j]}; expected lower < upper: correct them, "
            "or put the value into the formula"
        )
    return frozen(lower), frozen(upper)


def check_inside(start, lower, upper, names: tuple[str, ...]) -> None:
    """Raise ValueError when a start lies outside its bounds."""
    outside = (start < lower) | (start > upper)
    if outside.any():
        k, j = np.argwhere(outside)[0]
        value = np.broadcast_to(start, outside.shape)[k, j]
        raise ValueError(
            f"received p0 with {names[j]}={value} (fit {k}), outside its bounds; expected each start within them: move "
            "it inside with numpy.clip"
        )


class Automatic:
    """Starts from the data.

    Parameters
    ----------
    formula : Formula or None
        None for a Python function, which has no starts of its own.
    form : CurveForm or None
    points : Table or Ragged

    Raises
    ------
    ValueError
        When nothing is known about the model that would give a start.
    """

    def __init__(self, formula, form: CurveForm | None, points):
        r = len(formula.nonlinear_parameters) if formula is not None else 0
        if form is None and (formula is None or r > 3 or (r > 0 and points.d > 1)):
            what = "a Python function" if formula is None else f"{r} nonlinear parameters and {points.d} predictors"
            raise ValueError(
                f"received p0=None for a model with {what}; expected a start, since none can be guessed: pass p0, "
                "one number per parameter, or one row per fit"
            )
        self._formula, self._form, self._points = formula, form, points
        rule = getattr(form, "rule", None)
        self._candidates = _general(r) if form is None else getattr(rule, "keywords", {}).get("candidates")
        if getattr(rule, "func", None) not in (None, guesses.grid):
            self._candidates = None
        self._shared = None
        self.linear = frozen([formula.parameters.index(name) for name in formula.linear_parameters], np.int64)
        self.nonlinear = frozen([formula.parameters.index(name) for name in formula.nonlinear_parameters], np.int64)
        self.tries = TRIES if form is None and r else 1
        if points.x_is_shared and (form is None or self._candidates in _FROM_X_ALONE):
            x, y, *_ = points.chunk(0, 1)
            self._shared = self._of_one(x, y)[None]

    @property
    def looks_at_data(self) -> bool:
        """Whether candidates differ from fit to fit; else `chunk` takes None for all arguments."""
        return self._shared is None

    def chunk(self, x, y, at, count):
        """Return (parameters, candidates) of some fits: (k, p) and (k, 0, r), or (1, p) and (1 or k, K, r)."""
        p, r, d = self._formula.size, len(self.nonlinear), self._points.d
        if self._shared is not None:
            return frozen(np.ones((1, p))), frozen(self._shared)
        rows = [
            (x[i : i + n * d], y[j : j + n]) for (i, j, _), n in zip(at.tolist(), count.tolist(), strict=True)
        ]  # fmt: skip
        if self._form is not None and self._candidates is None:
            return frozen([self._form.guess(*row) for row in rows]), frozen(np.empty((1, 0, r)))
        found = [self._of_one(*row) for row in rows]
        most = max(len(grid) for grid in found)
        padded = [np.concatenate([grid, np.repeat(grid[-1:], most - len(grid), axis=0)]) for grid in found]
        return frozen(np.ones((1, p))), frozen(padded)

    def _of_one(self, x, y) -> np.ndarray:
        """Return the candidates of one fit, at least one."""
        r = len(self.nonlinear)
        if r == 0:
            return np.empty((1, 0))
        keep = np.isfinite(x) & np.isfinite(y)
        if self._form is not None:
            keep &= x >= {"any x": -np.inf, "x >= 0": 0.0, "x > 0": np.nextafter(0.0, 1.0)}[self._form.domain]
        order = np.argsort(x[keep], kind="stable")
        x, y = guesses.thin(x[keep][order], y[keep][order])
        found = self._candidates(x, y / (abs(y).max() or 1.0)) if len(x) else np.ones((1, r))
        return found if len(found) else np.ones((1, r))


def _general(r: int):
    """Return the candidates of a formula with r nonlinear parameters of unknown meaning, as a function of x and y."""
    n_rates, n_places, n_widths, n_exponents = _DENSITY.get(r, (0, 0, 0, 0))

    def candidates(x, y):
        span = guesses.span_of(x)
        rates = np.geomspace(0.5, 50.0, n_rates) / span
        axis = [*rates, *-rates, *np.quantile(x, np.linspace(0.1, 0.9, n_places))]
        axis += [*(span * np.geomspace(0.03, 0.5, n_widths)), *np.linspace(0.5, 3.0, n_exponents)]
        return np.array(list(product(np.unique(axis), repeat=r)))

    return candidates
