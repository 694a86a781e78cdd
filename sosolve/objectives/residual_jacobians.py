"""Least squares with any Jacobian (dense, sparse, operator), and differences that use its sparsity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from ..protocols import Counts
from .derivatives import difference_error
from .least_squares import LeastSquares, LeastSquaresPoint
from .robust import RobustLoss

#: Best relative steps, by scheme, for residuals of precision eps: eps to this power.
STEP_POWER = {"2-point": 0.5, "3-point": 1.0 / 3.0}
IMAGINARY_STEP = 1e-50

Map = Callable[[Callable, Iterable], Iterable]


class ResidualLeastSquares(LeastSquares):
    """A `LeastSquares` whose Jacobian may also be a SciPy sparse array or a LinearOperator, and that keeps its start.

    Floating-point warnings are the caller's: solvers of least squares switch them off for a whole fit.

    Parameters
    ----------
    fun, size, jac, **settings
        As `LeastSquares`; `jac` may return an array of shape (m, p), a sparse array or a LinearOperator.
    """

    def __init__(self, fun: Callable, size: int, jac: Callable | None = None, **settings: Any):
        super().__init__(fun, size, jac, **settings)
        self._first: ResidualPoint | None = None
        self._dense = False
        self.output, self.precision = "", 0.0

    def densify(self) -> None:
        """Make sparse Jacobians dense from now on; the start's too."""
        self._dense = True
        if self._first is not None:
            self._first.densify()

    @property
    def counts(self) -> Counts:
        """The work done so far."""
        done, extra = self._counts, 0 if self.differences is None else self.differences.n_evaluations
        return Counts(done.n_value + extra, done.n_grad, done.n_mv, done.n_passes)

    @property
    def n_residuals(self) -> int:
        """Evaluations of the residuals, those for differences left out."""
        return self._counts.n_value

    @property
    def n_jacobians(self) -> int:
        """Evaluations of the Jacobian."""
        return self._counts.n_grad

    def begin(self, theta: np.ndarray, residual: np.ndarray | None = None) -> ResidualPoint:
        """Return the point at a start of shape (p,), which `at` will not evaluate again for this very array.

        Parameters
        ----------
        theta : ndarray of shape (p,)
        residual : ndarray of shape (m,), optional
            fun(theta), where it is known; counted as an evaluation.
        """
        self._first = ResidualPoint(self, theta)
        if residual is not None:
            self._counts.n_value += 1
            self._first._raw_residual = residual
        return self._first

    def at(self, theta: np.ndarray) -> ResidualPoint:
        """Return the point at theta."""
        first = self._first
        return first if first is not None and first.theta is theta else ResidualPoint(self, theta)

    def residual(self, theta: np.ndarray) -> np.ndarray:
        """Return fun(theta) as a float64 array, shape (m,), NaN where it became complex; counted."""
        self._counts.n_value += 1
        raw = np.asarray(self.fun(theta))
        if raw.dtype == np.float64:
            return raw
        if not self.output:
            self.output = "c" if raw.dtype.kind == "c" else "low" if raw.dtype in (np.float32, np.float16) else "f"
            self.precision = float(np.finfo(raw.dtype).eps) if self.output == "low" else 0.0
        if raw.dtype.kind == "c":
            return np.full(raw.shape, np.nan)
        if raw.dtype.kind not in "biufO" or (raw.dtype.kind == "O" and raw.size == 1 and raw.item() is None):
            raise TypeError(
                f"`fun` must return real numbers: received {raw.item() if raw.size == 1 else raw.dtype}; return an "
                "array of float64, look for a missing return"
            )
        return raw.astype(np.float64)

    def jacobian(self, theta: np.ndarray, residual: np.ndarray) -> Any:
        """Return the Jacobian at theta as an array, a CSR array or a LinearOperator; counted."""
        if self.differences is not None:
            self._counts.n_grad += 1
            jac: Any = self.differences(theta, residual)
            return jac.toarray() if self._dense and scipy.sparse.issparse(jac) else jac
        self._counts.n_grad += 1
        jac = self.jac(theta)  # type: ignore[misc]
        if isinstance(jac, LinearOperator):
            return jac
        if scipy.sparse.issparse(jac):
            return jac.toarray().astype(np.float64) if self._dense else scipy.sparse.csr_array(jac, dtype=np.float64)
        J = np.atleast_2d(np.asarray(jac))
        if J.dtype.kind == "c":
            raise ValueError("`jac` must return real numbers: received complex ones; return an array of float64")
        self._dense = True  # what comes sparse from now on has to go with it
        return J.astype(np.float64, copy=False)


