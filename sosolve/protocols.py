"""The four objects a solver and an objective exchange: read this file first.

A solver asks an `Objective` for the `Point` at a parameter vector, looks at its value, gradient and
`Curvature`, and walks along a `Ray`. It never sees data. An objective never sees a solver.

Shapes: p is the number of parameters; theta, gradients and directions are flat arrays of shape (p,) in one
array namespace (NumPy, CuPy, array_api_strict). Values are Python floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable


class Array(Protocol):
    """An array of any array-API library; docstrings give the shape."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def ndim(self) -> int: ...

    @property
    def dtype(self) -> object: ...

    def __getitem__(self, key: object, /) -> Self: ...

    def __add__(self, other: Self | float, /) -> Self: ...

    def __sub__(self, other: Self | float, /) -> Self: ...

    def __rsub__(self, other: float, /) -> Self: ...

    def __mul__(self, other: Self | float, /) -> Self: ...

    def __rmul__(self, other: float, /) -> Self: ...

    def __truediv__(self, other: Self | float, /) -> Self: ...

    def __matmul__(self, other: Self, /) -> Self: ...

    def __neg__(self) -> Self: ...

    def __gt__(self, other: Self | float, /) -> Self: ...

    def __lt__(self, other: Self | float, /) -> Self: ...

    def __float__(self) -> float: ...


@dataclass
class Counts:
    """Work done by an objective since it was made.

    Attributes
    ----------
    n_value : int
        Evaluations of the objective's value, line-search trials included.
    n_grad : int
        Evaluations of the gradient.
    n_mv : int
        Products of the curvature with a vector.
    n_passes : int
        Traversals of the rows of the data. A traversal that forms both X v and X' r block by block is one pass.
    """

    n_value: int = 0
    n_grad: int = 0
    n_mv: int = 0
    n_passes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.n_value + other.n_value,
            self.n_grad + other.n_grad,
            self.n_mv + other.n_mv,
            self.n_passes + other.n_passes,
        )

    def __sub__(self, other: Counts) -> Counts:
        return Counts(
            self.n_value - other.n_value,
            self.n_grad - other.n_grad,
            self.n_mv - other.n_mv,
            self.n_passes - other.n_passes,
        )


@runtime_checkable
class Curvature(Protocol):
    """A symmetric p x p matrix H at one point: the Hessian, or Gauss-Newton's approximation of it.

    Attributes
    ----------
    exact : bool
        True for the Hessian itself, False for Gauss-Newton.

    Notes
    -----
    A curvature may also offer `rough_inverse(rows=0.0, ridge=None)`: a function v -> M^-1 v with M resembling
    H + diag(ridge), from no row of the data or a fraction of them, or None where it has none of that kind. Solvers
    use it as a preconditioner, and `diag()` where it is missing. And `bulk(share)`: something with an `mv` for a matrix
    of at most H that lacks about that share of it, and is cheaper, or None.
    """

    exact: bool

    def mv(self, v: Array) -> Array:
        """Return H v, shape (p,)."""
        ...

    def diag(self) -> Array:
        """Return the diagonal of H, shape (p,)."""
        ...

    def dense(self, rows: float = 1.0) -> Array:
        """Return H, shape (p, p); `rows` in (0, 1] is the fraction of the data rows to estimate it from."""
        ...


@runtime_checkable
class Ray(Protocol):
    """The objective along theta + t d for a direction d of shape (p,)."""

    def __call__(self, t: float) -> tuple[float, float]:
        """Return the value phi(t) and the slope phi'(t)."""
        ...

    def point(self, t: float) -> Point:
        """Return the point at theta + t d."""
        ...


@runtime_checkable
class Point(Protocol):
    """Everything known at one theta: lazy, computed once, never changed.

    Attributes
    ----------
    theta : Array of shape (p,)
    value : float
        The objective.
    grad : Array of shape (p,)
        Its gradient.
    curvature : Curvature
        An objective that has none leaves it out or sets None; only solvers that need nothing of it can run then.

    Notes
    -----
    A point may also offer `drift(origin)`: a number c >= 0 such that the curvature here is at least exp(-c) times that
    at the point `origin`, inf where none is known. It lets a solver bound the decrement here by a factor from there.
    """

    @property
    def theta(self) -> Array: ...

    @property
    def value(self) -> float: ...

    @property
    def grad(self) -> Array: ...

    @property
    def curvature(self) -> Curvature: ...

    def along(self, d: Array) -> Ray:
        """Return the ray theta + t d."""
        ...


@runtime_checkable
class Objective(Protocol):
    """A function of p parameters to be minimised; it holds its own data.

    Attributes
    ----------
    size : int
        p, the number of parameters.
    counts : Counts
        The work done so far.
    """

    @property
    def size(self) -> int: ...

    @property
    def counts(self) -> Counts: ...

    def at(self, theta: Array) -> Point:
        """Return the point at theta, shape (p,)."""
        ...


class PointwiseRay:
    """A ray that evaluates a full point for every trial: right for any objective, cheap for none.

    Parameters
    ----------
    objective : Objective
    point : Point
        Where the ray starts.
    d : Array of shape (p,)
        The direction.
    """

    def __init__(self, objective: Objective, point: Point, d: Array):
        self._objective, self._start, self._d = objective, point, d
        self._last = (0.0, point)

    def point(self, t: float) -> Point:
        """Return the point at theta + t d; the last one asked for is kept."""
        if self._last[0] != t:
            self._last = (t, self._objective.at(self._start.theta + t * self._d))
        return self._last[1]

    def __call__(self, t: float) -> tuple[float, float]:
        """Return phi(t) and phi'(t)."""
        point = self.point(t)
        return point.value, float(point.grad @ self._d)
