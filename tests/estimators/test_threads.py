"""The threads of one fit."""

import threading

import numpy as np
import pytest
import scipy.sparse
from threadpoolctl import threadpool_info, threadpool_limits

from sosolve import LogisticRegression
from sosolve.estimators.threads import fit_threads, is_small
from sosolve.kernels import pool

SMALL = np.zeros((1000, 100))


def blas_threads():
    return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]


def test_blas_has_one_thread_in_a_small_fit_and_what_it_had_after_fits_that_overlap():
    with threadpool_limits(2, user_api="blas"):
        before, entered, leave = blas_threads(), threading.Event(), threading.Event()

        def other():
            with fit_threads(SMALL):
                entered.set()
                leave.wait(10)

        thread = threading.Thread(target=other)
        with fit_threads(SMALL):
            assert set(blas_threads()) == {1}
            thread.start()
            assert entered.wait(10)
            assert set(blas_threads()) == {1}
        assert blas_threads() == before
        leave.set()
        thread.join(10)
        assert blas_threads() == before


def test_limits_come_back_after_an_error():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with pytest.raises(ValueError, match="NaN"):
            LogisticRegression().fit(np.full((1000, 100), np.nan), np.arange(1000) % 2)
        assert blas_threads() == before


def test_nothing_is_set_where_blas_has_one_thread():
    with threadpool_limits(1, user_api="blas"):
        with fit_threads(SMALL):
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}


def test_kernels_have_the_threads_of_scikit_learn():
    with fit_threads(SMALL):
        assert pool._limit.get() >= 1
    assert pool._limit.get() is None


def test_small_is_what_takes_milliseconds():
    assert is_small(np.empty((1000, 1000)))
    assert not is_small(np.empty((2000, 1000)))
    assert is_small(scipy.sparse.csr_array((10**6, 10**6)))
    wide = np.empty((400, 20_000), dtype=np.float32)
    assert is_small(wide, l1_ratio=1.0)
    assert not is_small(wide)
    assert is_small(np.empty((100_000, 50)), l1_ratio=0.5)
    assert is_small(np.empty((60, 150)))
    assert not is_small(np.empty((10, 3)))
    assert not is_small([[0.0, 1.0]])
