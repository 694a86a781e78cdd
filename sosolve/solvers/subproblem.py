"""Linear algebra inside an iteration, as functions on vectors: Steihaug's CG, the dogleg, shifted solves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import device

from ..history import InnerStop
from ..linalg import cholesky, cholesky_solve, diagonal_of, dot, floats, max_abs, namespace, spacing
from ..protocols import Array

#: Relative curvature d'Hd / d'Md below which a direction counts as flat: rounding of a product of length p.
FLAT = 1e-15
#: Units of p eps that rounding changes in a matrix with ones on its diagonal; and how far above that the weakest pivot
#: must be for the matrix to be known along all directions.
ROUNDING, SOUND = 8.0, 100.0
#: Pivots of a root of the Hessian, of columns of length 1, below which the rounding of data hides a direction.
LOST = 1e-11


@dataclass(frozen=True, slots=True)
class Subproblem:
    """The (approximate) minimiser s of g's + s'Hs / 2 and how it was found.

    Attributes
    ----------
    step : Array of shape (p,)
    slope : float
        g's, negative for a descent direction.
    predicted : float
        Decrease of the quadratic model, -(g's + s'Hs / 2).
    norm : float
        Length of the step in the norm of the preconditioner.
    iterations : int
        Products with H.
    stop : InnerStop
    flattest : float
        Smallest d'Hd / d'Md of the search directions, inf without any.
    """

    step: Array
    slope: float
    predicted: float
    norm: float
    iterations: int
    stop: InnerStop
    flattest: float = math.inf


def steihaug(
    mv: Callable[[Array], Array],
    g: Array,
    radius: float = math.inf,
    precond: Callable[[Array], Array] | None = None,
    *,
    rtol: float = 0.1,
    max_iter: int = 250,
    level: float = 0.0,
) -> Subproblem:
    """Return the minimiser of g's + s'Hs/2 within sqrt(s'Ms) <= radius by preconditioned conjugate gradients.

    CG ends where sqrt(r'M^-1 r) <= rtol sqrt(g'M^-1 g), at the radius, along a direction of non-positive
    curvature, or after `max_iter` products.

    Parameters
    ----------
    mv : callable
        v -> H v on arrays of shape (p,).
    g : Array of shape (p,)
        Gradient.
    radius : float, default=inf
        Trust-region radius in the norm of M, > 0.
    precond : callable, optional
        v -> M^-1 v, symmetric positive definite; the identity where None.
    rtol : float, default=0.1
        Forcing term, in (0, 1).
    max_iter : int, default=250
        Cap on the products with H, >= 1.
    level : float, default=0
        Where the model decrease is below this, the residual is reduced to min(rtol, 0.1): the decrement that ends
        a fit must not rest on a loose solve.

    Returns
    -------
    Subproblem

    Notes
    -----
    Steihaug (1983), algorithm in section 2; the recurrences for the norms in M are Conn, Gould and Toint (2000),
    equations 7.5.5 to 7.5.7. Deviations: negative curvature met in the first iteration without a radius gives the
    preconditioned steepest descent direction itself (length 1), always downhill.

    References
    ----------
    Steihaug, T. (1983). The conjugate gradient method and trust regions in large scale optimization. SIAM J.
    Numer. Anal. 20(3), 626-637.
    """
    xp = namespace(g)
    s, r = xp.zeros_like(g), g
    y = precond(r) if precond else r
    ry = ry0 = dot(r, y)
    if ry0 <= 0.0:
        return Subproblem(s, 0.0, 0.0, 0.0, 0, InnerStop.RESIDUAL)
    d = -y
    ss, sd, dd = 0.0, 0.0, ry  # s'Ms, s'Md, d'Md
    predicted, steepest, flattest, stop, k = 0.0, 0.0, math.inf, InnerStop.CAP, 0
    while k < max_iter:
        Hd = mv(d)
        k += 1
        curvature, r, y, ry_next = _full_step(d, Hd, r, ry, precond)
        steepest, flattest = max(steepest, curvature / dd), min(flattest, curvature / dd)
        if curvature <= FLAT * steepest * dd:
            t = _to_boundary(ss, sd, dd, radius) if math.isfinite(radius) else float(k == 1)
            stop = InnerStop.NEGATIVE_CURVATURE
        else:
            t = ry / curvature
            if ss + t * (2.0 * sd + t * dd) >= radius * radius:
                t, stop = _to_boundary(ss, sd, dd, radius), InnerStop.BOUNDARY
        s = s + t * d
        predicted += t * (ry - 0.5 * t * curvature)
        ss += t * (2.0 * sd + t * dd)
        if stop is not InnerStop.CAP:
            break
        goal = min(rtol, 0.1) if predicted <= level else rtol
        if not ry_next > goal * goal * ry0:
            stop = InnerStop.RESIDUAL
            break
        beta = ry_next / ry
        d = beta * d - y
        sd, dd, ry = beta * (sd + t * dd), ry_next + beta * beta * dd, ry_next
    return Subproblem(s, dot(g, s), predicted, math.sqrt(max(ss, 0.0)), k, stop, flattest)


def _full_step(
    d: Array, Hd: Array, r: Array, ry: float, precond: Callable[[Array], Array] | None
) -> tuple[float, Array, Array, float]:
    """Return d'Hd, and r, M^-1 r and r'M^-1 r after the full step along d, whether or not it will be taken.

    Formed before d'Hd is known to the host, so that an iteration waits for a device once. Where d'Hd is not positive
    there is no full step, and r stays.
    """
    xp = namespace(d)
    curvature: Any = d @ Hd
    if xp is np:
        t = ry / float(curvature) if curvature > 0.0 else 0.0
    else:
        t = ry / xp.where(curvature > 0.0, curvature, xp.full_like(curvature, xp.inf))
    r = r + t * Hd
    y = precond(r) if precond else r
    curvature, ry_next = floats(curvature, r @ y)
    return curvature, r, y, ry_next


def _to_boundary(ss: float, sd: float, dd: float, radius: float) -> float:
    """Return the t >= 0 with ||s + t d||_M = radius, from s'Ms, s'Md and d'Md (the root without cancellation)."""
    gap = max(radius * radius - ss, 0.0)
    root = math.sqrt(sd * sd + dd * gap)
    return gap / (sd + root) if sd > 0.0 else (root - sd) / dd


def dogleg(H: Array, g: Array, radius: float) -> tuple[Subproblem, float]:
    """Return the minimiser of the model along Powell's dogleg path within ||s|| <= radius, and the shift of H.

    The path runs from 0 to the Cauchy point -(g'g / g'Hg) g and on to the Newton step -(H + shift I)^-1 g.

    Parameters
    ----------
    H : Array of shape (p, p)
        Symmetric; shifted by `solve_shifted` where it is not positive definite.
    g : Array of shape (p,)
    radius : float
        In the Euclidean norm, > 0.

    Returns
    -------
    Subproblem
        `iterations` is 0: no products with H were asked of the objective.
    float
        The shift; NaN where no shift works (then the step is the Cauchy point).

    References
    ----------
    Powell, M. J. D. (1970). A hybrid method for nonlinear equations. Numerical Methods for Nonlinear Algebraic
    Equations, 87-114. Nocedal and Wright (2006), equation 4.16.
    """
    newton, shift = solve_shifted(H, g)
    if not dot(g, g) > 0.0:
        return Subproblem(0.0 * g, 0.0, 0.0, 0.0, 0, InnerStop.RESIDUAL), 0.0
    gg, gHg = dot(g, g), dot(g, H @ g)
    cauchy = -(gg / gHg if gHg > 0.0 else radius / math.sqrt(gg)) * g
    if newton is None:
        newton, shift = cauchy, math.nan
    nn, cc = dot(newton, newton), dot(cauchy, cauchy)
    stop = InnerStop.BOUNDARY
    if nn <= radius * radius:
        s, stop = newton, InnerStop.RESIDUAL
    elif cc >= radius * radius:
        s = (radius / math.sqrt(cc)) * cauchy
    else:
        leg = newton - cauchy
        s = cauchy + _to_boundary(cc, dot(cauchy, leg), dot(leg, leg), radius) * leg
    slope = dot(g, s)
    return Subproblem(s, slope, -(slope + 0.5 * dot(s, H @ s)), math.sqrt(dot(s, s)), 0, stop), shift


def solve_shifted(H: Array, g: Array, max_shifts: int = 60) -> tuple[Array | None, float]:
    """Return the step -(H + shift diag(H))^-1 g with the smallest shift that gives a safe Cholesky factor.

    Parameters
    ----------
    H : Array of shape (p, p)
    g : Array of shape (p,)
    max_shifts : int, default=60
        Factorisations tried.

    Returns
    -------
    Array of shape (p,) or None
        None where no shift works (H is not finite).
    float
        The shift, dimensionless; NaN where none works.
    """
    solve, shift = shifted_inverse(H, max_shifts)
    step = -solve(g) if solve else None
    if step is None or not math.isfinite(max_abs(step)):
        return None, math.nan
    return step, shift


@dataclass(frozen=True, slots=True)
class Inverse:
    """v -> H^-1 v from the lower factor of H_ij scale_i scale_j, a matrix with ones on its diagonal.

    Attributes
    ----------
    factor : Array of shape (p, p)
    scale : Array of shape (p,)
    lost : float
        What rounding and a shift change in that matrix, relative to its diagonal.
    """

    factor: Array
    scale: Array
    lost: float

    def __call__(self, v: Array) -> Array:
        """Return H^-1 v."""
        return self.scale * cholesky_solve(self.factor, self.scale * v)

    def weakest(self) -> float:
        """Return the smallest pivot, a share of the diagonal: what the other parameters leave of one of them."""
        L: Any = self.factor
        return min(L.diagonal().tolist()) ** 2 if type(L) is np.ndarray else 1.0

    @property
    def is_sound(self) -> bool:
        """Whether H is at least half of what was factorised, by far: then a bound may rest on the factor."""
        return self.weakest() > SOUND * self.lost


def inverse_by_root(A: Any) -> Inverse | None:
    """Return v -> (A' A)^-1 v from a QR factorisation, None where a direction is lost in the rounding of A.

    The condition of A is the root of that of A' A: directions of 1e-8 are right, which a Cholesky factor of A' A has
    lost.

    Parameters
    ----------
    A : ndarray of shape (m, p), m >= p
    """
    sizes = np.sqrt(np.einsum("ij,ij->j", A, A))
    if not sizes.max() < math.inf:
        return None
    empty = np.flatnonzero(sizes == 0.0)  # constant columns: any curvature does, there is no gradient
    if len(empty):
        A = np.concatenate([A, np.eye(A.shape[1])[empty]])
        sizes[empty] = 1.0
    if A.shape[0] < A.shape[1]:
        return None
    R: Any = np.linalg.qr(A / sizes, mode="r")
    pivots = R.diagonal()
    if not np.abs(pivots).min() > LOST:
        return None
    factor: Any = np.ascontiguousarray(R.T * np.sign(pivots))
    return Inverse(factor, 1.0 / sizes, ROUNDING * len(R) * np.finfo(R.dtype).eps ** 2)


def shifted_inverse(H: Array, max_shifts: int = 60) -> tuple[Inverse | None, float]:
    """Return v -> (H + shift diag(H))^-1 v with the smallest shift that gives a safe Cholesky factor, and the shift.

    The shift is 0 where H is safely positive definite, else it starts at 32 p eps and grows tenfold: in a null
    direction the decrement is the rounding of the gradient over the root of the shift, which must stay below the
    tolerances. Scaling the shift by the diagonal of H (1 where that is not positive) makes the outcome independent of
    the units of the parameters.

    Parameters
    ----------
    H : Array of shape (p, p)
    max_shifts : int, default=60
        Factorisations tried.

    Returns
    -------
    Inverse or None
        None where no shift works (H is not finite).
    float
        The shift, dimensionless; NaN where none works.

    References
    ----------
    Nocedal and Wright (2006), algorithm 3.3 (Cholesky with added multiple of the identity).
    """
    xp = namespace(H)
    diagonal = diagonal_of(H)
    sizes = diagonal.tolist() if xp is np else [max_abs(diagonal)]
    if not math.isfinite(sum(sizes)):
        return None, math.nan
    if xp is not np or not min(sizes) > 0.0:
        diagonal = xp.where(diagonal > 0.0, diagonal, xp.ones_like(diagonal))
    scale = 1.0 / xp.sqrt(diagonal)
    scaled = H * scale[:, None]
    scaled *= scale[None, :]
    shift, rounding = 0.0, ROUNDING * H.shape[0] * spacing(H)
    for _ in range(max_shifts):
        L = cholesky(scaled + shift * xp.eye(H.shape[0], dtype=H.dtype, device=device(H)) if shift else scaled)
        if L is not None:
            return Inverse(L, scale, rounding + shift), shift
        shift = 10.0 * shift if shift else 4.0 * rounding
    return None, math.nan
