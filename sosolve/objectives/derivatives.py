"""Jacobians of functions that come without one: complex steps where they work, finite differences elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

EPS = float(np.finfo(np.float64).eps)
#: Optimal relative steps of forward (error h) and central (error h^2) differences.
RELATIVE_STEP = {"2-point": EPS**0.5, "3-point": EPS ** (1.0 / 3.0)}
#: Imaginary step: its square vanishes beside 1, and products with derivatives down to 1e-200 do not underflow.
IMAGINARY_STEP = 1e-50
#: Largest relative difference between a complex-step and a forward-difference column that still counts as agreement.
AGREEMENT = 1e-4
METHODS = ("auto", "2-point", "3-point", "cs")
#: Largest error that `difference_error` tells.
WORST = 1e-6


def difference_error(jac: np.ndarray, theta: np.ndarray, size: float, step: Any, is_central: bool) -> float:
    """Return the largest relative error of a column of a Jacobian by differences, 1e-6 at most.

    Parameters
    ----------
    jac : ndarray of shape (m, p)
        Columns of zeros do not count.
    theta : ndarray of shape (p,)
    size : float
        ||f||, whose rounding the differences divide by their steps.
    step : float or ndarray of shape (p,)
        Steps relative to theta.
    is_central : bool
    """
    lengths = np.sqrt(np.einsum("ij,ij->j", jac, jac)) * np.where(theta == 0.0, 1.0, np.abs(theta))
    seen = lengths > 0.0
    bent = np.broadcast_to(step * step if is_central else step, theta.shape)
    with np.errstate(all="ignore"):
        error = bent + EPS * size / (np.broadcast_to(step, theta.shape) * np.where(seen, lengths, 1.0))
    return float(min(np.max(error[seen], initial=0.0), WORST))


class Differences:
    """theta -> Jacobian of a vector-valued function, column by column.

    ========= ==================================================  ============ =============
    method    column j                                            evaluations  correct digits
    ========= ==================================================  ============ =============
    2-point   (f(theta + h e_j) - f(theta)) / h                   p            8
    3-point   (f(theta + h e_j) - f(theta - h e_j)) / (2 h)       2 p          10 to 11
    cs        Im f(theta + i h e_j) / h                           p            16
    auto      cs where it agrees at the first theta with forward  p or 2 p
              differences, else 3-point for good
    ========= ==================================================  ============ =============

    Steps are relative to |theta_j|, or to the largest |theta_j| seen where that is smaller; for a component that
    has always been 0 the step is found by trying how much f changes. Near a bound differences become one-sided
    (3-point: of second order, from f(theta), f(theta + h), f(theta + 2 h)).

    Parameters
    ----------
    fun : callable
        theta of shape (p,) -> array of shape (m,).
    method : {"auto", "2-point", "3-point", "cs"}, default="auto"
    lower, upper : ndarray of shape (p,), optional
        Box that no real evaluation leaves.
    offset : ndarray of shape (m,), optional
        Where `fun` is a model minus data: those data. Rounding is that of the model, which residuals of a good fit
        say nothing of.

    Attributes
    ----------
    method : str
        The method in use; "auto" becomes "cs" or "3-point" at the first call.
    n_evaluations : int
        Calls of `fun`.

    Raises
    ------
    ValueError
        If the method is unknown.

    References
    ----------
    Squire and Trapp (1998). Using complex variables to estimate derivatives of real functions. SIAM Review 40(1).
    Nocedal and Wright (2006), section 8.1.
    """

    def __init__(
        self,
        fun: Callable[[np.ndarray], np.ndarray],
        method: str = "auto",
        *,
        lower: np.ndarray | None = None,
        upper: np.ndarray | None = None,
        offset: np.ndarray | None = None,
    ):
        if method not in METHODS:
            raise ValueError(f"received derivative={method!r}; expected one of {', '.join(METHODS)}: choose one")
        self.fun, self.method, self.lower, self.upper = fun, method, lower, upper
        self.n_evaluations, self.offset = 0, offset
        self._typical: np.ndarray | None = None

    def __call__(self, theta: np.ndarray, f0: np.ndarray | None = None) -> np.ndarray:
        """Return the Jacobian at theta, shape (m, p).

        Parameters
        ----------
        theta : ndarray of shape (p,)
        f0 : ndarray of shape (m,), optional
            fun(theta), where it is known.
        """
        if self.method == "cs":
            return self._complex(theta)
        if f0 is None:
            f0 = self._call(theta)
        if self.method == "auto":
            jac = self._checked_complex(theta, f0)
            if jac is not None:
                return jac
        return self._real(theta, f0, self.method)

    def error(self, jac: np.ndarray, theta: np.ndarray, f0: np.ndarray) -> float:
        """Return the largest relative error of a column of the Jacobian at theta, see `difference_error`."""
        if self.method not in RELATIVE_STEP:
            return 0.0
        return difference_error(jac, theta, self._size(f0), RELATIVE_STEP[self.method], self.method == "3-point")

    def _call(self, theta: np.ndarray) -> np.ndarray:
        self.n_evaluations += 1
        return np.asarray(self.fun(theta), dtype=np.float64)

    def _complex(self, theta: np.ndarray) -> np.ndarray:
        """Return the Jacobian by complex steps, in Fortran order."""
        start = theta.astype(np.complex128)
        jac = np.empty((0, 0))
        for j in range(theta.shape[0]):
            shifted = start.copy()
            shifted[j] += 1j * IMAGINARY_STEP
            self.n_evaluations += 1
            column = np.asarray(self.fun(shifted)).imag
            if j == 0:
                jac = np.empty((*column.shape, theta.shape[0]), order="F")
            jac[..., j] = column
        return np.divide(jac, IMAGINARY_STEP, out=jac)

    def _checked_complex(self, theta: np.ndarray, f0: np.ndarray) -> np.ndarray | None:
        """Return the Jacobian by complex steps where they can be trusted, else None; `method` is decided here.

        The check is one forward difference a column: a function that drops imaginary parts (abs, a cast, a
        comparison) is wrong by the whole of a column, not by a rounding.
        """
        self.method = "3-point"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                exact = self._complex(theta)
        except Exception:  # whatever a user's function raises on complex numbers: it is not made for them
            return None
        if exact.shape != (f0.shape[0], theta.shape[0]) or not np.isfinite(exact).all():
            return None
        rough = self._real(theta, f0, "2-point")
        steps = self._steps(theta, f0, "2-point")
        size = np.sqrt(np.einsum("ij,ij->j", exact, exact))
        # A narrow peak far from the origin is bent within a step: that error shrinks with the step, a wrong column
        # does not.
        for shorter in (steps, steps / 64.0):
            if shorter is not steps:
                self._fill(rough, range(theta.shape[0]), theta, f0, shorter, "2-point")
            gap = np.sqrt(np.einsum("ij,ij->j", exact - rough, exact - rough))
            # A forward difference cannot see columns smaller than the rounding of f over the step.
            noise = 8.0 * EPS * self._size(f0) / np.abs(shorter)
            if (gap <= AGREEMENT * size + noise).all():
                self.method = "cs"
                return exact
        return None

    def _real(self, theta: np.ndarray, f0: np.ndarray, method: str) -> np.ndarray:
        """Return the Jacobian by forward or central differences inside the box, in Fortran order."""
        is_first = self._typical is None
        steps = self._steps(theta, f0, method)
        jac = np.empty((f0.shape[0], theta.shape[0]), order="F")
        self._fill(jac, range(theta.shape[0]), theta, f0, steps, method)
        if is_first:
            weak = self._weak(theta, jac, f0, steps)
            if weak.size:
                for j in weak.tolist():
                    self._typical[j] = max(self._typical[j], self._probe(theta, f0, j))  # type: ignore[index]
                self._fill(jac, weak.tolist(), theta, f0, self._steps(theta, f0, method), method)
        return jac

    def _fill(
        self,
        jac: np.ndarray,
        columns: Iterable[int],
        theta: np.ndarray,
        f0: np.ndarray,
        steps: np.ndarray,
        method: str,
    ) -> None:
        """Compute some columns of the Jacobian in place; one that is not finite is tried from one side."""
        for j in columns:
            jac[:, j] = self._column(theta, f0, j, float(steps[j]), method)
            if not np.isfinite(jac[:, j]).all():
                jac[:, j] = self._one_sided(theta, f0, j, float(steps[j]))

    def _weak(self, theta: np.ndarray, jac: np.ndarray, f0: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return tiny components whose step changed f by no more than its rounding: they start below their scale."""
        changes = np.sqrt(np.einsum("ij,ij->j", jac, jac)) * np.abs(steps)
        tiny = (theta != 0.0) & (np.abs(theta) < 1e-8)
        return np.flatnonzero(tiny & (changes <= 1e-12 * self._size(f0)))

    def _column(self, theta: np.ndarray, f0: np.ndarray, j: int, h: float, method: str) -> np.ndarray:
        """Return one column with the step h, signed: it points into the box."""
        if method == "2-point":
            high, f1 = self._moved(theta, j, h)
            return (f1 - f0) / (high - theta[j])
        if self._inside(j, theta[j] - h) and self._inside(j, theta[j] + h):
            high, f1 = self._moved(theta, j, h)
            low, f2 = self._moved(theta, j, -h)
            return (f1 - f2) / (high - low)
        near, f1 = self._moved(theta, j, h)
        far, f2 = self._moved(theta, j, 2.0 * h)
        a, b = near - theta[j], far - theta[j]
        # the derivative at 0 of the parabola through (0, f0), (a, f1), (b, f2)
        return (b * b * (f1 - f0) - a * a * (f2 - f0)) / (a * b * (b - a))

    def _one_sided(self, theta: np.ndarray, f0: np.ndarray, j: int, h: float) -> np.ndarray:
        """Return the first finite one of the differences to either side, the last one where none is."""
        column = np.full(f0.shape, np.nan)
        for step in (h, -h):
            if self._inside(j, theta[j] + step):
                moved, f1 = self._moved(theta, j, step)
                column = (f1 - f0) / (moved - theta[j])
                if np.isfinite(column).all():
                    break
        return column

    def _moved(self, theta: np.ndarray, j: int, h: float) -> tuple[float, np.ndarray]:
        """Return the moved component as it was rounded, and the function there."""
        shifted = theta.copy()
        shifted[j] += h
        return float(shifted[j]), self._call(shifted)

    def _inside(self, j: int, value: float) -> bool:
        above = self.lower is None or value >= self.lower[j]
        return bool(above and (self.upper is None or value <= self.upper[j]))

    def _steps(self, theta: np.ndarray, f0: np.ndarray, method: str) -> np.ndarray:
        """Return signed steps, shape (p,), whose farthest evaluation stays inside the box."""
        size = np.abs(theta)
        if self._typical is None:
            self._typical = size.copy()
            for j in np.flatnonzero(size == 0.0):
                self._typical[j] = self._probe(theta, f0, int(j))
        self._typical = np.maximum(self._typical, size)
        relative = RELATIVE_STEP[method]
        steps = relative * np.where(size > 0.0, np.maximum(size, 1e-4 * self._typical), self._typical)
        if self.lower is None and self.upper is None:
            return steps
        room_up = np.inf if self.upper is None else self.upper - theta
        room_down = np.inf if self.lower is None else theta - self.lower
        reach = 1.0 if method == "2-point" else 2.0
        up = room_up >= np.minimum(room_down, reach * steps)
        room = np.where(up, room_up, room_down)
        tight = reach * steps > room
        steps = np.where(tight & (room > 0.0), room / reach, steps)
        return np.where(up, steps, -steps)

    def _size(self, f0: np.ndarray) -> float:
        """Return the norm of the numbers whose rounding f0 carries: of f0 or, if larger, of the model."""
        size = float(np.sqrt(f0 @ f0))
        if self.offset is None:
            return size
        f = f0 + self.offset
        return max(size, float(np.sqrt(f @ f)))

    def _probe(self, theta: np.ndarray, f0: np.ndarray, j: int) -> float:
        """Return a typical size for a component that is 0: one whose step changes f by about 1e-6 of itself.

        It is 1 where f jumps at 0, so that shorter steps change it by as much.
        """
        size, h = 1.0, RELATIVE_STEP["3-point"]
        norm0 = self._size(f0)
        if norm0 == 0.0:
            return size
        for _ in range(4):
            step = h * size
            if not self._inside(j, theta[j] + step):
                step = -step
            if not self._inside(j, theta[j] + step):
                return size
            change = self._moved(theta, j, step)[1] - f0
            moved = float(np.sqrt(change @ change)) / norm0
            if moved == 0.0 or 1e-8 < moved < 1e-4:
                break
            size *= 1e-6 if not np.isfinite(moved) else min(max(1e-6 / max(moved, 1e-18), 1e-12), 1e12)
        else:
            return 1.0 if moved >= 1e-4 else size
        return size
