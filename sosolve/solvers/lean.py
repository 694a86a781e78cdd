"""Levenberg-Marquardt for a few parameters in plain floats: no records, no points, no factorisation of the Jacobian.

One matrix product a point gives all sums, J'J, J'r and r'r; what follows is p x p, and costs a few microseconds as
straight lines of Python where calls of LAPACK and the loop of all solvers take a hundred. A step h solves

    (J'J + S + mu D^2) h = -J'r,    D_k = running maximum of |J_k|,

in the units of D, with mu after Nielsen: the algorithm of `sosolve.curves.batch_fit`. Besides, S learns
sum_i r_i r_i'' from the steps near the end, which then converge faster than those of Gauss and Newton. r and J'r are
formed exactly, so that the squared Jacobian may slow convergence but spoils no digit of the parameters. Where the
scaled J'J is close to singular, or anything is out of the ordinary, there is no answer: the full solver gives it.

References
----------
Nielsen, H. B. (1999). Damping parameter in Marquardt's method. IMM-REP-1999-05. Moré, J. J. (1978), LNM 630, for D.
Dennis, Gay and Welsch (1981). An adaptive nonlinear least-squares algorithm. TOMS 7, 348-368, for what S learns from;
here by the symmetric rank-one update.
"""

# ruff: noqa: B905 the checks of zip(strict=True) would take as long as these loops over a few parameters
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

#: Parameters up to which this pays: p^3 / 6 lines.
MOST_PARAMETERS = 10
#: Steps, and damping, at which the full solver takes over.
MOST_STEPS, MOST_DAMPING = 60, 1e8
#: First damping; its divisors where |ratio - 1| < SURE, the second where the damping has shortened the step; least
#: ratio of a success.
MU_0, BOLD, BRAVE, SURE, ACCEPT = 1e-5, 100.0, 10.0, 0.1, 1e-4
#: Damping after a failure, at least, in units of the least pivot: below it nothing would change.
REJECT = 0.5
#: Relative reduction below which values differ by rounding, and a small step is taken without asking them.
LEVEL = 1e-10
#: Least turn of J'r that S learns from, relative to |r|: differences have a noise of 1e-8.
TURN = 1e-6
#: Largest |ratio - 1| of a long step that shows a linear model.
STRAIGHT = 1e-6
#: Relative reduction of a step that S may learn from.
LEARN = 0.03
#: Expected relative reduction of the step after this one at which derivatives become exact; and the least ratio of one
#: reduction to the one before that is expected.
NEAR, SWIFT = 1e-14, 1e-5
#: Predicted relative reduction of the last step, which is not evaluated; and the expected one of the step after it.
LAST, AFTER = 1e-14, 1e-19
#: Expected relative change of J'J over the last step from which exact derivatives are asked for at its end too.
STILL = 3e-10
#: The three limits of an ordinary fit; and of one whose evaluations are all that counts, to ten digits as well.
USUAL, SPARING = (NEAR, LAST, AFTER), (1e-11, 1e-9, 1e-17)
#: Relative reduction of steps with rough derivatives that is their noise.
NOISE = 1e-14
#: Least squared pivot of the scaled J'J at the end: a condition number of about 1e4 for J.
LEAST_PIVOT = 1e-8
#: Squared pivot that is rounding.
TINY = 1e-14
#: Residuals that are rounding, relative to y.
ROUNDING = 1e-14
#: Sums of squares outside of this range may have lost terms to underflow, or soon overflow.
SMALLEST, LARGEST = 1e-200, 1e200

Rows = list[list[float]]


class LeanFit(NamedTuple):
    """The end of a fit.

    Attributes
    ----------
    theta : list of float
    cost : float
        r'r.
    inverse : list of lists of float
        (J'J)^-1.
    """

    theta: list[float]
    cost: float
    inverse: Rows


