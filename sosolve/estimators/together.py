r"""The minimisers of one problem for many strengths at once, where that is cheaper than one after another.

Each pass over X serves all values of C. Some of them, the nodes, are solved by Newton's method from the logarithms of
the class frequencies. The path is a smooth function of log C with the derivative :math:`\alpha H^{-1} S \theta`, so
that a cubic through the nodes starts the others near their ends; their curvatures lie between those of the nodes. Large
data are solved so on a sample of the rows, and all values of C go on from there: one curvature of all rows corrects
those of the sample. A few secant pairs correct what is still wrong with a curvature from elsewhere.

There is no line search: a value of C that does not behave is left to the loop of all solvers.

References
----------
Nocedal and Wright (2006), algorithm 7.4 (the two-loop recursion, begun with the factorised curvature). Rosset (2004).
Following curved regularized optimization solution paths. NIPS 17, 1153-1160: the derivative along the path.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.linalg import solve_triangular

from ..linalg import cholesky, cholesky_solve
from ..objectives.basis import widened
from ..objectives.many import Many, many_of, suits
from .auto import START_TOL
from .threads import one_blas_thread

if TYPE_CHECKING:
    from .problem import Problem

#: Farthest nodes in log C, and fewest values of C that are worth it.
FARTHEST, FEWEST = 4.0, 4
#: Rounds at most, and shortened steps after which a value of C is left to the loop.
MOST_ROUNDS, MOST_SHORTENED = 25, 3
#: The test of convergence with a curvature from elsewhere: half the squared decrement must be a tenth of the bound, as
#: for a preconditioner, and the last round, where there was one, must have reduced it by that factor.
SURE, CONTRACTED = 10.0, 0.5
#: A last step is taken without an evaluation where it ends the fit even if it contracts that much less than the one
#: before it; on small data, and on large ones.
CAUTION, BOLD = 10.0, 3.0
#: In place of `SURE` where the curvature of a sample has been corrected and the last round left less than `STALE`.
PROVEN = 4.0
#: Parameters up to which one curvature of all rows corrects those of a sample; a part of the rows for more.
CORRECTED_SIZE = 100
#: A curvature is formed anew where a round has left more than this fraction of the squared decrement.
STALE = 0.1
#: Secant pairs that are kept.
PAIRS = 4
#: Smallest tolerance for which there is no line search.
LEAST_TOL = 1e-7


class Found(NamedTuple):
    """The minimiser for one value of C: parameters in the basis of the problem, and rounds."""

    theta: np.ndarray
    n_iter: int


def may_be_together(problem: Problem, Cs: np.ndarray, tol: float, max_iter: int) -> bool:
    """Return whether `solve_together` is for this problem and these values of C.

    Parameters
    ----------
    problem : Problem
    Cs : ndarray
    tol : float
    max_iter : int
        Of each fit.
    """
    plain = len(Cs) >= FEWEST and math.isfinite(Cs.max()) and tol >= LEAST_TOL and max_iter >= MOST_ROUNDS
    # a class without weight has no finite optimum
    ordinary = plain and problem.penalty.is_smooth and problem.xp is np and bool((problem.prior > 0.0).all())
    return ordinary and suits(problem.data) and not problem.model.follows_bulk


def solve_together(problem: Problem, Cs: np.ndarray, tol: float, start: np.ndarray) -> list[Found | None]:
    """Return the minimiser for each C, None for those that are left to the loop of all solvers.

    Parameters
    ----------
    problem : Problem
        One for which `may_be_together` is true, best at the largest C.
    Cs : ndarray of shape (q,)
        Increasing.
    tol : float
        Of the fits: half the squared decrement falls to tol^2 times the value, the gradient to tol.
    start : ndarray of shape (p,)
    """
    with one_blas_thread():
        return _solved_together(problem, Cs, tol, start)


def _solved_together(problem: Problem, Cs: np.ndarray, tol: float, start: np.ndarray) -> list[Found | None]:
    """Return `solve_together`."""
    every, sample = many_of(problem.data)
    found: list[Found | None] = [None] * len(Cs)
    if sample is every:
        for columns in _along_nodes(_Rounds(problem, every, sample, Cs), Cs, start, tol):
            columns.into(found)
        return found
    parts = _along_nodes(_Rounds(problem, sample, sample, Cs), Cs, start, START_TOL)
    index = np.concatenate([columns.index for columns in parts])
    theta, H = (np.concatenate([getattr(columns, name) for columns in parts]) for name in ("theta", "H"))
    row = int(np.argmin(np.abs(index - len(Cs) // 2)))
    true = problem.data.at(theta[row]).curvature.dense(min(1.0, CORRECTED_SIZE / theta.shape[1]))
    H = _corrected(H, H[row], np.asarray(true), problem.alpha)
    _Rounds(problem, every, sample, Cs).run(index, theta, H, tol, False).into(found)
    return found


def _along_nodes(rounds: _Rounds, Cs: np.ndarray, start: np.ndarray, tol: float) -> list[_Columns]:
    """Return the nodes as they end, and the others that lie between two that have ended well."""
    x, nodes = np.log(Cs), _nodes(np.log(Cs))
    ends = rounds.run(nodes, np.repeat(start[None], len(nodes), axis=0), None, tol, True)
    rest = np.setdiff1d(np.arange(len(Cs)), nodes)
    left = np.searchsorted(x[nodes], x[rest]) - 1
    between = ends.done[left] & ends.done[left + 1]
    rest, left = rest[between], left[between]
    if not len(rest):
        return [ends]
    t = ((x[rest] - x[nodes[left]]) / (x[nodes[left + 1]] - x[nodes[left]]))[:, None, None]
    guess = CubicHermiteSpline(x[nodes], ends.theta, rounds.slopes(ends))(x[rest])
    return [ends, rounds.run(rest, guess, (1.0 - t) * ends.H[left] + t * ends.H[left + 1], tol, False)]


def _corrected(H: np.ndarray, sampled: np.ndarray, true: np.ndarray, floor: float) -> np.ndarray:
    """Return T H T' with the T = L K^-1 of true = L L', sampled = K K': what a sample gets wrong is alike for all C."""
    unit = np.eye(len(true)) * floor
    K, L = cholesky(sampled + unit), cholesky(true + unit)
    if K is None or L is None:
        return H
    T = solve_triangular(K, L.T, lower=True, trans=1).T
    return T @ H @ T.T


