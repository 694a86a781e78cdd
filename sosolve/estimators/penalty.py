"""The penalty and the bounds of a linear classifier: from constructor parameters to terms of the objective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import device, is_numpy_array
from sklearn.base import BaseEstimator

from .._compat import to_host
from ..kernels import reference
from ..objectives import L2, Composite, DataTerm, LinearModel, Separable, Sum
from ..solvers.bounds import Box

#: Largest strength: penalties beyond it make zeros of all coefficients, and their squares must not overflow.
LARGEST = 1e300


@dataclass(frozen=True, eq=False)
class PenaltyTerms:
    """alpha sum_j omega_j ((1 - l1_ratio) w_j^2 / 2 + l1_ratio |w_j|) with lower_j <= w_j <= upper_j, for each output.

    Parameters
    ----------
    alpha : float
        1 / (C sum of weights): the strength beside the mean loss.
    l1_ratio : float
        In [0, 1].
    weights : ndarray of shape (d,) or None
        omega; 1 where None.
    box : Box or None
        Bounds of d coefficients in the user's units.
    """

    alpha: float
    l1_ratio: float = 0.0
    weights: np.ndarray | None = None
    box: Box | None = None

    @classmethod
    def of(cls, estimator: BaseEstimator, d: int) -> PenaltyTerms:
        """Return the weights and bounds that an estimator of d columns asks for, without a strength yet.

        Raises
        ------
        ValueError
            If penalty_weights or bounds have the wrong shape or values.
        """
        weights, bounds = getattr(estimator, "penalty_weights", None), getattr(estimator, "bounds", None)
        return cls(0.0, 0.0, _checked_weights(weights, d), _checked_bounds(bounds, d))

    def at(self, C: float, l1_ratio: float, total: float) -> PenaltyTerms:
        """Return the same weights and bounds at an inverse strength C, for weights of samples that sum to `total`."""
        return PenaltyTerms(min(1.0 / C / total, LARGEST), float(l1_ratio), self.weights, self.box)

    @property
    def is_smooth(self) -> bool:
        """Whether there is neither an L1 part nor a bound."""
        return self.box is None and (self.l1_ratio == 0.0 or self.alpha == 0.0)

    @property
    def is_plain(self) -> bool:
        """Whether it is one L2 penalty, the same for every coefficient."""
        return self.is_smooth and self.weights is None

    @property
    def strength(self) -> np.ndarray | float:
        """alpha omega: a number, or one for each column."""
        return self.alpha if self.weights is None else np.minimum(self.alpha * self.weights, LARGEST)

    def centred(self) -> np.ndarray | bool:
        """Return for which columns the coefficients of a softmax may be centred over the classes."""
        if self.is_smooth:
            return True
        free = True if self.box is None else np.isinf(self.box.lower) & np.isinf(self.box.upper)
        return free & (self.l1_ratio * self.strength == 0.0)

    def objective(self, data: DataTerm, model: LinearModel) -> Sum | Composite:
        """Return the data term with the penalty, in the basis of the model."""
        ridge = (1.0 - self.l1_ratio) * self.strength
        if self.weights is not None:
            ridge = model.xp.asarray(ridge, dtype=model.xp.float64, device=device(model.scale))
        smooth = Sum([data, L2(model.strengths(ridge))])
        return smooth if self.is_smooth else Composite(smooth, self.separable(model))

    def separable(self, model: LinearModel) -> Separable:
        """Return the L1 part and the bounds on the parameters of the model."""
        if not is_numpy_array(model.scale):
            raise ValueError(
                f"received X as {type(model.X).__module__}.{type(model.X).__name__}; a penalty with an L1 part and "
                "bounds on the coefficients run on the processor alone, on NumPy arrays and SciPy's sparse matrices: "
                "convert X, leave out device='cuda', or leave them out"
            )
        K, d = model.n_outputs, model.n_features
        lasso = np.zeros(d) + self.l1_ratio * self.strength / model.scale
        none, lower, upper = np.zeros(K), None, None
        if self.box is not None:
            lower = np.r_[np.tile(self.box.lower * model.scale, K), none - np.inf][: model.size]
            upper = np.r_[np.tile(self.box.upper * model.scale, K), none + np.inf][: model.size]
        strengths = np.r_[np.tile(np.minimum(lasso, LARGEST), K), none][: model.size]
        # compiled kernels that the data have called for are there for the sweeps too
        return Separable(strengths, lower, upper, None if model.kernels is reference else model.kernels)

    def clip(self, coef: np.ndarray) -> np.ndarray:
        """Return the nearest coefficients within the bounds, shape (K, d); those a rounding away are on the bound."""
        if self.box is None:
            return coef
        coef = self.box.clip(coef)
        for bound in (self.box.lower, self.box.upper):
            near = np.isfinite(bound) & (np.abs(coef - bound) <= 1e-15 * np.abs(bound))
            coef = np.where(near, bound, coef)
        return coef

    def can_grow(self, coef: np.ndarray) -> np.ndarray:
        """Return which coefficients, shape (K, d), may be multiplied by any t > 1 at no cost in penalty or bounds."""
        free = np.broadcast_to(np.asarray(self.strength == 0.0), coef.shape)
        coef = to_host(coef)
        if self.box is None:
            return free
        return free & ((coef <= 0.0) | np.isinf(self.box.upper)) & ((coef >= 0.0) | np.isinf(self.box.lower))


def _checked_weights(weights: object, d: int) -> np.ndarray | None:
    """Return penalty_weights as float64 of shape (d,), None for None."""
    if weights is None:
        return None
    found = np.asarray(weights, dtype=np.float64)
    if found.shape != (d,):
        raise ValueError(
            f"received penalty_weights of shape {found.shape}; expected one for each of the {d} columns of X: pass "
            f"an array of shape ({d},)"
        )
    bad = np.flatnonzero(~(np.isfinite(found) & (found >= 0.0)))
    if bad.size:
        raise ValueError(
            f"received penalty_weights[{bad[0]}] = {found[bad[0]]:g}; expected finite numbers >= 0: correct it (0 "
            "leaves the coefficient without a penalty)"
        )
    return found


def _checked_bounds(bounds: object, d: int) -> Box | None:
    """Return bounds, a pair of numbers or arrays of shape (d,), as a box, None where nothing is bounded."""
    if bounds is None:
        return None
    if len(bounds) != 2:
        raise ValueError(
            f"received bounds of length {len(bounds)}; expected a pair (lower, upper) of numbers or of arrays of "
            f"shape ({d},): pass for instance bounds=(0, np.inf)"
        )
    return Box.of(bounds[0], bounds[1], d)
