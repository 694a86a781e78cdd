"""One task of the pool: some fits, each prepared, started, minimised and given its covariance; compiled."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .batch_covariance import covariance_of
from .batch_fit import BAD_DATA, BAD_START, STALLED, TOO_FEW_POINTS, minimise
from .batch_kernels import part, put, whole
from .batch_search import search
from .batch_steps import LOWER, N_ROWS, PARAMS, SUMS, UPPER, Points, evaluate, load_rows


class Data(NamedTuple):
    """The points of some fits: flat arrays, where in x, y and s each fit begins, and how many points it has."""

    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    at: np.ndarray  # (fits, 3)
    count: np.ndarray  # (fits,)
    weighted: bool  # whether s may hold zeros: those points are left out


class Starts(NamedTuple):
    """Where to begin: parameters, or candidates of the nonlinear ones with the linear ones solved for."""

    params: np.ndarray  # (fits or 1, p)
    candidates: np.ndarray  # (fits or 1, K, r); K = 0: begin at params
    linear: np.ndarray  # (q,) numbers of the linear parameters
    nonlinear: np.ndarray  # (r,)
    tries: int  # so many of the best candidates are followed to the end


class Out(NamedTuple):
    """What each fit of the task leaves."""

    params: np.ndarray  # (fits, p)
    stderr: np.ndarray  # (fits, p)
    covariance: np.ndarray  # (fits, p, p), or (0, p, p) where it is not wanted
    on_bound: np.ndarray  # (fits, p)
    rss: np.ndarray
    r_squared: np.ndarray
    n_points: np.ndarray
    status: np.ndarray
    n_iter: np.ndarray
    n_evaluations: np.ndarray


@part
def prepare(data, k, d, x_room, y_room, s_room):
    """Return (points, total sum of squares, n) of fit k; n = -1 where a value is not finite, c = 0 for no points."""
    ax, ay, s_at, count = data.at[k, 0], data.at[k, 1], data.at[k, 2], data.count[k]
    x, y, s = data.x[ax : ax + count * d], data.y[ay : ay + count], data.s[s_at : s_at + count]
    n, check, gaps = 0, 0.0, False
    if data.weighted:
        for i in range(count):
            gaps = gaps or s[i] == 0.0
    if gaps:
        for i in range(count):
            if s[i] != 0.0:
                y_room[n], s_room[n] = y[i], s[i]
                for j in range(d):
                    x_room[n * d + j] = x[i * d + j]
                n += 1
        for i in range(n):
            for j in range(d):
                check += x_room[i * d + j] * 0.0
        found = x_room.ctypes.data, y_room.ctypes.data, s_room.ctypes.data
        total, check2, top = _moments(y_room[:n], s_room[:n])
    else:
        n = count
        for i in range(count * d):
            check += x[i] * 0.0
        found = x.ctypes.data, y.ctypes.data, s.ctypes.data
        total, check2, top = _moments(y, s)
    c = 1.0 / top if top > 0.0 else 1.0
    if check + check2 != 0.0:
        n = -1
    return Points(found[0], found[1], found[2], n, c), total, n


@part
def _moments(y, s):
    """Return the weighted sum of squares about the mean, 0.0 (NaN where a value is not finite) and max |s y|."""
    check, top, weight, mean = 0.0, 0.0, 0.0, 0.0
    for i in range(y.shape[0]):
        size = abs(s[i] * y[i])
        check += size * 0.0
        top = size if size > top else top
        weight += s[i] * s[i]
        mean += s[i] * s[i] * y[i]
    mean = mean / weight if weight > 0.0 else 0.0
    total = 0.0
    for i in range(y.shape[0]):
        gap = s[i] * (y[i] - mean)
        total += gap * gap
    return total, check, top


@part
def run_one(model, settings, points, starts, k, v, m, B, best, best_cost):
    """Run fit k from its start, or from its best candidates; return what `minimise` does for the best of the runs."""
    n_passes, n_iter, status, cost, chosen = 0, 0, BAD_START, np.nan, 0
    if starts.candidates.shape[1] > 0:
        n_passes = search(model, points, starts, k, v, m, best, best_cost)
    else:
        put(best, 0, starts.params, k if starts.params.shape[0] > 1 else 0)
        best_cost[0] = 0.0
    for number in range(best_cost.shape[0]):
        if best_cost[number] < np.inf:
            put(v, PARAMS, best, number)
            found = minimise(model, settings, points, v, m, B)
            n_iter, n_passes = n_iter + found[2], n_passes + found[3]
            if status == BAD_START or found[1] < cost:
                status, cost, chosen = found[0], found[1], number
            put(best, number, v, PARAMS)
    put(v, PARAMS, best, chosen)
    if status != BAD_START and best_cost.shape[0] > 1:
        evaluate(model, points, v, m, PARAMS, SUMS)
    return status, cost, n_iter, n_passes


@part
def store(model, points, v, out, k, C, factor):
    """Write the parameters of fit k, and `factor` C as their covariance where the fit has come to rest."""
    for i in range(model.p):
        out.params[k, i] = v[PARAMS, i]
        out.on_bound[k, i] = v[PARAMS, i] <= v[LOWER, i] or v[PARAMS, i] >= v[UPPER, i]
        if out.status[k] > 0 or out.status[k] == STALLED:
            out.stderr[k, i] = math.sqrt(C[i, i] * factor)
            if out.covariance.shape[0] > 0:
                for j in range(model.p):
                    out.covariance[k, i, j] = C[i, j] * factor


@whole
def fit_chunk(model, settings, data, starts, lower, upper, scale_by_rss, out):
    """Fit everything in `data` and fill `out`, whose floats are NaN; lower and upper have shape (fits or 1, p)."""
    p, longest = model.p, 1
    for k in range(data.count.shape[0]):
        longest = max(longest, data.count[k])
    v, m, B = np.ones((N_ROWS, p)), np.empty((3, p * (p + 3) // 2)), np.empty((longest + p, p + 1))
    best, best_cost, C, order = (
        np.empty((starts.tries, p)),
        np.empty(starts.tries),
        np.empty((p, p)),
        np.empty(p, np.intp),
    )
    spare = longest if data.weighted else 1
    x_room, y_room, s_room = np.empty(spare * model.d), np.empty(spare), np.empty(spare)
    for k in range(data.count.shape[0]):
        points, total, n = prepare(data, k, model.d, x_room, y_room, s_room)
        out.n_points[k] = max(n, 0)
        if n < p:
            out.status[k] = BAD_DATA if n < 0 else TOO_FEW_POINTS
            continue
        put(v, LOWER, lower, k if lower.shape[0] > 1 else 0)
        put(v, UPPER, upper, k if upper.shape[0] > 1 else 0)
        status, cost, n_iter, n_passes = run_one(model, settings, points, starts, k, v, m, B, best, best_cost)
        out.status[k], out.n_iter[k], out.n_evaluations[k] = status, n_iter, n_passes
        if status == BAD_START:
            continue
        out.rss[k] = cost / (points.c * points.c)
        out.r_squared[k] = 1.0 - out.rss[k] / total if total > 0.0 else np.nan
        factor = points.c * points.c  # J'J and F hold c^2
        if scale_by_rss:
            factor = cost / (n - p) if n > p else np.nan
        if status > 0 or status == STALLED:
            covariance_of(model, points, v, m, B, C, order)
        store(model, points, v, out, k, C, factor)


@whole
def predict_chunk(model, x, params, out):
    """Write the values of the model into out (fits, n); x (fits or 1, n d) and params (fits, p)."""
    n, p = out.shape[1], model.p
    v, B, nothing, unit = np.ones((N_ROWS, p)), np.empty((n, p + 1)), np.zeros(n), np.ones(n)
    for k in range(out.shape[0]):
        own = k if x.shape[0] > 1 else 0
        v[PARAMS, :] = params[k, :]
        at = x.ctypes.data + 8 * x.shape[1] * own
        load_rows(model, Points(at, nothing.ctypes.data, unit.ctypes.data, n, 1.0), v, B)
        out[k, :] = B[:, p]
