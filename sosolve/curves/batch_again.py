"""Further runs for the few of many fits that did not come to rest, with the compiled solver that is there already."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .batch_data import frozen
from .batch_result import FitStatus

#: Runs that go on from the end of the first one, and from the end of the second try.
FIRST, SECOND = 3, 150
#: Relative fall of the sum of squares in one run below which going on is hopeless: in the first MANY runs, and later.
FALL, LATE_FALL, MANY = 1e-4, 1e-3, 10

Fit = Callable[..., None]


def try_again(fit: Fit, settings, data, starts: np.ndarray, lower, upper, out) -> None:
    """Run again what reached max_iter or stalled, and keep the better end of each fit.

    A run goes on from where the first one ended, with a fresh scaling; what that does not settle begins once more at
    the start, with the same damping for all parameters (Levenberg's, where the first runs have Moré's).

    Parameters
    ----------
    fit : callable
        (settings, data, starts, lower, upper, out) -> None, fills `out`.
    settings : Settings
    data : Data
        The points of some fits.
    starts : ndarray of shape (fits or 1, p)
    lower, upper : ndarray of shape (fits or 1, p)
    out : Out
        Of the first runs; changed in place.
    """
    where = _restless(out)
    if not where.size:
        return
    runs = _Runs(fit, data, (lower, upper), out)
    where = runs.go_on(settings, where, FIRST)
    if where.size:
        begin = starts[where] if len(starts) > 1 else np.repeat(starts, where.size, axis=0)
        runs.second_try(settings, where, begin)


def _restless(out) -> np.ndarray:
    """Return the numbers of fits that might gain from another run."""
    return np.flatnonzero((out.status == FitStatus.MAX_ITER) | (out.status == FitStatus.STALLED))


class _Runs:
    """Runs of some of the fits of a chunk."""

    def __init__(self, fit: Fit, data, limits: tuple[np.ndarray, np.ndarray], out):
        self.fit, self.data, self.limits, self.out = fit, data, limits, out

    def go_on(self, settings, where: np.ndarray, rounds: int) -> np.ndarray:
        """Go on from the ends of some fits as long as that helps; return those that are still without rest."""
        left = where
        for number in range(rounds):
            if not left.size:
                break
            before = self.out.rss[left].copy()
            self._keep(left, self._run(settings, left, self.out.params[left]))
            falling = self.out.rss[left] < (1.0 - (FALL if number < MANY else LATE_FALL)) * before
            left = left[falling & (self.out.status[left] <= 0)]
        return where[self.out.status[where] <= 0]

    def second_try(self, settings, where: np.ndarray, begin: np.ndarray) -> None:
        """Begin some fits once more with plain damping, go on from there, and keep what is better than before."""
        found = self._run(settings._replace(plain=True), where, begin)
        chunk = _Runs(self.fit, self._part(where), self._limits(where), found)
        chunk.go_on(settings, _restless(found), SECOND)
        self._keep(where, found)

    def _run(self, settings, where: np.ndarray, begin: np.ndarray):
        """Return what a run of some fits leaves, in arrays of their number."""
        found = type(self.out)(*(np.zeros((where.size, *array.shape[1:]), array.dtype) for array in self.out))
        if not len(self.out.covariance):
            found = found._replace(covariance=self.out.covariance)
        for array in (found.params, found.stderr, found.covariance, found.rss, found.r_squared):
            array.fill(np.nan)
        self.fit(settings, self._part(where), frozen(begin), *self._limits(where), found)
        return found

    def _part(self, where: np.ndarray):
        data = self.data
        return data._replace(at=frozen(data.at[where], np.int64), count=frozen(data.count[where], np.int64))

    def _limits(self, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lower, upper = (frozen(side[where]) if len(side) > 1 else side for side in self.limits)
        return lower, upper

    def _keep(self, where: np.ndarray, found) -> None:
        """Copy the fits whose new end is better, or as good and converged; add up the work."""
        out, old = self.out, self.out.rss[where]
        better = (found.rss < old) | ((found.status > 0) & (found.rss <= (1.0 + 1e-9) * old))
        for name, array in zip(type(out)._fields, out, strict=True):
            new = getattr(found, name)
            if name in ("n_iter", "n_evaluations"):
                array[where] += new
            elif len(array) == len(out.status):
                array[where[better]] = new[better]
