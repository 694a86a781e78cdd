"""The points of many fits, in whatever form they come, handed out a few fits at a time without copying the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from array_api_compat import is_cupy_array


def real(name: str, values) -> np.ndarray:
    """Return an array of real numbers, of NumPy or CuPy, not copied where it is one.

    Raises
    ------
    TypeError
        When it holds something else, or is masked.
    """
    array = values if is_cupy_array(values) else np.asanyarray(values)
    if array.dtype.kind not in "biuf" or isinstance(array, np.ma.MaskedArray):
        found = "a masked array" if isinstance(array, np.ma.MaskedArray) else f"dtype {array.dtype}"
        raise TypeError(
            f"received {name} of {found}; expected real numbers: convert it to float64; give points to be left out "
            "the weight 0"
        )
    return array if is_cupy_array(array) else np.asarray(array)


def here(values):
    """Return an array of CuPy as one of NumPy, anything else as it is."""
    return values.get() if is_cupy_array(values) else values


def frozen(array, dtype=np.float64) -> np.ndarray:
    """Return a contiguous read-only array: one type, hence one compilation, for whatever comes in."""
    array = np.ascontiguousarray(array, dtype=dtype).view()
    array.flags.writeable = False
    return array


def is_ragged(y) -> bool:
    """Return whether y is a list of arrays of different lengths."""
    return isinstance(y, list | tuple) and len({np.shape(row)[:1] for row in y}) > 1


class Table:
    """Fits of equal length: y (m, n), x shared or (m, n), (m, n, d), s a scalar, (n,) or (m, n).

    Parameters
    ----------
    x, y : ndarray
    spread : ndarray or None
        sigma or weights.
    to_s : callable
        Turns it into the square roots of the weights.
    lengths : array-like of shape (m,) or None
        So many points of each row count.

    Attributes
    ----------
    m, n, d : int
        Fits, points of the longest one, predictors.
    x_is_shared : bool

    Raises
    ------
    ValueError
        When shapes do not fit one another.
    """

    def __init__(self, x, y, spread, to_s, lengths):
        (self.m, self.n), self._y = y.shape, y
        self._x, self.d = x, x.shape[-1] if x.ndim == 3 or (x.ndim == 2 and x.shape != y.shape) else 1
        self.x_is_shared = x.shape != y.shape and x.shape != (*y.shape, self.d)
        if self.x_is_shared and x.shape not in ((self.n,), (self.n, self.d)):
            raise ValueError(
                f"received x of shape {x.shape} with y of shape {y.shape}; expected ({self.n},) or ({self.n}, d) for x "
                f"of all fits, or {y.shape} or ({self.m}, {self.n}, d) for one of each fit: check the order of axes"
            )
        if spread is not None and spread.shape not in ((), (self.n,), y.shape):
            raise ValueError(
                f"received sigma or weights of shape {spread.shape}; expected a number, ({self.n},) or {y.shape}: give "
                "one for all fits, one per point, or one per point of each fit"
            )
        self._to_s, self._spread = to_s, spread
        self._shared_x = self._flat(x).reshape(-1) if self.x_is_shared else None
        self._shared_s = None
        if spread is None or spread.ndim < 2:
            self._shared_s = frozen(np.broadcast_to(1.0 if spread is None else to_s(spread), (self.n,)))
        self._lengths = None if lengths is None else check_lengths(lengths, self.m, self.n)
        self.weighted = spread is not None

    @staticmethod
    def _flat(array):
        return frozen(array)

    def values(self, lo: int, hi: int):
        """Return (x, y, s, count) of fits lo .. hi - 1: flat arrays, and lengths, None where all are n."""
        y = self._flat(self._y[lo:hi]).reshape(-1)
        x = self._shared_x if self.x_is_shared else self._flat(self._x[lo:hi]).reshape(-1)
        s = self._shared_s if self._shared_s is not None else self._flat(self._to_s(self._spread[lo:hi])).reshape(-1)
        return x, y, s, None if self._lengths is None else self._lengths[lo:hi]

    def chunk(self, lo: int, hi: int):
        """Return (x, y, s, at, count): flat arrays, where in them fits lo .. hi - 1 begin, and their lengths."""
        x, y, s, count = self.values(lo, hi)
        k = np.arange(hi - lo)
        per_fit = (0 if self.x_is_shared else self.n * self.d, self.n, 0 if self._shared_s is not None else self.n)
        count = np.full(hi - lo, self.n) if count is None else count
        return x, y, s, frozen(k[:, None] * np.array(per_fit), np.int64), frozen(count, np.int64)


class DeviceTable(Table):
    """Fits of equal length whose y, own x and own weights are arrays of CuPy, what they share is here; see `Table`."""

    def __init__(self, x, y, spread, to_s, lengths):
        import cupy

        self.place = y.device
        x = cupy.asarray(x) if x.shape[:2] == y.shape else here(x)
        if spread is not None:
            spread = cupy.asarray(spread) if spread.ndim == 2 else here(spread)
        there = {np.reciprocal: cupy.reciprocal, np.sqrt: cupy.sqrt}[to_s]

        def either(rows):
            return (there if is_cupy_array(rows) else to_s)(rows.astype(np.float64))

        super().__init__(x, y, spread, either, here(lengths))

    @staticmethod
    def _flat(array):
        """Return a C-ordered float64 array where the given one is."""
        import cupy

        return cupy.ascontiguousarray(array, dtype=cupy.float64) if is_cupy_array(array) else frozen(array)


class OnHost:
    """Points, wherever they are, as arrays of NumPy: for guesses that look at them."""

    def __init__(self, points):
        self.d, self.x_is_shared, self._points = points.d, points.x_is_shared, points

    def chunk(self, lo: int, hi: int):
        """Return what the table's own `chunk` does, on the host."""
        return tuple(here(a) for a in self._points.chunk(lo, hi))


