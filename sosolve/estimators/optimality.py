"""What a fit of a classifier proves about its own answer: the attribute `optimality_`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..history import Status

#: Relative bounds up to which an answer counts as the minimum for every practical purpose.
NEGLIGIBLE = 1e-6


@dataclass(frozen=True, eq=False)
class Optimality:
    """How far a fit is from the minimum, at most, and how that is known.

    All values are in the units of scikit-learn's objective, C times the weighted sum of the losses plus the penalty
    (the weighted sum alone without a penalty), at the coefficients as they are stored.

    Attributes
    ----------
    value : float
        The objective.
    bound : float
        Upper bound on the objective minus its minimum, rounding included: never below the truth, often far above it.
    decrement : float
        Half the squared Newton decrement, which is about the distance itself near the minimum; an estimate, and NaN
        where the last iteration did not compute it.
    grad_norm : float
        Largest component of the gradient of the mean loss in the standardised basis, see `Result`.
    status : Status
        Why the fit ended.
    proof : {"newton", "convexity", "duality", "value"}
        What the bound rests on: the exact Newton step, strong convexity, a dual feasible point, or only that no
        loss is negative (then it is no smaller than the value and says nothing).
    separation : {"complete", "quasi"} or None
        Whether the classes were found to be separated, so that without a penalty no minimum exists. Under an L2
        penalty it is reported where C >= 1e6, and "complete" also where every margin is above 5.
    direction : ndarray of shape (n_features,) or (n_classes, n_features), or None
        Coefficients that separate the classes.
    separating : tuple
        The columns that it uses: names where X has them, else indices.
    dependent : tuple
        Columns that are linear combinations of others (in a fit without a penalty): names or indices.
    notes : tuple of str
        Sentences on separation and dependent columns.
    """

    value: float
    bound: float
    decrement: float
    grad_norm: float
    status: Status
    proof: str
    separation: str | None = None
    direction: np.ndarray | None = None
    separating: tuple = ()
    dependent: tuple = ()
    notes: tuple[str, ...] = ()

    @property
    def relative_bound(self) -> float:
        """`bound` divided by the value; 0 where both are 0, NaN where the value is."""
        if math.isnan(self.value):
            return math.nan
        return self.bound / self.value if self.value > 0.0 else float(self.bound > 0.0)

    @property
    def message(self) -> str:
        """The certificate in a sentence or two."""
        start = "converged" if self.status is Status.CONVERGED else f"ended as {self.status.name}"
        if self.separation and self.status is Status.SEPARATED:
            known = f"the objective is {self.value:.6g} and has no minimum"
        elif self.proof == "value":
            known = f"the objective is {self.value:.6g}; nothing proves how far that is from its minimum"
            if self.decrement == self.decrement and self.status is Status.CONVERGED:
                known += f", the Newton decrement estimates {self.decrement:.2g}"
        else:
            known = (
                f"the objective {self.value:.6g} is at most {self.bound:.2g} ({percent(self.relative_bound)}) above "
                "its minimum"
            )
        return ". ".join([f"{start}: {known}", *self.notes])

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        found = f"Optimality({self.status.name}, bound={self.bound:.3g}, relative_bound={self.relative_bound:.2g}"
        found += f", decrement={self.decrement:.3g}, grad_norm={self.grad_norm:.2g}, proof={self.proof!r}"
        if self.separation:
            found += f", separation={self.separation!r}"
        if self.dependent:
            found += f", dependent={list(self.dependent)}"
        return found + ")"


def percent(share: float) -> str:
    """Return a share as a person reads it: 12 %, 0.3 %, 2e-08 of the value."""
    if not math.isfinite(share):
        return "no finite share"
    return f"{100.0 * share:.2g} %" if share >= 1e-4 else f"{share:.1e} of it"
