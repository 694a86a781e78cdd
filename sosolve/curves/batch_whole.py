"""Very long fits, one after the other: the whole device adds up the points of one, a warp does the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import device

#: Threads of a block (THREADS in cuda/common.cuh), lanes of a warp, and a row of `marks` (the enum of curves.cu).
THREADS, LANES, LEFT = 256, 32, 4
#: Blocks that share the points of a fit at most, and points of a block at least.
BLOCKS, BLOCK_POINTS = 1024, 4096


class WholeDevice:
    """What a run of fits does one by one.

    Parameters
    ----------
    run : object
        With kernels, points, fits, state, marks and bounds, as `batch_cuda` keeps them.
    """

    def __init__(self, run: Any):
        self.kernels, self.points, self.bounds = run.kernels, run.points, run.bounds
        self.fits, self.state, self.marks = run.fits, run.state, run.marks

    def prepare(self) -> None:
        """Look at the points of each fit."""
        import cupy

        fits, (blocks, partial, sums, add_up) = np.int64(self.fits), self._grid(5)
        for at in map(np.int64, range(self.fits)):
            self.kernels.launch("survey_one", blocks, THREADS, *self.points, at, None, partial)
            add_up(4)
            top, total = partial[4].max(), cupy.empty(1)
            self.kernels.launch("survey_one", blocks, THREADS, *self.points, at, sums, partial)
            add_up(1, total)
            self.kernels.launch("prepare_one", 1, LANES, fits, self.state, self.marks, at, sums, top, total)

    def search(self, values, own, K: int, numbers, starts, costs) -> None:
        """Try the candidates of each fit."""
        fits, launch, (work, total, sums) = np.int64(self.fits), self.kernels.launch, self._pass_of_one()
        linear, q, nonlinear, r = numbers
        for at in map(np.int64, range(self.fits)):
            for number in map(np.int32, range(K)):
                launch("trial_one", 1, LANES, fits, *self.bounds, at, values, own, number, nonlinear, r, work)
                sums(at)
                launch("solve_one", 1, LANES, *self.bounds, at, linear, q, total, work)
                if self.kernels.boxed:
                    sums(at)
                launch("rank_one", 1, LANES, fits, self.marks, at, number, total, work, starts, costs)

    def sums_of_best(self) -> None:
        """Form J'J and J'r at the best end of each fit."""
        p, (work, total, sums) = self.kernels.p, self._pass_of_one()
        for at in range(self.fits):
            work[:p] = self.state[-p:, at]
            sums(np.int64(at))
            self.state[2 * p : 2 * p + len(total) - 1, at] = total[:-1]

    def iterate(self, settings, starts, costs, ends) -> None:
        """Run each fit; waits once an iteration."""
        p, fits, launch, (work, total, sums) = (
            self.kernels.p, np.int64(self.fits), self.kernels.launch, self._pass_of_one(),
        )  # fmt: skip
        tolerances = [np.float64(value) for value in (settings.ftol, settings.xtol, settings.gtol)]
        limits = (np.int32(settings.max_iter), *tolerances, np.int32(settings.plain))
        for at in map(np.int64, range(self.fits)):
            work[:p] = starts[:, int(at)]
            sums(at)
            launch(
                "begin_one", 1, LANES, fits, self.state, self.marks, *self.bounds, at, work, costs, total, *ends
            )  # fmt: skip
            while int(self.marks[LEFT, int(at)]):
                launch("propose_one", 1, LANES, *self.points, fits, self.state, self.marks, *self.bounds, at, work)
                sums(at)
                launch(
                    "judge_one", 1, LANES, fits, self.state, self.marks, *self.bounds, at, work, total, *limits
                )  # fmt: skip

    def _pass_of_one(self):
        """Return what a fit leaves between launches, memory for sums, and the function that adds them up for a fit."""
        import cupy

        p, fits = self.kernels.p, np.int64(self.fits)
        work, (blocks, partial, total, add_up) = cupy.empty(3 * p + 1), self._grid(p * (p + 3) // 2 + 1)

        def sums(at) -> None:
            self.kernels.launch("sums_of_one", blocks, THREADS, *self.points, fits, self.state, at, work, partial)
            add_up()

        return work, total, sums

    def _grid(self, rows: int):
        """Return the blocks for a long fit, memory for sums of each and of all, and the function that adds them up."""
        import cupy

        blocks = int(min(BLOCKS, max(1, self.points.rows // BLOCK_POINTS)))
        partial, total = cupy.empty((rows, blocks)), cupy.empty(rows)
        add = device.kernel("sample", "add_partials", L=LANES)

        def add_up(count: int = rows, out=total) -> None:
            add((count,), (THREADS,), (partial, np.int64(blocks), out))

        return blocks, partial, total, add_up