class Ragged:
    """Fits of their own lengths: lists of m arrays; attributes and methods as in `Table`.

    Raises
    ------
    ValueError
        When lists or arrays in them differ in length.
    """

    x_is_shared = False

    def __init__(self, x: Sequence, y: Sequence, spread: Sequence | None, to_s):
        self.m = len(y)
        self._y = [real("y", row) for row in y]
        self._x = [real("x", row) for row in x] if isinstance(x, list | tuple) else []
        if spread is not None and not isinstance(spread, list | tuple):
            spread = [np.full(len(row), spread) for row in y]
        self._spread = None if spread is None else [real("sigma or weights", row) for row in spread]
        self.d = self._x[0].shape[1] if self._x and self._x[0].ndim == 2 else 1
        for name, rows in (("x", self._x), ("sigma or weights", self._spread)):
            if rows is not None and [len(row) for row in rows] != [len(row) for row in self._y]:
                raise ValueError(
                    f"received y as a list of {self.m} arrays of different lengths, and {name} that does not match it; "
                    f"expected a list of arrays of the same lengths: give each fit its own {name}"
                )
        if any(row.ndim != 1 for row in self._y) or any(row.shape[1:] != self._x[0].shape[1:] for row in self._x):
            raise ValueError(
                "received lists whose arrays differ in their dimensions; expected y of shape (n_k,) and x of shape "
                "(n_k,) or (n_k, d) for each fit: check the entries"
            )
        self.n = max(len(row) for row in self._y)
        self._to_s, self.weighted = to_s, spread is not None

    def values(self, lo: int, hi: int):
        """Return (x, y, s, count) as `Table.values` does."""
        count = np.array([len(row) for row in self._y[lo:hi]])
        y, x = (frozen(np.concatenate([row.ravel() for row in rows[lo:hi]])) for rows in (self._y, self._x))
        s = frozen(np.ones(len(y)) if self._spread is None else self._to_s(np.concatenate(self._spread[lo:hi])))
        return x, y, s, count

    def chunk(self, lo: int, hi: int):
        """Return what `Table.chunk` does."""
        x, y, s, count = self.values(lo, hi)
        first = np.cumsum(count) - count
        at = np.stack([first * self.d, first, first], axis=1)
        return x, y, s, frozen(at, np.int64), frozen(count, np.int64)


def check_lengths(lengths, m: int, n: int) -> np.ndarray:
    """Return the numbers of points as integers, or raise ValueError."""
    found = np.asarray(lengths)
    if found.shape != (m,) or found.dtype.kind not in "iu" or found.min(initial=0) < 0 or found.max(initial=0) > n:
        raise ValueError(
            f"received lengths of shape {found.shape} and dtype {found.dtype}; expected {m} integers from 0 to {n}: "
            "give the number of points of each row that count"
        )
    return found


def arrange(x, y, sigma, weights, lengths) -> Table | Ragged:
    """Return the points of all fits.

    Raises
    ------
    TypeError
        When something holds no real numbers.
    ValueError
        When shapes do not fit one another, sigma is not positive, weights are negative, both are given, or lengths
        come with a list.
    """
    if sigma is not None and weights is not None:
        raise ValueError(
            "received sigma and weights; expected one of them: weights multiply squared residuals, 1 / sigma**2"
        )
    name, spread, to_s = ("weights", weights, np.sqrt) if sigma is None else ("sigma", sigma, np.reciprocal)
    if lengths is not None and isinstance(y, list | tuple):
        raise ValueError(
            "received lengths with y as a list; expected y of shape (m, n), whose rows they cut: leave lengths out and "
            "let each array end where its points do, or pass y as one array"
        )
    if is_ragged(y):
        points = Ragged(x, y, spread, lambda rows: to_s(rows.astype(np.float64)))
        for row in points._spread or ():
            _check_spread(name, row)
        return points
    y = real("y", y)
    if y.ndim != 2 or 0 in y.shape:
        advice = "for a single curve pass y[None, :]" if y.ndim < 2 else "for an image pass y.reshape(-1, y.shape[-1])"
        raise ValueError(
            f"received y of shape {y.shape}; expected (m, n), one row of n points per fit, or a list of 1-D arrays: "
            f"{advice}"
        )
    spread = None if spread is None else real(name, spread)
    if spread is not None:
        if spread.shape == (y.shape[1],) * 2 != y.shape:
            raise ValueError(
                f"received {name} of shape {spread.shape}, a covariance matrix; expected a number, ({y.shape[1]},) or "
                f"{y.shape}: give standard deviations, or fit each curve by curve_fit, which takes a matrix"
            )
        _check_spread(name, spread)
    if is_cupy_array(y):
        return DeviceTable(real("x", x), y, spread, to_s, lengths)
    return Table(real("x", x), y, spread, lambda rows: to_s(np.asarray(rows, dtype=np.float64)), lengths)


def _check_spread(name: str, values: np.ndarray) -> None:
    least = float(values.min()) if values.size else 1.0
    if least < 0 or least != least or (name == "sigma" and least == 0):
        expected = "positive numbers" if name == "sigma" else "numbers that are not negative"
        raise ValueError(
            f"received {name} whose smallest value is {least}; expected {expected}: weights of 0 leave points out"
        )
