"""What is compiled ahead is not compiled again, wherever the cache may be."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("sympy")

PARTS = ["dense float64", "dense float32", "csr float64", "csr float32", "fit_curves"]
PROGRAM = """
import json, sys
import sosolve
seconds = sosolve.warmup(linear="linear" in sys.argv)
from sosolve.curves import batch_chunk
from sosolve.kernels import cache, numba_chunks
kernels = [batch_chunk.fit_chunk, batch_chunk.search_chunk, numba_chunks.fused_chunk, numba_chunks.softmax_chunk]
misses = [sum(kernel.stats.cache_misses.values()) for kernel in kernels]
print(json.dumps([seconds, misses, cache.folder() is not None]))
"""


def in_a_process(cache, *arguments):
    """Return what the program prints with the cache in a folder of its own."""
    env = os.environ | {"SOSOLVE_CACHE_DIR": str(cache)}
    env.pop("SOSOLVE_JIT_CACHE", None)
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", PROGRAM, *arguments]
    out = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout)


def test_nothing_wanted_is_nothing_done():
    """The parts are a choice."""
    import sosolve

    assert sosolve.warmup(linear=False, curves=False) == {}


@pytest.mark.slow
def test_second_process_compiles_nothing(tmp_path):
    """All parts are timed; a process that comes after finds them on disk."""
    seconds, misses, _ = in_a_process(tmp_path, "linear")
    assert list(seconds) == PARTS
    assert min(misses) > 0
    again, misses, _ = in_a_process(tmp_path, "linear")
    assert misses == [0, 0, 0, 0]
    assert 0.0 < sum(again.values()) < 0.5 * sum(seconds.values())


@pytest.mark.slow
def test_a_cache_folder_that_cannot_be_made_is_no_error(tmp_path):
    """A file stands where the folder should be: compiled for the process alone."""
    (tmp_path / "file").write_text("")
    seconds, _, cached = in_a_process(tmp_path / "file")
    assert not cached
    assert list(seconds) == ["fit_curves"]