class Lean:
    """The minimisation of r'r.

    Parameters
    ----------
    residual : callable
        (theta, exact) -> (at, r'r) for theta of p floats: `at` is what `slopes` gets to see of the point, `exact`
        whether it will be asked for exact derivatives there.
    slopes : callable
        (at, exact, crossed) -> (sums, q, turned): [J r]'[J r] as p + 1 lists, where column k of J is yet to be
        multiplied by q_k; and, if `crossed`, J'r with the Jacobian of the call before, without its q. None where
        they cannot be had.
    theta : list of p floats
    cost : float
        r'r at theta.
    level : float
        The sum of squares, y'y, beside which r'r may be rounding.
    limits : sequence of 3 floats, default=USUAL
        USUAL or SPARING; `slopes` may change them.

    Attributes
    ----------
    theta, cost
        Of the best point so far.
    """

    __slots__ = ("cost", "level", "limits", "residual", "slopes", "theta")

    def __init__(
        self,
        residual: Callable,
        slopes: Callable,
        theta: list[float],
        cost: float,
        level: float,
        limits: Sequence[float] = USUAL,
    ):
        self.residual, self.slopes, self.theta, self.cost, self.level = residual, slopes, theta, cost, level
        self.limits = limits

    def minimise(self, at: Any, rough: bool) -> LeanFit | None:
        """Return the end of the fit, None where the full solver must find it.

        Parameters
        ----------
        at : object
            What `residual` returned for the start.
        rough : bool
            Whether `slopes` has cheaper derivatives that are not exact.
        """
        p, cost, rounding = len(self.theta), self.cost, ROUNDING * ROUNDING * self.level
        damped, _, bent = algebra(p)
        exact, sharp, straight = not rough or cost <= rounding, False, False
        mu, nu, before, sums, h = MU_0, 2.0, 1.0, None, ()
        former: Rows | None = None if rough else []
        units: list[float] = []
        widest, bend = [0.0] * p, [[0.0] * p] * p
        for _ in range(MOST_STEPS):
            if sums is None:
                found, old = self.slopes(at, exact, before < LEARN), units
                if found is None:
                    return None
                (sums, units, turned), sharp = found, exact
                if turned is not None:
                    bend = bent(bend, h, widest, cost, sums[-1], units, turned, old)
            found = damped(sums, units, widest, bend, mu)
            if found is None:
                return None
            h, predicted, least = found
            near, last, _ = self.limits
            if sharp and predicted <= max(last * cost, rounding):
                is_last, end = self.last_step(sums, units, widest, bend, before, former)
                if is_last:
                    return end
            theta = [t + s for t, s in zip(self.theta, h)]
            part = predicted / cost if cost > 0.0 else math.inf
            exact = exact or straight or part * min(1.0, max(part / max(before, NOISE), SWIFT)) <= near
            then, trial = self.residual(theta, exact) if least > 0.0 else (None, math.inf)
            actual = cost - trial
            if predicted <= LEVEL * cost and abs(actual) <= LEVEL * cost:
                actual = predicted
            if actual > ACCEPT * predicted:
                ratio, nu = actual / predicted, 2.0
                if abs(ratio - 1.0) < SURE:
                    mu /= BOLD if mu < 0.1 * least else BRAVE
                else:
                    mu *= max(1.0 / 3.0, 1.0 - (2.0 * ratio - 1.0) ** 3)
                former = None if rough else sums
                self.theta, self.cost, cost, at, sums = theta, trial, trial, then, None
                straight = part > LEARN and abs(ratio - 1.0) < STRAIGHT
                exact = exact or cost <= rounding
                before = part
            else:
                mu, nu = max(mu * nu, REJECT * least), 2.0 * nu
                if mu > MOST_DAMPING:
                    return None
        return None

    def last_step(
        self,
        sums: Rows,
        units: list[float],
        widest: list[float],
        bend: Rows,
        before: float,
        former: Rows | None,
    ) -> tuple[bool, LeanFit | None]:
        """Return whether one undamped step is the last, and the end of the fit after it, None where J is singular.

        Parameters
        ----------
        sums, units, widest, bend
            With exact derivatives, see `minimise`.
        before : float
            Relative reduction of the step before.
        former : list of lists of float, or None
            The sums before that step, empty where there was none; None where those at the end are not asked for.
        """
        damped, inverse, _ = algebra(len(units))
        h, predicted, _ = damped(sums, units, widest, bend, 0.0)
        if any(map(any, bend)):
            predicted = max(predicted, damped(sums, units, widest, [[0.0] * len(units)] * len(units), 0.0)[1])
        part, (_, last, after) = predicted / self.cost if self.cost > 0.0 else 0.0, self.limits
        swift = part * min(1.0, part / max(before, NOISE)) <= after
        if self.cost > ROUNDING * ROUNDING * self.level and (part > last or not swift):
            return False, None
        end = LeanFit([t + s for t, s in zip(self.theta, h)], max(self.cost - predicted, 0.0), sums)
        if former is not None and part * change(sums, former) ** 2 > STILL * STILL * before:
            end, units = self.looked_at(end, units)
        found, least = inverse(end.inverse, units, widest)
        return True, end._replace(inverse=found) if least > LEAST_PIVOT else None

    def looked_at(self, end: LeanFit, units: list[float]) -> tuple[LeanFit, list[float]]:
        """Return an end with the sums in place of the inverse, and their units, after an evaluation there."""
        at, cost = self.residual(end.theta, True)
        found = self.slopes(at, True, False) if cost < math.inf else None
        return (end, units) if found is None else (LeanFit(end.theta, cost, found[0]), found[1])


