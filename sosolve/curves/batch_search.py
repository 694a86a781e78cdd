"""The search for a start of one fit, compiled: candidates of the nonlinear parameters, the linear ones solved for."""

from __future__ import annotations

import math

import numpy as np

from .batch_kernels import address, call_pass, cholesky, cholesky_solve, fill, part, put
from .batch_steps import EXTRA, FACTOR, LOWER, NEW, RHS, STEPS, TRIAL, UPPER, entry, evaluate

RIDGE = 1e-12  # keeps the scaled normal equations of the linear parameters positive definite


@part
def search(model, points, candidates, k, v, m, best, costs):
    """Fill `best` (tries, p) and row k of `costs` with its best candidates, the best first; return the passes made."""
    fill(costs, k, np.inf)
    own = k if candidates.values.shape[0] > 1 else 0
    n_passes, last = 0, costs.shape[1] - 1
    for number in range(candidates.values.shape[1]):
        fill(v, TRIAL, 0.0)
        for a in range(candidates.nonlinear.shape[0]):
            i = candidates.nonlinear[a]
            v[TRIAL, i] = min(max(candidates.values[own, number, a], v[LOWER, i]), v[UPPER, i])
        cost = _with_linear_part(model, points, candidates, v, m)
        n_passes += 1
        if model.box and cost < np.inf:
            for i in range(model.p):
                v[TRIAL, i] = min(max(v[TRIAL, i], v[LOWER, i]), v[UPPER, i])
            cost = evaluate(model, points, v, m, TRIAL, NEW)
            n_passes += 1
        if cost < costs[k, last]:
            at = last
            while at > 0 and cost < costs[k, at - 1]:
                costs[k, at] = costs[k, at - 1]
                put(best, at, best, at - 1)
                at -= 1
            costs[k, at] = cost
            put(best, at, v, TRIAL)
    return n_passes


@part
def _with_linear_part(model, points, candidates, v, m):
    """Solve for the linear parameters of the trial point, 0 so far, and return the cost F there; inf where that fails.

    With the linear parameters at 0, J'J and J'r over their columns are the normal equations. The columns of the other
    parameters may hold anything.
    """
    p, q = model.p, candidates.linear.shape[0]
    cost = call_pass(
        model.fused, points.x, points.y, points.s, points.n, points.c, address(v) + 8 * p * TRIAL,
        address(v) + 8 * p * STEPS, address(m) + 8 * m.shape[1] * NEW,
    )  # fmt: skip
    for a in range(q):
        norm = math.sqrt(m[NEW, entry(candidates.linear[a], candidates.linear[a])])
        v[EXTRA, a] = norm if norm > 0.0 else 1.0
        for b in range(a + 1):
            value = m[NEW, entry(candidates.linear[a], candidates.linear[b])] / (v[EXTRA, a] * v[EXTRA, b])
            m[FACTOR, entry(a, b)] = value + (RIDGE if a == b else 0.0)
        v[RHS, a] = -m[NEW, p * (p + 1) // 2 + candidates.linear[a]] / v[EXTRA, a]
    if q > 0 and cholesky(m, FACTOR, q) == 0.0:
        return np.inf
    cholesky_solve(m, FACTOR, q, v, RHS)
    for a in range(q):
        v[TRIAL, candidates.linear[a]] = v[RHS, a] / v[EXTRA, a]
        cost += m[NEW, p * (p + 1) // 2 + candidates.linear[a]] * v[TRIAL, candidates.linear[a]]
    return cost if cost * 0.0 == 0.0 else np.inf
