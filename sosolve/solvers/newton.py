"""Newton's method with a line search: inexact by conjugate gradients, or exact by a modified Cholesky factor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..history import Status
from ..linalg import dot, norm
from ..protocols import Array, Point
from .base import Solver, Step
from .bulk import bulk_for, fell_short
from .pairs import Pair
from .precondition import KINDS, Jacobi, Preconditioner, make_preconditioner
from .search_step import line_search_step
from .secant import learning_step, secant_step
from .subproblem import inverse_by_root, shifted_inverse, steihaug

#: Pivot of a Cholesky factor, of a matrix with ones on its diagonal, below which a root of the Hessian is factorised
#: instead, if there is one: half of the digits of the step are gone.
WEAK = 1e-8


#: Products with the curvature before quotients are trusted, and by what factor they are distrusted then.
SURE_PRODUCTS, SURE_FACTOR = 2, 10.0
#: Products in the previous step up to which one more is cheaper than a step to confirm convergence.
CHEAP = 5
#: Move relative to the parameters up to which a rough preconditioner is as good as a new one.
STILL = 0.1


@dataclass(frozen=True, slots=True)
class CGState:
    """What Newton-CG and the trust region carry from one iteration to the next.

    Attributes
    ----------
    kind : str
        Kind of the preconditioner M.
    precond : callable or None
        v -> M^-1 v.
    home : Array of shape (p,)
        Where it was built.
    cg : int
        CG iterations of the previous step.
    grad_size : float
        sqrt(g' M^-1 g) at the previous point, NaN at first.
    rtol : float
        The previous forcing term.
    radius : float
        Trust-region radius; inf for a line search.
    contradicted : bool
        Whether a trial step from this point was rejected although its predicted decrease was above rounding.
    flattest : float
        Smallest d'Hd / d'Md met since M was built, and
    products : int
        how many.
    flat : float
        Smallest d'Hd / d'Md of the previous step.
    whole : bool
        Whether every product takes all rows.
    pairs : tuple of Pair or None
        While steps need no products: the steps so far and their changes of the gradient. None where conjugate
        gradients solve for the step. Of `BoundedLBFGS`: the pairs that its model is learnt from.
    far : bool
        Whether M comes from a start that may be far from the minimum: the end is confirmed by products then.
    """

    kind: str
    precond: Preconditioner | None
    home: Array
    rtol: float
    cg: int = 0
    grad_size: float = math.nan
    radius: float = math.inf
    contradicted: bool = False
    flattest: float = 1.0
    products: int = 0
    flat: float = 1.0
    whole: bool = False
    pairs: tuple[Pair, ...] | None = None
    far: bool = False


@dataclass(kw_only=True)
class InexactNewton(Solver):
    """Settings and helpers shared by the solvers that call conjugate gradients.

    Parameters
    ----------
    preconditioner : {"auto", "jacobi", "kronecker", "cholesky", "none"}, default="auto"
        "jacobi" is the diagonal of the curvature; "cholesky" factorises the curvature estimated from `sample_rows`
        of the data; "kronecker" is a product of two small matrices, for the outputs and for the columns. "auto" begins
        with what costs no pass over the data, and changes to "kronecker" (several outputs), "cholesky" (up to
        `dense_size` parameters) or "jacobi" after a step of more than `switch_after` CG iterations.
    sample_rows : float, default=0.05
        Fraction of the data rows for "cholesky", in (0, 1].
    rtol_max : float, default=0.3
        Loosest forcing term (relative residual of CG), in (0, 1).
    max_cg : int, default=250
        CG iterations per step, >= 1.
    switch_after : int, default=8
        CG iterations in one step, >= 0, after which a better preconditioner is worth its price.
    dense_size : int, default=512
        Most parameters for which "auto" may factorise a p x p matrix, >= 0.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad", "mv")
    preconditioner: str = "auto"
    sample_rows: float = 0.05
    rtol_max: float = 0.3
    max_cg: int = 250
    switch_after: int = 8
    dense_size: int = 512
    _ranges: ClassVar[tuple[tuple[str, float, float], ...]] = (
        ("sample_rows", 1e-6, 1.0),
        ("rtol_max", 1e-12, 1.0),
        ("max_cg", 1, math.inf),
        ("switch_after", 0, math.inf),
        ("dense_size", 0, math.inf),
    )
    _choices: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = (("preconditioner", KINDS),)

    def start(self, point: Point) -> CGState:
        """Return the state with a preconditioner built at the starting point."""
        kind = "rough" if self.preconditioner == "auto" else self.preconditioner
        return self._built(point, CGState(kind, None, point.theta, self.rtol_max))

    def _built(self, point: Point, state: CGState) -> CGState:
        """Return the state with the preconditioner of its kind built at this point."""
        size = point.theta.shape[0]
        precond = make_preconditioner(state.kind, point.curvature, self.sample_rows, size, self.dense_size)
        return replace(state, precond=precond, home=point.theta, flattest=1.0, products=0)

    def refreshed(self, point: Point, state: CGState) -> CGState:
        """Return the state with a preconditioner that fits this point.

        The rough one follows every move but the last small ones, for it costs no pass, until a step was expensive.
        The others are rebuilt where the last step was expensive and the iterate has moved by more than a third of its
        length since.
        """
        expensive = state.cg > self.switch_after
        if state.kind == "rough":
            if expensive:
                state = replace(state, kind="strong")
            elif norm(point.theta - state.home) <= STILL * norm(point.theta):
                return state
            return self._built(point, state)
        if state.kind != "none" and expensive and norm(point.theta - state.home) > 0.3 * norm(point.theta):
            return self._built(point, state)
        return state

    def forcing(self, point: Point, state: CGState) -> tuple[float, float]:
        """Return sqrt(g' M^-1 g) and the forcing term.

        Choice 2 of Eisenstat and Walker (1996), equation 2.6, with gamma = 0.9 and alpha = 2, its safeguard, and
        Kelley's (1995, equation 6.20) against solving beyond the tolerance.
        """
        y = state.precond(point.grad) if state.precond else point.grad
        size = math.sqrt(max(dot(point.grad, y), 0.0))
        if not math.isfinite(state.grad_size) or state.grad_size == 0.0:
            return size, self.rtol_max
        rtol = 0.9 * (size / state.grad_size) ** 2
        previous = 0.9 * state.rtol**2
        if previous > 0.1:
            rtol = max(rtol, previous)
        target = math.sqrt(2.0 * self.level(point))
        enough = 0.3 * target / size if size > 0.0 else self.rtol_max
        # size^2: about what the quadratic model leaves, however well it is solved
        if state.cg <= CHEAP and rtol < 10.0 * enough and size * size < 0.3 * target:
            rtol = 0.5 * enough  # a product more ends the fit without those that would confirm it
        else:
            rtol = max(rtol, enough)
        return size, min(self.rtol_max, max(rtol, 1e-10))


@dataclass(kw_only=True)
class NewtonCG(InexactNewton):
    """Inexact Newton: preconditioned conjugate gradients and backtracking.

    Solves H s = -g to the relative accuracy eta_k in the norm of M^-1, then searches along s from t = 1.
    An iteration whose full step is taken costs (CG iterations + 1) passes over the data. It begins with steps along
    -M^-1 g, corrected by the changes of the gradient, for one pass each: with the factor that a fit to a sample of the
    rows has left as long as every step reduces g'M^-1 g tenfold, with the M of the start as long as each
    halves the squared decrement g'Bg of its own model and wins most of what that predicts.

    References
    ----------
    Nocedal and Wright (2006), algorithm 7.1. Eisenstat and Walker (1996). Choosing the forcing terms in an inexact
    Newton method. SIAM J. Sci. Comput. 17(1), 16-32. Kelley (1995), Iterative Methods for Linear and Nonlinear
    Equations, SIAM.
    """

    name: ClassVar[str] = "newton-cg"

    def start(self, point: Point) -> CGState:
        """Return the state with a preconditioner, and no pairs yet where that is better than a diagonal."""
        state = super().start(point)
        is_good = state.kind in ("rough", "cholesky") and not isinstance(state.precond, Jacobi)
        return replace(state, pairs=(), far=True) if is_good else state

    def step(self, point: Point, state: CGState) -> Step:
        """Return the outcome of one iteration."""
        if state.pairs is not None:
            if state.far:
                state = self.refreshed(point, state)
                step = learning_step(self, point, state)
            else:
                step = secant_step(self, point, state)
            if step is not None:
                return step
            state = replace(state, pairs=None, grad_size=math.nan)
        state = self.refreshed(point, state)
        size, rtol = self.forcing(point, state)
        level = self.level(point)
        bulk = bulk_for(point, state, rtol)
        mv = (bulk or point.curvature).mv
        solved = steihaug(mv, point.grad, precond=state.precond, rtol=rtol, max_iter=self.max_cg, level=level)
        record: dict[str, Any] = dict(
            inner_iterations=solved.iterations,
            inner_stop=solved.stop,
            predicted=solved.predicted,
            decrement=math.sqrt(max(-solved.slope, 0.0)),
        )
        if self.converged(point, -0.5 * solved.slope):
            return Step(point, state, False, Status.CONVERGED, **record)
        state = replace(
            state,
            cg=solved.iterations,
            grad_size=size,
            rtol=rtol,
            flattest=min(state.flattest, solved.flattest),
            products=state.products + solved.iterations,
            flat=solved.flattest,
        )
        step = line_search_step(point, state, solved.step, solved.slope, **record)
        if bulk is not None and fell_short(step):
            step.state = replace(state, whole=True)
        if step.accepted and step.record["step_size"] == 1.0 and self._surely_converged(step.point, state):
            step.status = Status.CONVERGED
        return step

    def _surely_converged(self, point: Point, state: CGState) -> bool:
        """Return whether M^-1 bounds the decrement well within the tolerance, so that no products need confirm it.

        g' H^-1 g <= g' M^-1 g / lambda for the smallest eigenvalue lambda of M^-1 H, of which the quotients that
        conjugate gradients have met are an estimate from above: hence a tenth of the tolerance, and a few products.
        """
        if state.precond is None or state.products < SURE_PRODUCTS:
            return False
        bound = dot(point.grad, state.precond(point.grad)) / state.flattest
        return self.converged(point, SURE_FACTOR * 0.5 * bound)


@dataclass(frozen=True, slots=True)
class Factor:
    """A factorised curvature that the next step may use again, and that a converged fit leaves behind.

    Attributes
    ----------
    solve : callable
        v -> H^-1 v.
    origin : Point
        Where H was formed.
    """

    solve: Callable[[Array], Array]
    origin: Point


@dataclass(kw_only=True)
class NewtonCholesky(Solver):
    """Exact Newton: modified Cholesky factor of the dense Hessian, and backtracking.

    Solves (H + shift diag(H)) s = -g with the smallest shift that makes the matrix safely positive definite, then
    searches along s from t = 1. Costs one weighted Gram matrix, O(n p^2), and one pass an iteration. With
    H >= exp(-c) H_0, c being the `drift` between two points, g' H^-1 g <= exp(c) g' H_0^-1 g bounds the decrement at
    the end of a step by the factor from its beginning, which ends most fits; and where a step with the old factor,
    that leaves at most the fraction exp(c) - 1 of the decrement, will end it, no new matrix is formed for it.
    Where a curvature offers itself `lifted`, without directions that are singular by construction and along which the
    gradient vanishes, that is H. Where a full step leaves much of the slope, one as long as a cubic through values and
    slopes says is tried: it costs no matrix, and saves some. Where half of the digits of the factor are gone and the
    curvature offers a `root`, A with A' A = H, the factor is that of a QR factorisation of A.

    Parameters
    ----------
    stretch : bool, default=True
        Whether to try longer steps; without them the last factor is that of a nearer point.

    References
    ----------
    Nocedal and Wright (2006), algorithm 3.2 with 3.3.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad", "dense")
    name: ClassVar[str] = "newton-cholesky"
    stretch: bool = True

    def step(self, point: Point, state: Factor | None) -> Step:
        """Return the outcome of one iteration."""
        if state is not None:
            step = self._along(point, state, 0.0)
            if step.accepted or step.status is Status.CONVERGED:
                return step
        curvature = point.curvature
        solve, shift = shifted_inverse(getattr(curvature, "lifted", curvature.dense)())
        if solve is None:
            return Step(point, None, False, Status.NOT_POSITIVE_DEFINITE)
        if (shift or solve.weakest() < WEAK) and hasattr(curvature, "root"):
            A = curvature.root()
            better = None if A is None else inverse_by_root(A)
            solve, shift = (solve, shift) if better is None else (better, 0.0)
        return self._along(point, Factor(solve, point), shift)

    def _along(self, point: Point, factor: Factor, shift: float) -> Step:
        """Return the step along -H^-1 g, with the factor as its state where that is good for one more."""
        d = -factor.solve(point.grad)
        slope = dot(point.grad, d)
        if not math.isfinite(slope):
            return Step(point, None, False, Status.NOT_POSITIVE_DEFINITE)
        record: dict[str, Any] = dict(predicted=-0.5 * slope, decrement=math.sqrt(max(-slope, 0.0)), damping=shift)
        if factor.origin is point and self.converged(point, -0.5 * slope):
            return Step(point, factor, False, Status.CONVERGED, **record)
        step = line_search_step(point, None, d, slope, stretch=self.stretch, **record)
        if step.accepted and shift == 0.0:
            drift = getattr(step.point, "drift", None)
            c = drift(factor.origin) if drift else math.inf
            if c < 1.0:
                bound = 0.5 * math.exp(c) * dot(step.point.grad, factor.solve(step.point.grad))
                if self.converged(step.point, bound):
                    step.status, step.state = Status.CONVERGED, factor
                elif factor.origin is point and math.expm1(c) ** 2 * bound < 0.3 * self.level(step.point):
                    step.state = factor
        return step
