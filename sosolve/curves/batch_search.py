"""The search for a start of one fit, compiled: candidates of the nonlinear parameters, the linear ones solved for."""

from __future__ import annotations

import math

import numpy as np

from .batch_kernels import call_pass, cholesky, cholesky_solve, fill, part, put
from .batch_steps import EXTRA, FACTOR, LOWER, NEW, RHS, STEPS, TRIAL, UPPER, entry, evaluate

RIDGE = 1e-12  # keeps the scaled normal equations of the linear parameters positive definite


@part
def search(model, points, starts, k, v, m, best, best_cost):
    """Fill `best` (tries, p) with the best candidates of fit k, the best first, and return the passes made."""
    for number in range(best_cost.shape[0]):
        best_cost[number] = np.inf
    own = k if starts.candidates.shape[0] > 1 else 0
    n_passes, last = 0, best_cost.shape[0] - 1
    for number in range(starts.candidates.shape[1]):
        fill(v, TRIAL, 0.0)
        for a in range(starts.nonlinear.shape[0]):
            i = starts.nonlinear[a]
            v[TRIAL, i] = min(max(starts.candidates[own, number, a], v[LOWER, i]), v[UPPER, i])
        cost = _with_linear_part(model, points, starts, v, m)
        n_passes += 1
        if model.box and cost < np.inf:
            for i in range(model.p):
                v[TRIAL, i] = min(max(v[TRIAL, i], v[LOWER, i]), v[UPPER, i])
            cost = evaluate(model, points, v, m, TRIAL, NEW)
            n_passes += 1
        if cost < best_cost[last]:
            at = last
            while at > 0 and cost < best_cost[at - 1]:
                best_cost[at] = best_cost[at - 1]
                put(best, at, best, at - 1)
                at -= 1
            best_cost[at] = cost
            put(best, at, v, TRIAL)
    return n_passes


@part
def _with_linear_part(model, points, starts, v, m):
    """Solve for the linear parameters of the trial point, 0 so far, and return the cost F there; inf where that fails.

    With the linear parameters at 0, J'J and J'r over their columns are the normal equations. The columns of the other
    parameters may hold anything.
    """
    p, q = model.p, starts.linear.shape[0]
    cost = call_pass(
        model.fused, points.x, points.y, points.s, points.n, points.c, v.ctypes.data + 8 * p * TRIAL,
        v.ctypes.data + 8 * p * STEPS, m.ctypes.data + 8 * m.shape[1] * NEW,
    )  # fmt: skip
    for a in range(q):
        norm = math.sqrt(m[NEW, entry(starts.linear[a], starts.linear[a])])
        v[EXTRA, a] = norm if norm > 0.0 else 1.0
        for b in range(a + 1):
            value = m[NEW, entry(starts.linear[a], starts.linear[b])] / (v[EXTRA, a] * v[EXTRA, b])
            m[FACTOR, entry(a, b)] = value + (RIDGE if a == b else 0.0)
        v[RHS, a] = -m[NEW, p * (p + 1) // 2 + starts.linear[a]] / v[EXTRA, a]
    if q > 0 and cholesky(m, FACTOR, q) == 0.0:
        return np.inf
    cholesky_solve(m, FACTOR, q, v, RHS)
    for a in range(q):
        v[TRIAL, starts.linear[a]] = v[RHS, a] / v[EXTRA, a]
        cost += m[NEW, p * (p + 1) // 2 + starts.linear[a]] * v[TRIAL, starts.linear[a]]
    return cost if cost * 0.0 == 0.0 else np.inf
