"""Each kernel on rows that are streamed through the device, against the reference."""

import fake_cupy
import host_cuda
import numpy as np
import pytest
from kernel_calls import CALLS, STORAGES, same, vectors

from sosolve.kernels import kernels_for, reference
from sosolve.kernels.streamed import StreamedRows

pytestmark = pytest.mark.skipif(bool(host_cuda.reason_not_to_run()), reason=host_cuda.reason_not_to_run() or "can run")


@pytest.mark.parametrize("storage", ["C", "F", "float32", "one row"])
def test_blocks_add_up(storage):
    """All kernels, with blocks that do not divide the rows."""
    X = STORAGES[storage]
    v = vectors(X.shape[0])
    with fake_cupy.installed() as cupy:
        there = {name: cupy.asarray(a) for name, a in v.items()}
        streamed = StreamedRows(X, X.itemsize * X.shape[1] * 500)
        module = kernels_for(streamed)
        assert module.__name__.endswith("cupy_stream")
        for call in CALLS.values():
            same(fake_cupy.to_host(call(module, streamed, there)), call(reference, X, v))
        for s in (v["s"] / v["s"].sum(), np.array([1.0 / X.shape[0]])):
            for centre in (True, False):
                found = fake_cupy.to_host(module.moments(streamed, cupy.asarray(s), centre))
                same(found[:2], reference.moments(X, s, centre)[:2], 1e-9)


def test_extreme_units():
    """Where squares leave the range of doubles the host takes over."""
    X = STORAGES["C"][:50] * 1e160
    s = np.array([1.0 / 50])
    with fake_cupy.installed() as cupy:
        streamed = StreamedRows(X, 4000)
        found = kernels_for(streamed).moments(streamed, cupy.asarray(s), True)
        same(fake_cupy.to_host(tuple(found)), tuple(reference.moments(X, s, True)))
