"""The machine and the versions of a benchmark, in one line."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numba
import numpy as np
import scipy
import sklearn

import sosolve
from sosolve.kernels.pool import n_threads


def describe() -> str:
    """Return processor, cores, threads and versions."""
    return (
        f"{cpu()}, {os.cpu_count()} cores, {n_threads()} threads; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, SciPy {scipy.__version__}, Numba {numba.__version__}, "
        f"scikit-learn {sklearn.__version__}, sosolve {sosolve.__version__}"
    )


def cpu() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"
