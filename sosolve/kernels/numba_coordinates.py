"""Sweeps of coordinate descent on a quadratic model, compiled."""

from __future__ import annotations

import numpy as np

from .cache import jit


@jit()
def sweep(H, r, u, strengths, lower, upper):
    """Change u and r in place; see `reference.coordinate_sweep`."""
    p = u.shape[0]
    moving = np.empty(p, dtype=np.bool_)
    for j in range(p):
        moving[j] = u[j] != 0.0 or abs(r[j]) > strengths[j]
    for j in range(p):
        if not moving[j]:
            continue
        a, old = H[j, j], u[j]
        if a > 0.0:
            z = a * old - r[j]
            size = max(abs(z) - strengths[j], 0.0) / a
            new = size if z > 0.0 else -size
            new = min(max(new, lower[j]), upper[j])
        elif strengths[j] > 0.0:
            new = min(max(0.0, lower[j]), upper[j])
        else:
            new = old
        if new != old:
            change = new - old
            row = H[j]
            for k in range(p):
                r[k] += change * row[k]
            u[j] = new
