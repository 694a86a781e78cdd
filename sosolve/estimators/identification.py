"""Whether the data identify the coefficients of a fit without a penalty: separation and linear dependence.

Separation (Albert and Anderson, 1984): a direction along which no row loses and some row gains; the objective falls
along it for ever. It is looked for by a linear programme (Konis, 2007) only where a fit shows its signs. Dependence:
columns that are combinations of others leave directions along which nothing changes; the solution of least norm in
the user's units is chosen among the equivalent ones.

References
----------
Albert, A., Anderson, J. A. (1984). On the existence of maximum likelihood estimates in logistic regression models.
Biometrika 71(1), 1-10.
Konis, K. (2007). Linear programming algorithms for detecting separated data in binary logistic regression models.
D.Phil. thesis, University of Oxford.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..history import Result, Status
from .dependence import dependence, listed
from .separation import FAR, separation
from .weak_penalty import is_tiny, leans_on_penalty

if TYPE_CHECKING:
    from .problem import Problem

#: Change of a margin along the Newton step from which a converged fit may be separated: along a separating direction
#: the step changes margins by 1 whatever the gradient, at a minimum by about the square root of the tolerance.
MOVING = 0.05


@dataclass(frozen=True, eq=False)
class Identification:
    """What was found; the fields are those of `Optimality`."""

    separation: str | None = None
    direction: np.ndarray | None = None
    separating: tuple = ()
    dependent: tuple = ()
    notes: tuple[str, ...] = ()


def identify(problem: Problem, result: Result, change: float, names: Sequence) -> Identification:
    """Look for separation and dependence, and move an unpenalised solution to its least norm.

    Parameters
    ----------
    problem : Problem
    result : Result
        With its point. `theta` is replaced where columns are dependent, the status where the classes are separated.
    change : float
        Largest change of a margin along the Newton step at the final point; NaN where it is not known.
    names : sequence
        Of the columns.

    Returns
    -------
    Identification
    """
    if problem.one_sided and result.status is Status.SEPARATED:
        note = "that one class alone has weight, so that the intercept may grow for ever: give another class some"
        return Identification(notes=(note,))
    if not problem.penalty.is_smooth or result.status is Status.NONFINITE or problem.one_sided:
        return Identification()
    if problem.alpha > 0.0:
        return _kept_by_the_penalty(problem, result, names)
    dependent, notes = dependence(problem, result, names)
    found = None
    stopped = result.status in (Status.INTERRUPTED, Status.CALLBACK)  # by somebody who does not want to wait
    if not stopped and not (result.converged and change < MOVING):
        found = separation(problem, result, np.isnan(change) and result.converged)
    if found is None:
        return Identification(dependent=dependent, notes=notes)
    kind, direction = found
    result.status = Status.SEPARATED
    columns, where = _used(direction, names)
    if kind == "complete":
        sentence = f"complete separation {where}: no row lies on the wrong side"
    else:
        sentence = f"quasi-complete separation {where}: some rows are predicted perfectly"
    return Identification(kind, direction, columns, dependent, (*notes, sentence))


def _kept_by_the_penalty(problem: Problem, result: Result, names: Sequence) -> Identification:
    """Tell separation where the penalty alone bounds the coefficients: all rows far out, or some and a tiny penalty."""
    if result.point is None:
        return Identification()
    # FAR margins mean losses of exp(-FAR): most fits are told from complete separation by their value, for nothing
    far = result.point.parts[0].value < (problem.n_classes - 1) * np.exp(-FAR)
    found = separation(problem, result, False, FAR) if far else None
    if found is None and is_tiny(problem) and leans_on_penalty(problem, result, MOVING):
        found = separation(problem, result, True)
    if found is None:
        return Identification()
    kind, direction = found
    columns, where = _used(direction, names)
    rows = "no row lies on the wrong side" if kind == "complete" else "some rows are predicted perfectly"
    name = "complete separation" if kind == "complete" else "quasi-complete separation"
    sentence = f"{name} {where}: {rows}, the penalty alone bounds the coefficients"
    return Identification(kind, direction, columns, (), (sentence,))


def _used(direction: np.ndarray, names: Sequence) -> tuple[tuple, str]:
    """Return the columns that a direction uses, and a phrase of them."""
    used = np.abs(direction).max(axis=0) if direction.ndim == 2 else np.abs(direction)
    columns = tuple(names[j] for j in np.flatnonzero(used > 1e-6 * used.max(initial=0.0)) if used[j] > 0.0)
    return columns, f"along {listed(columns)}" if columns else "by their shares alone"