def _nodes(x: np.ndarray) -> np.ndarray:
    """Return the indices of values at most about `FARTHEST` apart, the first and the last among them."""
    count = math.ceil((x[-1] - x[0]) / FARTHEST) + 1
    if count >= len(x):
        return np.arange(len(x))
    return np.unique(np.rint(np.interp(np.linspace(x[0], x[-1], count), x, np.arange(len(x)))).astype(int))


class _Columns:
    """Some values of C, one in each row: parameters, curvatures of the data, and what became of them."""

    def __init__(self, index: np.ndarray, theta: np.ndarray, H: np.ndarray | None):
        q = len(index)
        self.index, self.theta, self.H = index, theta.copy(), H
        self.step, self.grad = np.zeros_like(self.theta), np.zeros_like(self.theta)
        self.value, self.square = np.full(q, np.inf), np.full(q, np.inf)
        self.n_iter, self.shortened, self.done = np.zeros(q, dtype=int), np.zeros(q, dtype=int), np.zeros(q, dtype=bool)
        self.factors: list[Any] = [None] * q
        self.pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def move(self, rows: np.ndarray, theta: np.ndarray, value: np.ndarray, grad: np.ndarray) -> None:
        """Go to where these columns are better, and keep what that says about the curvature."""
        moved = np.isfinite(self.value[rows])
        if moved.any():
            s, y, rho = np.zeros_like(self.theta), np.zeros_like(self.theta), np.zeros(len(self.theta))
            s[rows], y[rows] = theta - self.theta[rows], grad - self.grad[rows]
            bend = (s * y).sum(axis=1)
            np.divide(1.0, bend, out=rho, where=bend > 0.0)
            self.pairs = [*self.pairs[-(PAIRS - 1) :], (s, y, rho)]
        self.theta[rows], self.value[rows], self.grad[rows] = theta, value, grad
        self.n_iter[rows] += 1

    def into(self, found: list[Found | None]) -> None:
        """Write down those that are done."""
        for k, row in enumerate(self.index):
            if self.done[k]:
                found[row] = Found(self.theta[k], int(self.n_iter[k]))


