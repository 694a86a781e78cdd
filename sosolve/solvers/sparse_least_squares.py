"""Least squares with a Jacobian that is only multiplied by: LSMR gives the Gauss-Newton step, a plane the region."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, lsmr

from ..linalg import PivotedQR, norm, pivoted_qr
from .bounds import Box, Region, ResidualModel, bounded_step
from .least_squares_subproblem import levenberg_marquardt
from .residual import EPS, Stationarity, stationarity, stationarity_with
from .residual_trust_region import RegionState, ResidualTrustRegion, TrialStep


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
        theta, D, free = point.theta, state.scale, state.here.free
        box = self.box(theta.shape[0])
        model = ResidualModel(point.residual, point.jac, point.grad)
        plane: Any = None
        if box is None or free is None:
            plane = state.factor or self.plane(point.jac, point.residual, state, np.ones(theta.shape, dtype=bool))
            step, damping = _in_plane(plane, state.radius, state.damping)
            target = theta + step / D
            predicted = model.decrease(target - theta)
        else:

            def solve(free: np.ndarray, r: np.ndarray, radius: float, damping: float) -> tuple[np.ndarray, float]:
                return _in_plane(self.plane(point.jac, r, state, free), radius, damping)

            region = Region(theta, D, box, free, state.radius)
            target, damping, predicted = bounded_step(region, model, state.damping, solve)
        s = target - theta
        return TrialStep(target, norm(D * s), damping, predicted, float(point.grad @ s), plane)

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
