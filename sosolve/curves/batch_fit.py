"""One fit, compiled: Levenberg-Marquardt on normal equations, repaired by QR where they fail.

Minimises F(p) = sum_i (c s_i (f(x_i; p) - y_i))^2. A step h solves

    (J'J + mu D^2) h = -J'r,    D_k = running maximum of |J_k| (1 for a column of zeros),

scaled to unit diagonal, with mu after Nielsen (IMM-REP-1999-05): times max(1/3, 1 - (2 rho - 1)^3) on success, times
2, 4, 8, .. on failure, rho being the actual over the predicted reduction. Scaling and tests: Moré (LNM 630, 1978).

Deviations: a success with rho near 1 divides mu by `BOLD`, since with thirds alone the last iterations converge no
faster than mu falls; the last step is followed by one undamped correction from the J'J at hand; bounds are held by an
active set inside the step, parameters that the gradient pushes outwards staying where they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .batch_kernels import EPS, fill, part
from .batch_steps import (
    HELD,
    LOWER,
    NEW,
    PARAMS,
    SCALE,
    SUMS,
    TRIAL,
    UPPER,
    H,
    choose_steps,
    entry,
    evaluate,
    evaluate_start,
    hold_outward,
    normal_step,
    step,
    widen_scale,
)  # fmt: skip

GTOL, FTOL, XTOL, EXACT, MAX_ITER, STALLED = 1, 2, 3, 4, 0, -1
TOO_FEW_POINTS, BAD_DATA, BAD_START = -2, -3, -4

MU_0, BOLD, SURE = 1e-3, 100.0, 0.1  # first damping; divisor of mu where |rho - 1| < SURE
ACCEPT, LEAST = 1e-4, 1e-18  # least gain ratio of a success; least damping
DOUBT = 1e-5  # largest cosine at which ftol and xtol are believed: running maxima in D may have shortened the step
LIKELY = 1e-12  # relative reduction up to which the last correction is made without an evaluation
WEAK = 1e-8  # squared pivot of the scaled J'J below which QR takes over: half of the digits of J'J are gone


class Settings(NamedTuple):
    """Limits and tolerances of one fit, as the compiled solver takes them."""

    max_iter: int
    ftol: float
    xtol: float
    gtol: float
    plain: bool = False  # D is the same for all parameters, and constant


@part
def largest_cosine(v, m, cost):
    """Return the largest cosine between r and a column of J, over parameters that no bound holds."""
    p, most, length = v.shape[1], 0.0, math.sqrt(cost)
    for k in range(p):
        norm2 = m[SUMS, entry(k, k)]
        if v[HELD, k] == 0.0 and norm2 > 0.0:
            most = max(most, abs(m[SUMS, p * (p + 1) // 2 + k]) / math.sqrt(norm2) / length)
    return most


@part
def predicted_reduction(v, m, mu):
    """Return F - |r + J h|^2; where nothing is held -g'h + mu |D h|^2, two terms that are not negative."""
    p, gh, quadratic, damped, held = v.shape[1], 0.0, 0.0, 0.0, False
    for k in range(p):
        gh += m[SUMS, p * (p + 1) // 2 + k] * v[H, k]
        damped += (v[H, k] / v[SCALE, k]) ** 2
        held = held or v[HELD, k] != 0.0
    if not held:
        return mu * damped - gh
    for i in range(p):
        for k in range(p):
            quadratic += v[H, i] * m[SUMS, entry(i, k)] * v[H, k]
    return -(2.0 * gh + quadratic)


@part
def scaled_norms(v):
    """Return |D h| and |D params|."""
    h2, p2 = 0.0, 0.0
    for k in range(v.shape[1]):
        h2 += (v[H, k] / v[SCALE, k]) ** 2
        p2 += (v[PARAMS, k] / v[SCALE, k]) ** 2
    return math.sqrt(h2), math.sqrt(p2)


@part
def reset_scale(v, m, plain):
    """Make D the column norms at hand, 1 for a column of zeros; the largest of them throughout where it is plain."""
    most = 0.0
    for k in range(v.shape[1]):
        norm2 = m[SUMS, entry(k, k)]
        most = max(most, norm2)
        v[SCALE, k] = 1.0 / math.sqrt(norm2) if norm2 > 0.0 else 1.0
    if plain and most > 0.0:
        fill(v, SCALE, 1.0 / math.sqrt(most))


@part
def believable(points, v, m, cost):
    """Return whether the gradient is small enough for an optimum, given the rounding of residuals of a y of size 1."""
    return largest_cosine(v, m, cost) <= DOUBT + 100.0 * EPS * math.sqrt(points.n / cost)


@part
def accept(model, points, v, m, plain):
    """Move to the trial point."""
    for k in range(model.p):
        v[PARAMS, k] = v[TRIAL, k]
    for i in range(m.shape[1]):
        m[SUMS, i] = m[NEW, i]
    if not plain:
        widen_scale(v, m)
    if model.differences:
        choose_steps(v, m, points.n)
    if model.box:
        hold_outward(v, m)


@part
def correct(model, v, m, cost):
    """Take one undamped step from the J'J at hand, not evaluated; return the predicted reduction of F."""
    for k in range(model.p):
        v[H, k] = 0.0
    if not normal_step(v, m, 0.0) > WEAK:
        return 0.0
    gain = predicted_reduction(v, m, 0.0)
    if not 0.0 <= gain <= LIKELY * cost:
        return 0.0
    for k in range(model.p):
        if not (v[LOWER, k] <= v[PARAMS, k] + v[H, k] <= v[UPPER, k]):
            return 0.0
    for k in range(model.p):
        v[PARAMS, k] += v[H, k]
    return gain


@part
def stationary(settings, points, v, m, cost):
    """Return EXACT where the residuals are at the rounding level of y, GTOL where the gradient test holds, else 0."""
    if cost <= points.n * (4.0 * EPS) ** 2:
        return EXACT
    return GTOL if largest_cosine(v, m, cost) <= settings.gtol else MAX_ITER


@part
def relax(mu, rho):
    """Return the damping after a success."""
    if abs(rho - 1.0) < SURE:
        return max(mu / BOLD, LEAST)
    return max(mu * max(1.0 / 3.0, 1.0 - (2.0 * rho - 1.0) ** 3), LEAST)


@part
def minimise(model, settings, points, v, m, B):
    """Run one fit from the parameters in v; return (status, F, iterations, evaluations)."""
    cost = evaluate_start(model, points, v, m)
    if not cost < np.inf:
        return BAD_START, np.nan, 0, 1
    reset_scale(v, m, settings.plain)
    fill(v, HELD, 0.0)
    if model.box:
        hold_outward(v, m)
    mu, nu, least, n_iter, n_passes = MU_0, 2.0, 1.0, 0, 1
    by_qr = least == 0.0  # not so far; a literal False would have `step` compiled twice
    status = stationary(settings, points, v, m, cost)
    while status == MAX_ITER and n_iter < settings.max_iter:
        n_iter += 1
        least = step(model, points, v, m, B, mu, by_qr)
        trial_cost = evaluate(model, points, v, m, TRIAL, NEW)
        n_passes += 1
        predicted, actual = predicted_reduction(v, m, mu), cost - trial_cost
        length, size = scaled_norms(v)
        level = predicted <= 4.0 * EPS * cost and abs(actual) <= 1e-12 * cost  # F is rounded: trust the slope
        success = trial_cost < np.inf and ((predicted > 0.0 and actual > ACCEPT * predicted) or (level and nu == 2.0))
        small = predicted <= settings.ftol * cost and abs(actual) <= settings.ftol * cost and (success or nu == 2.0)
        near = success and length <= settings.xtol * size
        full = mu < 1.0  # a step that damping has shortened proves nothing
        if success:
            mu, nu, cost = relax(mu, 1.0 if level else actual / predicted), 2.0, trial_cost
            accept(model, points, v, m, settings.plain)
            status = stationary(settings, points, v, m, cost)
        else:
            mu, nu = mu * nu, 2.0 * nu
            status = STALLED if length <= EPS * size else MAX_ITER
        if full and (small or near) and status == MAX_ITER:
            status = FTOL if small else XTOL
            if model.box:
                hold_outward(v, m)
            if not believable(points, v, m, cost):
                status = STALLED
        weak = least == 0.0 or status == STALLED or (status not in (MAX_ITER, EXACT) and least < WEAK)
        if weak and not by_qr:
            by_qr, mu, nu, status = True, min(mu, MU_0), 2.0, MAX_ITER  # repair: go on with QR and a fresh D
            reset_scale(v, m, settings.plain)
    if status > 0 and status != EXACT:
        cost = max(cost - correct(model, v, m, cost), 0.0)
    return status, cost, n_iter, n_passes
