"""Arrays of numbers with 32 digits, each the sum of two floats: for the few sums that 16 digits cannot hold.

References
----------
Dekker, T. J. (1971). A floating-point technique for extending the available precision. Numerische Mathematik 18,
224-242.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: 2^27 + 1: cuts a float into two halves of 26 digits, whose products are exact.
CUT = 134217729.0
#: What a pivot of rounding becomes where a parameter is held by nothing else than it.
HELD = 1e-14


class Twofold:
    """hi + lo, element by element, with |lo| at most half a unit in the last place of hi.

    Parameters
    ----------
    hi, lo : array-like
        Of the same shape; below 1e290, so that nothing overflows when it is cut. lo is zero where None.
    """

    __slots__ = ("hi", "lo")
    __array_ufunc__ = None  # a float times one of these is left to `__rmul__`

    def __init__(self, hi: Any, lo: Any = None):
        self.hi: Any = np.asarray(hi, dtype=np.float64)
        self.lo: Any = np.zeros_like(self.hi) if lo is None else lo

    def __getitem__(self, key: Any) -> Twofold:
        return Twofold(self.hi[key], self.lo[key])

    def __setitem__(self, key: Any, value: Twofold) -> None:
        self.hi[key], self.lo[key] = value.hi, value.lo

    def __neg__(self) -> Twofold:
        return Twofold(-self.hi, -self.lo)

    def __add__(self, other: Any) -> Twofold:
        other = as_twofold(other)
        total = self.hi + other.hi
        part = total - self.hi
        lost = (self.hi - (total - part)) + (other.hi - part)
        return _tidy(total, lost + (self.lo + other.lo))

    def __sub__(self, other: Any) -> Twofold:
        return self + (-as_twofold(other))

    def __mul__(self, other: Any) -> Twofold:
        other = as_twofold(other)
        product = self.hi * other.hi
        (a, b), (c, d) = _halves(self.hi), _halves(other.hi)
        lost = ((a * c - product) + a * d + b * c) + b * d
        return _tidy(product, lost + (self.hi * other.lo + self.lo * other.hi))

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Any) -> Twofold:
        other = as_twofold(other)
        quotient = self.hi / other.hi
        rest = self - other * quotient
        return _tidy(quotient, rest.hi / other.hi)

    def scaled(self, factor: Any) -> Twofold:
        """Return the product with powers of two: exact."""
        return Twofold(self.hi * factor, self.lo * factor)

    def root(self) -> Twofold:
        """Return the square root."""
        near = np.sqrt(self.hi)
        rest = self - Twofold(near) * near
        return _tidy(near, 0.5 * rest.hi / near)

    def total(self, axis: int) -> Twofold:
        """Return the sum along an axis, pair by pair."""
        x = Twofold(np.moveaxis(self.hi, axis, 0), np.moveaxis(self.lo, axis, 0))
        n = len(x.hi)
        if n == 0:
            return Twofold(np.zeros(x.hi.shape[1:]))
        while n > 1:
            half = n // 2
            pairs = x[:half] + x[half : 2 * half]
            x = (
                Twofold(np.concatenate([pairs.hi, x.hi[-1:]]), np.concatenate([pairs.lo, x.lo[-1:]]))
                if n % 2
                else pairs
            )
            n = len(x.hi)
        return x[0]


def as_twofold(x: Any) -> Twofold:
    """Return a number or an array as it is, with zeros behind it."""
    return x if isinstance(x, Twofold) else Twofold(x)


def _tidy(big: Any, small: Any) -> Twofold:
    """Return the sum of a number and a far smaller one."""
    hi = big + small
    return Twofold(hi, small - (hi - big))


def _halves(x: Any) -> tuple[Any, Any]:
    cut = CUT * x
    high = cut - (cut - x)
    return high, x - high


def cholesky(H: Twofold, least: float, held: np.ndarray | None = None) -> tuple[Twofold, np.ndarray]:
    """Return the lower factor of a matrix with about ones on its diagonal, and its squared pivots.

    Parameters
    ----------
    H : Twofold of shape (p, p)
    least : float
        Pivots up to this are rounding: their rows and columns count as those of the identity.
    held : ndarray of shape (p,), optional
        Where it is True, such a pivot becomes `HELD` instead: the parameter is free to move at next to no cost.

    Returns
    -------
    Twofold of shape (p, p)
    ndarray of shape (p,)
    """
    p = len(H.hi)
    rest, L = Twofold(H.hi.copy(), H.lo.copy()), Twofold(np.zeros((p, p)))
    pivots = np.empty(p)
    for j in range(p):
        pivots[j] = rest.hi[j, j]
        if not pivots[j] > least and held is not None and held[j]:
            rest[j, j] = Twofold(np.float64(HELD))
        elif not pivots[j] > least:
            L.hi[j, :j], L.lo[j, :j], L.hi[j, j] = 0.0, 0.0, 1.0
            continue
        root = rest[j, j].root()
        L[j, j] = root
        column = rest[j + 1 :, j] / root
        L[j + 1 :, j] = column
        rest[j + 1 :, j + 1 :] = rest[j + 1 :, j + 1 :] - column[:, None] * column[None, :]
    return L, pivots


def solved(L: Twofold, b: Twofold) -> Twofold:
    """Return (L L')^-1 b for a lower triangular L of shape (p, p) and b of shape (p,)."""
    p = len(b.hi)
    x = Twofold(b.hi.copy(), b.lo.copy())
    for j in range(p):
        x[j] = x[j] / L[j, j]
        x[j + 1 :] = x[j + 1 :] - L[j + 1 :, j] * x[j]
    for j in reversed(range(p)):
        x[j] = x[j] / L[j, j]
        x[:j] = x[:j] - L[j, :j] * x[j]
    return x
