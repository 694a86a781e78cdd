"""Many fits on an NVIDIA device: the formula's generated source in the kernels of `kernels/cuda/curves.cu`.

The algorithm, its tolerances, statuses and second tries are those of the processor (`batch_fit`, `batch_again`). Short
fits take a thread each and lie as columns, so that neighbouring threads read neighbouring numbers; fits of `LONG`
points and more take the 32 lanes of a warp and lie as rows. After every `STEPS` iterations the fits that are left are
counted (one wait for the device) and launched alone; once half of those whose data are together have ended, the data of
the others are gathered. Fits of `HUGE` points and more are iterated one after the other, the whole device adding up
the points of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..kernels import device
from ..kernels.streamed import to_host
from .batch_again import try_again
from .batch_data import OnHost
from .batch_points import Points, loaded, spread
from .batch_starts import Automatic
from .batch_whole import LANES, LEFT, THREADS, WholeDevice
from .formula import Formula

#: Points from which on a warp works on one fit.
LONG = 512
#: Points from which on the whole device works on one fit, where there are no more fits than `FEW`.
HUGE, FEW = 1 << 17, 256
#: Iterations of a launch.
STEPS = 8
#: Most fits that are on the device at once, and where candidates differ from fit to fit; share of the free memory.
MOST, MOST_CANDIDATES, SHARE = 1 << 22, 1 << 14, 0.6
#: Points in all from which on device="auto" leaves the processor; an estimate: fits take it seconds from there on, and
#: compiling takes one.
AUTO_POINTS = 50_000_000
#: Rows of `state` besides parameters and sums, and of `marks`: the enums of curves.cu.
N_STATE, N_MARKS = 6, 9
N_POINTS, BEST_STATUS, ITERATIONS, PASSES = 5, 6, 7, 8


class Job(NamedTuple):
    """What is to be fitted, and how."""

    formula: Formula
    points: Any  # Table, Ragged or DeviceTable
    starts: Any  # Automatic, or (fits or 1, p)
    limits: tuple[np.ndarray, np.ndarray]  # (fits or 1, p) each
    settings: Any
    scale_by_rss: bool
    second_try: bool


class Part(NamedTuple):
    """Some fits of those on the device, by number; named as `try_again` expects."""

    at: Any
    count: Any


class _Numbers:
    """The numbers 0, 1, .. of all fits, as far as they are asked for."""

    def __getitem__(self, where: np.ndarray) -> np.ndarray:
        return where


def wanted(name: str | None, there: bool, is_formula: bool, points: int, auto_points: int = AUTO_POINTS) -> bool:
    """Return whether the fits run on a device.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda"} or None
        None stays where the data are; "auto" too, or goes to a device where that is likely to pay.
    there : bool
        Whether the data are on a device.
    is_formula : bool
    points : int
        Of all fits.
    auto_points : int, default=50 million
        So many at least leave the processor with "auto".

    Raises
    ------
    ImportError, RuntimeError
        When a device is asked for and none can be used.
    ValueError
        When the name is unknown, or the model has no source for a device.
    """
    if name not in (None, "auto", "cpu", "cuda"):
        raise ValueError(f"received device={name!r}; expected None, 'auto', 'cpu' or 'cuda': choose one of them")
    if name == "cpu" or (name is None and not there):
        return False
    if name == "auto" and not there:
        return is_formula and points >= auto_points and device.available()
    if not is_formula:
        raise ValueError(
            f"received a Python function with device={name!r} and data "
            f"{'on a device' if there else 'of NumPy'}; expected a formula or a library model, whose source can be "
            "compiled for a device: write the model as a formula, or use device='cpu'"
        )
    device.require(f"fit_curves(device={name!r})")
    return True


def fit_on_device(job: Job, arrays: dict[str, np.ndarray], advance: Callable[[int], None]) -> str:
    """Fit everything where the points are, or on the current device; fill the arrays of the result.

    Returns
    -------
    str
        The name of the device.
    """
    with getattr(job.points, "place", contextlib.nullcontext()):
        _fit_in_batches(job, arrays, advance)
        return device.current()


def _fit_in_batches(job: Job, arrays: dict[str, np.ndarray], advance: Callable[[int], None]) -> None:
    points = job.points
    team = LANES if points.n >= LONG else 1
    tries = getattr(job.starts, "tries", 1)
    kernels = _Kernels(job, team, tries)
    each = _bytes_of_fit(job, tries)
    size = int(min(MOST, max(1, SHARE * device.memory()[0] // each)))
    if isinstance(job.starts, Automatic) and job.starts.looks_at_data:
        size = min(size, MOST_CANDIDATES)
    for lo in range(0, points.m, size):
        hi = min(lo + size, points.m)
        with device.freed_on_error(f"fit_curves of {hi - lo} fits at once", (hi - lo) * each):
            _Chunk(job, kernels, lo, hi).fit(arrays)
        advance(hi - lo)


def _bytes_of_fit(job: Job, tries: int) -> int:
    """Return the bytes of memory that a fit takes on the device, transposition and gathering included."""
    p, points = job.formula.size, job.points
    numbers = points.n * (1 + points.weighted + (0 if points.x_is_shared else points.d))
    return 8 * (3 * numbers + p * (p + 3) + 8 * p + p * p + (p + 1) * tries + 32)


class _Kernels:
    """The kernels of one formula, compiled for one layout."""

    def __init__(self, job: Job, team: int, tries: int):
        lower, upper = job.limits
        self.boxed = boxed = bool(np.isfinite(lower).any() or np.isfinite(upper).any())
        self.team, self.tries = team, tries
        self.p, self.d = job.formula.size, len(job.formula.predictors)
        self._model = job.formula.source("cuda")
        self._constants = {"NP": self.p, "ND": self.d, "TEAM": team, "BOX": int(boxed), "TRIES": tries}

    def __call__(self, name: str, fits: int, *arguments) -> None:
        """Launch a kernel over a number of fits."""
        self.launch(name, -(-fits * self.team // THREADS), THREADS, *arguments)

    def launch(self, name: str, blocks: int, threads: int, *arguments) -> None:
        """Launch a kernel on some blocks of threads."""
        device.kernel("curves", name, self._model, **self._constants)((blocks,), (threads,), arguments)


class _Chunk:
    """Fits lo .. hi - 1: their points on the device, and what is done with them."""

    def __init__(self, job: Job, kernels: _Kernels, lo: int, hi: int):
        self.job, self.kernels, self.lo, self.hi = job, kernels, lo, hi
        self.points = loaded(job.points, lo, hi, kernels.team)

    def fit(self, arrays: dict[str, np.ndarray]) -> None:
        """Fit all of them, some twice, and fill their part of the arrays."""
        from .batch_chunk import Out

        job = self.job
        out = Out(**{name: arrays[name][self.lo : self.hi] for name in Out._fields})
        lower, upper = (side[self.lo : self.hi] if len(side) > 1 else side for side in job.limits)
        run = _Run(self.kernels, self.points, (lower, upper))
        starts, costs = self._starts(run)
        run.through(job.settings, starts, costs)
        run.results(job.scale_by_rss, out)
        if not job.second_try:
            return
        try_again(self._again, job.settings, Part(_Numbers(), _Numbers()), _Columns(starts[0]), lower, upper, out)

    def _again(self, settings, part: Part, begin, lower, upper, out) -> None:
        """Run some fits from other starts: the function that `try_again` calls."""
        import cupy

        points = self.points.taken(cupy.asarray(part.at), self.kernels.team)
        run = _Run(self.kernels, points, (lower, upper))
        run.through(settings, spread(begin, len(part.at))[None], None)
        run.results(self.job.scale_by_rss, out)

    def _starts(self, run: _Run):
        """Return (starts, costs) of shapes (tries, p, fits) and (tries, fits), or costs None where there is one try."""
        starts = self.job.starts
        if not isinstance(starts, Automatic):
            return spread(starts[self.lo : self.hi] if len(starts) > 1 else starts, run.fits)[None], None
        x = y = at = count = None
        if starts.looks_at_data:
            x, y, _, at, count = OnHost(self.job.points).chunk(self.lo, self.hi)
        begin, candidates = starts.chunk(x, y, at, count)
        if not candidates.shape[1]:
            return spread(begin, run.fits)[None], None
        return run.search(candidates, starts.linear, starts.nonlinear)


class _Columns:
    """Columns of an array (p, fits) on the device as rows of NumPy, brought here one selection at a time."""

    def __init__(self, array):
        self._array = array

    def __len__(self) -> int:
        return int(self._array.shape[1])

    def __getitem__(self, where: np.ndarray) -> np.ndarray:
        import cupy

        return cupy.take(self._array, cupy.asarray(where), axis=1).T.get()


class _Run:
    """The state of some fits on the device from their preparation to their results."""

    def __init__(self, kernels: _Kernels, points: Points, limits: tuple[np.ndarray, np.ndarray]):
        import cupy

        p, self.fits = kernels.p, int(points.width)
        self.kernels, self.points, self.limits, self.tries = kernels, points, limits, 1
        self.state = cupy.empty((3 * p + p * (p + 3) // 2 + N_STATE, self.fits))
        self.marks = cupy.empty((N_MARKS, self.fits), dtype=cupy.int32)
        own = len(limits[0]) > 1
        lower, upper = (cupy.asarray(np.ascontiguousarray(side.T)) for side in limits)
        self.bounds = (lower, upper, np.int64(self.fits if own else 1))
        self.whole = WholeDevice(self) if points.rows >= HUGE and self.fits <= FEW else None
        if self.whole:
            self.whole.prepare()
        else:
            kernels("prepare", self.fits, *points, np.int64(self.fits), self.state, self.marks)

    def search(self, candidates: np.ndarray, linear: np.ndarray, nonlinear: np.ndarray):
        """Return the best candidates as starts, and their costs."""
        import cupy

        tries, own = self.kernels.tries, len(candidates) > 1
        starts, costs = cupy.empty((tries, self.kernels.p, self.fits)), cupy.empty((tries, self.fits))
        values = cupy.asarray(np.ascontiguousarray(candidates.transpose(1, 2, 0)))
        numbers = [
            part for a in (linear, nonlinear) for part in (cupy.asarray(a.astype(np.int32)), np.int32(len(a)))
        ]  # fmt: skip
        K = np.int32(candidates.shape[1])
        if self.whole:
            self.whole.search(values, np.int32(own), int(K), numbers, starts, costs)
            return starts, costs
        self.kernels(
            "search", self.fits, *self.points, np.int64(self.fits), self.state, self.marks, *self.bounds,
            values, np.int32(own), K, *numbers, starts, costs,
        )  # fmt: skip
        return starts, costs

    def through(self, settings, starts, costs) -> None:
        """Run each fit from each of its starts (tries, p, fits), and keep the best end."""
        self.tries = starts.shape[0]
        fits = np.int64(self.fits)
        ends = (np.float64(settings.gtol), np.int32(settings.plain))
        for number in range(self.tries):
            cost = None if costs is None else costs[number]
            if self.whole:
                self.whole.iterate(settings, starts[number], cost, ends)
            else:
                self.kernels(
                    "begin", self.fits, *self.points, fits, self.state, self.marks, *self.bounds, starts[number], cost,
                    *ends,
                )  # fmt: skip
                self._iterate(settings)
            self.kernels("keep", self.fits, fits, self.state, self.marks)

    def _iterate(self, settings) -> None:
        """Iterate until no fit has steps left, on fewer and fewer of them."""
        import cupy

        tolerances = [np.float64(value) for value in (settings.ftol, settings.xtol, settings.gtol)]
        ids = columns = None
        held, active = self.points, self.fits
        while active:
            self.kernels(
                "iterate", active, *held, ids, columns, np.int64(active), np.int64(self.fits), self.state, self.marks,
                *self.bounds, np.int32(STEPS), np.int32(settings.max_iter), *tolerances, np.int32(settings.plain),
            )  # fmt: skip
            left = self.marks[LEFT] != 0
            if ids is None:
                ids = columns = cupy.flatnonzero(left)
            else:
                still = left[ids]
                ids, columns = ids[still], columns[still]
            active = int(ids.shape[0])
            if 0 < active <= int(held.width) // 2:
                held, columns = held.taken(columns, self.kernels.team), cupy.arange(active)

    def results(self, scale_by_rss: bool, out) -> None:
        """Write what the fits leave to the arrays of `out`."""
        import cupy

        p, wanted = self.kernels.p, len(out.covariance) > 0
        found = cupy.empty((2 * p + 2 + (p * p if wanted else 0), self.fits))

        def fetch(rows, array) -> None:  # turned on the device, where that takes no time
            to_host(cupy.ascontiguousarray(rows.T), array.reshape(self.fits, -1))

        if self.whole and self.tries > 1:
            self.whole.sums_of_best()
        flags = (np.int32(self.tries > 1 and not self.whole), np.int32(scale_by_rss), np.int32(wanted))
        self.kernels(
            "finish", self.fits, *self.points, np.int64(self.fits), self.state, self.marks, *self.bounds, *flags, found
        )
        fetch(found[:p], out.params)
        fetch(found[p : 2 * p], out.stderr)
        fetch(found[2 * p : 2 * p + 1], out.rss)
        fetch(found[2 * p + 1 : 2 * p + 2], out.r_squared)
        if wanted:
            fetch(found[2 * p + 2 :], out.covariance)
        lower, upper = self.limits
        if self.kernels.boxed:
            np.logical_or(out.params <= lower, out.params >= upper, out=out.on_bound)
        else:
            out.on_bound.fill(False)
        fetch(self.marks[BEST_STATUS : BEST_STATUS + 1].astype(out.status.dtype), out.status)
        for row, array in ((N_POINTS, out.n_points), (ITERATIONS, out.n_iter), (PASSES, out.n_evaluations)):
            fetch(self.marks[row : row + 1], array)
