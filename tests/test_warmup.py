"""What is compiled ahead is not compiled again, wherever the cache may be."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("sympy")
pytest.importorskip("numba")

from sosolve.kernels import cache

PARTS = ["dense float64", "dense float32", "csr float64", "csr float32", "fit_curves"]
PROGRAM = """
import json, sys
import sosolve
seconds = sosolve.warmup(**json.loads(sys.argv[1]))
from sosolve.curves import batch_chunk
from sosolve.kernels import cache, numba_chunks
kernels = [batch_chunk.fit_chunk, batch_chunk.search_chunk, numba_chunks.fused_chunk, numba_chunks.softmax_chunk]
hits, misses = ([sum(getattr(k.stats, name).values()) for k in kernels] for name in ("cache_hits", "cache_misses"))
print(json.dumps([seconds, hits, misses, cache.folder() is not None]))
"""


def in_a_process(arguments, **env):
    """Return what the program prints."""
    env = {k: v for k, v in os.environ.items() if k != "SOSOLVE_JIT_CACHE"} | env
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", PROGRAM, json.dumps(arguments)]
    out = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout)


def test_nothing_wanted_is_nothing_done():
    """The parts are a choice."""
    import sosolve

    assert sosolve.warmup(linear=False, curves=False) == {}


@pytest.mark.slow
@pytest.mark.skipif(cache.folder() is None, reason="the cache is off")
def test_second_process_compiles_nothing():
    """All parts are timed; a process that comes after finds them on disk. What other tests compiled counts too."""
    seconds, *_ = in_a_process({})
    assert list(seconds) == PARTS
    _, hits, misses, _ = in_a_process({})
    assert min(hits) > 0
    assert misses == [0, 0, 0, 0]


@pytest.mark.slow
def test_a_cache_folder_that_cannot_be_made_is_no_error(tmp_path):
    """A file stands where the folder should be: compiled for the process alone."""
    (tmp_path / "file").write_text("")
    wanted = {"linear": False, "curves": False, "formulas": ["a*x"]}
    seconds, *_, cached = in_a_process(wanted, SOSOLVE_CACHE_DIR=str(tmp_path / "file"))
    assert not cached
    assert list(seconds) == ["a*x"]
