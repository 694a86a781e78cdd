"""Compiled code on disk, in a folder of our own; any trouble with it means "compile again", never an error.

Numba's own cache lives beside the sources (where a read-only install breaks the import), is keyed by one file's
time stamp (so that an edited callee goes unnoticed) and lets a damaged file fail the first call. Here the folder is
`$SOSOLVE_CACHE_DIR` or the user's cache folder, keyed by a hash of all kernel sources and of the versions that
matter. `SOSOLVE_JIT_CACHE=0` turns it off.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from functools import lru_cache
from pathlib import Path

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

#: Reassociation and contraction let reductions vectorise; `nnan` and `ninf` are left out, they break NaN checks.
FAST = frozenset({"reassoc", "contract", "nsz", "arcp"})


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Return a hash of the kernel sources and of the versions of numba, llvmlite and Python."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {sys.version}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


@lru_cache(maxsize=1)
def folder() -> Path | None:
    """Return the cache folder, made for this user alone; None where it is off or not to be had."""
    if os.environ.get("SOSOLVE_JIT_CACHE", "1") == "0":
        return None
    root = os.environ.get("SOSOLVE_CACHE_DIR")
    if not root:
        system = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
        root = Path(system) / "sosolve"
    path = Path(root) / fingerprint()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & stat.S_IWOTH):
            return None  # somebody else could plant machine code here
        probe = path / f"probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return None
    return path


class _Locator(_CacheLocator):
    """Where numba keeps one function."""

    def __init__(self, py_func, py_file):
        self._py_file, self._name = py_file, py_func.__qualname__

    def get_cache_path(self):
        return str(folder())

    def get_source_stamp(self):
        return fingerprint()

    def get_disambiguator(self):
        return hashlib.sha256(self._name.encode()).hexdigest()[:8]

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_func, py_file) if folder() is not None else None


class _Impl(CompileResultCacheImpl):
    _locator_classes = (_Locator,)


class _Cache(FunctionCache):
    """Numba's cache of one function, with every failure turned into a miss."""

    _impl_class = _Impl

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception:
            # A damaged index fails here too: start it anew, and give up where even that is impossible.
            try:
                self.flush()
                super().save_overload(sig, data)
            except Exception:
                return


def jit(fastmath=FAST, cached=True, **options):
    """Return the decorator of all kernels: `nogil`, our flags, and our cache unless the function is only inlined.

    `options` are further ones of `numba.njit`.
    """

    def decorate(py_func):
        dispatcher = numba.njit(nogil=True, fastmath=set(fastmath), error_model="numpy", **options)(py_func)
        if cached and folder() is not None:
            try:
                dispatcher._cache = _Cache(py_func)
            except Exception:  # another version of numba: no cache is better than no kernel
                return dispatcher
        return dispatcher

    return decorate
