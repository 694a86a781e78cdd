"""The step that a line search finds, as what a solver returns."""

from __future__ import annotations

import math

from ..history import Status
from ..linalg import norm
from ..protocols import Array, Point
from .base import Step
from .line_search import ROUNDING, LineSearch, backtrack


def line_search_step(point: Point, state: object, d: Array, slope: float, *, stretch: bool = False, **record) -> Step:
    """Return the step along a descent direction by backtracking, t = 1 first.

    Parameters
    ----------
    point : Point
    state : object
        The state to go on with.
    d : Array of shape (p,)
    slope : float
        grad'd.
    stretch : bool, default=False
        See `backtrack`.
    **record
        Fields of `Record` to report.
    """
    found = backtrack(point.along(d), point, d, slope, stretch=stretch) if slope < 0.0 else None
    return searched_step(point, state, d, slope, found, **record)


def searched_step(point: Point, state: object, d: Array, slope: float, found: LineSearch | None, **record) -> Step:
    """Return the step that a line search along d found; without one the fit is at rounding level, or has failed.

    Parameters
    ----------
    point, state, d, **record
        As for `line_search_step`.
    slope : float
        The decrease to first order along d, negative.
    found : LineSearch or None
        None where there was nothing to be searched.
    """
    if found is None or found.point is None:
        floor = ROUNDING * abs(point.value)
        status = Status.STALLED if abs(slope) <= floor else Status.LINE_SEARCH_FAILED
        return Step(point, state, False, status, **record)
    return Step(
        found.point,
        state,
        True,
        step_size=found.step_size,
        step_norm=found.step_size * norm(d),
        actual=found.actual,
        ratio=found.actual / record["predicted"] if record.get("predicted") else math.nan,
        **record,
    )
