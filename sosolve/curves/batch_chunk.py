"""One task of the pool: some fits, each prepared, started, minimised and given its covariance; compiled."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .batch_covariance import covariance_of
from .batch_fit import BAD_DATA, BAD_START, STALLED, TOO_FEW_POINTS, minimise
from .batch_kernels import address, part, put, whole
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


class Candidates(NamedTuple):
    """Values of the nonlinear parameters to try; the linear ones are solved for."""

    values: np.ndarray  # (fits or 1, K, r)
    linear: np.ndarray  # (q,) numbers of the linear parameters
    nonlinear: np.ndarray  # (r,)


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
def prepare(data, k, d, room):
    """Return (points, total sum of squares, n) of fit k; n = -1 where a value is not finite, c = 1 where y is 0."""
    ax, ay, s_at, count = data.at[k, 0], data.at[k, 1], data.at[k, 2], data.count[k]
    n, check = 0, 0.0
    for i in range(count):
        if data.s[s_at + i] != 0.0:
            n += 1
            for j in range(d):
                check += data.x[ax + i * d + j] * 0.0
    found = address(data.x) + 8 * ax, address(data.y) + 8 * ay, address(data.s) + 8 * s_at
    if n < count:
        found = address(room.x), address(room.y), address(room.s)
        to = 0
        for i in range(count):
            if data.s[s_at + i] != 0.0:
                room.y[to], room.s[to] = data.y[ay + i], data.s[s_at + i]
                for j in range(d):
                    room.x[to * d + j] = data.x[ax + i * d + j]
                to += 1
    total, check2, top = _moments(data.y, data.s, ay, s_at, count)
    c = 1.0 / top if top > 0.0 else 1.0
    if check + check2 != 0.0:
        n = -1
    return Points(found[0], found[1], found[2], n, c), total, n


@part
def _moments(y, s, ay, s_at, count):
    """Return the weighted sum of squares about the mean, 0.0 (NaN where a value is not finite) and max |s y|."""
    check, top, weight, mean, total = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(count):
        value, factor = y[ay + i], s[s_at + i]
        if factor != 0.0:
            size = abs(factor * value)
            check += size * 0.0
            top = size if size > top else top
            weight += factor * factor
            mean += factor * factor * value
    mean = mean / weight if weight > 0.0 else 0.0
    for i in range(count):
        if s[s_at + i] != 0.0:
            gap = s[s_at + i] * (y[ay + i] - mean)
            total += gap * gap
    return total, check, top


@part
def run_one(model, settings, points, starts, costs, k, v, m, B, best):
    """Run fit k from each of its starts whose cost is finite; return what `minimise` does for the best of the runs."""
    n_passes, n_iter, status, cost, chosen = 0, 0, BAD_START, np.nan, 0
    tries, own = costs.shape[1], k if costs.shape[0] > 1 else 0
    for number in range(tries):
        for i in range(model.p):
            best[number, i] = starts[k if starts.shape[0] > 1 else 0, tries * i + number]
        if costs[own, number] < np.inf:
            put(v, PARAMS, best, number)
            found = minimise(model, settings, points, v, m, B)
            n_iter, n_passes = n_iter + found[2], n_passes + found[3]
            if status == BAD_START or found[1] < cost:
                status, cost, chosen = found[0], found[1], number
            put(best, number, v, PARAMS)
    put(v, PARAMS, best, chosen)
    if status != BAD_START and tries > 1:
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


class Room(NamedTuple):
    """Memory of one task, allocated by `room`; see `batch_steps` for v, m and B."""

    v: np.ndarray
    m: np.ndarray
    B: np.ndarray
    best: np.ndarray  # (tries, p)
    C: np.ndarray  # (p, p)
    order: np.ndarray  # (p,)
    x: np.ndarray  # the points of a fit without those of weight 0
    y: np.ndarray
    s: np.ndarray


def room(model, data, tries: int) -> Room:
    """Return the memory that the fits of a task need."""
    p, longest = model.p, int(data.count.max(initial=1))
    spare = longest if data.weighted else 1
    shapes = (3, p * (p + 3) // 2), (longest + p, p + 1), (tries, p), (p, p)
    m, B, best, C = map(np.empty, shapes)
    order, flat = np.empty(p, np.int64), (np.empty(spare * model.d), np.empty(spare), np.empty(spare))
    return Room(np.ones((N_ROWS, p)), m, B, best, C, order, *flat)


@part
def set_bounds(v, lower, upper, k):
    """Copy the bounds of fit k."""
    put(v, LOWER, lower, k if lower.shape[0] > 1 else 0)
    put(v, UPPER, upper, k if upper.shape[0] > 1 else 0)


@whole
def search_chunk(model, data, candidates, lower, upper, starts, costs, n_passes, room):
    """Write the best candidates of each fit to starts (fits, p tries) and costs (fits, tries), the best first.

    Entry (i, number) of a fit's starts is at tries i + number; costs are inf where there is no candidate.
    """
    v, best, tries = room.v, room.best, costs.shape[1]
    for k in range(data.count.shape[0]):
        points, _, n = prepare(data, k, model.d, room)
        if n >= model.p:
            set_bounds(v, lower, upper, k)
            n_passes[k] = search(model, points, candidates, k, v, room.m, best, costs)
            for number in range(tries):
                for i in range(model.p):
                    starts[k, tries * i + number] = best[number, i]


@whole
def fit_chunk(model, settings, data, starts, costs, lower, upper, scale_by_rss, out, room):
    """Fit everything in `data` and fill `out`, whose floats are NaN; lower and upper have shape (fits or 1, p).

    Starts are as `search_chunk` leaves them, or (fits or 1, p) with costs of 0.
    """
    p, v, m, B = model.p, room.v, room.m, room.B
    for k in range(data.count.shape[0]):
        points, total, n = prepare(data, k, model.d, room)
        out.n_points[k] = max(n, 0)
        if n < p:
            out.status[k] = BAD_DATA if n < 0 else TOO_FEW_POINTS
            continue
        set_bounds(v, lower, upper, k)
        status, cost, n_iter, n_passes = run_one(model, settings, points, starts, costs, k, v, m, B, room.best)
        out.status[k], out.n_iter[k] = status, n_iter
        out.n_evaluations[k] += n_passes
        if status == BAD_START:
            continue
        out.rss[k] = cost / (points.c * points.c)
        out.r_squared[k] = 1.0 - out.rss[k] / total if total > 0.0 else np.nan
        factor = points.c * points.c  # J'J and F hold c^2
        if scale_by_rss:
            factor = cost / (n - p) if n > p else np.nan
        if status > 0 or status == STALLED:
            covariance_of(model, points, v, m, B, room.C, room.order)
        store(model, points, v, out, k, room.C, factor)


@whole
def predict_chunk(model, x, params, out):
    """Write the values of the model into out (fits, n); x (fits or 1, n d) and params (fits, p)."""
    n, p = out.shape[1], model.p
    v, B, nothing, unit = np.ones((N_ROWS, p)), np.empty((n, p + 1)), np.zeros(n), np.ones(n)
    for k in range(out.shape[0]):
        own = k if x.shape[0] > 1 else 0
        v[PARAMS, :] = params[k, :]
        at = address(x) + 8 * x.shape[1] * own
        load_rows(model, Points(at, address(nothing), address(unit), n, 1.0), v, B)
        out[k, :] = B[:, p]
