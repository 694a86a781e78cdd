"""The thread pool: order, nesting, errors, interrupts, fork and concurrent callers."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from sosolve.kernels import pool


@pytest.fixture(autouse=True)
def four_threads(monkeypatch):
    """Use more threads than a test machine has."""
    monkeypatch.setenv("SOSOLVE_NUM_THREADS", "4")


def test_runs_each_task_once():
    """Every number comes up exactly once."""
    seen = np.zeros(1000, dtype=int)

    def task(k):
        seen[k] += 1

    pool.run(task, 1000)
    assert (seen == 1).all()


def test_threads_take_part():
    """Tasks that wait for one another end only if they run side by side."""
    barrier = threading.Barrier(4, timeout=30)
    names = set()

    def task(k):
        barrier.wait()
        names.add(threading.current_thread().name)

    pool.run(task, 4)
    assert len(names) >= 2


def test_nested_call_runs_serially():
    """A task that calls run does its work on its own thread."""
    threads = []

    def inner(k):
        threads.append((k, threading.get_ident()))

    def outer(k):
        before = len(threads)
        pool.run(inner, 3)
        assert before <= len(threads)

    pool.run(outer, 8)
    assert sorted(k for k, _ in threads) == sorted(list(range(3)) * 8)


def test_error_of_a_task_reaches_the_caller_and_the_pool_goes_on():
    """The first error is raised, and the pool works afterwards."""

    def task(k):
        if k == 5:
            raise ValueError("five")

    for _ in range(3):
        with pytest.raises(ValueError, match="five"):
            pool.run(task, 100)
    done = []
    pool.run(done.append, 10)
    assert sorted(done) == list(range(10))


def test_interrupt_leaves_the_pool_usable():
    """KeyboardInterrupt in a task is raised in the caller; nothing hangs."""

    def task(k):
        if k == 1:
            raise KeyboardInterrupt
        time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt):
        pool.run(task, 50)
    done = []
    pool.run(done.append, 10)
    assert sorted(done) == list(range(10))


def test_concurrent_callers_get_their_own_results():
    """Eight threads call at once."""
    results = {}

    def caller(name):
        out = np.zeros(200)

        def task(k):
            out[k] = name * 1000 + k

        pool.run(task, 200)
        results[name] = out

    threads = [threading.Thread(target=caller, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert all((results[name] == name * 1000 + np.arange(200)).all() for name in range(8))


def _child(queue):
    done = []
    pool.run(done.append, 20)
    queue.put(sorted(done))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_works_in_a_forked_child():
    """The child makes threads of its own."""
    pool.run(lambda k: None, 20)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == list(range(20))
    child.join(timeout=60)
    assert child.exitcode == 0


def test_number_of_threads(monkeypatch):
    """SOSOLVE_NUM_THREADS first, then the limit, then OMP_NUM_THREADS, then the CPUs."""
    assert pool.n_threads() == 4
    with pool.thread_limit(2):
        assert pool.n_threads() == 4
    monkeypatch.delenv("SOSOLVE_NUM_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    with pool.thread_limit(2):
        assert pool.n_threads() == 2
    assert pool.n_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert pool.n_threads() == len(os.sched_getaffinity(0))


def test_interpreter_exits_with_live_threads():
    """Daemon threads do not keep the interpreter, nor crash it."""
    code = "from sosolve.kernels import pool; pool.run(lambda k: None, 100); print('done')"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert out.stdout.strip() == "done"
    assert out.stderr == ""
