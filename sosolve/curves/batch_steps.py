"""One step of one fit, compiled: evaluation of a model, damped step by Cholesky or QR, bounds.

State and room of a fit are three arrays, so that calls between the functions are cheap: `v`, rows of p numbers; `m`,
rows of a packed J'J followed by J'r; `B`, rows of J and r for QR. The constants below name the rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .batch_kernels import EPS, address, call_pass, cholesky, cholesky_solve, fill, part, reflect

#: Rows of v. SCALE is 1 / D; HELD is 1.0 where a bound holds the parameter in this step; STEPS takes two rows, the
#: steps up and down of difference quotients, in turns.
PARAMS, TRIAL, LOWER, UPPER, SCALE, H, HELD, RHS, EXTRA, STEPS, N_ROWS = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11
#: Rows of m: J'J and J'r at the parameters, at the trial point, and the Cholesky factor.
SUMS, NEW, FACTOR = 0, 1, 2

THIRD = 6.055454452393343e-06  # EPS^(1/3), the relative step of central differences


class Model(NamedTuple):
    """Addresses of the passes (`batch_code`), numbers of parameters and predictors, and what the solver must mind."""

    fused: int
    rows: int
    p: int
    d: int
    differences: bool
    box: bool  # whether any parameter is bounded


class Points(NamedTuple):
    """Addresses of the points of one fit, their number and the factor that gives s y the size 1."""

    x: int
    y: int
    s: int
    n: int
    c: float


@part
def entry(i, j):
    """Return the place of element (i, j) in a packed symmetric matrix."""
    return i * (i + 1) // 2 + j if i >= j else j * (j + 1) // 2 + i


@part
def evaluate(model, points, v, m, at, sums):
    """Return F at the row `at` of v and fill the row `sums` of m; inf where anything is not finite."""
    p, width = model.p, m.shape[1]
    cost = call_pass(
        model.fused, points.x, points.y, points.s, points.n, points.c, address(v) + 8 * p * at,
        address(v) + 8 * p * STEPS, address(m) + 8 * width * sums,
    )  # fmt: skip
    check = cost * 0.0
    for i in range(width):
        check += m[sums, i] * 0.0
    return cost if check == 0.0 else np.inf


@part
def load_rows(model, points, v, B):
    """Fill the first n rows of B with J and r at the parameters."""
    call_pass(
        model.rows, points.x, points.y, points.s, points.n, points.c, address(v) + 8 * model.p * PARAMS,
        address(v) + 8 * model.p * STEPS, address(B),
    )  # fmt: skip


@part
def choose_steps(v, m, n):
    """Choose steps of central differences: THIRD of a parameter or of the change that moves f by the size of y.

    A parameter near 0 has no size of its own; its column gives one, since y has size 1 (c sees to that). At a bound
    the step goes inwards alone.
    """
    p = v.shape[1]
    for k in range(p):
        norm, size = math.sqrt(m[SUMS, entry(k, k)] / n), abs(v[PARAMS, k])
        if 0.0 < norm < np.inf:
            size = max(size, 1.0 / norm if size == 0.0 else min(1.0 / norm, 1e3 * size))
        step = THIRD * (size if size > 0.0 else 1.0)
        up, down = v[UPPER, k] - v[PARAMS, k], v[PARAMS, k] - v[LOWER, k]
        up, down = min(step, max(up, 0.0)), min(step, max(down, 0.0))
        at = STEPS * p + 2 * k
        v[at // p, at % p] = up if up + down > 0.0 else step
        at += 1
        v[at // p, at % p] = down


@part
def evaluate_start(model, points, v, m):
    """Return F at the parameters; differences are repeated with steps made to the columns found."""
    if model.differences:
        fill(m, SUMS, 0.0)
        choose_steps(v, m, points.n)
        if not evaluate(model, points, v, m, PARAMS, SUMS) < np.inf:
            return np.inf
        choose_steps(v, m, points.n)
    return evaluate(model, points, v, m, PARAMS, SUMS)


@part
def widen_scale(v, m):
    """Raise D to the column norms at hand."""
    for k in range(v.shape[1]):
        norm2 = m[SUMS, entry(k, k)]
        if norm2 * v[SCALE, k] * v[SCALE, k] > 1.0:
            v[SCALE, k] = 1.0 / math.sqrt(norm2)


@part
def hold_outward(v, m):
    """Hold the parameters on a bound that the gradient pushes outwards."""
    p = v.shape[1]
    for k in range(p):
        g = m[SUMS, p * (p + 1) // 2 + k]
        outward = (v[PARAMS, k] <= v[LOWER, k] and g >= 0.0) or (v[PARAMS, k] >= v[UPPER, k] and g <= 0.0)
        v[HELD, k] = 1.0 if outward else 0.0


@part
def factorise(v, m, mu):
    """Factorise the scaled J'J + mu of the free parameters; return the least squared pivot, 0 on failure."""
    p = v.shape[1]
    for i in range(p):
        row = i * (i + 1) // 2
        for j in range(i):
            free = v[HELD, i] == 0.0 and v[HELD, j] == 0.0
            m[FACTOR, row + j] = m[SUMS, row + j] * v[SCALE, i] * v[SCALE, j] if free else 0.0
        m[FACTOR, row + i] = m[SUMS, row + i] * v[SCALE, i] * v[SCALE, i] + mu if v[HELD, i] == 0.0 else 1.0
    least = cholesky(m, FACTOR, p)
    return least if least > p * EPS else 0.0