class _Rounds:
    """Newton's method for some values of C side by side.

    Parameters
    ----------
    problem : Problem
    many, sample : Many
        The data, and the rows that the curvature comes from.
    Cs : ndarray of shape (q,)
    """

    def __init__(self, problem: Problem, many: Many, sample: Many, Cs: np.ndarray):
        self.many, self.sample, self.is_corrected = many, sample, many is not sample
        model: Any = problem.model
        self.alpha = np.minimum(1.0 / Cs / problem.total, 1e300)
        omega = 1.0 if problem.penalty.weights is None else problem.penalty.weights
        self.ridge = np.asarray(model.strengths(omega))
        spread = np.sqrt(model.variance) * model.scale
        own = model.scale / widened(np.broadcast_to(spread, (len(Cs), len(spread))), self.alpha[:, None] * omega)
        #: From gradients in the basis of the problem to those in the basis of each C.
        constants = model.size - model.n_outputs * model.n_features
        self.units = np.hstack([np.tile(own, model.n_outputs), np.ones((len(Cs), constants))])

    def run(self, index: np.ndarray, theta: np.ndarray, H: np.ndarray | None, tol: float, fresh: bool) -> _Columns:
        """Return the columns of these values of C as they end, from parameters and curvatures, formed anew if fresh."""
        c, active = _Columns(index, theta, H), np.arange(len(index))
        if H is not None:
            self._factorise(c, active)
        for _ in range(MOST_ROUNDS):
            if not len(active):
                break
            trial, alpha = c.theta[active] + c.step[active], self.alpha[index[active]][:, None]
            value, grad = self.many.at(trial)
            value, grad = value + 0.5 * (alpha * trial * trial) @ self.ridge, grad + alpha * self.ridge * trial
            better = value <= c.value[active] * (1.0 + 1e-10)
            good, bad = active[better], active[~better]
            c.step[bad] *= 0.25
            c.shortened[bad] += 1
            c.move(good, trial[better], value[better], grad[better])
            if c.H is None:  # all begin at the same parameters
                c.H = np.repeat(self.sample.curvature(c.theta[0])[None], len(index), axis=0)
                self._factorise(c, good)
            square = self._steps(c, good)
            level = tol * tol * c.value[good]
            largest = np.abs(c.grad[good] * self.units[index[good]]).max(axis=1)
            left = square / c.square[good]
            falling = (left > 0.0) & (left <= STALE)
            bound = 0.5 * np.where(falling & self.is_corrected, PROVEN, SURE) * square
            c.done[good] = (largest <= tol) & (bound <= level) & (left <= CONTRACTED)
            ahead = (BOLD if self.is_corrected else CAUTION) * left
            foreseen = falling & (ahead * bound <= level) & (np.sqrt(ahead) * largest <= tol)
            last = good[~c.done[good] & foreseen]
            c.theta[last] += c.step[last]
            c.done[last] = True
            c.square[good] = square
            stale = good[~c.done[good] & (left > STALE)] if fresh else good[:0]
            if len(stale):
                for k in stale:
                    c.H[k] = self.sample.curvature(c.theta[k])
                self._factorise(c, stale)
                c.square[stale] = self._steps(c, stale)
            active = np.sort(np.concatenate([good[~c.done[good]], bad[c.shortened[bad] <= MOST_SHORTENED]]))
        return c

    def _factorise(self, c: _Columns, rows: np.ndarray) -> None:
        """Factorise the Hessians of these columns; one that has no safe factor ends its column."""
        for k in rows:
            c.factors[k] = cholesky(c.H[k] + np.diag(self.alpha[c.index[k]] * self.ridge))
        for _, _, rho in c.pairs:
            rho[rows] = 0.0

    def _steps(self, c: _Columns, rows: np.ndarray) -> np.ndarray:
        """Set the steps of these columns and return their squared decrements."""
        q, weights = c.grad[rows], []
        for s, y, rho in reversed(c.pairs):
            weights.append((rho[rows] * (s[rows] * q).sum(axis=1))[:, None])
            q = q - weights[-1] * y[rows]
        d = np.stack([_solved(c.factors[k], v) for k, v in zip(rows, q, strict=True)]) if len(rows) else q
        for (s, y, rho), a in zip(c.pairs, reversed(weights), strict=True):
            d = d + (a - (rho[rows] * (y[rows] * d).sum(axis=1))[:, None]) * s[rows]
        c.step[rows] = -d
        return (d * c.grad[rows]).sum(axis=1)

    def slopes(self, c: _Columns) -> np.ndarray:
        """Return the derivatives of the minimisers by log C."""
        alpha = self.alpha[c.index]
        parts = [a * _solved(L, self.ridge * t) for a, L, t in zip(alpha, c.factors, c.theta, strict=True)]
        return np.stack(parts)


def _solved(L: np.ndarray | None, v: np.ndarray) -> np.ndarray:
    """Return the solution with a Cholesky factor, NaN without one: its column then never gets better."""
    return np.full_like(v, np.nan) if L is None else cholesky_solve(L, v)
