"""scikit-learn estimators."""

from .logistic import LogisticRegression
from .softmax import SoftmaxRegression

__all__ = ["LogisticRegression", "SoftmaxRegression"]
