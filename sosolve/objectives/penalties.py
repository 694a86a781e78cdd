"""Penalties on the parameters, as objectives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from ..kernels import kernels_for
from ..protocols import Array, Counts
from .lazy import lazy


class L2:
    """sum_j strength_j theta_j^2 / 2.

    Parameters
    ----------
    strengths : Array of shape (p,)
        >= 0; zero for parameters that are not penalised, intercepts above all.
    """

    exact = True

    def __init__(self, strengths: Array):
        self.strengths = strengths
        self.counts = Counts()  # closed form: nothing worth counting

    @property
    def size(self) -> int:
        """p, the number of parameters."""
        return self.strengths.shape[0]

    def at(self, theta: Array) -> L2Point:
        """Return the point at theta."""
        return L2Point(self, theta)

    # The penalty is quadratic: it is its own curvature, the same everywhere.

    def mv(self, v: Array) -> Array:
        """Return strengths * v."""
        return self.strengths * v

    def diag(self) -> Array:
        """Return the strengths."""
        return self.strengths

    def dense(self, rows: float = 1.0) -> Array:
        """Return the diagonal matrix of the strengths, shape (p, p)."""
        if type(self.strengths) is np.ndarray:
            return np.diag(self.strengths)
        xp = array_namespace(self.strengths)
        return xp.eye(self.size, dtype=self.strengths.dtype, device=device(self.strengths)) * self.strengths[:, None]

    def added_to(self, H: np.ndarray) -> np.ndarray:
        """Return a matrix with the strengths added to its diagonal: a third of the price of a sum of two matrices."""
        H = H.copy()
        H.reshape(-1)[:: self.size + 1] += self.strengths
        return H

    def root(self) -> Any:
        """Return the diagonal matrix of the roots of the strengths, None for arrays of another library."""
        return np.diag(np.sqrt(self.strengths)) if type(self.strengths) is np.ndarray else None

    def closure(self, wanted: Array) -> Array:
        """Return the parameters that must stay together with the wanted ones: these alone."""
        return wanted

    def restricted(self, index: Array) -> L2:
        """Return the penalty on some of the parameters."""
        return L2(self.strengths[index])


class L2Point:
    """An `L2` penalty at one theta."""

    def __init__(self, penalty: L2, theta: Array):
        self._penalty, self.theta = penalty, theta
        self.grad = penalty.strengths * theta
        self.value = 0.5 * float(self.grad @ theta)

    @property
    def curvature(self) -> L2:
        """The diagonal matrix of the strengths."""
        return self._penalty

    def drift(self, origin: L2Point) -> float:
        """Return 0: the curvature is constant."""
        return 0.0

    def carried(self, penalty: L2, theta: Array) -> L2Point:
        """Return the point of another penalty, see `DataPoint.carried`."""
        return L2Point(penalty, theta)

    def along(self, d: Array) -> L2Ray:
        """Return the ray theta + t d."""
        return L2Ray(self, d)


class L2Ray:
    """An `L2` penalty along theta + t d: a parabola."""

    def __init__(self, start: L2Point, d: Array):
        self._start, self._d = start, d

    @lazy
    def _parabola(self) -> tuple[float, float]:
        """Slope and second derivative at t = 0."""
        return float(self._start.grad @ self._d), float(self._start.curvature.mv(self._d) @ self._d)

    def __call__(self, t: float) -> tuple[float, float]:
        """Return the value and the slope at t."""
        slope, bend = self._parabola
        return self._start.value + t * (slope + 0.5 * t * bend), slope + t * bend

    def point(self, t: float) -> L2Point:
        """Return the point at t."""
        return L2Point(self._start.curvature, self._start.theta + t * self._d)


class Separable:
    """sum_j strength_j |theta_j| with lower_j <= theta_j <= upper_j: the part of an objective that is not smooth.

    Parameters
    ----------
    strengths : Array of shape (p,)
        >= 0; zero for parameters that are not penalised, intercepts above all.
    lower, upper : Array of shape (p,), optional
        lower <= upper, -inf and inf where there is no bound; no bounds at all where None.
    kernels : module, optional
        For `descend`; chosen by the size of the matrix where None.
    """

    def __init__(self, strengths: Any, lower: Any | None = None, upper: Any | None = None, kernels: Any = None):
        xp = array_namespace(strengths)
        self.strengths, self.kernels = strengths, kernels
        self.bounded = not (lower is None and upper is None)
        self.lower = xp.full_like(strengths, -xp.inf) if lower is None else lower
        self.upper = xp.full_like(strengths, xp.inf) if upper is None else upper

    @property
    def size(self) -> int:
        """p, the number of parameters."""
        return self.strengths.shape[0]

    def value(self, theta: Any) -> float:
        """Return sum_j strength_j |theta_j|; bounds are kept by construction and count nothing."""
        xp = array_namespace(theta)
        return float(self.strengths @ xp.abs(theta))

    def change(self, theta: Any, d: Any) -> float:
        """Return value(theta + d) - value(theta), summed by parameters so that small steps keep their accuracy."""
        xp = array_namespace(theta)
        return float(self.strengths @ (xp.abs(theta + d) - xp.abs(theta)))

    def project(self, theta: Any) -> Any:
        """Return the nearest parameters within the bounds."""
        xp = array_namespace(theta)
        return xp.minimum(xp.maximum(theta, self.lower), self.upper)

    def subgradient(self, theta: Any, grad: Any) -> Any:
        """Return the element of least size of grad + the subdifferential at theta, shape (p,): 0 at a minimiser."""
        xp = array_namespace(theta)
        low = grad + xp.where(theta > 0.0, self.strengths, -self.strengths)
        high = grad + xp.where(theta < 0.0, -self.strengths, self.strengths)
        if self.bounded:
            low = xp.where(theta <= self.lower, xp.full_like(low, -xp.inf), low)
            high = xp.where(theta >= self.upper, xp.full_like(high, xp.inf), high)
        zero = xp.zeros_like(grad)
        return xp.maximum(low, zero) + xp.minimum(high, zero)

    def free(self, theta: Any) -> Any:
        """Return where the function is smooth around theta, booleans of shape (p,): off the kinks and the bounds."""
        return (theta > self.lower) & (theta < self.upper) & ((theta != 0.0) | (self.strengths == 0.0))

    def reach(self, theta: Any, d: Any) -> float:
        """Return the largest t such that theta + t d crosses neither a kink nor a bound; inf where none is ahead."""
        xp = array_namespace(theta)
        inf = xp.full_like(theta, xp.inf)
        up, down = d > 0.0, d < 0.0
        rate = xp.where(d != 0.0, xp.abs(d), xp.ones_like(d))
        room = xp.where(up, self.upper - theta, xp.where(down, theta - self.lower, inf))
        kink = (self.strengths > 0.0) & (theta * d < 0.0)
        room = xp.minimum(room, xp.where(kink, xp.abs(theta), inf))
        return float(xp.min(room / rate)) if theta.shape[0] else math.inf

    def hits(self, theta: Any, d: Any, t: float) -> Any:
        """Return which penalised parameters are zero at theta + t d but for rounding, booleans of shape (p,)."""
        xp = array_namespace(theta)
        return (self.strengths > 0.0) & (theta * d < 0.0) & (xp.abs(theta + t * d) <= 4e-16 * xp.abs(theta))

    def within_orthant(self, theta: Any, moved: Any) -> Any:
        """Return `moved` with penalised parameters that changed their sign against theta set to zero, and clipped."""
        xp = array_namespace(theta)
        crossed = (self.strengths > 0.0) & (theta * moved < 0.0)
        return self.project(xp.where(crossed, xp.zeros_like(moved), moved))

    def descend(self, H: Any, r: Any, u: Any) -> tuple[Any, Any]:
        """Return (u, r) after one sweep of exact minimisations over single parameters of a quadratic plus this.

        Parameters
        ----------
        H : Array of shape (p, p)
            Matrix of the quadratic.
        r : Array of shape (p,)
            Gradient of the quadratic at u.
        u : Array of shape (p,)
        """
        kernels = kernels_for(H) if self.kernels is None else self.kernels
        return kernels.coordinate_sweep(H, r, u, self.strengths, self.lower, self.upper)

    def restricted(self, index: Any) -> Separable:
        """Return the part that belongs to some of the parameters."""
        if not self.bounded:
            return Separable(self.strengths[index], kernels=self.kernels)
        return Separable(self.strengths[index], self.lower[index], self.upper[index], self.kernels)
