"""Initial guesses for the library's models, from data alone.

Most of them are variable projection on a coarse grid: the nonlinear parameters (rates, positions, widths, exponents)
run over values taken from the range of x, the linear ones (heights, offsets) follow in closed form by least squares,
and the candidate with the smallest sum of squares wins. Nothing has to be noise-free, sorted or distinct in x, and
the guess scales with the units of x and y. Sines take frequency and decay from a least-squares periodogram (Lomb,
Astrophys. Space Sci. 39, 1976), polynomials are solved outright, rational functions by Sanathanan and Koerner's
iteration (IEEE Trans. Autom. Control 8, 1963).

Each rule is called as `rule(formula, x, y)` with finite x in ascending order and y of shape (n,), n >= 1, of size
about 1, and returns parameters in the formula's order; entries that are not finite are replaced by the caller.
"""

from __future__ import annotations

import numpy as np

from .formula import Formula

#: Points that a guess looks at; more are thinned out evenly in the order of x.
MAX_POINTS = 400

#: Points of a periodogram, and the largest number of periods over the range of x that it looks for.
MAX_SINE_POINTS, MAX_PERIODS = 2048, 500


def thin(x, y, limit: int = MAX_POINTS):
    """Return at most `limit` of the points, evenly spread over their order."""
    if len(x) <= limit:
        return x, y
    at = np.linspace(0, len(x) - 1, limit).round().astype(int)
    return x[at], y[at]


def span_of(x) -> float:
    """Return the range of x, or its size where all x are equal, or 1 where they are 0."""
    return float(x[-1] - x[0]) or float(abs(x[0])) or 1.0


def solve(phi, y):
    """Return the least-squares coefficients of columns `phi`, shape (n, q), for y, and the sum of squares left."""
    norms = np.linalg.norm(phi, axis=0)
    norms[norms == 0.0] = 1.0
    if not (np.isfinite(norms).all() and np.isfinite(y).all()):
        return np.full(phi.shape[1], np.nan), np.inf
    beta = np.linalg.lstsq(phi / norms, y, rcond=1e-12)[0] / norms
    left = y - phi @ beta
    return beta, float(left @ left)


def assemble(formula: Formula, linear, nonlinear) -> np.ndarray:
    """Return all parameters in the formula's order."""
    values = dict(zip(formula.linear_parameters, linear, strict=True))
    values |= dict(zip(formula.nonlinear_parameters, nonlinear, strict=True))
    return np.array([values[name] for name in formula.parameters], dtype=float)


def grid(formula: Formula, x, y, candidates) -> np.ndarray:
    """Return the best of some nonlinear parameters, each with its own best linear ones.

    Parameters
    ----------
    formula : Formula
    x, y : ndarray of shape (n,)
    candidates : callable
        `candidates(x, y)` returns an array of shape (k, r).
    """
    x, y = thin(x, y)
    best, least = np.full(formula.size, np.nan), np.inf
    for alpha in candidates(x, y):
        phi, offset = formula.basis(x, alpha)
        beta, left = solve(phi, y - offset)
        if left < least and np.isfinite(beta).all():
            best, least = assemble(formula, beta, alpha), left
    return best


def outer(*axes) -> np.ndarray:
    """Return every combination of values of some axes, shape (k, number of axes)."""
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def rates(x, y) -> np.ndarray:
    """Return rates from a twentieth of a decay over the range of x to hundreds, of both signs."""
    rate = np.geomspace(0.05, min(500.0, 3.0 * len(x) + 2.0), 30) / span_of(x)
    return np.concatenate([rate, -rate])[:, None]


def two_rates(x, y) -> np.ndarray:
    """Return pairs of positive rates, the faster first."""
    rate = np.geomspace(0.1, min(300.0, 3.0 * len(x) + 2.0), 18) / span_of(x)
    first, second = np.tril_indices(len(rate), -1)
    return np.stack([rate[first], rate[second]], axis=1)


def peaks(x, y) -> np.ndarray:
    """Return centers (quantiles of x, and where y is extreme) with widths from 1 to 100 % of the range."""
    middle = np.median(y)
    centers = [*np.quantile(x, np.linspace(0.03, 0.97, 16)), x[y.argmax()], x[y.argmin()], x[abs(y - middle).argmax()]]
    return outer(np.unique(centers), span_of(x) * np.geomspace(0.01, 1.0, 8))


def peak_shapes(x, y) -> np.ndarray:
    """Return shares of the Lorentzian, each with centers and widths as in `peaks`; order (share, center, width)."""
    places = peaks(x, y)
    return np.concatenate([np.column_stack([np.full(len(places), share), places]) for share in (0.2, 0.5, 0.8)])


def exponents(x, y) -> np.ndarray:
    """Return exponents from -5 to 5."""
    return np.linspace(-5.0, 5.0, 41)[:, None]


def scales(x, y) -> np.ndarray:
    """Return positive values of x's size, from a hundredth of its median to a hundred times it."""
    size = float(np.median(abs(x))) or span_of(x)
    return np.geomspace(0.01, 100.0, 33)[:, None] * size


def scales_and_exponents(x, y) -> np.ndarray:
    """Return (exponent, scale) for curves in (x / scale)**exponent."""
    return outer(np.array([0.4, 0.7, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0, 12.0]), scales(x, y)[4:-4:2, 0])


