"""The objective of a small fit with twice the digits: what `audit` looks at.

The columns are centred and scaled by powers of two. Losses and probabilities have 16 digits, sums over them 32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from .._compat import to_host
from .twofold import Twofold, as_twofold, cholesky, solved

if TYPE_CHECKING:
    from .problem import Problem

#: Share of the value that clipping a dual point may leave over along the step: the minimum may be 1e20 steps away.
FEASIBLE = 1e-40
EPS = 2.0**-52


@dataclass(frozen=True, eq=False)
class At:
    """The objective of an audit at parameters W (K, q): value, gradient, probabilities and noise of the decrement.

    P has a column for each class; of two classes with one output it has the wrong one's and the right one's.
    """

    W: Twofold
    value: float
    grad: Twofold
    P: np.ndarray
    noise: float


class SharpObjective:
    """The objective of a small problem in 32 digits, in columns that are centred and scaled by powers of two.

    Parameters
    ----------
    problem : Problem
    """

    def __init__(self, problem: Problem):
        model = problem.model
        weights = np.broadcast_to(to_host(problem.weights), problem.codes.shape)
        live = weights > 0.0
        X = problem.X.toarray() if hasattr(problem.X, "toarray") else problem.X
        X = np.asarray(X[live], dtype=np.float64)
        self.s, self.y = weights[live], to_host(problem.data.y)[live].astype(int)
        self.mean, self.scale = to_host(model.mean), 2.0 ** np.round(np.log2(to_host(model.scale)))
        self.d, self.K, self.intercept = X.shape[1], model.n_outputs, model.fit_intercept
        A = (Twofold(X) - self.mean).scaled(1.0 / self.scale)
        if self.intercept:
            one = np.ones((len(X), 1))
            A = Twofold(np.hstack([A.hi, one]), np.hstack([A.lo, 0.0 * one]))
        self.A = A
        self.offset = None if problem.offset is None else to_host(problem.offset)[live].reshape(len(X), self.K)
        strength = np.broadcast_to(problem.penalty.strength, (self.d,)) / self.scale
        mixture = problem.penalty.l1_ratio if problem.alpha > 0.0 else 0.0
        zero = np.zeros(int(self.intercept))
        self.ridge = np.r_[(1.0 - mixture) * strength / self.scale, zero]
        self.lasso = np.r_[mixture * strength, zero]

    def parameters(self, coef: np.ndarray, intercept: np.ndarray) -> Twofold:
        """Return the parameters (K, q) of the model's coefficients in the user's units."""
        W = Twofold(np.zeros((self.K, self.A.hi.shape[1])))
        W[:, : self.d] = Twofold(coef * self.scale)
        if self.intercept:
            W[:, self.d] = as_twofold(intercept) + (Twofold(coef) * self.mean).total(1)
        return W

    def coefficients(self, W: Twofold, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the coefficients in the user's units, rounded, with the intercepts that suit them best."""
        coef = (W.hi[:, : self.d] / self.scale).astype(dtype).astype(np.float64)
        if not self.intercept:
            return coef, np.zeros(self.K)
        return coef, (W[:, self.d] - (Twofold(coef) * self.mean).total(1)).hi

    def at(self, W: Twofold, signs: np.ndarray) -> At:
        """Return value and gradient; `signs` are those of the coefficients with an L1 penalty."""
        n, K = len(self.s), self.K
        Z = Twofold(np.empty((n, K)))
        for k in range(K):
            Z[:, k] = (self.A * W[k][None, :]).total(1)
        Z = Z if self.offset is None else Z + self.offset
        losses, P, R, noise = self._binary(Z[:, 0]) if K == 1 else self._softmax(Z)
        w = W.hi
        value = math.fsum(self.s * losses) + float((0.5 * self.ridge * w * w + self.lasso * np.abs(w)).sum())
        grad = Twofold(np.empty_like(w))
        for k in range(K):
            grad[k] = (self.A * (R[:, k] * self.s)[:, None]).total(0)
        return At(W, value, grad + W * self.ridge + signs * self.lasso, P, 4.0 * EPS * math.sqrt(noise))

    def _binary(self, z: Twofold) -> tuple[np.ndarray, np.ndarray, Twofold, float]:
        """Return losses, the probabilities of the wrong and the right class, residuals and their squared noise."""
        sign = np.where(self.y == 1, 1.0, -1.0)
        m = z * sign
        right, rest = expit(m.hi), _small(m.lo)
        wrong = expit(-m.hi) * (1.0 - right * rest)
        losses = np.logaddexp(0.0, -m.hi) - wrong * rest
        noise = float((self.s * np.exp(np.minimum(-m.hi, 600.0))).sum())
        return losses, np.stack([wrong, right], axis=1), Twofold((-sign * wrong)[:, None]), noise

    def _softmax(self, Z: Twofold) -> tuple[np.ndarray, np.ndarray, Twofold, float]:
        """Return losses, probabilities (n, K), residuals and their squared noise."""
        rows = np.arange(len(self.s))
        D = Z - Z[rows, self.y][:, None]
        first = D.hi.argmax(axis=1)
        top = D.hi[rows, first]
        E = np.exp(D.hi - top[:, None]) * (1.0 + _small(D.lo))
        total = E.sum(axis=1)
        P = E / total[:, None]
        R = Twofold(P.copy())
        R.hi[rows, self.y] = 0.0
        R[rows, self.y] = -R.total(1)  # so that rows sum to 0 in 32 digits: what classes share has no curvature
        noise = float((self.s * np.exp(np.minimum(top, 600.0)) * total).sum())
        E[rows, first] = D.lo[rows, first]
        return np.log1p(E.sum(axis=1)) + top, P, R, noise

    def hessian(self, at: At) -> Twofold:
        """Return the Hessian, of shape (K q, K q)."""
        K, q = at.W.hi.shape
        H = Twofold(np.zeros((K * q, K * q)))
        for k in range(K):
            for other in range(k, K):
                G = self._gram(self._curvature(at.P, k, other))
                if k == other:
                    G = G + np.diag(self.ridge)
                H[k * q : (k + 1) * q, other * q : (other + 1) * q] = G
                H[other * q : (other + 1) * q, k * q : (k + 1) * q] = G
        return H

    def newton(self, at: At, H: Twofold, free: np.ndarray, least: float) -> tuple[Twofold | None, np.ndarray]:
        """Return the Newton step (K, q), None where it is not finite, and the squared pivots of the parameters.

        Those up to `least` do not move, but where an L1 penalty decides between copies of a column: these slide along
        each other until one is zero.
        """
        K, q = at.W.hi.shape
        index = np.flatnonzero(free.ravel())
        g = Twofold(at.grad.hi.ravel(), at.grad.lo.ravel())[index]
        H = H[np.ix_(index, index)]
        for group in self._groups(index, q):
            height = float(np.mean(np.diagonal(H.hi)[group]))
            H[np.ix_(group, group)] = H[np.ix_(group, group)] + height
            g[group] = g[group] - g[group].total(0).hi / len(group)
        diagonal = np.diagonal(H.hi)
        if not np.isfinite(diagonal).all():
            return None, diagonal
        D = 2.0 ** -np.round(0.5 * np.log2(np.where(diagonal > 0.0, diagonal, 1.0)))
        held = np.tile(self.lasso > 0.0, K)[index]
        L, pivots = cholesky(H.scaled(D[:, None] * D), least, held)
        still = (pivots <= least) & ~held
        b = (-g).scaled(D)
        b[still] = Twofold(np.zeros(int(still.sum())))
        step = Twofold(np.zeros(K * q))
        step[index] = solved(L, b).scaled(D)
        weakest = np.full(K * q, math.inf)
        weakest[index] = np.where((diagonal > 0.0) & ~held, pivots, math.inf)  # a column of zeros holds nothing back
        step = Twofold(step.hi.reshape(K, q), step.lo.reshape(K, q))
        return (step if np.isfinite(step.hi).all() else None), weakest.reshape(K, q)

    def _curvature(self, P: np.ndarray, k: int, other: int) -> Twofold:
        """Return the curvatures of the rows for two outputs: on the diagonal minus the sum of the others, exactly."""
        s = self.s
        if self.K == 1:
            return Twofold(s * P[:, 0] * P[:, 1])
        if k != other:
            return Twofold(-s * (P[:, k] * P[:, other]))  # products first: the same for (other, k)
        pairs = Twofold(s[:, None] * (P[:, [k]] * np.delete(P, k, axis=1)))
        return pairs.total(1)

    def _gram(self, h: Twofold) -> Twofold:
        """Return A' diag(h) A."""
        A, q = self.A, self.A.hi.shape[1]
        rows, columns = np.triu_indices(q)
        upper = ((A * h[:, None])[:, rows] * A[:, columns]).total(0)
        G = Twofold(np.empty((q, q)))
        G[rows, columns] = upper
        G[columns, rows] = upper
        return G

    def _groups(self, index: np.ndarray, q: int) -> list[np.ndarray]:
        """Return the places of parameters that may all change by the same amount at no cost: those of a column."""
        if self.K == 1:
            return []
        found = (np.flatnonzero(index % q == j) for j in range(q) if self.ridge[j] == 0.0 and self.lasso[j] == 0.0)
        return [group for group in found if len(group) == self.K]

    def bound(self, at: At, step: Twofold) -> tuple[float, float]:
        """Return the bound on the distance from the minimum and s'Hs.

        The bound is inf where the dual point is not feasible: where clipping its probabilities at 0 leaves a residual
        along the step that is not negligible.
        """
        square = max(-float((at.grad * step).total(0).total(0).hi), 0.0)
        change = np.stack([(self.A * step[k][None, :]).total(1).hi for k in range(self.K)], axis=1)
        if self.K == 1:  # the changes of the scores of the wrong and of the right class, less their mean
            u = change[:, 0] * np.where(self.y == 1, 1.0, -1.0)
            change = np.stack([-u * at.P[:, 1], u * at.P[:, 0]], axis=1)
        else:
            change = change - (at.P * change).sum(axis=1)[:, None]
        largest = float(np.ptp(change, axis=1).max(initial=0.0))
        beyond = np.where(change < -1.0, at.P * (change + 1.0) * change, 0.0)
        rest = float((self.s[:, None] * beyond).sum())
        if largest > 1.0 and not rest <= FEASIBLE * at.value:
            return math.inf, square
        return 0.5 * (1.0 + min(largest, 1.0)) * (math.sqrt(square) + at.noise) ** 2 + 2.0 * rest, square

    def passed(self, at: At, H: Twofold, step: Twofold, free: np.ndarray) -> tuple[float, float, tuple[int, int]]:
        """Return the shares by which gradients behind the step pass their L1 penalties, at most, and a place.

        The first is that of coefficients that are not zero, where the gradient of the loss should be the penalty; the
        second, with its place, that of those at zero, where it may be less.
        """
        if not self.lasso.any():
            return 0.0, 0.0, (0, 0)
        flat = Twofold(step.hi.ravel(), step.lo.ravel())
        g = np.abs(at.grad.hi + (H * flat[None, :]).total(1).hi.reshape(free.shape))
        size = g / np.where(self.lasso > 0.0, self.lasso, math.inf)
        left, size = float(np.where(free, size, 0.0).max()), np.where(free, 0.0, size)
        k, j = np.unravel_index(int(size.argmax()), size.shape)
        return left, max(float(size[k, j]) - 1.0, 0.0), (int(k), int(j))


def _small(lo: np.ndarray) -> np.ndarray:
    """Return what is left of predictors behind 16 digits; where that is not small they are far beyond any matter."""
    return np.clip(lo, -1e-3, 1e-3)
