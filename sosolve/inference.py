"""Covariance and standard errors from the Jacobian of a least-squares fit at its optimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .linalg import column_norms, pivoted_qr, solve_upper

#: A row whose share of its own fitted value is nearer to 1 has no residual of its own.
LONE = 1e-8


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
    jac_error: float = 0.0,
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
    jac_error : float, default=0
        Relative error of the columns of jac, where they come from differences: what is smaller counts as 0.

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
    held, degrees = _checked(jac, residual, fixed, degrees_of_freedom)
    variance = _variance(residual, degrees, absolute_sigma)
    return _assembled(jac, held, variance, jac_error)


def sandwich(
    jac: np.ndarray,
    psi: np.ndarray,
    slope: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    fixed: np.ndarray | None = None,
    degrees_of_freedom: float | None = None,
    jac_error: float = 0.0,
) -> Covariance:
    """Return A^-1 B A^-1, the covariance of an M-estimate, from the rows at the optimum.

    For the estimating equations sum_i w_i psi(r_i) j_i = 0, with j_i the rows of the Jacobian,

        A = sum_i w_i psi'_i j_i j_i',   B = sum_i w_i u_i^2 j_i j_i',   u_i = psi_i / (1 - h_i),

    h_i = psi'_i j_i' A^-1 j_i. Nothing is pooled over the rows, so their errors may differ in size. 1 / (1 - h_i)
    makes it the jackknife to first order: without it the errors are too small below a few hundred rows.

    Parameters
    ----------
    jac : ndarray of shape (m, p)
        Of the residuals (divided by sigma), not rescaled by the loss.
    psi, slope : ndarray of shape (m,)
        Half the derivative of the loss by the residual, and its derivative; a slope may be negative.
    weights : ndarray of shape (m,), optional
        How many observations a row stands for, >= 0.
    fixed : ndarray of bool, shape (p,), optional
        See `covariance`.
    degrees_of_freedom : float, optional
        See `covariance`; where it is not positive all errors are NaN.
    jac_error : float, default=0
        See `covariance`.

    Returns
    -------
    Covariance
        `variance` is sum w psi^2 / degrees of freedom. The matrix is NaN where the loss has no curvature left along
        some direction.

    Raises
    ------
    ValueError
        If the shapes do not fit or the Jacobian is not finite.

    References
    ----------
    Huber (1967). The behavior of maximum likelihood estimates under nonstandard conditions. Proc. 5th Berkeley Symp.
    1, 221-233. White (1980). Econometrica 48, 817-838. MacKinnon and White (1985). J. Econometrics 29, 305-325, form
    HC3. Deviations: A is Gauss-Newton's, without second derivatives of the model; a negative psi' counts as 0 where
    A would not be positive definite; a row that a parameter rests on alone (h_i = 1) has no residual to tell its
    error, and gets the pooled one.
    """
    held, degrees = _checked(jac, psi, fixed, degrees_of_freedom)
    w = np.ones(psi.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    root = np.sqrt(w)
    variance = _variance(root * psi, degrees, absolute_sigma=False)

    def middle(Q: np.ndarray) -> np.ndarray:
        inner, used = _inverse_curvature(Q, slope)
        if inner is None or not math.isfinite(variance):
            return np.full((Q.shape[1], Q.shape[1]), np.nan)
        with np.errstate(all="ignore"):
            share = used * np.einsum("ij,jk,ik->i", Q, inner, Q) / np.where(w > 0.0, w, 1.0)
            u = np.where(1.0 - share > LONE, psi / (1.0 - share), math.sqrt(variance))
        S = inner @ (Q * u[:, None]).T
        return S @ S.T

    return _assembled(root[:, None] * jac, held, variance, jac_error, middle)


def _inverse_curvature(Q: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Return (Q' diag(s) Q)^-1 and s, the slopes, cut off at 0 where that is not positive definite; None if neither."""
    for s in (slope, np.maximum(slope, 0.0)):
        values, vectors = np.linalg.eigh((Q * s[:, None]).T @ Q)
        if values.size == 0 or values[0] > 1e-8 * max(float(np.abs(s).max()), values[-1]):
            return (vectors / values) @ vectors.T, s
    return None, slope


