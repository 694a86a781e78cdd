"""Starting values for sums of terms: one term after the other, each where it explains most of what is left.

A model such as a*exp(-b*x) + c*exp(-((x - d)/e)**2) is a sum of blocks, each with nonlinear parameters of its own.
Trying all their values at once takes the product of the numbers of candidates; block by block it takes the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..solvers import LevenbergMarquardt
from .problem import CurveProblem

#: Partial models of the same blocks, and of any, that are kept; candidates that are refined, in so many steps.
WIDTH, MOST, REFINED, STEPS = 2, 12, 3, 12
#: Rounds in which each block is looked for once more beside the others, and the gain that counts.
ROUNDS, GAIN = 2, 1e-3
#: Candidates of a block that are tried in pairs: so many of the best, and about as many of the others.
PAIRED = 200
#: Least squared sine between the columns of a pair: nearer ones imitate derivatives by large opposite heights.
APART = 0.2
#: Most candidates of a block.
MAX_CANDIDATES = 4000

Candidates = Callable[[Sequence[int]], np.ndarray]


class Partial(NamedTuple):
    """A model of some of the blocks.

    Attributes
    ----------
    value : float
        Sum of squares.
    theta : ndarray of shape (p,)
        Linear parameters of the other blocks are 0.
    blocks : frozenset of int
    """

    value: float
    theta: np.ndarray
    blocks: frozenset[int]


class Pursuit:
    """Matching pursuit over the blocks of a separable model, with the linear parameters of all blocks solved for anew.

    Parameters
    ----------
    problem : CurveProblem
        One whose linear parameters can be projected out.
    base : ndarray of shape (p,)
        Known values; any others where the model is finite.
    search : ndarray of bool, shape (p,)
        Nonlinear parameters to find.
    candidates : callable
        Numbers of parameters -> their values to try, shape (k, number of them).

    References
    ----------
    Mallat and Zhang (1993). Matching pursuits with time-frequency dictionaries. IEEE Trans. Signal Process. 41,
    3397-3415; with all coefficients solved for anew it is orthogonal matching pursuit, Pati, Rezaiifar and
    Krishnaprasad (1993). Deviations: several partial models are kept (a beam), and each is refined between the blocks.
    """

    def __init__(self, problem: CurveProblem, base: np.ndarray, search: np.ndarray, candidates: Candidates):
        self.problem, self.base, self.search, self.candidates = problem, base.copy(), search, candidates
        self.linear = np.flatnonzero(problem.linear())
        self.base[self.linear] = 0.0
        self.projected = replace(problem, base=base).projected()
        self.nonlinear = np.flatnonzero(self.projected.nonlinear)
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.blocks, self.columns = self._blocks()

    def starts(self) -> list[np.ndarray]:
        """Return starting values for all parameters, best first.

        None where nothing is gained by going block by block: the model is one block of several parameters.
        """
        whole = frozenset(range(len(self.blocks)))
        if not whole or (len(whole) == 1 and len(self.nonlinear) > 1):
            return []
        beams = {0: [Partial(np.inf, self.base, frozenset())]}
        for size in range(len(whole)):
            for state in _distinct(beams.get(size, [])):
                for k in self._next(state.blocks):
                    beams.setdefault(size + 1, []).extend(self._with(state, k))
                    for j in self._next(state.blocks | {k}):
                        if j > k:
                            beams.setdefault(size + 2, []).extend(self._with_two(state, k, j))
        beam = _distinct(beams.get(len(whole), []))
        if not beam:
            return []
        for _ in range(ROUNDS):
            better = [found for k in sorted(whole) for found in self._again(beam[0], k)]
            better += [found for k in sorted(whole) for j in range(k) for found in self._again(beam[0], j, k)]
            before, beam = beam[0], _distinct([*beam, *better])
            if not beam[0].value < (1.0 - GAIN) * before.value:
                break
        return [state.theta for state in beam]

    def _blocks(self) -> tuple[list[list[int]], list[np.ndarray]]:
        """Return the nonlinear parameters of each block, and which columns of the basis it has.

        Parameters belong together where a column of the basis depends on both.
        """
        model = self.problem.model
        if not len(self.nonlinear):
            return [], []
        r, kept = len(self.nonlinear), self.problem.linear()
        at = {model.names[j]: k for k, j in enumerate(self.nonlinear)}
        offset, *columns = model.formula.basis_parameters  # type: ignore[union-attr]
        linear = [model.names.index(name) for name in model.formula.linear_parameters]  # type: ignore[union-attr]
        pattern = np.zeros((len(self.linear), r), dtype=bool)
        for row, used in enumerate(used for used, j in zip(columns, linear, strict=True) if kept[j]):
            pattern[row, [at[name] for name in used if name in at]] = True
        fixed_columns = [used for used, j in zip(columns, linear, strict=True) if not kept[j]]
        if any(at.keys() & used for used in (offset, *fixed_columns)):
            return [], []  # a part without linear parameters cannot be left out
        groups: list[set[int]] = [{j} for j in range(r)]
        for row in pattern:
            joined = {j for j in range(r) if row[j]}
            touched = [group for group in groups if group & joined]
            groups = [group for group in groups if not group & joined] + ([set().union(*touched)] if touched else [])
        groups = sorted((sorted(group) for group in groups), key=lambda group: group[0])
        return groups, [pattern[:, group].any(axis=1) for group in groups]

    def _next(self, blocks: frozenset[int]) -> list[int]:
        """Return the blocks that a model of some blocks may get next; of equal ones only the first that it lacks."""
        found: list[int] = []
        for k in range(len(self.blocks)):
            if k not in blocks and not any(self._are_twins(j, k) for j in found):
                found.append(k)
        return found

    def _are_twins(self, j: int, k: int) -> bool:
        """Return whether two blocks are the same curves."""
        a, b = self._dictionary(j)[1], self._dictionary(k)[1]
        return a.shape == b.shape and bool((a == b).all())

    def _with(self, state: Partial, k: int) -> list[Partial]:
        """Return the best models with one more block."""
        grid, gain = self._dictionary(k)[0], self._gains(state, k)[0]
        tried: list[np.ndarray] = []
        for at in np.argsort(-gain, kind="stable")[: 40 * REFINED].tolist():
            # neighbours of a better candidate lead to the same place
            if len(tried) < REFINED and not any(_is_near(grid[at], other) for other in tried):
                tried.append(grid[at])
        return [self._refined(self._placed(state, (k,), values), state.blocks | {k}) for values in tried]

    def _again(self, state: Partial, *blocks: int) -> list[Partial]:
        """Return the models with one or two blocks looked for once more, the others kept."""
        rest = state._replace(blocks=state.blocks - set(blocks))
        return self._with(rest, *blocks) if len(blocks) == 1 else self._with_two(rest, *blocks)

    def _dictionary(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the candidates of a block, shape (K, r), that are finite, and their columns, shape (K, q, n)."""
        if k not in self._known:
            at = self.nonlinear[self.blocks[k]]
            wanted = self.search[at]
            grid = self.candidates(at[wanted].tolist()) if wanted.any() else np.empty((1, 0))
            theta, w = self.base.copy(), self.problem.root
            columns = np.empty((len(grid), int(self.columns[k].sum()), len(w)))
            with np.errstate(all="ignore"):
                for place, values in enumerate(grid):
                    theta[at[wanted]] = values
                    Phi = self.projected.objective.basis(theta[self.nonlinear])[0]
                    columns[place] = (w[:, None] * Phi[:, self.columns[k]]).T
                norms = np.sqrt(np.square(columns).sum(axis=2, keepdims=True))
                columns /= np.where(norms > 0.0, norms, 1.0)
            fine = np.isfinite(columns).all(axis=(1, 2))
            self._known[k] = grid[fine], columns[fine]
        return self._known[k]

    def _rest(self, state: Partial) -> tuple[np.ndarray, np.ndarray]:
        """Return an orthonormal basis of the columns that a partial model has, and what it leaves of y."""
        w = self.problem.root
        kept = self._columns_of(state.blocks)
        with np.errstate(all="ignore"):
            Phi, offset = self.projected.objective.basis(state.theta[self.nonlinear])
            A = w[:, None] * Phi[:, kept]
            norms = np.sqrt(np.square(A).sum(axis=0))
            Q = np.linalg.qr(A / np.where(norms > 0.0, norms, 1.0))[0]
            b = w * (self.problem.y - offset)
        return Q, b - Q @ (Q.T @ b)

    def _columns_of(self, blocks: frozenset[int]) -> np.ndarray:
        """Return which columns of the basis some blocks have, with those that depend on no nonlinear parameter."""
        return np.any([~np.any(self.columns, axis=0), *(self.columns[j] for j in blocks)], axis=0)

    def _gains(self, state: Partial, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what each candidate of a block gains, its columns beside the model's, and their products with y.

        y is what the model leaves of it; a gain is a decrease of the sum of squares.
        """
        Q, b = self._rest(state)
        A = self._dictionary(k)[1]
        A = A - (A @ Q) @ Q.T
        norms = np.sqrt(np.square(A).sum(axis=2, keepdims=True))
        # a column that the model holds already is rounding
        A = np.where(norms > 1e-6, A / np.where(norms > 1e-6, norms, 1.0), 0.0)
        G, c = A @ A.transpose(0, 2, 1), A @ b
        G[:, np.arange(G.shape[1]), np.arange(G.shape[1])] += 1e-10
        return np.einsum("kq,kq->k", c, np.linalg.solve(G, c[:, :, None])[:, :, 0]), A, c

    def _with_two(self, state: Partial, j: int, k: int) -> list[Partial]:
        """Return the best models with two more blocks of one column each, found together.

        Two peaks that overlap look like a wide one: the best single peak is none of them.
        """
        if self.columns[j].sum() != 1 or self.columns[k].sum() != 1:
            return []
        parts = []
        for block in (j, k):
            gain, A, c = self._gains(state, block)
            order = np.argsort(-gain, kind="stable")
            rest = order[PAIRED:]
            chosen = np.concatenate([order[:PAIRED], rest[:: max(1, len(rest) // PAIRED)]])
            parts.append((chosen, A[chosen, 0], c[chosen, 0]))
        (first, A, a), (second, B, b) = parts
        rho = A @ B.T
        together = 1.0 - rho**2
        gains = np.where(together > APART, a[:, None] ** 2 + b**2 - 2.0 * rho * a[:, None] * b, 0.0)
        gains /= np.maximum(together, APART)
        tried: list[np.ndarray] = []
        for at in np.argsort(-gains, axis=None, kind="stable")[: 40 * REFINED].tolist():
            row, column = divmod(at, gains.shape[1])
            values = np.concatenate([self._dictionary(j)[0][first[row]], self._dictionary(k)[0][second[column]]])
            if len(tried) < REFINED and not any(_is_near(values, other) for other in tried):
                tried.append(values)
        return [self._refined(self._placed(state, (j, k), values), state.blocks | {j, k}) for values in tried]

    def _placed(self, state: Partial, blocks: Sequence[int], values: np.ndarray) -> np.ndarray:
        """Return the parameters of a model with values for those of some blocks that are looked for."""
        theta = state.theta.copy()
        at = np.concatenate([self.nonlinear[self.blocks[k]] for k in blocks])
        theta[at[self.search[at]]] = values
        return theta

    def _refined(self, theta: np.ndarray, blocks: frozenset[int]) -> Partial:
        """Return the model of some blocks after a few steps of Levenberg-Marquardt."""
        used = self._columns_of(blocks)
        inside = np.concatenate([self.nonlinear[self.blocks[j]] for j in blocks])
        free = np.zeros_like(self.problem.free)
        free[self.linear[self._order()[used]]] = True
        free[inside[self.search[inside]]] = True
        base = np.where(np.isin(np.arange(len(theta)), self.linear) & ~free, 0.0, theta)
        problem = replace(self.problem, base=base, free=free)
        projected = problem.projected()
        low, high = (side[projected.nonlinear] for side in (problem.lower, problem.upper))
        start = np.clip(projected.start(theta), low, high)
        solver = LevenbergMarquardt(max_iter=STEPS, second_try=False, lower=low, upper=high)
        result = solver.minimize(projected.objective, start)
        return Partial(2.0 * result.value, projected.full(result.theta), blocks)

    def _order(self) -> np.ndarray:
        """Return the place among the free linear parameters of each column of the basis."""
        model, kept = self.problem.model, self.linear.tolist()
        numbers = [model.names.index(name) for name in model.formula.linear_parameters]  # type: ignore[union-attr]
        return np.array([kept.index(j) for j in numbers if j in kept])


def _is_near(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two candidates are the same within a fifth of their size."""
    return bool((np.abs(a - b) <= 0.2 * np.maximum(np.abs(a), np.abs(b))).all())


def _distinct(states: list[Partial]) -> list[Partial]:
    """Return the best few of different value, at most WIDTH of the same blocks and MOST in all."""
    kept: list[Partial] = []
    for state in sorted(states, key=lambda state: state.value):
        alike = [other for other in kept if other.blocks == state.blocks]
        known = any(abs(state.value - other.value) <= 1e-6 * other.value for other in alike)
        if np.isfinite(state.theta).all() and not known and len(alike) < WIDTH and len(kept) < MOST:
            kept.append(state)
    return kept