class ResidualPoint(LeastSquaresPoint):
    """A point of `ResidualLeastSquares`."""

    __slots__ = ()

    def densify(self) -> None:
        """Turn a sparse Jacobian into an array."""
        raw: Any = self._raw_jac
        if scipy.sparse.issparse(raw):
            self._raw_jac, self._jac, self._grad = raw.toarray(), None, None

    @property
    def value(self) -> float:
        """The objective; inf where a residual is not finite."""
        if self._value is None:
            r = self.raw_residual
            loss = self._objective.scaled_loss(r)
            value = 0.5 * float(r @ r) if loss is None else loss.value(r)
            self._value = value if math.isfinite(value) else math.inf
        return self._value

    @property
    def jac(self) -> Any:
        """The Jacobian, its rows rescaled by a robust loss, shape (m, p)."""
        if self._jac is None:
            raw = self.raw_jac
            loss = self._objective.scaled_loss(self.raw_residual)
            if loss is None:
                self._jac = raw
            elif isinstance(raw, np.ndarray):
                self._jac = loss.rescaled_jac(self.raw_residual, raw)
            else:
                root = scipy.sparse.diags_array(loss.root_weights(self.raw_residual)[1])
                self._jac = (
                    aslinearoperator(root) @ raw
                    if isinstance(raw, LinearOperator)
                    else scipy.sparse.csr_array(root @ raw)
                )
        return self._jac

    @property
    def grad(self) -> np.ndarray:
        """jac'residual, shape (p,)."""
        if self._grad is None:
            jac = self.jac
            self._grad = self.residual @ jac if isinstance(jac, np.ndarray) else jac.T @ self.residual
        return self._grad

    def at(self, theta: np.ndarray) -> ResidualPoint:
        """Return the point of the same objective at another theta, shape (p,)."""
        return ResidualPoint(self._objective, theta)