def steps(x, y) -> np.ndarray:
    """Return (slope, middle): middles over the range of x, slopes from 1 to 200 over it, of both signs."""
    middles = np.linspace(x[0] - 0.2 * span_of(x), x[-1] + 0.2 * span_of(x), 17)
    slope = np.geomspace(1.0, 200.0, 8) / span_of(x)
    return outer(np.concatenate([slope, -slope]), middles)


def rising_steps(x, y) -> np.ndarray:
    """Return (slope, middle) as in `steps`, slopes of positive sign alone."""
    candidates = steps(x, y)
    return candidates[candidates[:, 0] > 0.0]


def lopsided_steps(x, y) -> np.ndarray:
    """Return (slope, middle, asymmetry), with slopes of the sign of the data's trend, so that top >= bottom."""
    middles = np.linspace(x[0] - 0.1 * span_of(x), x[-1] + 0.1 * span_of(x), 13)
    rising = 1.0 if (x - x.mean()) @ (y - y.mean()) >= 0.0 else -1.0
    return outer(rising * np.geomspace(1.5, 100.0, 8) / span_of(x), middles, np.array([0.3, 1.0, 3.0]))


def rising_step(formula: Formula, x, y) -> np.ndarray:
    """Return the guess of the four-parameter logistic with top >= bottom; a falling curve has a negative slope."""
    bottom, top, slope, middle = grid(formula, x, y, rising_steps)
    return np.array([top, bottom, -slope, middle] if bottom > top else [bottom, top, slope, middle])


def sine(formula: Formula, x, y) -> np.ndarray:
    """Return (amplitude, frequency, phase, offset) from the periodogram."""
    amplitude, _, frequency, phase, offset = _periodogram(x, y, [0.0])
    return np.array([amplitude, frequency, phase, offset])


def damped_sine(formula: Formula, x, y) -> np.ndarray:
    """Return (amplitude, decay, frequency, phase, offset) from periodograms under several envelopes exp(-decay x)."""
    return _periodogram(x, y, np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]) / span_of(x))


def _periodogram(x, y, decays) -> np.ndarray:
    """Return the best fit of exp(-d x) (A cos(2 pi f x) + B sin(2 pi f x)) + C over f and d, as amplitude and phase.

    Four frequencies per 1 / range, so that the best lies within an eighth of a cycle of the optimum at both ends.
    """
    x, y = _scatter(x, y)
    span, n = span_of(x), len(x)
    frequencies = np.arange(2, 4 * min(MAX_PERIODS, max(1, n // 2)) + 1) / (4.0 * span)
    best, least = np.full(5, np.nan), np.inf
    for block in np.array_split(frequencies, max(1, len(frequencies) * n // 500_000)):
        angle = 2.0 * np.pi * block[:, None] * (x - x[0])
        cosine, sines = np.cos(angle), np.sin(angle)
        for decay in decays:
            envelope = np.exp(-decay * (x - x[0]))
            phi = np.stack([envelope * cosine, envelope * sines, np.ones_like(angle)], axis=1)
            gram, right = phi @ phi.transpose(0, 2, 1), phi @ y
            gram += 1e-10 * n * np.eye(3)
            if not np.isfinite(gram).all():
                continue
            beta = np.linalg.solve(gram, right[:, :, None])[:, :, 0]
            left = y @ y - np.einsum("kq,kq->k", beta, 2.0 * right - np.einsum("kqr,kr->kq", gram, beta))
            at = int(left.argmin())
            if left[at] < least:
                least, (a, b, c) = float(left[at]), beta[at]
                phase = np.arctan2(a, b) - 2.0 * np.pi * block[at] * x[0]
                phase = (phase + np.pi) % (2.0 * np.pi) - np.pi
                best = np.array([np.hypot(a, b) * np.exp(decay * x[0]), decay, block[at], phase, c])
    return best


def _scatter(x, y):
    """Return at most MAX_SINE_POINTS points; thinning evenly would alias, steps of the golden ratio do not."""
    if len(x) <= MAX_SINE_POINTS:
        return x, y
    at = np.unique((np.arange(MAX_SINE_POINTS) * 0.6180339887498949 % 1.0 * len(x)).astype(int))
    return x[at], y[at]


def polynomial(formula: Formula, x, y) -> np.ndarray:
    """Return the least-squares coefficients of a model that is linear in all parameters."""
    phi, offset = formula.basis(x, [])
    return assemble(formula, solve(phi, y - offset)[0], [])


def rational(formula: Formula, x, y) -> np.ndarray:
    """Return coefficients of a numerator and a denominator: y D(x) = N(x), reweighted by the last 1 / D four times."""
    p, q = len(formula.linear_parameters) - 1, len(formula.nonlinear_parameters)
    over = x[:, None] ** np.arange(p + 1)
    under = x[:, None] ** np.arange(1, q + 1)
    weight, best, least = np.ones(len(x)), np.full(formula.size, np.nan), np.inf
    for _ in range(4):
        beta, _ = solve(weight[:, None] * np.hstack([over, -y[:, None] * under]), weight * y)
        denominator = 1.0 + under @ beta[p + 1 :]
        left = y - (over @ beta[: p + 1]) / denominator
        if np.isfinite(left).all() and left @ left < least:
            best, least = beta, left @ left
        weight = 1.0 / np.maximum(abs(denominator), 1e-6)
    return best
