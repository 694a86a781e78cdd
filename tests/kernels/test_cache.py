"""Compiled code on disk: found again, and no trouble with it ever reaches the user."""

import os
import subprocess
import sys

import pytest

from sosolve.kernels import cache

CODE = """
import numpy as np
from sosolve.kernels import numba_cpu, numba_chunks, cache
X = np.arange(12.0).reshape(6, 2)
z = numba_cpu.linear(X, np.array([1.0, 2.0]), 0.5)
assert np.array_equal(z, X @ np.array([1.0, 2.0]) + 0.5)
stats = numba_chunks.linear_chunk.stats
print(cache.folder(), sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def run(**env):
    """Run the code above in a fresh process and return (folder, hits, misses)."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SOSOLVE_", "XDG_"))}
    out = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env={**clean, **env}, timeout=300, check=False
    )
    assert out.returncode == 0, out.stderr
    folder, hits, misses = out.stdout.split()
    return folder, int(hits), int(misses)


def test_second_process_finds_the_code(tmp_path):
    """The first process compiles and saves, the second one loads."""
    folder, hits, misses = run(SOSOLVE_CACHE_DIR=str(tmp_path))
    assert (hits, misses) == (0, 1)
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert run(SOSOLVE_CACHE_DIR=str(tmp_path))[1:] == (1, 0)


def twice(x):
    """A kernel that compiles in no time."""
    return 2.0 * x


@pytest.fixture
def kernel(monkeypatch):
    """Return a function that makes that kernel as a new process would, and returns (folder, hits, misses)."""

    def make(folder, **env):
        for name, value in {"SOSOLVE_CACHE_DIR": str(folder), "SOSOLVE_JIT_CACHE": "1", **env}.items():
            monkeypatch.setenv(name, value)
        cache.folder.cache_clear()
        made = cache.jit()(twice)
        assert made(21.0) == 42.0
        return cache.folder(), sum(made.stats.cache_hits.values()), sum(made.stats.cache_misses.values())

    yield make
    cache.folder.cache_clear()


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
def test_rubbish_in_the_cache_means_compile_again(kernel, tmp_path, pattern):
    """Truncated index and data files are a miss, and are replaced."""
    folder, *_ = kernel(tmp_path)
    assert kernel(tmp_path) == (folder, 1, 0)
    for path in folder.glob(pattern):
        path.write_bytes(b"rubbish")
    assert kernel(tmp_path)[1] == 0
    assert kernel(tmp_path)[1] == 1


def test_can_be_turned_off(kernel, tmp_path):
    """SOSOLVE_JIT_CACHE=0 writes nothing."""
    assert kernel(tmp_path, SOSOLVE_JIT_CACHE="0")[0] is None
    assert list(tmp_path.iterdir()) == []


def test_without_a_home(kernel, tmp_path):
    """A folder that cannot be made is no error."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert kernel(blocked)[0] is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="the platform has no owners of files")
def test_folder_that_others_may_write_is_refused(kernel, tmp_path):
    """Somebody else could plant machine code in it."""
    folder, *_ = kernel(tmp_path)
    folder.chmod(0o777)
    assert kernel(tmp_path)[0] is None
