"""Row blocks over threads: one small pool, safe under fork, nesting, exceptions and other threads' calls.

Why not Numba's own threading layers: the one that is always there aborts the process when two threads call at
once, the others hang or die after fork. A kernel compiled with `nogil` needs no more than this.

The caller takes part; work is handed out from a counter; a call from inside a task, or while another thread holds
the pool, runs serially. Results never depend on the number of threads: kernels write to slots by block number.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_limit: ContextVar[int | None] = ContextVar("sosolve_thread_limit", default=None)
_inside = threading.local()


@contextlib.contextmanager
def thread_limit(n_threads: int) -> Iterator[None]:
    """Limit the threads of kernels called from this thread (only) inside the `with` block."""
    token = _limit.set(max(1, n_threads))
    try:
        yield
    finally:
        _limit.reset(token)


def n_threads() -> int:
    """Return the number of threads a kernel may use.

    `SOSOLVE_NUM_THREADS` where set, else the enclosing `thread_limit`, else `OMP_NUM_THREADS`, else the CPUs that
    this process may run on.
    """
    for name in ("SOSOLVE_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0].strip()
        if text.isdigit() and int(text) > 0:
            return int(text)
        limit = _limit.get()
        if limit is not None:
            return limit
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Job:
    """One call of `run`: the task, the counter and the first error."""

    def __init__(self, task: Callable[[int], None], n_tasks: int):
        self.task, self.n_tasks = task, n_tasks
        self.next, self.lock, self.error = 0, threading.Lock(), None

    def work(self) -> None:
        """Take task numbers until there are none left or one has failed."""
        _inside.busy = True
        try:
            while True:
                with self.lock:
                    number = self.next
                    self.next += 1
                if number >= self.n_tasks or self.error is not None:
                    return
                self.task(number)
        except BaseException as error:
            if self.error is None:
                self.error = error
        finally:
            _inside.busy = False


class _Worker:
    """A daemon thread that waits for jobs."""

    def __init__(self) -> None:
        self.ready, self.done, self.job = threading.Semaphore(0), threading.Semaphore(0), None
        threading.Thread(target=self._loop, name="sosolve-worker", daemon=True).start()

    def _loop(self) -> None:
        while True:
            self.ready.acquire()
            self.job.work()
            self.done.release()


class _Pool:
    """The workers of one process."""

    def __init__(self) -> None:
        self.lock, self.workers = threading.Lock(), []

    def run(self, task: Callable[[int], None], n_tasks: int, threads: int) -> None:
        """Run the tasks on the caller and `threads` - 1 workers; the lock is held by the caller."""
        while len(self.workers) < threads - 1:
            self.workers.append(_Worker())
        job, helpers = _Job(task, n_tasks), self.workers[: threads - 1]
        for worker in helpers:
            worker.job = job
            worker.ready.release()
        interrupt = None
        try:
            job.work()
        except BaseException as error:  # an interrupt between two bytecodes of the loop itself
            interrupt = job.error = error
        for worker in helpers:
            while True:
                try:
                    worker.done.acquire()
                    break
                except KeyboardInterrupt as error:  # finish the hand-over first: the pool stays usable
                    interrupt = job.error = error
            worker.job = None
        if interrupt is not None or job.error is not None:
            raise interrupt or job.error


_pool = _Pool()


def _reset() -> None:
    """Forget the parent's threads: they do not exist in a forked child."""
    global _pool
    _pool = _Pool()
    _inside.busy = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)


def run(task: Callable[[int], None], n_tasks: int) -> None:
    """Call `task(k)` for k = 0 .. n_tasks - 1 on the pool, and return when all are done.

    Parameters
    ----------
    task : callable
        Gives up the GIL for most of its time; writes its result to a place of its own.
    n_tasks : int

    Raises
    ------
    BaseException
        The first error of a task; the tasks not yet begun are dropped.
    """
    threads = min(n_threads(), n_tasks)
    pool = _pool
    if threads > 1 and not getattr(_inside, "busy", False) and pool.lock.acquire(blocking=False):
        try:
            pool.run(task, n_tasks, threads)
        finally:
            pool.lock.release()
        return
    for number in range(n_tasks):
        task(number)