@part
def normal_step(v, m, mu):
    """Write the damped step of the free parameters to H by Cholesky; return the least squared pivot, 0 on failure.

    Held parameters keep their part of H: it enters the right-hand side.
    """
    p, least = v.shape[1], factorise(v, m, mu)
    if least == 0.0:
        return 0.0
    for i in range(p):
        g = m[SUMS, p * (p + 1) // 2 + i]
        for k in range(p):
            if v[HELD, k] != 0.0:
                g += m[SUMS, entry(i, k)] * v[H, k]
        v[RHS, i] = -g * v[SCALE, i] if v[HELD, i] == 0.0 else 0.0
        v[EXTRA, i] = v[RHS, i]
    cholesky_solve(m, FACTOR, p, v, RHS)
    if least < 1e-3:
        refine(v, m, mu)
    for i in range(p):
        if v[HELD, i] == 0.0:
            v[H, i] = v[RHS, i] * v[SCALE, i]
    return least


@part
def refine(v, m, mu):
    """Improve the scaled solution in RHS by one step of refinement; EXTRA holds the right-hand side."""
    p = v.shape[1]
    for i in range(p):
        if v[HELD, i] == 0.0:
            total = v[EXTRA, i] - mu * v[RHS, i]
            for k in range(p):
                if v[HELD, k] == 0.0:
                    total -= m[SUMS, entry(i, k)] * v[SCALE, i] * v[SCALE, k] * v[RHS, k]
            v[EXTRA, i] = total
    cholesky_solve(m, FACTOR, p, v, EXTRA)
    for i in range(p):
        v[RHS, i] += v[EXTRA, i]


@part
def qr_step(model, points, v, B, mu):
    """Write the damped step to H from a QR factorisation of [J D^-1; sqrt(mu) I]: J'J is never formed."""
    p, n = model.p, points.n
    load_rows(model, points, v, B)
    damping = math.sqrt(max(mu, EPS * EPS))
    for i in range(p):
        for k in range(p + 1):
            B[n + i, k] = 0.0
        B[n + i, i] = damping if v[HELD, i] == 0.0 else 1.0
    for i in range(n):
        for k in range(p):
            if v[HELD, k] != 0.0:
                B[i, p] += B[i, k] * v[H, k]
                B[i, k] = 0.0
            else:
                B[i, k] *= v[SCALE, k]
    for k in range(p):
        reflect(B, n + p, k, p + 1)
    for i in range(p - 1, -1, -1):
        t = -B[i, p]
        for k in range(i + 1, p):
            t -= B[i, k] * v[RHS, k]
        v[RHS, i] = t / B[i, i] if B[i, i] != 0.0 else 0.0
    for i in range(p):
        if v[HELD, i] == 0.0:
            v[H, i] = v[RHS, i] * v[SCALE, i]


@part
def stop_at_bounds(v):
    """Put parameters that the step takes out of their bounds on the bound; return whether there was one."""
    crossed = False
    for k in range(v.shape[1]):
        if v[HELD, k] == 0.0:
            bound = min(max(v[PARAMS, k] + v[H, k], v[LOWER, k]), v[UPPER, k])
            if bound != v[PARAMS, k] + v[H, k]:
                v[H, k], v[HELD, k], crossed = bound - v[PARAMS, k], 1.0, True
    return crossed


@part
def step(model, points, v, m, B, mu, by_qr):
    """Write a step to H and the trial point; return the least squared pivot of the last solve (1 by QR).

    QR also steps in where Cholesky fails (0 is returned). While the step leaves the bounds, the parameters that do
    are put on them, and the others are solved for again.
    """
    least = 1.0
    if model.box:
        hold_outward(v, m)
    for k in range(model.p):
        v[H, k] = 0.0
    for _ in range(model.p + 1):
        if not by_qr:
            least = normal_step(v, m, mu)
            by_qr = least == 0.0
        if by_qr:
            qr_step(model, points, v, B, mu)
        if not model.box or not stop_at_bounds(v):
            break
    for k in range(model.p):
        v[TRIAL, k] = min(max(v[PARAMS, k] + v[H, k], v[LOWER, k]), v[UPPER, k])
    return least