def change(sums: Rows, former: Rows) -> float:
    """Return the largest relative change of the diagonal of J'J, inf where nothing came before."""
    return max((abs(1.0 - old[k] / new[k]) for k, (new, old) in enumerate(zip(sums[:-1], former))), default=math.inf)


@lru_cache(maxsize=MOST_PARAMETERS)
def algebra(p: int) -> tuple[Callable, Callable, Callable]:
    """Return the functions `damped`, `inverse` and `bent` of p parameters, straight lines of Python.

    `damped(sums, q, D, S, mu)` widens D and returns the step h, the reduction of r'r that its model predicts, and the
    least squared pivot, 0 where one is rounding; None where a sum is no ordinary number. `inverse(sums, q, D)` returns
    (J'J)^-1 and the least squared pivot. `bent(S, h, D, cost, g, q, g_old, q_old)` returns S after the step h on which
    J'r, for fixed r, turned from g_old q_old to g q, by the symmetric rank-one update: then S h is that turn. S stays
    as it is where the turn is noise of the derivatives, or would outweigh J'J.
    """
    space: dict = {"sqrt": math.sqrt, "inf": math.inf}
    text = "\n".join("\n    ".join(lines(p)) for lines in (_damped, _inverse, _bent))
    exec(text, space)  # noqa: S102 no word of the user's
    return space["damped"], space["inverse"], space["bent"]


def _damped(p: int) -> list[str]:
    lines = ["def damped(sums, q, D, S, mu):", *_unpacked(p), f"{_each('d{}', p)} = D"]
    lines.append(_matrix("s", p))
    for i in range(p):
        lines += [
            f"if not {SMALLEST} < a{i}_{i} < {LARGEST}: return None",
            f"size = sqrt(a{i}_{i})*abs(q{i})",
            f"if size > d{i}: d{i} = size",
            f"w{i} = 1.0/d{i}",
            f"e{i} = q{i}*w{i}",
        ]
    lines += [f"D[:] = {_each('d{}', p)}"]
    entries = {(i, j): f"a{i}_{j}*e{i}*e{j} + s{i}_{j}*w{i}*w{j}" for i in range(p) for j in range(i)}
    entries |= {(i, i): f"a{i}_{i}*e{i}*e{i} + s{i}_{i}*w{i}*w{i} + mu" for i in range(p)}
    lines += _factorised(p, entries, f"({_each('0.0', p)}), inf, 0.0")
    for i in range(p):
        lines.append(f"z{i} = (-g{i}*e{i}{''.join(f' - l{i}_{k}*z{k}' for k in range(i))})*r{i}")
    lines.append(f"gain = {' + '.join(f'z{i}*z{i}' for i in range(p))}")
    for i in reversed(range(p)):
        lines.append(f"z{i} = (z{i}{''.join(f' - l{k}_{i}*z{k}' for k in range(i + 1, p))})*r{i}")
    square = " + ".join(f"z{i}*z{i}" for i in range(p))
    return [*lines, f"return ({''.join(f'z{i}*w{i}, ' for i in range(p))}), gain + mu*({square}), least"]


