"""scikit-learn estimators."""

from .curve import NonlinearLeastSquares
from .logistic import LogisticRegression
from .softmax import SoftmaxRegression

__all__ = ["LogisticRegression", "NonlinearLeastSquares", "SoftmaxRegression"]
