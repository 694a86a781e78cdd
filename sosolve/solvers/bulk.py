"""When a step solves with the rows of the data alone that hold the bulk of the curvature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..protocols import Point
from .base import Step

if TYPE_CHECKING:
    from .newton import CGState

#: Products in the previous step from which on it is worth while, and what the rows left out may hold of the curvature,
#: relative to the forcing term and to the smallest quotient met: four times as much made steps too long.
MANY, LEFT_OUT = 8, 0.05
#: Actual over predicted decrease below which no more rows are left out.
FALLS_SHORT = 0.75


def bulk_for(point: Point, state: CGState, rtol: float) -> Any:
    """Return a curvature for many products that leaves out rows which hardly bend, None where all of them are taken.

    What is left out is to change the flattest direction met by less than the forcing term. Because the curvature H_b
    of the others is at most H, g' H_b^-1 g is at least the squared decrement, and the test for the end stays safe.

    Parameters
    ----------
    point : Point
    state : CGState
    rtol : float
        The forcing term.
    """
    make = getattr(point.curvature, "bulk", None)
    if make is None or state.whole or state.cg < MANY:
        return None
    return make(LEFT_OUT * rtol * min(state.flat, 1.0))


def fell_short(step: Step) -> bool:
    """Return whether a step with such a curvature was too long: more rows bend than the model knew."""
    return not step.record.get("ratio", 0.0) >= FALLS_SHORT
