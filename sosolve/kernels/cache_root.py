"""Where compiled code is kept, known without importing Numba."""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path | None:
    """Return the folder above those of single versions, or None where `SOSOLVE_JIT_CACHE=0` turns the cache off."""
    if os.environ.get("SOSOLVE_JIT_CACHE", "1") == "0":
        return None
    own = os.environ.get("SOSOLVE_CACHE_DIR")
    if own:
        return Path(own)
    system = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(system) / "sosolve"


def was_kept(name: str) -> bool:
    """Return whether any version of a function "module.name" was ever compiled here; a guess that costs 0.1 ms."""
    folder = root()
    try:
        return folder is not None and next(folder.glob(f"*/{name}*.nbi"), None) is not None
    except OSError:
        return False
