"""Penalties on the parameters, as objectives."""

from __future__ import annotations

from functools import cached_property

from array_api_compat import array_namespace, device

from ..protocols import Array, Counts


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
        xp = array_namespace(self.strengths)
        return xp.eye(self.size, dtype=self.strengths.dtype, device=device(self.strengths)) * self.strengths[:, None]


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

    def along(self, d: Array) -> L2Ray:
        """Return the ray theta + t d."""
        return L2Ray(self, d)


class L2Ray:
    """An `L2` penalty along theta + t d: a parabola."""

    def __init__(self, start: L2Point, d: Array):
        self._start, self._d = start, d

    @cached_property
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
