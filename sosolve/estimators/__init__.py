"""scikit-learn estimators."""

from .curve import NonlinearLeastSquares
from .logistic import LogisticRegression
from .optimality import Optimality
from .softmax import SoftmaxRegression

__all__ = ["LogisticRegression", "NonlinearLeastSquares", "Optimality", "SoftmaxRegression"]
