"""Settings that must be made before anything imports NumPy or SciPy."""

import os

import pytest

# scikit-learn's array-API checks run only where SciPy was imported with this set.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# Several processes beside each other: threads of BLAS that wait for work would take the processors from the others.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_configure(config):
    """Register the marks of SciPy's own tests, which `test_scipys_own_tests.py` runs."""
    for mark in ("parallel_threads_limit(n)", "fail_slow(seconds)", "thread_unsafe", "xslow", "array_api_backends"):
        config.addinivalue_line("markers", f"{mark}: of SciPy's test suite")


def pytest_collection_modifyitems(items):
    """Refuse names that hold an address: the processes of xdist would collect different tests, and run none."""
    moving = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if moving:
        raise pytest.UsageError(f"received the tests {moving}; expected the same names in every process: give them ids")
