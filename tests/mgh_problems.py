"""The Moré-Garbow-Hillstrom least-squares problems: all 35 functions, in 48 sizes.

Every function of the paper is a sum of squares; all are used. Residuals accept complex parameters, so that the
complex step gives exact Jacobians. `minima` are the values the paper lists for the sum of squares (local ones and
limits at infinity included); the first is the global one. Chebyquad n = 10 has a lower minimum than the paper's.

Reference: Moré, Garbow and Hillstrom (1981). Testing unconstrained optimization software. ACM TOMS 7(1), 17-41.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Problem(NamedTuple):
    """One sized problem: residuals of theta, the standard start, the known minimal sums of squares."""

    name: str
    fun: Callable
    x0: np.ndarray
    minima: tuple[float, ...]

    def start(self, factor):
        """Return factor x0; where x0 = 0 all components are `factor` beyond the standard start, as in MINPACK."""
        if factor != 1 and not self.x0.any():
            return np.full(self.x0.shape, float(factor))
        return factor * self.x0

    def is_solved(self, sum_of_squares):
        """Return whether a sum of squares is one of the known minima (six digits are published)."""
        return any(abs(sum_of_squares - low) <= 1e-5 * low + 1e-14 for low in self.minima)


def rosenbrock(x):
    return np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def freudenstein_roth(x):
    return np.array([-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]])


def powell_badly_scaled(x):
    return np.array([1e4 * x[0] * x[1] - 1, np.exp(-x[0]) + np.exp(-x[1]) - 1.0001])


def brown_badly_scaled(x):
    return np.array([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def beale(x):
    return np.array([y - x[0] * (1 - x[1] ** i) for i, y in enumerate((1.5, 2.25, 2.625), 1)])


def jennrich_sampson(x):
    i = np.arange(1, 11)
    return 2 + 2 * i - (np.exp(i * x[0]) + np.exp(i * x[1]))


def helical_valley(x):
    turn = np.arctan(x[1] / x[0]) / (2 * np.pi) if x[0] != 0 else 0.25 * np.sign(x[1].real) + 0 * x[0]
    if x[0].real < 0:
        turn = turn + 0.5
    return np.array([10 * (x[2] - 10 * turn), 10 * (np.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]])


BARD = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])


def bard(x):
    u = np.arange(1.0, 16)
    v = 16 - u
    return BARD - (x[0] + u / (v * x[1] + np.minimum(u, v) * x[2]))


GAUSSIAN = np.array([0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989])
GAUSSIAN = np.r_[GAUSSIAN, GAUSSIAN[6::-1]]


def gaussian(x):
    t = (8 - np.arange(1, 16)) / 2
    return x[0] * np.exp(-x[1] * (t - x[2]) ** 2 / 2) - GAUSSIAN


MEYER = np.array(
    [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872.0]
)


def meyer(x):
    return x[0] * np.exp(x[1] / (45 + 5 * np.arange(1, 17) + x[2])) - MEYER


def gulf(x):
    t = np.arange(1, 100) / 100
    away = 25 + (-50 * np.log(t)) ** (2 / 3) - x[1]
    away = np.where(away.real < 0, -away, away)
    return np.exp(-(away ** x[2]) / x[0]) - t


def box_3d(x):
    t = 0.1 * np.arange(1, 11)
    return np.exp(-t * x[0]) - np.exp(-t * x[1]) - x[2] * (np.exp(-t) - np.exp(-10 * t))


def powell_singular(x):
    x = x.reshape(-1, 4)
    a, b, c, d = x.T
    parts = (a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2)
    return np.stack(parts, axis=1).ravel()


def wood(x):
    return np.array(
        [
            10 * (x[1] - x[0] ** 2),
            1 - x[0],
            90**0.5 * (x[3] - x[2] ** 2),
            1 - x[2],
            10**0.5 * (x[1] + x[3] - 2),
            10**-0.5 * (x[1] - x[3]),
        ]
    )


KOWALIK_Y = np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
KOWALIK_U = np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])


def kowalik_osborne(x):
    u = KOWALIK_U
    return KOWALIK_Y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def brown_dennis(x):
    t = np.arange(1, 21) / 5
    return (x[0] + t * x[1] - np.exp(t)) ** 2 + (x[2] + x[3] * np.sin(t) - np.cos(t)) ** 2


OSBORNE_1 = np.concatenate(
    [
        [0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751],
        [0.718, 0.685, 0.658, 0.628, 0.603, 0.580, 0.558, 0.538, 0.522, 0.506, 0.490],
        [0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411, 0.406],
    ]
)


def osborne_1(x):
    t = 10.0 * np.arange(33)
    return OSBORNE_1 - (x[0] + x[1] * np.exp(-t * x[3]) + x[2] * np.exp(-t * x[4]))


def biggs_exp6(x):
    t = 0.1 * np.arange(1, 14)
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    return x[2] * np.exp(-t * x[0]) - x[3] * np.exp(-t * x[1]) + x[5] * np.exp(-t * x[4]) - y


OSBORNE_2 = np.concatenate(
    [
        [1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608],
        [0.655, 0.616, 0.606, 0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661],
        [0.612, 0.558, 0.533, 0.495, 0.500, 0.423, 0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428],
        [0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668, 0.645, 0.632, 0.591, 0.559],
        [0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098, 0.054],
    ]
)


def osborne_2(x):
    t = np.arange(65) / 10
    peaks = sum(x[k] * np.exp(-((t - x[k + 7]) ** 2) * x[k + 4]) for k in (1, 2, 3))
    return OSBORNE_2 - (x[0] * np.exp(-t * x[4]) + peaks)


def watson(x):
    t = (np.arange(1, 30) / 29)[:, None]
    j = np.arange(len(x))
    rows = (x[1:] * j[1:] * t ** (j[1:] - 1)).sum(1) - (x * t**j).sum(1) ** 2 - 1
    return np.concatenate([rows, [x[0], x[1] - x[0] ** 2 - 1]])


def extended_rosenbrock(x):
    odd, even = x[::2], x[1::2]
    return np.stack([10 * (even - odd**2), 1 - odd], axis=1).ravel()


def penalty_1(x):
    return np.concatenate([1e-5**0.5 * (x - 1), [(x**2).sum() - 0.25]])


def penalty_2(x):
    n, a = len(x), 1e-5**0.5
    i = np.arange(2, n + 1)
    y = np.exp(i / 10) + np.exp((i - 1) / 10)
    middle = a * (np.exp(x[1:] / 10) + np.exp(x[:-1] / 10) - y)
    tail = a * (np.exp(x[1:] / 10) - np.exp(-1 / 10))
    return np.concatenate([[x[0] - 0.2], middle, tail, [(np.arange(n, 0, -1) * x**2).sum() - 1]])


def variably_dimensioned(x):
    total = (np.arange(1, len(x) + 1) * (x - 1)).sum()
    return np.concatenate([x - 1, [total, total**2]])


def trigonometric(x):
    n = len(x)
    return n - np.cos(x).sum() + np.arange(1, n + 1) * (1 - np.cos(x)) - np.sin(x)


def brown_almost_linear(x):
    n = len(x)
    return np.concatenate([x[:-1] + x.sum() - (n + 1), [np.prod(x) - 1]])


def _padded(x):
    return np.concatenate([[0], x, [0]])


def discrete_boundary_value(x):
    h = 1 / (len(x) + 1)
    t, y = h * np.arange(1, len(x) + 1), _padded(x)
    return 2 * x - y[:-2] - y[2:] + h**2 * (x + t + 1) ** 3 / 2


def discrete_integral_equation(x):
    h = 1 / (len(x) + 1)
    t = h * np.arange(1, len(x) + 1)
    cube = (x + t + 1) ** 3
    below, above = np.cumsum(t * cube), ((1 - t) * cube).sum() - np.cumsum((1 - t) * cube)
    return x + h * ((1 - t) * below + t * above) / 2


def broyden_tridiagonal(x):
    y = _padded(x)
    return (3 - 2 * x) * x - y[:-2] - 2 * y[2:] + 1


def broyden_banded(x):
    n = len(x)
    near = [[j for j in range(max(0, i - 5), min(n, i + 2)) if j != i] for i in range(n)]
    return np.array([x[i] * (2 + 5 * x[i] ** 2) + 1 - sum(x[j] * (1 + x[j]) for j in near[i]) for i in range(n)])


def linear_full_rank(m):
    def fun(x):
        return np.concatenate([x, np.zeros(m - len(x))]) - 2 / m * x.sum() - 1

    return fun


def linear_rank_1(m):
    def fun(x):
        return np.arange(1, m + 1) * (np.arange(1, len(x) + 1) * x).sum() - 1

    return fun


def linear_rank_1_zeros(m):
    def fun(x):
        inner = (np.arange(2, len(x)) * x[1:-1]).sum()
        return np.concatenate([[-1], np.arange(1, m - 1) * inner - 1, [-1]])

    return fun


def chebyquad(x):
    n = len(x)
    shifted = 2 * x - 1
    before, now, rows = np.ones_like(x), shifted, []
    for i in range(1, n + 1):
        rows.append(now.sum() / n + (1 / (i * i - 1) if i % 2 == 0 else 0))
        before, now = now, 2 * shifted * now - before
    return np.array(rows)


def _rank_1(m):
    return m * (m - 1) / (2 * (2 * m + 1))


def _rank_1_zeros(m):
    return (m * m + 3 * m - 6) / (2 * (2 * m - 3))


def _problems():
    def add(name, fun, x0, *minima):
        found.append(Problem(name, fun, np.asarray(x0, dtype=float), minima))

    found: list[Problem] = []
    add("rosenbrock", rosenbrock, (-1.2, 1), 0)
    add("freudenstein_roth", freudenstein_roth, (0.5, -2), 0, 48.9842536)
    add("powell_badly_scaled", powell_badly_scaled, (0, 1), 0)
    add("brown_badly_scaled", brown_badly_scaled, (1, 1), 0)
    add("beale", beale, (1, 1), 0)
    add("jennrich_sampson", jennrich_sampson, (0.3, 0.4), 124.362182)
    add("helical_valley", helical_valley, (-1, 0, 0), 0)
    add("bard", bard, (1, 1, 1), 8.21487731e-3, 17.4286934)
    add("gaussian", gaussian, (0.4, 1, 0), 1.12793277e-8)
    add("meyer", meyer, (0.02, 4000, 250), 87.9458551)
    add("gulf", gulf, (5, 2.5, 0.15), 0)
    add("box_3d", box_3d, (0, 10, 20), 0)
    add("powell_singular", powell_singular, (3, -1, 0, 1), 0)
    add("wood", wood, (-3, -1, -3, -1), 0)
    add("kowalik_osborne", kowalik_osborne, (0.25, 0.39, 0.415, 0.39), 3.07505604e-4, 1.02734e-3)
    add("brown_dennis", brown_dennis, (25, 5, -5, -1), 85822.2016)
    add("osborne_1", osborne_1, (0.5, 1.5, -1, 0.01, 0.02), 5.46489470e-5)
    add("biggs_exp6", biggs_exp6, (1, 2, 1, 1, 1, 1), 0, 5.65564993e-3)
    add("osborne_2", osborne_2, (1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5), 4.01377363e-2)
    for n, low in ((6, 2.28767005e-3), (9, 1.39976014e-6), (12, 4.72238106e-10)):
        add(f"watson_{n}", watson, np.zeros(n), low)
    for n in (10, 30):
        add(f"extended_rosenbrock_{n}", extended_rosenbrock, np.tile((-1.2, 1), n // 2), 0)
    for n in (12, 40):
        add(f"extended_powell_{n}", powell_singular, np.tile((3, -1, 0, 1), n // 4), 0)
    for n, low in ((4, 2.24997751e-5), (10, 7.08765146e-5)):
        add(f"penalty_1_{n}", penalty_1, np.arange(1, n + 1), low)
    for n, low in ((4, 9.37629318e-6), (10, 2.93660535e-4)):
        add(f"penalty_2_{n}", penalty_2, np.full(n, 0.5), low)
    add("variably_dimensioned_10", variably_dimensioned, 1 - np.arange(1, 11) / 10, 0)
    add("trigonometric_10", trigonometric, np.full(10, 0.1), 0, 2.79506e-5)
    for n in (10, 30, 40):
        add(f"brown_almost_linear_{n}", brown_almost_linear, np.full(n, 0.5), 0, 1)
    t = np.arange(1, 11) / 11
    add("discrete_boundary_value_10", discrete_boundary_value, t * (t - 1), 0)
    add("discrete_integral_equation_10", discrete_integral_equation, t * (t - 1), 0)
    add("broyden_tridiagonal_10", broyden_tridiagonal, -np.ones(10), 0)
    add("broyden_banded_10", broyden_banded, -np.ones(10), 0)
    for m in (10, 50):
        add(f"linear_full_rank_{m}", linear_full_rank(m), np.ones(5), m - 5)
        add(f"linear_rank_1_{m}", linear_rank_1(m), np.ones(5), _rank_1(m))
        add(f"linear_rank_1_zeros_{m}", linear_rank_1_zeros(m), np.ones(5), _rank_1_zeros(m))
    for n, lows in ((8, (3.51687373e-3,)), (9, (0,)), (10, (4.77271370e-3, 6.50395480e-3))):
        add(f"chebyquad_{n}", chebyquad, np.arange(1, n + 1) / (n + 1), *lows)
    return found


PROBLEMS = _problems()
#: Multiples of the standard start.
FACTORS = (1, 10, 100)
