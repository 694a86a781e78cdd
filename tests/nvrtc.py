"""NVIDIA's runtime compiler through ctypes: compiles CUDA sources without a device or a driver."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """Return libnvrtc: that of the wheel nvidia-cuda-nvrtc-cu12, else one the loader finds, else None."""
    names = ["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"]
    try:
        spec = find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        spec = None
    for folder in spec.submodule_search_locations if spec else ():
        found = [p for p in sorted((Path(folder) / "lib").glob("libnvrtc.so*")) if ".alt." not in p.name]
        names = [str(p) for p in found] + names
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _version() -> tuple[int, int]:
    """Return the version of the compiler."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def compile_cuda(code: str, architecture: str, quick: bool = False) -> str:
    """Return what the compiler has to say about a source, warnings included: "" where it has nothing.

    Parameters
    ----------
    code : str
    architecture : str
        Such as "sm_90".
    quick : bool, default=False
        Whether to optimise little where the compiler can be told so, in a third of the time: it reads, checks and
        assembles the source all the same.

    Raises
    ------
    RuntimeError
        With the compiler's log, if it refuses the source.
    """
    nvrtc, program = library(), ctypes.c_void_p()
    done = nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None)
    assert done == 0, f"nvrtcCreateProgram returned {done}"
    options = [b"--std=c++17", f"--gpu-architecture={architecture}".encode(), b"-default-device"]
    options += [b"--Ofast-compile=max"] if quick and _version() >= (12, 9) else []
    done = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    text = log.value.decode().strip()
    if done:
        raise RuntimeError(text)
    return text
