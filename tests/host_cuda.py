"""CUDA kernels compiled by g++ and run on the host: see host_cuda.hpp."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
#: Bytes of rubbish before and after each array while a kernel runs.
PAD = 512
CODES = {np.dtype(np.int32): "i", np.dtype(np.int64): "q", np.dtype(np.float64): "d", np.dtype(np.float32): "f"}


def reason_not_to_run() -> str:
    """Return why kernels cannot run on this host, "" where they can."""
    if platform.system() != "Linux":
        return f"the emulation switches stacks by ucontext, which {platform.system()} does not support"
    return "" if shutil.which("g++") else "no g++ on the path"


FLAGS = ["-std=c++17", "-O1", "-U_FORTIFY_SOURCE", "-fPIC", "-w", "-ffp-contract=fast"]
FLAGS += ["-mfma"] if platform.machine() == "x86_64" else []


@lru_cache(maxsize=1)
def _folder() -> Path:
    """Return the folder of this user for this header and compiler: what is compiled stays there for the next run.

    The header lies there compiled: it is half the work for a source.
    """
    header = (HERE / "host_cuda.hpp").read_bytes()
    version = subprocess.run(["g++", "-dumpfullversion"], capture_output=True).stdout
    key = hashlib.sha256(b"".join([header, version, *map(str.encode, FLAGS)])).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"sosolve-host-cuda-{os.getuid()}-{key}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        folder = Path(tempfile.mkdtemp(prefix="sosolve-host-cuda-"))
    compiled = folder / "host_cuda.hpp.gch"
    if not compiled.exists():
        own = folder / f"header-{os.getpid()}"
        (folder / f"host_cuda.hpp.{os.getpid()}").write_bytes(header)
        (folder / f"host_cuda.hpp.{os.getpid()}").replace(folder / "host_cuda.hpp")
        subprocess.run(["g++", *FLAGS, "-x", "c++-header", "-o", own, folder / "host_cuda.hpp"], check=True)
        own.replace(compiled)
    return folder


@lru_cache(maxsize=256)
def library(code: str) -> ctypes.CDLL:
    """Return the shared library of a CUDA source with a launcher and a signature for each kernel.

    Raises
    ------
    RuntimeError
        If g++ does not accept the source.
    """
    names = re.findall(r'extern "C" __global__ void(?:\s+__launch_bounds__\([^)]*\))?\s+(\w+)\(', code)
    exports = "\n".join(f"EXPORT({name})" for name in names)
    stem = _folder() / hashlib.sha256(code.encode()).hexdigest()[:32]
    found = stem.with_suffix(".so")
    if not found.exists():  # other processes may be at it: each writes a file of its own
        own, text = stem.with_name(f"{stem.name}-{os.getpid()}.so"), stem.with_name(f"{stem.name}-{os.getpid()}.cpp")
        text.write_text(f'#include "host_cuda.hpp"\n{code}\n{exports}\n')
        command = ["g++", *FLAGS, "-shared", "-o", str(own), str(text)]
        done = subprocess.run(command, capture_output=True, text=True)
        text.unlink()
        if done.returncode:
            raise RuntimeError(f"g++ refuses the CUDA source:\n{done.stderr[:4000]}")
        own.replace(found)
    return ctypes.CDLL(str(found))


class Kernel:
    """One kernel of a source, called as a cupy.RawKernel with NumPy arrays.

    Parameters
    ----------
    code : str
    name : str
    order : int
        In which order the threads of a block run: 0 ascending, 1 descending, others shuffled.
    """

    def __init__(self, code: str, name: str, order: int = 0):
        found = library(code)
        self.name, self.order = name, order
        self._launch, signature = getattr(found, f"launch_{name}"), getattr(found, f"signature_{name}")
        self._launch.restype = signature.restype = ctypes.c_char_p
        self.signature = signature().decode()

    def __call__(self, grid, block, arguments, shared_mem=0):
        """Run all threads; arrays are copied into padded memory before and back after.

        Raises
        ------
        TypeError
            If the arguments are not those of the kernel in number, kind and size.
        RuntimeError
            If the emulation finds a fault, or memory beside an array was written to.
        """
        kinds = "".join("p" if a is None or isinstance(a, np.ndarray) else CODES[a.dtype] for a in arguments)
        if kinds != self.signature:
            raise TypeError(f"{self.name} takes {self.signature}, received {kinds}")
        regions: dict[tuple[int, int], np.ndarray] = {}
        pointers = []
        for a in arguments:
            if a is None:
                pointers.append(ctypes.c_void_p(None))
            elif isinstance(a, np.ndarray):
                bounds = np.lib.array_utils.byte_bounds(a)
                if bounds not in regions:
                    copy = np.full(bounds[1] - bounds[0] + 2 * PAD + 16, 0xFF, dtype=np.uint8)  # 0xff: NaN, -1
                    begin = PAD + -(copy.ctypes.data + PAD) % 16  # arrays keep their alignment up to 16 bytes
                    begin += bounds[0] % 16
                    copy[begin : begin + bounds[1] - bounds[0]] = _bytes(bounds)
                    regions[bounds] = copy, begin
                copy, begin = regions[bounds]
                pointers.append(ctypes.c_void_p(copy.ctypes.data + begin + a.ctypes.data - bounds[0]))
            else:
                pointers.append(np.ctypeslib.as_ctypes_type(a.dtype)(a.item()))
        grid, block = ((ctypes.c_uint * 3)(*(*map(int, size), 1, 1)[:3]) for size in (grid, block))
        addresses = (ctypes.c_void_p * len(pointers))(*(ctypes.addressof(p) for p in pointers))
        fault = self._launch(grid, block, ctypes.c_size_t(shared_mem), addresses, self.order)
        if fault:
            raise RuntimeError(f"{self.name}: {fault.decode()}")
        for bounds, (copy, begin) in regions.items():
            length = bounds[1] - bounds[0]
            if not (copy[:begin] == 0xFF).all() or not (copy[begin + length :] == 0xFF).all():
                raise RuntimeError(f"{self.name} wrote outside an array")
            if not np.array_equal(copy[begin : begin + length], _bytes(bounds)):
                _bytes(bounds)[...] = copy[begin : begin + length]


def _bytes(bounds: tuple[int, int]) -> np.ndarray:
    """Return the memory between two addresses as bytes."""
    if bounds[0] == bounds[1]:
        return np.empty(0, dtype=np.uint8)
    return np.ctypeslib.as_array((ctypes.c_uint8 * (bounds[1] - bounds[0])).from_address(bounds[0]))
