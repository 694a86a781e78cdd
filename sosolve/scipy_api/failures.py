"""What happens to the best point when a fit ends badly: it goes with the exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from ..curve_problems.slips import add_remedy


class FitError(RuntimeError):
    """A fit that ended without success.

    Parameters
    ----------
    message : str
    result : OptimizeResult
        What was reached: `x` is the best point, with its cost, residuals, status and history.

    Attributes
    ----------
    result : OptimizeResult
    """

    def __init__(self, message: str, result: OptimizeResult):
        super().__init__(message)
        self.result = result

    def __reduce__(self):
        return FitError, (self.args[0], self.result)


def evaluated(call: Callable, *args: Any) -> Any:
    """Return call(*args); where that fails by a common slip, the exception gets a note that says what to do."""
    try:
        return call(*args)
    except (TypeError, ValueError) as error:
        add_remedy(error)
        raise


def keep_best(error: BaseException, theta: np.ndarray | None, value: float) -> None:
    """Add the best point so far to an exception on its way to the user: as a note, and as `best_x` where it can be.

    Parameters
    ----------
    error : BaseException
        Raised by the user's function or by the keyboard; its type and message stay.
    theta : ndarray of shape (p,) or None
        None where no point was evaluated.
    value : float
        The objective there.
    """
    if theta is None:
        return
    error.add_note(f"The best point before this was x = {theta.tolist()} with the cost {value:.10g}.")
    try:
        error.best_x = theta.copy()  # type: ignore[attr-defined]
    except AttributeError:  # an exception class with slots
        return
