"""Variable projection: least squares in the nonlinear parameters alone, the linear ones solved for at every point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from .least_squares import LeastSquares

Basis = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
BasisAndSlopes = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
EPS = float(np.finfo(np.float64).eps)


class VariableProjection(LeastSquares):
    r"""min over beta of 1/2 ||W (offset(a) + Phi(a) beta - y)||^2, as a function of the nonlinear parameters a.

    With W Phi D^-1 P = Q R (D the column norms) and b = W (offset - y) the residual is

    .. math:: r(a) = (I - Q Q') b, \qquad beta = -D^{-1} P R^{-1} Q' b,

    and column k of its Jacobian is (I - Q Q') W (dPhi_k beta + doffset_k), less Q R^-T P' D^-1 dPhi_k' W r without
    Kaufman's simplification. Both give the exact gradient, because r is orthogonal to Q.

    Parameters
    ----------
    basis : callable
        a of shape (r,) -> Phi (n, q) and offset (n,), see `Formula.basis`.
    basis_and_jacobian : callable
        a -> Phi, offset, dPhi (n, q, r), doffset (n, r).
    size : int
        r, the number of nonlinear parameters, >= 0.
    y : ndarray of shape (n,)
    root_weights : ndarray of shape (n,), optional
        The diagonal of W; ones where None.
    kaufman : bool, default=True
        Leave out the second term of the Jacobian.

    References
    ----------
    Golub and Pereyra (1973). SIAM J. Numer. Anal. 10, 413-432, equations 4.8 and 5.4. Kaufman (1975). BIT 15, 49-57.
    O'Leary and Rust (2013). Comput. Optim. Appl. 54, 579-593. Deviation: where columns of Phi depend on one another
    to rounding, beta is the shortest solution in units of 1 / column norm.
    """

    def __init__(
        self,
        basis: Basis,
        basis_and_jacobian: BasisAndSlopes,
        size: int,
        y: np.ndarray,
        root_weights: np.ndarray | None = None,
        *,
        kaufman: bool = True,
    ):
        super().__init__(self._reduced, size, self._reduced_jacobian, fun_and_jac=self._reduced_both)
        self.basis, self.basis_and_jacobian, self.y, self.kaufman = basis, basis_and_jacobian, y, kaufman
        self.root_weights = np.ones(y.shape[0]) if root_weights is None else root_weights
        self._last: tuple[bytes, _Projection] | None = None

    def linear(self, theta: np.ndarray) -> np.ndarray:
        """Return the best linear parameters at theta, shape (q,); NaN where the model is not finite there."""
        with np.errstate(all="ignore"):
            return self._at(theta).beta

    def _reduced(self, theta: np.ndarray) -> np.ndarray:
        return self._at(theta).residual

    def _reduced_jacobian(self, theta: np.ndarray) -> np.ndarray:
        return self._reduced_both(theta)[1]

    def _reduced_both(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        Phi, offset, dPhi, doffset = self.basis_and_jacobian(theta)
        found = self._at(theta, (Phi, offset))
        w = self.root_weights
        columns = w[:, None] * (np.einsum("nqr,q->nr", dPhi, found.beta) + doffset)
        J = columns - found.Q @ (found.Q.T @ columns)
        if not self.kaufman and found.Q.shape[1]:
            turned = np.einsum("nqr,n->qr", dPhi, w * found.residual) / found.scale[:, None]
            rank = found.Q.shape[1]
            R, lead = found.R[:, :rank], found.perm[:rank]
            J -= found.Q @ scipy.linalg.solve_triangular(R, turned[lead], trans="T", check_finite=False)
        return found.residual, J

    def _at(self, theta: np.ndarray, basis: tuple[np.ndarray, np.ndarray] | None = None) -> _Projection:
        """Return the projection at theta; the last one is kept, because a Jacobian follows most residuals."""
        key = theta.tobytes()
        if self._last is None or self._last[0] != key:
            Phi, offset = self.basis(theta) if basis is None else basis
            w = self.root_weights
            self._last = key, _Projection(w[:, None] * Phi, w * (offset - self.y))
        return self._last[1]


class _Projection:
    """The linear least-squares problem min ||A beta + b|| at one point, solved by QR with column pivoting."""

    def __init__(self, A: np.ndarray, b: np.ndarray):
        m, q = A.shape
        self.perm, self.R, self.Q = np.arange(q), np.zeros((0, 0)), np.zeros((m, 0))
        self.beta, self.scale = np.full(q, np.nan), np.ones(q)
        if not (np.isfinite(A).all() and np.isfinite(b).all()):
            self.residual = np.full(m, np.nan)
            return
        top = np.abs(A).max(axis=0, initial=0.0)
        top[top == 0.0] = 1.0
        self.scale = top * np.sqrt(np.square(A / top).sum(axis=0))
        self.scale[self.scale == 0.0] = 1.0
        self.beta = np.zeros(q)
        self.residual = b
        if q == 0:
            return
        # LAPACK itself: SciPy's wrappers cost more than the work for a curve of 100 points
        packed, perm, tau, _, _ = scipy.linalg.lapack.dgeqp3(A / self.scale)
        k, self.perm = min(m, q), perm - 1
        pivots = np.abs(np.diagonal(packed))
        rank = int(np.count_nonzero(pivots > max(m, q) * EPS * pivots[0])) if pivots[0] > 0.0 else 0
        self.R = np.triu(packed[:rank])
        self.Q = scipy.linalg.lapack.dorgqr(packed[:, :k], tau)[0][:, :rank]
        self._solve(A, b)

    def _solve(self, A: np.ndarray, b: np.ndarray) -> None:
        """Solve, and once more for what is left: that wins back digits which cancel between large columns."""
        for _ in range(2):
            part = self.Q.T @ self.residual
            if self.R.shape[0] == self.R.shape[1]:
                z = scipy.linalg.lapack.dtrtrs(self.R, part)[0] if part.shape[0] else part
            else:
                z = np.linalg.lstsq(self.R, part, rcond=None)[0]
            self.beta[self.perm] -= z / self.scale[self.perm]
            self.residual = b + A @ self.beta
        self.residual = self.residual - self.Q @ (self.Q.T @ self.residual)
