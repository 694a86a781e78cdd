"""The threads of one fit: those of the kernels, and one for BLAS where its matrices are small."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import cache

from threadpoolctl import ThreadpoolController

from .._compat import effective_threads
from ..kernels.pool import thread_limit
from ..solvers import Solver

#: Products and sums of the largest matrix product of a fit up to which BLAS has one thread. A second one gains a few
#: milliseconds on a machine that is free, and waits for its turn, a hundred times as long, on one that is not.
SMALL_WORK = 1e9
#: The same below which BLAS takes one thread by itself.
TINY_WORK = 2e5

_limited = threading.Lock()


@contextlib.contextmanager
def fit_threads(X, l1_ratio: float = 0.0) -> Iterator[None]:
    """Limit the threads of kernels to those of scikit-learn, and BLAS to one where X is sparse or small.

    The limit of BLAS is that of the whole process. The first of several fits at once sets it, and takes it back when
    it ends; the others leave it alone, so that no order of theirs leaves the process with one thread.

    Parameters
    ----------
    X : array-like or sparse matrix
        As given to `fit`, not validated yet; without a shape of two numbers BLAS is left alone.
    l1_ratio : float, default=0
        With some L1 the matrices are those of a working set.
    """
    with thread_limit(effective_threads()), blas_threads(X, l1_ratio):
        yield


def blas_threads(X, l1_ratio: float = 0.0) -> contextlib.AbstractContextManager:
    """Return a context with one thread of BLAS where a second one is not worth its price; see `fit_threads`."""
    return one_blas_thread() if is_small(X, l1_ratio) else contextlib.nullcontext()


def solver_threads(solver: Solver) -> contextlib.AbstractContextManager:
    """Return a context with one thread of BLAS for passes between which small factors are solved with.

    Threads of BLAS keep a core busy for a while after each call, in which the kernels need it: a pass over 50 000 x 500
    took 13 ms for 10.
    """
    kind = getattr(solver, "preconditioner", "")
    solves = kind == "cholesky" or (kind == "auto" and getattr(solver, "dense_size", 0) > 0)
    return one_blas_thread() if solves else contextlib.nullcontext()


def is_small(X, l1_ratio: float = 0.0) -> bool:
    """Return whether a second thread of BLAS is not worth its price in a fit to X."""
    shape = getattr(X, "shape", ())
    if len(shape) != 2:
        return False
    n, d = shape
    widest = min(d, 2 * n) if l1_ratio else d
    work = n * widest * min(widest, 2 * n if l1_ratio else n)
    return n * d * d >= TINY_WORK and (hasattr(X, "indptr") or work <= SMALL_WORK)


@cache
def _controller() -> ThreadpoolController:
    """Return what sets the threads of BLAS; to find the libraries takes a millisecond."""
    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread, unless a fit does so already: who has set a limit takes it back, nobody else."""
    if not _limited.acquire(blocking=False):
        yield
        return
    try:
        libraries = _controller()
        if all(library.get_num_threads() == 1 for library in libraries.lib_controllers):
            yield  # as in the workers of a search: nothing to set, nothing to put back
            return
        with libraries.limit(limits=1):
            yield
    finally:
        _limited.release()
