"""`p0`, `bounds` and `fixed` by name or by position, turned into arrays over the model's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Settings:
    """What is known of the parameters before a fit; all arrays have shape (p,).

    Attributes
    ----------
    start : ndarray
        Starting values and values of fixed parameters; NaN where they are to be found.
    free : ndarray of bool
    lower, upper : ndarray
    """

    start: np.ndarray
    free: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def read_settings(names: Sequence[str], p0, bounds, fixed, defaults: Sequence[float] = ()) -> Settings:
    """Return the settings of a fit.

    Parameters
    ----------
    names : sequence of str
        The model's parameters.
    p0 : mapping, array-like or None
    bounds : pair of array-likes, mapping, object with `lb` and `ub`, or None
    fixed : mapping of name to value, sequence of names (held at p0), or None
    defaults : sequence of float, optional
        Starting values that the model itself gives, NaN for none.

    Raises
    ------
    ValueError
        If a name is unknown, a length or value is wrong, bounds cross, a start lies outside its bounds, or nothing
        is left to fit.
    TypeError
        If something that should be a number is none.
    """
    lower, upper = _read_bounds(names, bounds)
    start = _read_p0(names, p0)
    if len(defaults):
        start = np.where(np.isnan(start), defaults, start)
    held = _read_fixed(names, fixed, start)
    free = np.isnan(held)
    start = np.where(free, start, held)
    _check_inside(names, start, lower, upper, free)
    free &= ~(lower == upper)
    start = np.where(lower == upper, np.where(np.isnan(held), lower, start), start)
    if not free.any():
        raise ValueError(
            f"received values for all parameters, {', '.join(names)}, through fixed or equal bounds; expected at "
            "least one to fit: leave one out of fixed"
        )
    return Settings(start, free, lower, upper)


def _read_p0(names: Sequence[str], p0) -> np.ndarray:
    if p0 is None:
        return np.full(len(names), np.nan)
    if isinstance(p0, Mapping):
        return _from_mapping(names, p0, "p0")
    values = _numbers(p0, "p0")
    if values.ndim == 0 and len(names) == 1:
        values = values.reshape(1)
    if values.shape != (len(names),):
        raise ValueError(
            f"received p0 of shape {values.shape}; expected {len(names)} numbers, one for each of "
            f"{', '.join(names)}: pass them in this order, or a mapping by name"
        )
    _check_finite(names, values, "p0")
    return values


def _read_fixed(names: Sequence[str], fixed, start: np.ndarray) -> np.ndarray:
    """Return the values of fixed parameters, NaN for the others."""
    if fixed is None:
        return np.full(len(names), np.nan)
    if isinstance(fixed, Mapping):
        return _from_mapping(names, fixed, "fixed")
    chosen = [fixed] if isinstance(fixed, str) else list(fixed)
    _check_names(names, chosen, "fixed")
    held = np.array([value if name in chosen else np.nan for name, value in zip(names, start, strict=True)])
    missing = [name for name in chosen if np.isnan(held[list(names).index(name)])]
    if missing:
        raise ValueError(
            f"received fixed={chosen!r} without a value for {', '.join(missing)}; expected the values in p0: pass "
            f"fixed={{{missing[0]!r}: value}}"
        )
    return held


def _read_bounds(names: Sequence[str], bounds) -> tuple[np.ndarray, np.ndarray]:
    p = len(names)
    lower, upper = np.full(p, -np.inf), np.full(p, np.inf)
    if bounds is None:
        return lower, upper
    if isinstance(bounds, Mapping):
        _check_names(names, bounds, "bounds")
        for name, pair in bounds.items():
            low, high = _pair(pair, f"bounds[{name!r}]")
            j = list(names).index(name)
            lower[j] = -np.inf if low is None else _numbers(low, "bounds")
            upper[j] = np.inf if high is None else _numbers(high, "bounds")
    else:
        pair = (
            _pair(bounds, "bounds")
            if not hasattr(bounds, "lb")
            else [
                side[0] if np.shape(side) == (1,) else side  # Bounds(0, 1) holds arrays of length 1
                for side in (bounds.lb, bounds.ub)
            ]
        )
        lower, upper = (_side(side, names) for side in pair)
    bad = np.flatnonzero(~(lower <= upper))
    if bad.size:
        j = int(bad[0])
        raise ValueError(
            f"received the bounds [{lower[j]:g}, {upper[j]:g}] for {names[j]}; expected lower <= upper, neither of "
            "them NaN: exchange them, or use fixed to hold the parameter"
        )
    return lower, upper


def _side(values, names: Sequence[str]) -> np.ndarray:
    values = _numbers(values, "bounds")
    if values.ndim == 0:
        return np.full(len(names), float(values))
    if values.shape != (len(names),):
        raise ValueError(
            f"received a side of bounds of shape {values.shape}; expected one number or {len(names)} of them, for "
            f"{', '.join(names)}: use -inf and inf where there is no bound, or a mapping name -> (lower, upper)"
        )
    return values


def _pair(pair, what: str) -> tuple:
    try:
        low, high = pair
    except (TypeError, ValueError):
        raise ValueError(
            f"received {what}={pair!r}; expected a pair (lower, upper): pass for instance {what}=(0, np.inf)"
        ) from None
    return low, high


def _from_mapping(names: Sequence[str], given: Mapping, what: str) -> np.ndarray:
    _check_names(names, given, what)
    values = np.full(len(names), np.nan)
    for name, value in given.items():
        values[list(names).index(name)] = number = _numbers(value, f"{what}[{name!r}]")
        if number.ndim or not np.isfinite(number):
            raise ValueError(f"received {what}[{name!r}]={value!r}; expected one finite number: correct it")
    return values


def _check_names(names: Sequence[str], given, what: str) -> None:
    unknown = [str(name) for name in given if name not in names]
    if unknown:
        raise ValueError(
            f"received {what} for {', '.join(unknown)}; the parameters of the model are {', '.join(names)}: correct "
            "the name"
        )


def _check_finite(names: Sequence[str], values: np.ndarray, what: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        j = int(bad[0])
        raise ValueError(
            f"received {what} with the value {values[j]} for {names[j]}; expected finite numbers: correct it, or "
            "pass a mapping without this parameter to have its start found"
        )


def _check_inside(
    names: Sequence[str], start: np.ndarray, lower: np.ndarray, upper: np.ndarray, free: np.ndarray
) -> None:
    outside = np.flatnonzero((start < lower) | (start > upper))
    if outside.size:
        j = int(outside[0])
        what = "p0" if free[j] else "fixed"
        raise ValueError(
            f"received {what} with {names[j]} = {start[j]:g}; expected a value within its bounds "
            f"[{lower[j]:g}, {upper[j]:g}]: start inside the bounds, or widen them"
        )


def _numbers(values, what: str) -> np.ndarray:
    try:
        found = np.asarray(values)
        if found.dtype.kind in "biufO":
            return found.astype(np.float64)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"received {what}={values!r}; expected real numbers: pass floats")
