"""Robust losses for least squares: large residuals count less than their square."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: MAD of a normal sample times this estimates its standard deviation: 1 / Phi^-1(3/4).
MAD_TO_SIGMA = 1.4826022185056018
#: Smallest factor of the curvature: where rho' + 2 z rho'' is negative, Gauss-Newton's matrix must stay positive.
FLOOR = float(np.finfo(np.float64).eps)

NAMES = ("linear", "soft_l1", "huber", "cauchy", "arctan")


def mad_scale(residual: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation of residuals of shape (m,).

    Where more than half of them are equal that is 0; then their mean absolute deviation is returned, and 1 where
    all are equal.
    """
    deviation = np.abs(residual - np.median(residual))
    scale = MAD_TO_SIGMA * float(np.median(deviation)) or float(np.mean(deviation))
    return scale if 0.0 < scale < np.inf else 1.0


@dataclass(frozen=True)
class RobustLoss:
    """f_scale^2 / 2 sum_i rho(z_i) with z_i = (r_i / f_scale)^2.

    ========= ======================================
    soft_l1   rho(z) = 2 (sqrt(1 + z) - 1)
    huber     rho(z) = z for z <= 1, 2 sqrt(z) - 1 beyond
    cauchy    rho(z) = log(1 + z)
    arctan    rho(z) = arctan(z)
    ========= ======================================

    Parameters
    ----------
    name : {"soft_l1", "huber", "cauchy", "arctan"}
    f_scale : float, optional
        Residual beyond which the loss takes hold, > 0, in the units of the residuals; set from the residuals by
        `LeastSquares` where None.

    References
    ----------
    Triggs, McLauchlan, Hartley and Fitzgibbon (2000). Bundle adjustment: a modern synthesis. LNCS 1883, section 4.3.
    The definitions are those of scipy.optimize.least_squares, so that values compare.
    """

    name: str
    f_scale: float | None = None

    @classmethod
    def named(cls, loss: str | RobustLoss, f_scale: float | None = None) -> RobustLoss | None:
        """Return the loss with that name, None for "linear".

        Raises
        ------
        ValueError
            If there is no loss of that name, or f_scale is not positive and finite.
        """
        if isinstance(loss, RobustLoss):
            return loss
        if loss not in NAMES:
            raise ValueError(f"received loss={loss!r}; expected one of {', '.join(NAMES)}: choose one of these")
        if f_scale is not None and not 0.0 < f_scale < np.inf:
            raise ValueError(
                f"received f_scale={f_scale!r}; expected a positive finite number in the units of the residuals: "
                "pass one, or None to take it from the residuals"
            )
        return None if loss == "linear" else cls(loss, f_scale)

    def rho(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rho, rho' and rho'' at z >= 0, each of the shape of z."""
        if self.name == "soft_l1":
            t = 1.0 + z
            # 2 (sqrt(t) - 1) without cancellation for small z
            return 2.0 * z / (np.sqrt(t) + 1.0), t**-0.5, -0.5 * t**-1.5
        if self.name == "huber":
            inside, root = z <= 1.0, np.sqrt(np.maximum(z, 1.0))
            return (
                np.where(inside, z, 2.0 * root - 1.0),
                np.where(inside, 1.0, 1.0 / root),
                np.where(inside, 0.0, -0.5 / root**3),
            )
        if self.name == "cauchy":
            t = 1.0 + z
            return np.log1p(z), 1.0 / t, -1.0 / t**2
        t = 1.0 + z * z
        return np.arctan(z), 1.0 / t, -2.0 * z / t**2

    def value(self, residual: np.ndarray) -> float:
        """Return f_scale^2 / 2 sum_i rho((r_i / f_scale)^2) for residuals of shape (m,)."""
        C = self._scale
        return 0.5 * C * C * float(np.sum(self.rho((residual / C) ** 2)[0]))

    def root_weights(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rho' and the root of each observation's weight in Gauss-Newton's matrix, both of shape (m,).

        The gradient is J'(rho' r) and the matrix J' diag(rho' + 2 z rho'') J, each weight at least 2.2e-16: that of
        the residuals rho' r / root and the Jacobian root J.
        """
        with np.errstate(all="ignore"):
            z = (residual / self._scale) ** 2
            _, first, second = self.rho(z)
            return first, np.sqrt(np.maximum(first + 2.0 * z * second, FLOOR))

    def rescaled_residual(self, residual: np.ndarray) -> np.ndarray:
        """Return rho' r / root, shape (m,), see `root_weights`."""
        first, root = self.root_weights(residual)
        return first / root * residual

    def rescaled_jac(self, residual: np.ndarray, jac: np.ndarray) -> np.ndarray:
        """Return root J, shape (m, p), see `root_weights`."""
        return self.root_weights(residual)[1][:, None] * jac

    def influence(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return psi = rho' r and its derivative rho' + 2 z rho'', both of shape (m,), for `inference.sandwich`."""
        with np.errstate(all="ignore"):
            z = (residual / self._scale) ** 2
            _, first, second = self.rho(z)
            return first * residual, first + 2.0 * z * second

    def weights(self, residual: np.ndarray) -> np.ndarray:
        """Return rho', the weight that each residual keeps, shape (m,), in [0, 1]."""
        return self.rho((residual / self._scale) ** 2)[1]

    @property
    def _scale(self) -> float:
        if self.f_scale is None:
            raise ValueError(
                f"received the loss {self.name!r} without f_scale; expected a positive number: pass "
                "f_scale=mad_scale(residual), or use the loss through LeastSquares"
            )
        return self.f_scale