def _inverse(p: int) -> list[str]:
    lines = ["def inverse(sums, q, D):", *_unpacked(p), f"{_each('d{}', p)} = D"]
    lines += [f"e{i} = q{i}/d{i}" for i in range(p)]
    entries = {(i, j): f"a{i}_{j}*e{i}*e{j}" for i in range(p) for j in range(i + 1)}
    lines += _factorised(p, entries, "None, 0.0")
    for i in range(p):  # column j of 1 / L, over d_j
        lines.append(f"x{i}_{i} = r{i}/d{i}")
        lines += [f"x{i}_{j} = -({' + '.join(f'l{i}_{k}*x{k}_{j}' for k in range(j, i))})*r{i}" for j in range(i)]
    for i in range(p):
        for j in range(i + 1):
            lines.append(f"c{i}_{j} = {' + '.join(f'x{k}_{i}*x{k}_{j}' for k in range(i, p))}")
    rows = (f"[{', '.join(f'c{max(i, j)}_{min(i, j)}' for j in range(p))}]" for i in range(p))
    return [*lines, f"return [{', '.join(rows)}], least"]


def _bent(p: int) -> list[str]:
    lines = [
        "def bent(S, h, D, cost, g, q, b, v):",
        _matrix("s", p),
        f"{_each('h{}', p)} = h",
        f"{_each('d{}', p)} = D",
    ]
    for i in range(p):
        known = "".join(f" - s{i}_{j}*h{j}" for j in range(p))
        lines.append(f"t{i} = g[{i}]*q[{i}] - b[{i}]*v[{i}]{known}")
    lines += [
        f"along = {' + '.join(f't{i}*h{i}' for i in range(p))}",
        *(f"z{i} = t{i}/d{i}" for i in range(p)),
        f"size = {' + '.join(f'z{i}*z{i}' for i in range(p))}",
        f"if size < {TURN * TURN}*cost or not size < abs(along): return S",
        *(f"u{i} = t{i}/along" for i in range(p)),
    ]
    rows = ("".join(f"s{i}_{j} + t{max(i, j)}*u{min(i, j)}, " for j in range(p)) for i in range(p))
    return [*lines, f"return {''.join(f'({row}), ' for row in rows)}"]


def _matrix(name: str, p: int) -> str:
    """Return a line that gives the elements of the matrix S their names."""
    rows = ("".join(f"{name}{i}_{j}, " for j in range(p)) for i in range(p))
    return f"{''.join(f'({row}), ' for row in rows)} = S"


def _each(text: str, p: int) -> str:
    return "".join(f"{text.format(k)}, " for k in range(p))


def _unpacked(p: int) -> list[str]:
    """Return lines that give the sums and q their names: row p of the sums is the gradient."""
    rows = ["".join(f"a{i}_{j}, " if j <= i else "_, " for j in range(p)) for i in range(p)]
    return [f"{''.join(f'({row}_), ' for row in rows)}({_each('g{}', p)}_) = sums", f"{_each('q{}', p)} = q"]


def _factorised(p: int, entries: dict[tuple[int, int], str], failed: str) -> list[str]:
    """Return lines that factorise a matrix, L L', with r the inverse of L's diagonal, or else return `failed`."""
    lines = ["least = inf"]
    for i in range(p):
        minus = [" - ".join(["", *(f"l{i}_{k}*l{j}_{k}" for k in range(j))]) for j in range(i)]
        lines += [
            *(f"l{i}_{j} = ({entries[i, j]}{minus[j]})*r{j}" for j in range(i)),
            f"pivot = {entries[i, i]}{''.join(f' - l{i}_{k}*l{i}_{k}' for k in range(i))}",
            f"if not pivot > {TINY}: return {failed}",
            "if pivot < least: least = pivot",
            f"r{i} = 1.0/sqrt(pivot)",
        ]
    return lines
