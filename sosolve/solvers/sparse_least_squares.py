"""Least squares with a Jacobian that is only multiplied by: LSMR gives the Gauss-Newton step, a plane the region."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, lsmr

from ..linalg import PivotedQR, norm, pivoted_qr
from .bounds import Box
from .least_squares_subproblem import levenberg_marquardt
from .residual import EPS, Stationarity, stationarity, stationarity_with
from .residual_trust_region import RegionState, ResidualTrustRegion, TrialStep

#: Fraction of the linear decrease that a projected gradient step must keep; Conn, Gould and Toint (2000), 12.2.1.
SUFFICIENT = 0.1


class Plane(NamedTuple):
    """The linearised problem restricted to a subspace of the scaled variables.

    Attributes
    ----------
    basis : ndarray of shape (p, k)
        Orthonormal columns, k <= 2; rows of parameters that are held are 0.
    factor : PivotedQR
        Of J D^-1 basis, with Q' r.
    """

    basis: np.ndarray
    factor: PivotedQR


@dataclass(kw_only=True)
class SparseLevenbergMarquardt(ResidualTrustRegion):
    """A trust region for large sparse Jacobians and operators: memory of a few vectors beside J itself.

    min ||J s + r|| over the plane of the gradient and the Gauss-Newton step, within ||D s|| <= radius; the
    Gauss-Newton step comes from LSMR on J D^-1, to a relative accuracy that follows the convergence of the fit.
    With bounds, variables that a step drives beyond one are set on it and the rest is solved again.

    Parameters
    ----------
    atol, btol : float, optional
        Tolerances of LSMR; min(1e-2, the largest cosine / 100) where None.
    conlim : float, default=1e12
        Condition number at which LSMR ends.
    maxiter : int, optional
        Iterations of LSMR in one step; 2 min(m, p) where None.
    damp : float, default=0
        Tikhonov term of LSMR in the scaled variables.

    References
    ----------
    Fong and Saunders (2011). LSMR: an iterative algorithm for sparse least-squares problems. SISC 33, 2950-2971.
    Byrd, Schnabel and Shultz (1988). Approximate solution of the trust region problem by minimization over
    two-dimensional subspaces. Math. Prog. 40, 247-263.
    Deviation: for a LinearOperator D is the identity and the cosines are measured with ||J g|| / ||g|| in place of
    each column's norm.
    """

    name: ClassVar[str] = "lsmr"
    atol: float | None = None
    btol: float | None = None
    conlim: float = 1e12
    maxiter: int | None = None
    damp: float = 0.0

    def start(self, point: Any) -> RegionState:
        """Return the state with the first radius."""
        here = measured(point, self.box(point.theta.shape[0]))
        columns = self.scaling != "none" and not isinstance(point.jac, LinearOperator)
        scale = np.where(here.norms > 0.0, here.norms, 1.0) if columns else np.ones_like(point.theta)
        return RegionState(scale, self.factor * (norm(scale * point.theta) or 1.0), 0.0, here)

    def propose(self, point: Any, state: RegionState) -> TrialStep:
        """Return the trial step from the plane, inside the bounds."""
        box = self.box(point.theta.shape[0])
        hit = False
        if box is None or state.here.free is None:
            free = np.ones(point.theta.shape[0], dtype=bool)
            plane: Any = state.factor or self.plane(point.jac, point.residual, state, free)
            step, damping = _in_plane(plane, state.radius, state.damping)
            target = point.theta + step / state.scale
        else:
            plane = None
            target, damping, hit = self.bounded(point, state, box)
        s = target - point.theta
        predicted = _decrease(point, s)
        if hit and box is not None:
            other = _projected_gradient(point, state, box)
            if not predicted >= _decrease(point, other - point.theta):
                target, s = other, other - point.theta
                predicted, damping = _decrease(point, s), math.nan
        length, slope = norm(state.scale * s), float(point.grad @ s)
        return TrialStep(target, length, damping, predicted, slope, plane)

    def plane(self, J: Any, r: np.ndarray, state: RegionState, free: np.ndarray) -> Plane:
        """Return the plane of the gradient and of LSMR's step in the free variables, shape (p,)."""
        mask = free / state.scale
        A = LinearOperator(
            (r.shape[0], mask.shape[0]),
            matvec=lambda z: J @ (mask * z.ravel()),
            rmatvec=lambda u: mask * (J.T @ u.ravel()),
            dtype=np.float64,
        )
        tight = max(1e-2 * min(state.here.cosine, 1.0), 10.0 * EPS)
        newton = lsmr(
            A,
            -r,
            damp=self.damp,
            atol=tight if self.atol is None else self.atol,
            btol=tight if self.btol is None else self.btol,
            conlim=self.conlim,
            maxiter=2 * min(A.shape) if self.maxiter is None else int(self.maxiter),
        )[0]
        g = mask * (J.T @ r)
        pair = [v / norm(v) for v in (newton, g) if 0.0 < norm(v) < math.inf]
        basis = np.linalg.qr(np.stack(pair, axis=1))[0] if pair else np.zeros((mask.shape[0], 1))
        image = np.stack([J @ (mask * column) for column in basis.T], axis=1)
        return Plane(basis, pivoted_qr(image, r))

    def bounded(self, point: Any, state: RegionState, box: Box) -> tuple[np.ndarray, float, bool]:
        """Return the target of the active-set iteration, its damping, and whether a bound was hit."""
        theta, D, free = point.theta, state.scale, np.array(state.here.free)
        target, damping, left, hit = theta.copy(), state.damping, state.radius, False
        while free.any() and left > 0.0:
            rest = point.residual + point.jac @ (target - theta) if hit else point.residual
            step, damping = _in_plane(self.plane(point.jac, rest, state, free), left, damping)
            trial = np.where(free, theta + step / D, target)
            clipped = box.clip(trial)
            beyond = free & (clipped != trial)
            if not beyond.any():
                return trial, damping, hit
            hit = True
            target[beyond] = clipped[beyond]
            free &= ~beyond
            used = norm(D * (target - theta))
            left = math.sqrt(max(state.radius**2 - used**2, 0.0)) if math.isfinite(state.radius) else state.radius
        return target, damping, hit

    def advance(
        self, point: Any, state: RegionState, move: TrialStep, radius: float, damping: float, accepted: bool
    ) -> RegionState:
        """Return the state at the point where the iteration ended."""
        damping = damping if damping >= 0.0 else 0.0
        if not accepted:
            return state._replace(radius=radius, damping=damping, factor=move.factor, first=False)
        here = measured(point, None if state.here.free is None else self.box(point.theta.shape[0]))
        fixed = self.scaling == "none" or isinstance(point.jac, LinearOperator)
        scale = state.scale if fixed else np.maximum(state.scale, here.norms)
        return RegionState(scale, radius, damping, here, None, False)


