"""Robust losses with weights that count observations: weight 2 is a repeated row."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .robust import MAD_TO_SIGMA, RobustLoss


@dataclass(frozen=True, eq=False)
class WeightedRobustLoss(RobustLoss):
    """f_scale^2 / 2 sum_i w_i rho((r_i / f_scale)^2): the weights multiply the losses, not the residuals.

    Parameters
    ----------
    name, f_scale
        See `RobustLoss`; f_scale has to be given.
    frequency : ndarray of shape (m,)
        w, >= 0.
    """

    frequency: np.ndarray = field(default_factory=lambda: np.ones(1))

    def value(self, residual: np.ndarray) -> float:
        """Return the sum for residuals of shape (m,)."""
        C = self._scale
        return 0.5 * C * C * float(np.sum(self.frequency * self.rho((residual / C) ** 2)[0]))

    def root_weights(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return w rho' and the roots of the weights in Gauss-Newton's matrix, see `RobustLoss.root_weights`."""
        first, root = super().root_weights(residual)
        return self.frequency * first, np.sqrt(self.frequency) * root


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the median of values repeated as often as their weights say, both of shape (m,)."""
    order = np.argsort(values, kind="stable")
    ordered, below = values[order], np.cumsum(weights[order])
    half = 0.5 * below[-1]
    at = int(np.searchsorted(below, half * (1.0 - 1e-12)))
    meets = at + 1 < len(ordered) and abs(below[at] - half) <= 1e-12 * half
    return float(0.5 * (ordered[at] + ordered[at + 1]) if meets else ordered[at])


def weighted_mad_scale(residual: np.ndarray, weights: np.ndarray) -> float:
    """Return 1.4826 times the weighted median absolute deviation of residuals of shape (m,), see `mad_scale`."""
    deviation = np.abs(residual - weighted_median(residual, weights))
    scale = MAD_TO_SIGMA * weighted_median(deviation, weights)
    scale = scale or float(np.average(deviation, weights=weights))
    return scale if 0.0 < scale < np.inf else 1.0
