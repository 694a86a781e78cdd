"""How classes become outputs of a linear model: one vector for two classes, a row each, or all but a reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from ..objectives import LogisticLoss, Loss, SoftmaxLoss
from ..protocols import Array
from .offsets import of_each_class, of_second_class

#: Targets from which 8 bytes each are too many.
MANY = 10_000


@dataclass(frozen=True)
class OneRowEach:
    """Softmax with a row of coefficients for each class.

    Nothing changes when a constant is added to all intercepts nor, without a penalty, when a vector is added to all
    rows of coefficients: the means over the classes are set to zero. Under L2 they are zero at the optimum.
    """

    n_classes: int

    @property
    def loss(self) -> Loss:
        """The loss of the outputs."""
        return SoftmaxLoss(self.n_classes)

    def encode(self, codes: Array) -> Array:
        """Return the targets of the loss, of shape (n,), from indices of classes: float64, the indices where many."""
        if is_numpy_array(codes) and codes.shape[0] >= MANY:
            return codes.astype(np.intp, copy=False)
        xp = array_namespace(codes)
        return xp.astype(codes, xp.float64)

    def offset(self, given: np.ndarray) -> np.ndarray:
        """Return the offset of the outputs, shape (n,) or (n, outputs), from a checked one."""
        return of_each_class(given)

    def intercepts(self, log_prior: np.ndarray) -> np.ndarray:
        """Return the intercepts of the model without features, shape (outputs,)."""
        return log_prior - log_prior.mean()

    def to_attributes(self, coef: Array, intercept: Array, centred: Array | bool) -> tuple[Array, Array]:
        """Return (coef_, intercept_) from the model's; the columns of `centred` centred over the classes."""
        xp = array_namespace(coef)
        if centred is not False:
            means = xp.mean(coef, axis=0)
            coef = coef - (means if centred is True else centred * means)
        return coef, intercept - xp.mean(intercept)

    def from_attributes(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        """Return the model's coefficients and intercepts from the attributes."""
        return coef, intercept


@dataclass(frozen=True)
class OneRow(OneRowEach):
    """Two classes, one vector: log odds of the second class."""

    @property
    def loss(self) -> Loss:
        """The loss of the outputs."""
        return LogisticLoss()

    def encode(self, codes: Array) -> Array:
        """Return the targets of the loss, 0 and 1, of shape (n,): float64, int8 where there are many."""
        if is_numpy_array(codes) and codes.shape[0] >= MANY:
            return codes.astype(np.int8, copy=False)
        return super().encode(codes)

    def offset(self, given: np.ndarray) -> np.ndarray:
        """Return the log odds of the second class, shape (n,)."""
        return of_second_class(given)

    def intercepts(self, log_prior: np.ndarray) -> np.ndarray:
        """Return the log odds without features, shape (1,)."""
        return log_prior[1:] - log_prior[:1]

    def to_attributes(self, coef: Array, intercept: Array, centred: Array | bool) -> tuple[Array, Array]:
        """Return the pair as it is: nothing is free."""
        return coef, intercept


@dataclass(frozen=True)
class AgainstReference(OneRowEach):
    """Softmax with log odds against a reference class, whose row is zero; the model's outputs are the others.

    Attributes
    ----------
    reference : int
        Index of the class.
    """

    reference: int

    @property
    def loss(self) -> Loss:
        """The loss of the outputs; with two classes there is one output, and softmax is the logistic loss."""
        return LogisticLoss() if self.n_classes == 2 else SoftmaxLoss(self.n_classes, reference=True)

    def encode(self, codes: Array) -> Array:
        """Return the indices among the outputs, with the reference last; for one output 1, and 0 for the reference."""
        xp = array_namespace(codes)
        if self.n_classes == 2:
            return xp.astype(codes != self.reference, xp.float64)
        targets = xp.astype(codes, xp.float64) - xp.astype(codes > self.reference, xp.float64)
        return xp.where(codes == self.reference, xp.full_like(targets, self.n_classes - 1.0), targets)

    def offset(self, given: np.ndarray) -> np.ndarray:
        """Return the log odds against the reference, shape (n,) or (n, outputs)."""
        wide = of_each_class(given)
        found = np.delete(wide - wide[:, self.reference : self.reference + 1], self.reference, axis=1)
        return found[:, 0] if self.n_classes == 2 else found

    def intercepts(self, log_prior: np.ndarray) -> np.ndarray:
        """Return the log odds against the reference without features."""
        return np.delete(log_prior, self.reference) - log_prior[self.reference]

    def to_attributes(self, coef: Array, intercept: Array, centred: Array | bool) -> tuple[Array, Array]:
        """Return the pair with a row of zeros for the reference."""
        xp, k = array_namespace(coef), self.reference
        row, constant = xp.zeros_like(coef[:1, :]), xp.zeros_like(intercept[:1])
        return xp.concat([coef[:k, :], row, coef[k:, :]]), xp.concat([intercept[:k], constant, intercept[k:]])

    def from_attributes(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        """Return the pair without the row of the reference, which is subtracted from the others."""
        xp, k = array_namespace(coef), self.reference
        rows, constants = coef - coef[k, :], intercept - intercept[k]
        return xp.concat([rows[:k, :], rows[k + 1 :, :]]), xp.concat([constants[:k], constants[k + 1 :]])