def measured(point: Any, box: Box | None) -> Stationarity:
    """Return what `stationarity` returns, for a sparse Jacobian or an operator."""
    J, g = point.jac, point.grad
    if isinstance(J, LinearOperator):
        top = norm(g)
        norms = np.full(g.shape, norm(J @ (g / top)) if 0.0 < top < math.inf else 1.0)
    elif scipy.sparse.issparse(J):
        norms = np.sqrt(J.power(2).sum(axis=0))
    else:
        return stationarity(point, box)
    return stationarity_with(norms, point, box)


def _in_plane(plane: Plane, radius: float, damping: float) -> tuple[np.ndarray, float]:
    """Return the damped step of the plane in scaled variables, shape (p,), and its lambda."""
    found = levenberg_marquardt(plane.factor, radius, damping)
    return plane.basis[:, plane.factor.perm] @ found.z, found.damping


def _decrease(point: Any, s: np.ndarray) -> float:
    """Return (||r||^2 - ||r + J s||^2) / 2 without the cancellation of that difference."""
    Js = point.jac @ s
    return -float(point.residual @ Js) - 0.5 * float(Js @ Js)


def _projected_gradient(point: Any, state: RegionState, box: Box) -> np.ndarray:
    """Return a point along the projected scaled gradient path with a sufficient decrease of the model."""
    g = np.where(np.asarray(state.here.free), point.grad, 0.0)
    d = -g / state.scale**2
    Jd = point.jac @ d
    curvature, length = float(Jd @ Jd), norm(state.scale * d)
    if not 0.0 < length < math.inf:
        return point.theta
    t = min(-float(g @ d) / curvature if curvature > 0.0 else math.inf, state.radius / length)
    for _ in range(60):
        target = box.clip(point.theta + t * d)
        s = target - point.theta
        if _decrease(point, s) >= -SUFFICIENT * float(g @ s):
            return target
        t *= 0.5
    return point.theta