def _assembled(
    jac: np.ndarray,
    held: np.ndarray,
    variance: float,
    error: float,
    middle: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Covariance:
    """Return the covariance R^-1 M R^-T, with M = middle(Q) of the orthonormal Q of the scaled Jacobian, or s^2."""
    p, free = held.size, np.flatnonzero(~held)
    matrix = np.zeros((p, p))
    identifiable, null_vectors, rank = np.ones(p, dtype=bool), np.zeros((p, 0)), 0
    if free.size:
        A = np.asarray(jac, dtype=np.float64)[:, free]
        norms = column_norms(A)
        norms = np.where(norms < np.inf, np.where(norms > 0.0, norms, 1.0), np.abs(A).max(axis=0, initial=0.0))
        root, null, rank = _inverse_root(A / norms, error)
        lost = (np.abs(null) > 1e-6 * np.abs(null).max(initial=0.0)).any(axis=1)
        inner = variance * root if middle is None else root @ middle(A / norms @ root)
        part = inner @ root.T / norms[:, None] / norms  # one after the other: their product may overflow
        part[lost, :] = part[:, lost] = np.nan
        matrix[np.ix_(free, free)] = part
        identifiable[free[lost]] = False
        null_vectors = np.zeros((p, null.shape[1]))
        unit = np.where(null == 0.0, np.inf, norms[:, None]).min(axis=0)
        with np.errstate(over="ignore"):  # 1e200 beside 1e-200 makes 0 of its entry
            back = null / (norms[:, None] / unit)
        null_vectors[free] = back / np.sqrt((back * back).sum(axis=0))
    return Covariance(matrix, np.sqrt(np.diagonal(matrix)), rank, null_vectors, identifiable, held, variance)


def _checked(
    jac: np.ndarray, residual: np.ndarray, fixed: np.ndarray | None, degrees_of_freedom: float | None
) -> tuple[np.ndarray, float]:
    """Return which parameters are held, shape (p,), and the degrees of freedom, after a check of the arrays."""
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
    m, p = jac.shape
    held = np.zeros(p, dtype=bool) if fixed is None else np.asarray(fixed, dtype=bool)
    return held, m - np.count_nonzero(~held) if degrees_of_freedom is None else degrees_of_freedom


def _variance(residual: np.ndarray, degrees: float, absolute_sigma: bool) -> float:
    if absolute_sigma:
        return 1.0
    return float(residual @ residual) / degrees if degrees > 0 else math.nan


def _inverse_root(A: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Return T, shape (p, rank), with T T' = (A'A)^-1 outside the null space, a basis of that space and the rank.

    The null space of the leading rows [R1 R2] of R is spanned by the columns of [-R1^-1 R2; I].
    """
    p = A.shape[1]
    qr = pivoted_qr(A, np.zeros(A.shape[0]))
    rank = _numerical_rank(qr.R, error)
    inverse, null = np.zeros((p, rank)), np.zeros((p, p - rank))
    R1 = np.asfortranarray(qr.R[:rank, :rank])
    if rank:
        inverse[qr.perm[:rank]] = solve_upper(R1, np.eye(rank))
    if rank < p:
        null[qr.perm[rank:], np.arange(p - rank)] = 1.0
        if rank:
            null[qr.perm[:rank]] = -solve_upper(R1, np.asfortranarray(qr.R[:rank, rank:]))
        null = np.linalg.qr(null)[0]
        null[np.abs(null) < 1e-12] = 0.0
    return inverse, null, rank


def _numerical_rank(R: np.ndarray, error: float) -> int:
    """Return the number of pivots above max(p, 10) eps, or the error of the columns, times the first: length 1."""
    pivots = np.abs(np.diagonal(R))
    if not pivots.size or pivots[0] == 0.0:
        return 0
    small = np.flatnonzero(pivots <= max(max(R.shape[1], 10) * np.finfo(float).eps, error) * pivots[0])
    return int(small[0]) if small.size else int(pivots.size)
