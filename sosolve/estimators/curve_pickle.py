"""A clear message where a model cannot be pickled."""

from __future__ import annotations

import pickle
import sys

#: Modules whose copies do not go by name: they take a lambda.
BY_VALUE = ("copy", "cloudpickle", "dill")


def check_picklable(*functions) -> None:
    """Check that functions are importable by name, unless they are copied by value.

    Parameters
    ----------
    *functions : object
        What is no function is passed over.

    Raises
    ------
    PicklingError
        If one is a lambda or was defined inside another function, and the caller is a pickler that needs the name.
    """
    for function in functions:
        name = getattr(function, "__qualname__", "")
        if callable(function) and ("<lambda>" in name or "<locals>" in name) and not _is_copied_by_value():
            raise pickle.PicklingError(
                f"received the model {name} for pickling; expected a function that can be imported by name: define "
                "it at the top level of a module, write the model as a formula, or pickle with cloudpickle"
            )


def _is_copied_by_value() -> bool:
    """Return whether a copy or cloudpickle (joblib's processes use it) is under way."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if any(part in BY_VALUE for part in name.split(".")):
            return True
        frame = frame.f_back
    return False