class CustomLoss(RobustLoss):
    """A robust loss from a function z -> (rho, rho', rho''), an array of shape (3, m) for z of shape (m,).

    Parameters
    ----------
    function : callable
    f_scale : float
    """

    function: Callable[[np.ndarray], np.ndarray]

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], f_scale: float):
        super().__init__("custom", f_scale)
        object.__setattr__(self, "function", function)  # the parent is frozen

    def rho(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rho, rho' and rho'' at z.

        Raises
        ------
        ValueError
            If the function returns another shape.
        """
        found = np.asarray(self.function(z), dtype=np.float64)
        if found.shape != (3, *z.shape):
            raise ValueError(
                f"The return value of `loss` callable has wrong shape: received {found.shape}; expected "
                f"{(3, *z.shape)}, the rows rho, rho' and rho'': stack them"
            )
        return found[0], found[1], found[2]


def group_columns(pattern: Any) -> list[np.ndarray]:
    """Return groups of columns without a common row, by a greedy colouring, densest columns first.

    Parameters
    ----------
    pattern : sparse array of shape (m, p)
        Nonzero where a residual depends on a parameter.

    Returns
    -------
    list of ndarray
        Numbers of the columns of each group.

    References
    ----------
    Curtis, Powell and Reid (1974). On the estimation of sparse Jacobian matrices. IMA J. Appl. Math. 13, 117-119.
    Coleman and Moré (1983), section 4, for the order.
    """
    columns = scipy.sparse.csc_array(pattern)
    groups: list[tuple[np.ndarray, list[int]]] = []
    for j in np.argsort(-np.diff(columns.indptr), kind="stable"):
        rows = columns.indices[columns.indptr[j] : columns.indptr[j + 1]]
        found = next((pair for pair in groups if not pair[0][rows].any()), None)
        if found is None:
            found = (np.zeros(columns.shape[0], dtype=bool), [])
            groups.append(found)
        found[0][rows] = True
        found[1].append(int(j))
    return [np.array(sorted(group)) for _, group in groups]


class SteppedDifferences:
    """theta -> Jacobian by differences with chosen steps, many columns at once where none shares a row.

    Column j of the group G is read from f(theta + sum_{k in G} h_k e_k) in the rows where it is not 0. Two groups
    of a tridiagonal Jacobian cost what two dense columns cost; a dense Jacobian has p groups.

    Parameters
    ----------
    fun : callable
        theta of shape (p,) -> residuals of shape (m,).
    scheme : {"2-point", "3-point", "cs"}
    sparsity : sparse array of shape (m, p), optional
        Where the Jacobian may differ from 0; dense where None.
    relative_step : float or ndarray of shape (p,), optional
        h_j / |theta_j|, h_j itself where theta_j = 0; the root of `precision` (2-point) or its cube root where None.
    precision : float, default=2.2e-16
        Relative rounding error of the residuals: 1.2e-7 for float32.
    lower, upper : ndarray of shape (p,), optional
        Box that real evaluations do not leave; the derivative by a parameter with equal bounds is 0.
    mapping : callable, optional
        map-like, to evaluate the shifted points in parallel.
    """

    def __init__(
        self,
        fun: Callable[[np.ndarray], np.ndarray],
        scheme: str = "2-point",
        *,
        sparsity: Any = None,
        relative_step: Any = None,
        precision: float = 2.2e-16,
        lower: np.ndarray | None = None,
        upper: np.ndarray | None = None,
        mapping: Map = map,
    ):
        self.fun, self.scheme, self.mapping, self.n_evaluations = fun, scheme, mapping, 0
        self._typical: np.ndarray | None = None
        self.lower, self.upper = lower, upper
        default = precision ** STEP_POWER.get(scheme, 0.5)
        self.relative_step = default if relative_step is None else np.asarray(relative_step, dtype=np.float64)
        self.sparsity = None if sparsity is None else scipy.sparse.csc_array(sparsity)
        self.groups = None if sparsity is None else group_columns(self.sparsity)

    def __call__(self, theta: np.ndarray, f0: np.ndarray) -> Any:
        """Return the Jacobian at theta, where the residuals are f0: an array, or CSR with `sparsity`."""
        groups = self._columns(theta.shape[0]) if self.groups is None else self.groups
        shifts = self._shifts(theta)
        points = [
            self._moved(theta, group, steps, factor)
            for group in groups
            for steps, factor in zip(shifts, (1.0, 2.0), strict=False)
        ]
        values = [np.asarray(value) for value in self.mapping(self.fun, points)]
        self.n_evaluations += len(points)
        each = len(shifts)
        columns = []
        for k, group in enumerate(groups):
            columns.append(self._quotients(theta, f0, points[each * k : each * k + each], values[each * k :], group))
        if self.sparsity is None:
            jac = np.zeros((f0.shape[0], theta.shape[0]), order="F")
            for group, column in zip(groups, columns, strict=True):
                jac[:, group[0]] = column(0, slice(None))
            return jac
        return self._assembled(groups, columns)

    def error(self, jac: Any, theta: np.ndarray, f0: np.ndarray) -> float:
        """Return the largest relative error of a column of the Jacobian at theta, see `difference_error`."""
        if self.scheme == "cs" or not isinstance(jac, np.ndarray):
            return 0.0
        size, is_central = math.sqrt(float(f0 @ f0)), self.scheme == "3-point"
        return difference_error(jac, theta, size, np.abs(self.relative_step), is_central)

    def _columns(self, size: int) -> list[np.ndarray]:
        """Return the columns of a dense Jacobian one by one, those left out whose parameter cannot move."""
        if self.lower is None or self.upper is None:
            return [np.array([j]) for j in range(size)]
        return [np.array([j]) for j in np.flatnonzero(self.lower < self.upper)]

    def _assembled(self, groups: list[np.ndarray], columns: list) -> Any:
        """Return the CSR array from the quotients of each group."""
        found = scipy.sparse.csc_array(self.sparsity, dtype=np.float64, copy=True)
        for group, column in zip(groups, columns, strict=True):
            for place, j in enumerate(group):
                entries = slice(found.indptr[j], found.indptr[j + 1])
                found.data[entries] = column(place, found.indices[entries])
        return scipy.sparse.csr_array(found)

    def _shifts(self, theta: np.ndarray) -> list[np.ndarray]:
        """Return the signed steps of one evaluation (2-point, cs) or of two (3-point), each of shape (p,)."""
        if self.scheme == "cs":
            return [np.full(theta.shape, IMAGINARY_STEP)]
        size = np.where(theta == 0.0, 1.0, np.abs(theta)) if self._typical is None else np.abs(theta)
        self._typical = size if self._typical is None else np.maximum(self._typical, size)
        floored = np.where(theta == 0.0, self._typical, np.maximum(size, 1e-4 * self._typical))
        step = np.broadcast_to(self.relative_step * floored, theta.shape)
        reach = 1.0 if self.scheme == "2-point" else 2.0
        room_up = np.inf if self.upper is None else self.upper - theta
        room_down = np.inf if self.lower is None else theta - self.lower
        up = room_up >= np.minimum(room_down, reach * np.abs(step))
        room = np.where(up, room_up, room_down)
        signed = np.where(up, 1.0, -1.0) * np.minimum(np.abs(step), np.where(room > 0.0, room / reach, np.inf))
        if self.scheme == "2-point":
            return [signed]
        central = (room_up >= np.abs(signed)) & (room_down >= np.abs(signed))
        return [signed, np.where(central, -0.5 * signed, signed)]  # the second is doubled: -h, or 2 h at a bound

    def _moved(self, theta: np.ndarray, group: np.ndarray, steps: np.ndarray, factor: float) -> np.ndarray:
        if self.scheme == "cs":
            shifted = theta.astype(np.complex128)
            shifted[group] += 1j * steps[group]
            return shifted
        shifted = theta.copy()
        shifted[group] += factor * steps[group]
        return shifted

    def _quotients(self, theta: np.ndarray, f0: np.ndarray, points: list, values: list, group: np.ndarray) -> Callable:
        """Return (place in the group, rows) -> that column's entries in those rows."""
        if self.scheme == "cs":
            return lambda place, rows: values[0].imag[rows] / IMAGINARY_STEP
        a = points[0][group] - theta[group]
        if self.scheme == "2-point":
            return lambda place, rows: (values[0][rows] - f0[rows]) / a[place]
        b = points[1][group] - theta[group]

        def parabola(place: int, rows: Any) -> np.ndarray:
            # the slope at 0 of the parabola through (0, f0), (a, f1), (b, f2)
            u, v = a[place], b[place]
            return (v * v * (values[0][rows] - f0[rows]) - u * u * (values[1][rows] - f0[rows])) / (u * v * (v - u))

        return parabola
