"""How classes become outputs of a linear model: one vector for two classes, a row each, or all but a reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..objectives import LogisticLoss, Loss, SoftmaxLoss


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

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Return the targets of the loss, float64 of shape (n,), from indices of classes."""
        return codes.astype(np.float64)

    def intercepts(self, log_prior: np.ndarray) -> np.ndarray:
        """Return the intercepts of the model without features, shape (outputs,)."""
        return log_prior - log_prior.mean()

    def to_attributes(self, coef: np.ndarray, intercept: np.ndarray, centred: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return (coef_, intercept_) from the model's; coefficients centred over the classes where asked."""
        return coef - coef.mean(axis=0) if centred else coef, intercept - intercept.mean()

    def from_attributes(self, coef: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the model's coefficients and intercepts from the attributes."""
        return coef, intercept


@dataclass(frozen=True)
class OneRow(OneRowEach):
    """Two classes, one vector: log odds of the second class."""

    @property
    def loss(self) -> Loss:
        """The loss of the outputs."""
        return LogisticLoss()

    def intercepts(self, log_prior: np.ndarray) -> np.ndarray:
        """Return the log odds without features, shape (1,)."""
        return log_prior[1:] - log_prior[:1]

    def to_attributes(self, coef: np.ndarray, intercept: np.ndarray, centred: bool) -> tuple[np.ndarray, np.ndarray]:
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

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Return the indices among the outputs, with the reference last; for one output 1, and 0 for the reference."""
        if self.n_classes == 2:
            return (codes != self.reference).astype(np.float64)
        last = self.n_classes - 1
        return np.where(codes == self.reference, last, codes - (codes > self.reference)).astype(np.float64)

    def intercepts(self, log_prior: np.ndarray) -> np.ndarray:
        """Return the log odds against the reference without features."""
        return np.delete(log_prior, self.reference) - log_prior[self.reference]

    def to_attributes(self, coef: np.ndarray, intercept: np.ndarray, centred: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the pair with a row of zeros for the reference."""
        return np.insert(coef, self.reference, 0.0, axis=0), np.insert(intercept, self.reference, 0.0)

    def from_attributes(self, coef: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pair without the row of the reference, which is subtracted from the others."""
        rows, constants = coef - coef[self.reference], intercept - intercept[self.reference]
        return np.delete(rows, self.reference, axis=0), np.delete(constants, self.reference)
