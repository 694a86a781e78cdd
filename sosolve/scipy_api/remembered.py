"""Sets of functions that hold none of them alive, and put up with those that cannot be in a set."""

from __future__ import annotations

import weakref
from collections.abc import Callable


def is_in(functions: weakref.WeakSet, f: Callable) -> bool:
    """Return whether f is one of the functions."""
    try:
        return f in functions
    except TypeError:  # no weak references to it, or no hash
        return False


def remember(functions: weakref.WeakSet, f: Callable) -> None:
    """Add f to the functions."""
    try:
        functions.add(f)
    except TypeError:
        return
