"""Covariance and standard errors from the Jacobian of a least-squares fit at its optimum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .linalg import pivoted_qr, solve_upper


@dataclass(frozen=True, eq=False)
class Covariance:
    """What a fit says about its parameters' uncertainty.

    Attributes
    ----------
    matrix : ndarray of shape (p, p)
        Covariance; NaN in the rows and columns of parameters that the data do not identify, 0 in those of fixed ones.
    stderr : ndarray of shape (p,)
        Square roots of its diagonal.
    rank : int
        Of the Jacobian of the parameters that are not fixed.
    null_vectors : ndarray of shape (p, k)
        An orthonormal basis, in units of 1 / column norm, of the directions along which the residuals do not change:
        scaled back to the parameters, each column of Euclidean length 1.
    identifiable : ndarray of shape (p,)
        False for parameters that move along a null vector.
    fixed : ndarray of shape (p,)
        True for the parameters passed as fixed.
    variance : float
        The factor s^2 = ||r||^2 / (m - p) in the covariance; 1 with absolute_sigma, NaN where m <= p.
    """

    matrix: np.ndarray
    stderr: np.ndarray
    rank: int
    null_vectors: np.ndarray
    identifiable: np.ndarray
    fixed: np.ndarray
    variance: float

    @property
    def correlation(self) -> np.ndarray:
        """The correlation matrix, shape (p, p); NaN where a standard error is NaN or 0."""
        safe = np.where(self.stderr > 0.0, self.stderr, np.nan)
        return self.matrix / np.outer(safe, safe)


def covariance(
    jac: np.ndarray,
    residual: np.ndarray,
    *,
    absolute_sigma: bool = False,
    fixed: np.ndarray | None = None,
    degrees_of_freedom: float | None = None,
) -> Covariance:
    """Return s^2 (J'J)^-1 from a QR factorisation with column pivoting of the column-scaled Jacobian.

    With J N^-1 P = Q R, N the column norms, the covariance is s^2 N^-1 P R^-1 R^-T P' N^-1: J'J is never formed, and a
    change of a parameter's unit, or a parameter equal to 0, changes nothing.

    Parameters
    ----------
    jac : ndarray of shape (m, p)
        Of the residuals (divided by sigma, multiplied by the roots of the weights) at the optimum.
    residual : ndarray of shape (m,)
    absolute_sigma : bool, default=False
        Whether the residuals are in units of known standard deviations, so that s^2 = 1.
    fixed : ndarray of bool, shape (p,), optional
        Parameters held constant or lying on a bound: they get 0, and the others' errors come from their own columns.
    degrees_of_freedom : float, optional
        m minus the number of free parameters where None; pass the sum of the weights minus p for frequency weights.

    Returns
    -------
    Covariance

    Raises
    ------
    ValueError
        If the shapes do not fit or the Jacobian is not finite.

    References
    ----------
    Bates and Watts (1988). Nonlinear Regression Analysis and Its Applications, section 2.2. Björck (1996), Numerical
    Methods for Least Squares Problems, section 2.8.3.
    """
    m, p = _checked_shape(jac, residual)
    held = np.zeros(p, dtype=bool) if fixed is None else np.asarray(fixed, dtype=bool)
    free = np.flatnonzero(~held)
    variance = _variance(residual, m - free.size if degrees_of_freedom is None else degrees_of_freedom, absolute_sigma)
    matrix = np.zeros((p, p))
    identifiable, null_vectors, rank = np.ones(p, dtype=bool), np.zeros((p, 0)), 0
    if free.size:
        A = np.asarray(jac, dtype=np.float64)[:, free]
        norms = _column_norms(A)
        inverse, null, rank = _scaled_inverse(A / norms, norms)
        lost = (np.abs(null) > 1e-6 * np.abs(null).max(initial=0.0)).any(axis=1)
        part = inverse / np.outer(norms, norms) * variance
        part[lost, :] = part[:, lost] = np.nan
        matrix[np.ix_(free, free)] = part
        identifiable[free[lost]] = False
        null_vectors = np.zeros((p, null.shape[1]))
        back = null / norms[:, None]
        null_vectors[free] = back / np.sqrt((back * back).sum(axis=0))
    return Covariance(matrix, np.sqrt(np.diagonal(matrix)), rank, null_vectors, identifiable, held, variance)


def _checked_shape(jac: np.ndarray, residual: np.ndarray) -> tuple[int, int]:
    if jac.ndim != 2 or residual.shape != (jac.shape[0],):
        raise ValueError(
            f"received a Jacobian of shape {jac.shape} and residuals of shape {residual.shape}; expected (m, p) and "
            "(m,): evaluate both at the same parameters"
        )
    if not np.isfinite(jac).all():
        rows, columns = np.nonzero(~np.isfinite(jac))
        raise ValueError(
            f"received a Jacobian that is not finite, first in row {rows[0]}, column {columns[0]}; expected finite "
            "derivatives at the optimum: check the model there"
        )
    return jac.shape[0], jac.shape[1]


def _column_norms(A: np.ndarray) -> np.ndarray:
    """Return the column norms of A, shape (p,), safe against overflow; 1 for a column of zeros."""
    top = np.abs(A).max(axis=0, initial=0.0)
    top = np.where(top > 0.0, top, 1.0)
    norms = top * np.sqrt(np.square(A / top).sum(axis=0))
    return np.where(norms > 0.0, norms, 1.0)


def _variance(residual: np.ndarray, degrees: float, absolute_sigma: bool) -> float:
    if absolute_sigma:
        return 1.0
    return float(residual @ residual) / degrees if degrees > 0 else math.nan


def _scaled_inverse(A: np.ndarray, norms: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return (A'A)^-1 (its part outside the null space), a basis of the null space and the rank.

    The null space of the leading rows [R1 R2] of R is spanned by the columns of [-R1^-1 R2; I].
    """
    p = A.shape[1]
    qr = pivoted_qr(A, np.zeros(A.shape[0]))
    rank = _numerical_rank(qr.R)
    inverse, null = np.zeros((p, p)), np.zeros((p, p - rank))
    R1 = np.asfortranarray(qr.R[:rank, :rank])
    if rank:
        root = solve_upper(R1, np.eye(rank))
        lead = qr.perm[:rank]
        inverse[np.ix_(lead, lead)] = root @ root.T
    if rank < p:
        null[qr.perm[rank:], np.arange(p - rank)] = 1.0
        if rank:
            null[qr.perm[:rank]] = -solve_upper(R1, np.asfortranarray(qr.R[:rank, rank:]))
        null = np.linalg.qr(null)[0]
        null[np.abs(null) < 1e-12] = 0.0
    return inverse, null, rank


def _numerical_rank(R: np.ndarray) -> int:
    """Return the number of pivots above max(p, 10) eps times the first: the columns have length 1."""
    pivots = np.abs(np.diagonal(R))
    if not pivots.size or pivots[0] == 0.0:
        return 0
    small = np.flatnonzero(pivots <= max(R.shape[1], 10) * np.finfo(float).eps * pivots[0])
    return int(small[0]) if small.size else int(pivots.size)
