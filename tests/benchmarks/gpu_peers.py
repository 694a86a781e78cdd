"""Others that fit on the device: L-BFGS written with CuPy, and PyTorch's; and the objective all are judged by."""

from __future__ import annotations

import time

import numpy as np

try:
    import cupy
except ImportError:
    cupy = None


def objective(X, y, coef, intercept, C: float) -> float:
    """Return the objective of two classes, in double precision on the device."""
    total = 0.0
    coef, intercept = cupy.asarray(coef, dtype=cupy.float64).ravel(), float(np.asarray(_host(intercept)).ravel()[0])
    for k in range(0, X.shape[0], 1_000_000):
        z = X[k : k + 1_000_000].astype(cupy.float64) @ coef + intercept
        total += float(cupy.sum(cupy.logaddexp(0.0, z) - y[k : k + 1_000_000] * z))
    return C * total + 0.5 * float(coef @ coef)


def _host(a):
    return a.get() if hasattr(a, "get") else a


def lbfgs_cupy(X, y, C: float, gap: float, best: float, limit: float):
    """Return (coef, intercept) of L-BFGS (memory 10, Armijo) on mean loss with plain CuPy, until the gap is reached."""
    n, d = X.shape
    y = y.astype(X.dtype)

    def both(theta):
        z = X @ theta[:d].astype(X.dtype) + theta[d].astype(X.dtype)
        p = 1 / (1 + cupy.exp(-z))
        value = float(cupy.logaddexp(0, z).sum(dtype=cupy.float64) - (y * z).sum(dtype=cupy.float64)) / n
        w = theta[:d]
        g = cupy.concatenate([(X.T @ (p - y)).astype(cupy.float64), (p - y).sum(dtype=cupy.float64)[None]]) / n
        g[:d] += w / (C * n)
        return value + 0.5 * float(w @ w) / (C * n), g

    theta, pairs = cupy.zeros(d + 1), []
    value, g = both(theta)
    clock = time.perf_counter()
    while value * n * C > best * (1 + gap) and time.perf_counter() - clock < limit:
        q, back = g.copy(), []
        for s, r in reversed(pairs):
            back.append(float(s @ q) / float(s @ r))
            q = q - back[-1] * r
        if pairs:
            s, r = pairs[-1]
            q = q * (float(s @ r) / float(r @ r))
        for (s, r), weight in zip(pairs, reversed(back), strict=True):
            q = q + (weight - float(r @ q) / float(s @ r)) * s
        t, slope = 1.0 if pairs else min(1.0, 1.0 / float(cupy.abs(g).sum())), -float(g @ q)
        while True:
            trial, gradient = both(theta - t * q)
            if trial <= value + 1e-4 * t * slope or t < 1e-10:
                break
            t *= 0.5
        pair = (-t * q, gradient - g)
        if float(pair[0] @ pair[1]) > 0:
            pairs = [*pairs, pair][-10:]
        theta, value, g = theta - t * q, trial, gradient
    return theta[:d], theta[d]


def lbfgs_torch(X, y, C: float, gap: float, best: float, limit: float):
    """Return (coef, intercept) of torch.optim.LBFGS with its strong Wolfe search on the same memory."""
    import torch

    n, d = X.shape
    A, b = torch.from_dlpack(X), torch.from_dlpack(y).to(torch.float32 if X.dtype == cupy.float32 else torch.float64)
    theta = torch.zeros(d + 1, dtype=torch.float64, device=A.device, requires_grad=True)
    solver = torch.optim.LBFGS([theta], history_size=10, max_iter=4, line_search_fn="strong_wolfe")
    loss = torch.nn.BCEWithLogitsLoss()

    def closure():
        solver.zero_grad()
        z = A @ theta[:d].to(A.dtype) + theta[d].to(A.dtype)
        value = loss(z, b).to(torch.float64) + 0.5 * (theta[:d] ** 2).sum() / (C * n)
        value.backward()
        return value

    clock, before = time.perf_counter(), np.inf
    while time.perf_counter() - clock < limit:
        value = float(solver.step(closure)) * n * C
        if value <= best * (1 + gap) or value >= before:
            break
        before = value
    found = cupy.from_dlpack(theta.detach())
    return found[:d], found[d]
